package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/logd-dev/logd/bench/internal/process"
)

// NATS is NATS JetStream with one replica and file storage. A topic is a
// stream; many topics are subjects of one stream, which costs it less than
// many streams.
type NATS struct{ path, version string }

// natsPending is how many messages a writer has in flight.
const natsPending = 4096

// natsPull is how many messages a reader asks for at once.
const natsPull = 8192

// Name implements System.
func (*NATS) Name() string { return "nats" }

// Version implements System.
func (s *NATS) Version() string { return s.version }

// Traits implements System.
func (*NATS) Traits() Traits { return Traits{Replays: true} }

// Durability implements System.
func (*NATS) Durability(sync bool) string {
	if sync {
		return "fsync of every message before the reply (sync_interval: always)"
	}
	return "written to the file before the reply, synced every 2 min (default)"
}

// Find implements System.
func (s *NATS) Find(ctx context.Context, bin string) (err error) {
	if s.path, err = buildTool(ctx, bin, "github.com/nats-io/nats-server/v2", "nats-server"); err != nil {
		return err
	}
	s.version, err = version(ctx, s.path)
	return err
}

// Start implements System.
func (s *NATS) Start(ctx context.Context, o Options) (Server, error) {
	command := func(addrs []string) (process.Command, error) {
		conf := filepath.Join(o.Dir, "nats.conf")
		text := fmt.Sprintf("listen: %q\njetstream {\n  store_dir: %q\n", addrs[0], filepath.Join(o.Dir, "data"))
		if o.Sync {
			text += "  sync_interval: always\n"
		}
		err := os.WriteFile(conf, []byte(text+"}\n"), 0o600)
		return process.Command{Path: s.path, Args: []string{"-c", conf}, Dir: o.Dir}, err
	}
	server := &natsServer{replicas: 1, pending: natsPending}
	ready := func(ctx context.Context, addrs []string) error {
		server.url = "nats://" + addrs[0]
		nc, js, err := server.connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = js.AccountInfo(ctx)
		return err
	}
	var err error
	if server.process, _, err = launch(ctx, 1, command, ready); err != nil {
		return nil, err
	}
	return server, nil
}

type natsServer struct {
	process  *process.Process
	url      string
	replicas int // of each stream
	pending  int // messages that a writer has in flight
}

func (s *natsServer) Process() *process.Process { return s.process }

func (s *natsServer) connect(opts ...jetstream.JetStreamOpt) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(s.url, nats.NoReconnect(), nats.Timeout(10*time.Second))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc, opts...)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

func (s *natsServer) Topics(ctx context.Context, prefix string, n int) ([]string, error) {
	nc, js, err := s.connect()
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: prefix, Subjects: []string{prefix + ".*"}, Storage: jetstream.FileStorage, Replicas: s.replicas,
	})
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s.%d", prefix, i)
	}
	return list, err
}

// streamOf returns the name of a topic's stream.
func streamOf(topic string) string {
	stream, _, _ := strings.Cut(topic, ".")
	return stream
}

// natsWriter publishes without waiting for replies.
type natsWriter struct {
	ctx    context.Context
	nc     *nats.Conn
	js     jetstream.JetStream
	topic  string
	failed atomic.Pointer[error] // the first failed message
}

func (s *natsServer) Writer(ctx context.Context, topic string) (Writer, error) {
	return s.writer(ctx, topic, s.pending)
}

// writer returns a writer with so many messages in flight.
func (s *natsServer) writer(ctx context.Context, topic string, pending int) (*natsWriter, error) {
	w := &natsWriter{ctx: ctx, topic: topic}
	var err error
	w.nc, w.js, err = s.connect(
		jetstream.WithPublishAsyncMaxPending(pending),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			w.failed.CompareAndSwap(nil, &err)
		}))
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Write does not copy the body: it is in the connection's buffer on return.
// Only a publish that is repeated because no server answers would need it, and
// that fails the measurement anyway.
func (w *natsWriter) Write(body []byte) error {
	_, err := w.js.PublishAsync(w.topic, body, jetstream.WithStallWait(time.Minute))
	return errors.Join(err, w.err())
}

func (w *natsWriter) Flush() error {
	select {
	case <-w.js.PublishAsyncComplete():
		return w.err()
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

func (w *natsWriter) err() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *natsWriter) Close() error {
	w.nc.Close()
	return nil
}

type natsCaller struct {
	nc *nats.Conn
	js jetstream.JetStream
}

func (s *natsServer) Caller(context.Context) (Caller, error) {
	nc, js, err := s.connect()
	if err != nil {
		return nil, err
	}
	return &natsCaller{nc, js}, nil
}

func (c *natsCaller) Call(ctx context.Context, topic string, body []byte) error {
	_, err := c.js.Publish(ctx, topic, body)
	return err
}

func (c *natsCaller) Close() error {
	c.nc.Close()
	return nil
}

func (s *natsServer) CatchUp(ctx context.Context, topic string, n int64, each func([]byte)) error {
	count := func(body []byte) bool {
		each(body)
		n--
		return n > 0
	}
	if err := s.consume(ctx, topic, 1, func() {}, count); err != nil {
		return err
	}
	if n > 0 {
		return errors.Join(errShort(n), context.Cause(ctx))
	}
	return nil
}

func (s *natsServer) Follow(ctx context.Context, topic string, ready func(), each func([]byte)) error {
	nc, js, err := s.connect()
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, streamOf(topic))
	nc.Close()
	if err != nil {
		return err
	}
	forever := func(body []byte) bool {
		each(body)
		return true
	}
	return s.consume(ctx, topic, stream.CachedInfo().State.LastSeq+1, ready, forever)
}

// consume reads a stream from a sequence number on by an ordered consumer, as
// long as each returns true and ctx does not end.
func (s *natsServer) consume(ctx context.Context, topic string, from uint64, ready func(), each func([]byte) bool) error {
	nc, js, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	consumer, err := js.OrderedConsumer(ctx, streamOf(topic), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(natsPull))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	ready()
	for {
		m, err := messages.Next()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if !each(m.Data()) {
			return nil
		}
	}
}
