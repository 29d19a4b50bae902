package system

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/bench/internal/process"
)

// Logd is this project's server, built from the tree that the bench is in.
type Logd struct {
	path, version string
	security      security
}

// Name implements System.
func (s *Logd) Name() string { return "logd" + string(s.security) }

// Version implements System.
func (s *Logd) Version() string { return s.version }

// Traits implements System.
func (*Logd) Traits() Traits { return Traits{Replays: true} }

// Durability implements System.
func (*Logd) Durability(sync bool) string {
	if sync {
		return "fdatasync before the reply, shared by all who wait (--flush-batches 1)"
	}
	return "written to the file before the reply, synced within 1 s (default)"
}

// Find implements System. It must be run in the bench's module.
func (s *Logd) Find(ctx context.Context, bin string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	s.path = filepath.Join(bin, "logd")
	return s.build(ctx, root)
}

// moduleRoot returns where this project's source is, for who is in the bench's module.
func moduleRoot(ctx context.Context) (string, error) {
	return output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/logd-dev/logd")
}

// build builds the server from source, in its own module, for the versions of what it needs
// are there.
func (s *Logd) build(ctx context.Context, source string) (err error) {
	if _, err := output(ctx, source, "go", "build", "-trimpath", "-o", s.path, "./cmd/logd"); err != nil {
		return err
	}
	s.version, err = version(ctx, s.path)
	return err
}

// Start implements System.
func (s *Logd) Start(ctx context.Context, o Options) (Server, error) {
	server, err := s.start(ctx, o, false)
	if err != nil {
		return nil, err
	}
	return server, nil
}

// start starts a server that serves HTTP, too, if that is asked for: at the second of
// its addresses.
func (s *Logd) start(ctx context.Context, o Options, http bool) (*logdServer, error) {
	conf := filepath.Join(o.Dir, "logd.toml") // none of the machine's
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		return nil, err
	}
	secrets, err := s.security.make(o.Dir)
	if err != nil {
		return nil, err
	}
	command := func(addrs []string) (process.Command, error) {
		if !http {
			addrs[1] = ""
		}
		args := []string{
			"--config", conf, "--workdir", filepath.Join(o.Dir, "data"),
			"--host", addrs[0], "--http-host", addrs[1], "--topics", "0",
		}
		if o.Positions > 0 {
			args = append(args, "--positions", strconv.Itoa(o.Positions))
		}
		if !strings.HasPrefix(addrs[0], "127.") {
			args = append(args, "--insecure")
		}
		args = append(args, secrets.flags...)
		if o.Sync {
			args = append(args, "--flush-batches", "1")
		}
		return process.Command{Path: s.path, Args: args, Dir: o.Dir}, nil
	}
	ready := func(ctx context.Context, addrs []string) error {
		client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: addrs[:1], ReconnectAttempts: 1, TLS: secrets.tls, Token: secrets.token})
		if err != nil {
			return err
		}
		defer client.Close()
		return client.Ping(ctx)
	}
	p, addrs, err := launch(ctx, 2, command, ready)
	if err != nil {
		return nil, err
	}
	return &logdServer{p, addrs[:1], addrs[1], secrets}, nil
}

type logdServer struct {
	process *process.Process
	addrs   []string
	http    string // where it serves HTTP, or empty
	secrets *secrets
}

func (s *logdServer) Process() *process.Process { return s.process }

func (s *logdServer) dial(ctx context.Context) (*logd.Client, error) {
	return logd.Dial(ctx, logd.ClientConfig{Addrs: s.addrs, ReadTimeout: time.Minute, WriteTimeout: time.Minute, TLS: s.secrets.tls, Token: s.secrets.token})
}

func (s *logdServer) Topics(_ context.Context, prefix string, n int) ([]string, error) {
	return names(prefix, n), nil
}

// logdWriter has several batches in flight on one connection.
type logdWriter struct {
	ctx    context.Context
	client *logd.Client
	topic  string
	slots  [inFlight]struct {
		batch   logd.Batch
		pending logd.Pending
		begun   bool
	}
	at int // the slot that collects
}

func (s *logdServer) Writer(ctx context.Context, topic string) (Writer, error) {
	client, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &logdWriter{ctx: ctx, client: client, topic: topic}, nil
}

func (w *logdWriter) Write(body []byte) error {
	b := &w.slots[w.at].batch
	if b.Messages() > 0 && !b.Fits(w.topic, len(body), batchSize) {
		if err := w.send(); err != nil {
			return err
		}
		b = &w.slots[w.at].batch
	}
	b.Add(body)
	return nil
}

// send sends the batch and makes the next slot free.
func (w *logdWriter) send() error {
	slot := &w.slots[w.at]
	if err := w.client.StartAppend(w.ctx, w.topic, &slot.batch, &slot.pending); err != nil {
		return err
	}
	slot.begun = true
	w.at = (w.at + 1) % len(w.slots)
	return w.settle(w.at)
}

// settle waits until the slot's batch is acknowledged, if it has one.
func (w *logdWriter) settle(i int) error {
	slot := &w.slots[i]
	if !slot.begun {
		return nil
	}
	if _, err := slot.pending.Wait(w.ctx); err != nil {
		return err
	}
	slot.begun = false
	slot.batch.Reset()
	return nil
}

func (w *logdWriter) Flush() error {
	if w.slots[w.at].batch.Messages() > 0 {
		if err := w.send(); err != nil {
			return err
		}
	}
	for i := range w.slots {
		if err := w.settle(i); err != nil {
			return err
		}
	}
	return nil
}

func (w *logdWriter) Close() error { return w.client.Close() }

type logdCaller struct {
	client *logd.Client
	batch  logd.Batch
}

func (s *logdServer) Caller(ctx context.Context) (Caller, error) {
	client, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &logdCaller{client: client}, nil
}

func (c *logdCaller) Call(ctx context.Context, topic string, body []byte) error {
	c.batch.Reset()
	c.batch.Add(body)
	_, err := c.client.Append(ctx, topic, &c.batch)
	return err
}

func (c *logdCaller) Close() error { return c.client.Close() }

func (s *logdServer) CatchUp(ctx context.Context, topic string, n int64, each func([]byte)) error {
	client, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	// Large reads: the client computes while the server waits, and the other
	// way round.
	opts := logd.ReadOptions{Messages: 50000, MaxBytes: 4 << 20}
	for offset := int64(0); n > 0; {
		result, err := client.Read(ctx, topic, offset, opts)
		if err != nil {
			return err
		}
		if len(result.Batches) == 0 {
			return errShort(n)
		}
		n -= deliver(result, n, each)
		offset = result.Next
		result.Release()
	}
	return nil
}

func (s *logdServer) Follow(ctx context.Context, topic string, ready func(), each func([]byte)) error {
	client, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	info, err := client.Info(ctx, topic)
	if err != nil {
		return err
	}
	ready()
	opts := logd.ReadOptions{Wait: 5 * time.Second}
	for offset := info.Next; ; {
		result, err := client.Read(ctx, topic, offset, opts)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		deliver(result, math.MaxInt64, each)
		offset = result.Next
		result.Release()
	}
}

// deliver calls each for at most limit messages and returns their number. A
// read may end with more than was asked for: it gets whole batches.
func deliver(result *logd.Result, limit int64, each func([]byte)) (n int64) {
	for i := range result.Batches {
		for m := range result.Batches[i].All() {
			if n == limit {
				return n
			}
			each(m.Body)
			n++
		}
	}
	return n
}
