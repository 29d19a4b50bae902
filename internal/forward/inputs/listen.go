package inputs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/socket"
)

// listener accepts connections up to a number, and says so to those beyond.
type listener struct {
	net.Listener
	in     *Input
	busy   string // what those beyond are told
	active atomic.Int64
	refuse chan struct{} // a place for each who is told
}

// listen listens where the input does.
func listen(in *Input, busy string) (*listener, error) {
	c := in.config.Load()
	var l net.Listener
	var err error
	if c.From.Network == "unix" {
		l, err = socket.ListenUnix(c.From.Addr, c.SocketMode, -1)
	} else {
		l, err = net.Listen("tcp", c.From.Addr)
	}
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, in: in, busy: busy, refuse: make(chan struct{}, 64)}, nil
}

// Accept waits for a connection for which there is room. Once the input stops, it returns
// those that have arrived, and then an error.
func (l *listener) Accept() (net.Conn, error) {
	for pause := time.Duration(0); ; {
		nc, err := l.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			if nc, ok := l.admit(nc); ok {
				return nc, nil
			}
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return nil, net.ErrClosed
		default: // no descriptors, mostly: that passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.in.sparse.Log(l.in.log, slog.LevelError, "accepting a connection failed: trying again", "error", err)
			select {
			case <-time.After(pause):
			case <-l.in.life.Done():
				return nil, net.ErrClosed
			}
		}
	}
}

// admit returns the connection as one that counts until it is closed, or refuses it.
func (l *listener) admit(nc net.Conn) (net.Conn, bool) {
	most := l.in.config.Load().MaxConnections
	if l.active.Add(1) <= int64(most) {
		l.in.counters.Connections.Add(1)
		return &countedConn{Conn: nc, l: l}, true
	}
	l.active.Add(-1)
	l.in.sparse.Log(l.in.log, slog.LevelWarn, "a connection was refused: there are max-connections", "max_connections", most)
	select {
	case l.refuse <- struct{}{}:
		go func() {
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			nc.Write([]byte(l.busy))
			socket.Linger(nc)
			<-l.refuse
		}()
	default:
		nc.Close()
	}
	return nil, false
}

// stop has Accept end when it has returned the connections that have arrived.
func (l *listener) stop() {
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(time.Now().Add(drainPause))
	} else {
		l.Close()
	}
}

// countedConn is a connection that counts.
type countedConn struct {
	net.Conn
	l    *listener
	once sync.Once
}

// Close closes the connection and makes room for another.
func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.l.active.Add(-1)
		c.l.in.counters.Connections.Add(-1)
	})
	return err
}

// CloseWrite ends the writing, where there is such a thing.
func (c *countedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// server serves connections, each in a goroutine of its own.
type server struct {
	in     *Input
	l      *listener
	handle func(nc net.Conn, remote string)

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	stopped bool
}

func newServer(in *Input, busy string, handle func(nc net.Conn, remote string)) (*server, error) {
	l, err := listen(in, busy)
	if err != nil {
		return nil, err
	}
	return &server{in: in, l: l, handle: handle, conns: make(map[net.Conn]struct{})}, nil
}

func (s *server) addr() net.Addr { return s.l.Addr() }

func (s *server) serve() {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.l.Close()
	for {
		nc, err := s.l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { s.serveConn(nc) })
	}
}

func (s *server) stop() {
	s.l.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for nc := range s.conns {
		nc.SetReadDeadline(past)
	}
}

func (s *server) abort() {
	s.l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		closeRaw(nc)
	}
}

// serveConn serves one connection. A panic ends no other.
func (s *server) serveConn(nc net.Conn) {
	remote := remoteOf(nc)
	defer func() {
		if p := recover(); p != nil {
			// The value may hold what is carried: its type says enough beside the stack.
			s.in.log.Error("serving a connection panicked: it is closed", "remote", remote, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
		closeRaw(nc)
	}()
	if c := s.in.config.Load(); c.From.Network == "tls" {
		secured := tls.Server(nc, c.TLS)
		secured.SetDeadline(time.Now().Add(c.Timeout))
		if err := secured.HandshakeContext(s.in.life); err != nil {
			s.in.sparse.Log(s.in.log, slog.LevelWarn, "a TLS handshake failed", "remote", remote, "error", err)
			return
		}
		secured.SetDeadline(time.Time{})
		nc = secured
	}
	s.mu.Lock()
	s.conns[nc] = struct{}{}
	if s.stopped {
		nc.SetReadDeadline(past)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, nc)
		s.mu.Unlock()
	}()
	s.handle(nc, remote)
}

// remoteOf returns the address of the other side; who sends over a unix socket has none.
func remoteOf(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.Network() != "unix" {
		return a.String()
	}
	return ""
}

// closeRaw closes a connection at once: that of TLS would wait to say goodbye.
func closeRaw(nc net.Conn) {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	nc.Close()
}

// past is a time that ends a read that waits.
var past = time.Unix(1, 0)

// When an input stops, a connection is read until nothing has come for drainPause, and no
// longer than drainMost.
const (
	drainPause = 100 * time.Millisecond
	drainMost  = time.Second
)

// reader reads a connection. Before each read, which may wait, it calls before. When its
// deadline passes, as it does when the input stops, it reads what has arrived, and then
// fails with errStopped.
type reader struct {
	nc     net.Conn
	before func() error
	until  time.Time // of the reading of what has arrived
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.before(); err != nil {
		return 0, err
	}
	if r.until.IsZero() {
		n, err := r.nc.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		r.until = time.Now().Add(drainMost)
	}
	now := time.Now()
	if now.After(r.until) {
		return 0, errStopped
	}
	r.nc.SetReadDeadline(now.Add(drainPause))
	n, err := r.nc.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errStopped
	}
	return n, err
}
