package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/nsqio/go-nsq"

	"github.com/logd-dev/logd/bench/internal/process"
)

// NSQ is one nsqd. It is a queue: a topic's messages go to each of its
// channels once, and are gone when they are finished.
type NSQ struct{ path, version string }

// nsqReady is how many messages a reader may have unfinished: nsqd's default
// limit.
const nsqReady = 2500

// Name implements System.
func (*NSQ) Name() string { return "nsq" }

// Version implements System.
func (s *NSQ) Version() string { return s.version }

// Traits implements System.
func (*NSQ) Traits() Traits { return Traits{} }

// Durability implements System.
func (*NSQ) Durability(sync bool) string {
	if sync {
		return ""
	}
	return "in memory; what is beyond 10,000 messages goes to a file, synced every 2,500 messages or 2 s (default)"
}

// Find implements System.
func (s *NSQ) Find(ctx context.Context, bin string) (err error) {
	if s.path, err = buildTool(ctx, bin, "github.com/nsqio/nsq/apps/nsqd", "nsqd"); err != nil {
		return err
	}
	s.version, err = version(ctx, s.path)
	return err
}

// Start implements System.
func (s *NSQ) Start(ctx context.Context, o Options) (Server, error) {
	command := func(addrs []string) (process.Command, error) {
		return process.Command{Path: s.path, Dir: o.Dir, Args: []string{
			"--tcp-address", addrs[0], "--http-address", addrs[1],
			"--broadcast-address", "127.0.0.1", "--data-path", o.Dir, "--log-level", "warn",
		}}, nil
	}
	server := new(nsqServer)
	ready := func(ctx context.Context, addrs []string) error {
		server.addr, server.http = addrs[0], addrs[1]
		return server.get(ctx, http.MethodGet, "/ping", nil)
	}
	var err error
	if server.process, _, err = launch(ctx, 2, command, ready); err != nil {
		return nil, err
	}
	return server, nil
}

type nsqServer struct {
	process    *process.Process
	addr, http string
	channels   atomic.Int64
}

func (s *nsqServer) Process() *process.Process { return s.process }

// get makes a request of the HTTP interface.
func (s *nsqServer) get(ctx context.Context, method, path string, query url.Values) error {
	u := url.URL{Scheme: "http", Host: s.http, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("nsqd: %s: %s", u.String(), resp.Status)
	}
	return nil
}

func (s *nsqServer) Topics(_ context.Context, prefix string, n int) ([]string, error) {
	return names(prefix, n), nil
}

// quiet drops what the client logs, which is nothing that its errors don't
// say.
var quiet = log.New(io.Discard, "", 0)

func (s *nsqServer) producer() (*nsq.Producer, error) {
	p, err := nsq.NewProducer(s.addr, nsq.NewConfig())
	if err != nil {
		return nil, err
	}
	p.SetLogger(quiet, nsq.LogLevelError)
	if err := p.Ping(); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// nsqWriter publishes batches with several of them in flight.
type nsqWriter struct {
	ctx      context.Context
	producer *nsq.Producer
	topic    string
	free     []*nsqBatch
	batch    *nsqBatch // the one that collects
	pending  int
	done     chan *nsq.ProducerTransaction
}

// nsqBatch has its bodies one after another in memory that does not move.
type nsqBatch struct {
	bodies [][]byte
	memory []byte
}

func (s *nsqServer) Writer(ctx context.Context, topic string) (Writer, error) {
	p, err := s.producer()
	if err != nil {
		return nil, err
	}
	w := &nsqWriter{ctx: ctx, producer: p, topic: topic, done: make(chan *nsq.ProducerTransaction, inFlight)}
	for range inFlight {
		w.free = append(w.free, &nsqBatch{memory: make([]byte, 0, batchSize)})
	}
	return w, nil
}

func (w *nsqWriter) Write(body []byte) error {
	if b := w.batch; b != nil && len(b.memory)+len(body) > batchSize {
		if err := w.send(); err != nil {
			return err
		}
	}
	if w.batch == nil {
		for len(w.free) == 0 {
			if err := w.settle(); err != nil {
				return err
			}
		}
		last := len(w.free) - 1
		w.batch, w.free = w.free[last], w.free[:last]
	}
	b := w.batch
	begin := len(b.memory)
	b.memory = append(b.memory, body...)
	b.bodies = append(b.bodies, b.memory[begin:len(b.memory):len(b.memory)])
	return nil
}

func (w *nsqWriter) send() error {
	b := w.batch
	w.batch = nil
	if err := w.producer.MultiPublishAsync(w.topic, b.bodies, w.done, b); err != nil {
		return err
	}
	w.pending++
	return nil
}

// settle waits for one reply.
func (w *nsqWriter) settle() error {
	select {
	case t := <-w.done:
		w.pending--
		b := t.Args[0].(*nsqBatch)
		b.bodies, b.memory = b.bodies[:0], b.memory[:0]
		w.free = append(w.free, b)
		return t.Error
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

func (w *nsqWriter) Flush() error {
	if w.batch != nil {
		if err := w.send(); err != nil {
			return err
		}
	}
	for w.pending > 0 {
		if err := w.settle(); err != nil {
			return err
		}
	}
	return nil
}

func (w *nsqWriter) Close() error {
	w.producer.Stop()
	return nil
}

type nsqCaller struct{ producer *nsq.Producer }

func (s *nsqServer) Caller(context.Context) (Caller, error) {
	p, err := s.producer()
	if err != nil {
		return nil, err
	}
	return &nsqCaller{p}, nil
}

func (c *nsqCaller) Call(_ context.Context, topic string, body []byte) error {
	return c.producer.Publish(topic, body)
}

func (c *nsqCaller) Close() error {
	c.producer.Stop()
	return nil
}

// CatchUp drains the topic into its first channel. It can be called once.
func (s *nsqServer) CatchUp(ctx context.Context, topic string, n int64, each func([]byte)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	left := n
	err := s.consume(ctx, topic, nsq.NewConfig(), func() {}, func(body []byte) {
		if left == 0 {
			return
		}
		each(body)
		if left--; left == 0 {
			cancel()
		}
	})
	if err == nil && left > 0 {
		return errors.Join(errShort(left), context.Cause(ctx))
	}
	return err
}

func (s *nsqServer) Follow(ctx context.Context, topic string, ready func(), each func([]byte)) error {
	cfg := nsq.NewConfig()
	// Otherwise nsqd holds messages back for up to 250 ms to send more of them
	// at once.
	cfg.OutputBufferSize = -1
	cfg.OutputBufferTimeout = -1
	return s.consume(ctx, topic, cfg, ready, each)
}

// consume reads the topic by a channel of its own until ctx ends.
func (s *nsqServer) consume(ctx context.Context, topic string, cfg *nsq.Config, ready func(), each func([]byte)) error {
	cfg.MaxInFlight = nsqReady
	cfg.MsgTimeout = 10 * time.Minute
	channel := fmt.Sprintf("c%d-%d", os.Getpid(), s.channels.Add(1))
	if err := s.get(ctx, http.MethodPost, "/channel/create", url.Values{"topic": {topic}, "channel": {channel}}); err != nil {
		return err
	}
	consumer, err := nsq.NewConsumer(topic, channel, cfg)
	if err != nil {
		return err
	}
	consumer.SetLogger(quiet, nsq.LogLevelError)
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		each(m.Body)
		return nil
	}))
	if err := consumer.ConnectToNSQD(s.addr); err != nil {
		consumer.Stop()
		return err
	}
	ready()
	<-ctx.Done()
	consumer.Stop()
	<-consumer.StopChan
	return nil
}
