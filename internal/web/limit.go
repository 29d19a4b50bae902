package web

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/socket"
	"github.com/logd-dev/logd/internal/web/ask"
)

// SpareConnections is how many connections are accepted when MaxConnections are in
// use: health and metrics are answered on them, and nothing else.
const SpareConnections = 8

// spareTime is how long a spare connection may take to send its request.
const spareTime = 2 * time.Second

// limitListener accepts so many connections at once, and SpareConnections more,
// which are marked. One more waits until another is closed.
type limitListener struct {
	net.Listener
	slots, spare *slots
	closed       chan struct{}
	once         sync.Once
}

func limitHTTP(l net.Listener, all *slots) *limitListener {
	return &limitListener{Listener: l, closed: make(chan struct{}), slots: all, spare: newSlots(SpareConnections)}
}

// slots are places for connections.
type slots struct {
	free chan struct{} // holds one for each place that nobody has

	mu   sync.Mutex
	most int
	less int // so many places go when they are given back
}

func newSlots(most int) *slots {
	s := &slots{free: make(chan struct{}, 1<<30)} // which takes no memory, as its elements take none
	s.resize(most)
	return s
}

// resize makes them so many. Who has one keeps it.
func (s *slots) resize(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.less += s.most - most
	s.most = most
	for ; s.less < 0; s.less++ {
		s.free <- struct{}{}
	}
	for ; s.less > 0; s.less-- {
		select {
		case <-s.free:
		default:
			return
		}
	}
}

// release gives a place back.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.less > 0 {
		s.less--
		return
	}
	s.free <- struct{}{}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	taken := l.slots
	select {
	case <-l.slots.free:
	default:
		select {
		case <-l.slots.free:
		case <-l.spare.free:
			taken = l.spare
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		taken.release()
		return nil, err
	}
	// A place may have become free while none came.
	if taken == l.spare {
		select {
		case <-l.slots.free:
			taken.release()
			taken = l.slots
		default:
		}
	}
	lc := &limitedConn{Conn: c, slot: taken}
	if taken == l.spare {
		lc.until = time.Now().Add(spareTime)
	}
	return lc, nil
}

// Close implements net.Listener.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	slot  *slots
	until time.Time // when a spare one must have sent its request; zero for others
	once  sync.Once

	broken atomic.Pointer[error] // of the first Write that failed
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.slot.release)
	return err
}

// Write implements net.Conn.
func (c *limitedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.broken.CompareAndSwap(nil, &err)
	}
	return n, err
}

// ReadFrom is what net/http sends a body with: batches as they are stored by sendfile, if
// the connection is one of TCP. It fails if a Write has failed: net/http does not look
// whether it could send the head, and a client would take what follows for one.
func (c *limitedConn) ReadFrom(src io.Reader) (int64, error) {
	if err := c.broken.Load(); err != nil {
		return 0, *err
	}
	stored, ok := src.(*ask.Stored)
	if !ok {
		return io.Copy(onlyWriter{c.Conn}, src)
	}
	var w socket.Writer
	var sent socket.Counters
	w.Init(c.Conn, stored.Timeout, &sent, func(int) {})
	n, err := stored.Send(w.Section)
	stored.Sendfiles += sent.Sendfiles.Load()
	return n, err
}

// onlyWriter hides what else a writer can.
type onlyWriter struct{ io.Writer }

// CloseWrite is what net/http uses for an answer that is the last.
func (c *limitedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// SetReadDeadline sets none that is later than what a spare connection has.
func (c *limitedConn) SetReadDeadline(t time.Time) error {
	if !c.until.IsZero() && (t.IsZero() || t.After(c.until)) {
		t = c.until
	}
	return c.Conn.SetReadDeadline(t)
}

type spareKey struct{}

// markSpare remembers which connections are spare ones.
func markSpare(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if lc, ok := c.(*limitedConn); ok && !lc.until.IsZero() {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

// isSpare reports whether a request came over a spare connection.
func isSpare(r *http.Request) bool {
	spare, _ := r.Context().Value(spareKey{}).(bool)
	return spare
}
