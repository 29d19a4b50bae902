package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
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
	slots, spare chan struct{}
	closed       chan struct{}
	once         sync.Once
}

func limitHTTP(l net.Listener, most int) *limitListener {
	return &limitListener{
		Listener: l, closed: make(chan struct{}),
		slots: make(chan struct{}, most), spare: make(chan struct{}, SpareConnections),
	}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	taken := l.slots
	select {
	case l.slots <- struct{}{}:
	default:
		select {
		case l.slots <- struct{}{}:
		case l.spare <- struct{}{}:
			taken = l.spare
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-taken
		return nil, err
	}
	// A place may have become free while none came.
	if taken == l.spare {
		select {
		case l.slots <- struct{}{}:
			<-taken
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
	slot  chan struct{}
	until time.Time // when a spare one must have sent its request; zero for others
	once  sync.Once
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slot })
	return err
}

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

// markSpare is an http.Server's ConnContext: it remembers which connections are
// spare ones.
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
