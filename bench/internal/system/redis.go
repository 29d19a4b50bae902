package system

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/bench/internal/process"
)

// Redis is Redis Streams with the append-only file. A topic is a stream, a
// message an entry with one field.
type Redis struct{ path, version string }

// redisRead is how many entries a reader asks for at once.
const redisRead = 1000

// Name implements System.
func (*Redis) Name() string { return "redis" }

// Version implements System.
func (s *Redis) Version() string { return s.version }

// Traits implements System.
func (*Redis) Traits() Traits { return Traits{Replays: true, InMemory: true} }

// Durability implements System.
func (*Redis) Durability(sync bool) string {
	if sync {
		return "fdatasync before the reply, shared by all who wait (appendfsync always)"
	}
	return "written to the file before the reply or, while a sync is under way, up to 2 s later; synced every 1 s (appendonly yes, appendfsync everysec)"
}

// Find implements System.
func (s *Redis) Find(ctx context.Context, _ string) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: no redis-server in PATH (Debian: apt-get install redis-server)", ErrNotInstalled)
	}
	s.path = path
	s.version, err = version(ctx, path)
	return err
}

// Start implements System.
func (s *Redis) Start(ctx context.Context, o Options) (Server, error) {
	command := func(addrs []string) (process.Command, error) {
		host, port, err := net.SplitHostPort(addrs[0])
		fsync := "everysec"
		if o.Sync {
			fsync = "always"
		}
		return process.Command{Path: s.path, Dir: o.Dir, Args: []string{
			"--bind", host, "--port", port, "--dir", o.Dir, "--daemonize", "no",
			"--appendonly", "yes", "--appendfsync", fsync, "--save", "",
		}}, err
	}
	server := new(redisServer)
	ready := func(ctx context.Context, addrs []string) error {
		server.addr = addrs[0]
		c, err := server.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		// While it loads its data, the answer is an error.
		_, err = c.do("PING")
		return err
	}
	var err error
	if server.process, _, err = launch(ctx, 1, command, ready); err != nil {
		return nil, err
	}
	return server, nil
}

type redisServer struct {
	process *process.Process
	addr    string
}

func (s *redisServer) Process() *process.Process { return s.process }

func (s *redisServer) Topics(_ context.Context, prefix string, n int) ([]string, error) {
	return names(prefix, n), nil
}

func (s *redisServer) dial(ctx context.Context) (*resp, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return newResp(ctx, nc), nil
}

// redisWriter pipelines commands: it collects them and sends them together,
// while the replies to earlier ones come in.
type redisWriter struct {
	conn    *resp
	topic   string
	out     []byte
	n       int // commands in out
	slots   chan int
	pending sync.WaitGroup
	reader  sync.WaitGroup
	failed  atomic.Pointer[error]
}

func (s *redisServer) Writer(ctx context.Context, topic string) (Writer, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	w := &redisWriter{conn: conn, topic: topic, slots: make(chan int, inFlight)}
	w.reader.Go(w.read)
	return w, nil
}

// read takes the replies. After an error there are no more.
func (w *redisWriter) read() {
	for n := range w.slots {
		for range n {
			if w.failed.Load() != nil {
				break
			}
			if _, err := w.conn.bulk(); err != nil {
				w.failed.CompareAndSwap(nil, &err)
			}
		}
		w.pending.Done()
	}
}

func (w *redisWriter) Write(body []byte) error {
	w.out = appendAdd(w.out, w.topic, body)
	w.n++
	if len(w.out) < batchSize {
		return nil
	}
	return w.send()
}

// send sends what there is. The reader is told first: the server may stop
// reading when nobody takes its replies.
func (w *redisWriter) send() error {
	if w.n > 0 {
		w.pending.Add(1)
		w.slots <- w.n
		if _, err := w.conn.nc.Write(w.out); err != nil {
			w.failed.CompareAndSwap(nil, &err)
		}
		w.out, w.n = w.out[:0], 0
	}
	return w.err()
}

func (w *redisWriter) Flush() error {
	if err := w.send(); err != nil {
		return err
	}
	w.pending.Wait()
	return w.err()
}

func (w *redisWriter) err() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *redisWriter) Close() error {
	err := w.conn.Close()
	close(w.slots)
	w.reader.Wait()
	return err
}

type redisCaller struct {
	conn *resp
	out  []byte
}

func (s *redisServer) Caller(ctx context.Context) (Caller, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &redisCaller{conn: conn}, nil
}

func (c *redisCaller) Call(_ context.Context, topic string, body []byte) error {
	c.out = appendAdd(c.out[:0], topic, body)
	if _, err := c.conn.nc.Write(c.out); err != nil {
		return err
	}
	_, err := c.conn.bulk()
	return err
}

func (c *redisCaller) Close() error { return c.conn.Close() }

func (s *redisServer) CatchUp(ctx context.Context, topic string, n int64, each func([]byte)) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for last := []byte("0-0"); n > 0; {
		if err := conn.send("XREAD", "COUNT", fmt.Sprint(min(n, redisRead)), "STREAMS", topic, string(last)); err != nil {
			return err
		}
		got, err := conn.entries(&last, each)
		if err != nil {
			return err
		}
		if got == 0 {
			return errShort(n)
		}
		n -= got
	}
	return nil
}

func (s *redisServer) Follow(ctx context.Context, topic string, ready func(), each func([]byte)) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The id of the newest entry, which "$" would find anew in each XREAD.
	if err := conn.send("XREVRANGE", topic, "+", "-", "COUNT", "1"); err != nil {
		return err
	}
	last := []byte("0-0")
	if _, err := conn.list(&last, func([]byte) {}); err != nil {
		return err
	}
	ready()
	for {
		err := conn.send("XREAD", "COUNT", fmt.Sprint(redisRead), "BLOCK", "5000", "STREAMS", topic, string(last))
		if err == nil {
			_, err = conn.entries(&last, each)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
