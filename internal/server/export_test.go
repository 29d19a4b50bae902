package server

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// SessionConn drives a session with neither a goroutine nor a socket: what is
// written is fed to it at once, in pieces, and what a read waits for calls back. To
// who talks to the session it looks like the client's side of a connection.
type SessionConn struct {
	piece int

	mu      sync.Mutex
	changed sync.Cond
	s       session
	seen    []byte // buf as it was left
	buf     []byte // what has arrived since the session let go of the last one
	taken   int    // of buf
	fed     int    // of buf, to the session
	out     []byte
	waits   bool
	timer   *time.Timer
	ended   bool // the client sends no more
	hungUp  bool
}

// NewSession returns a session that is fed pieces of so many bytes at most.
func NewSession(s *Server, piece int) *SessionConn {
	c := &SessionConn{piece: piece}
	c.changed.L = &c.mu
	c.s.caller = s.newCaller(nil)
	s.counters.active.Add(1)
	s.counters.total.Add(1)
	return c
}

// run steps until the session waits for somebody else. Caller holds mu.
func (c *SessionConn) run() {
	defer c.changed.Broadcast()
	for !c.waits && !c.hungUp {
		n, do := c.s.step(c.buf[c.taken:c.fed])
		c.taken += n
		switch do {
		case readMore:
			c.send()
			c.letGo()
			if c.fed == len(c.buf) {
				c.hungUp = c.ended
				return
			}
			c.fed = min(c.fed+c.piece, len(c.buf))
		case flushOut:
			c.send()
		case sendView:
			c.send()
			for i := range c.s.view.Sections() {
				r, pos, n := c.s.view.Section(i)
				b := make([]byte, n)
				if _, err := r.ReadAt(b, pos); err != nil && err != io.EOF {
					panic(err)
				}
				c.out = append(c.out, b...)
			}
			c.s.view.Close()
			c.s.view = nil
		case commitAll:
			c.s.commit()
		case pause:
			c.send()
			c.s.claim.waits = false
		case holdBack:
			c.send()
		case waitForLog:
			c.send()
			switch {
			case c.ended:
				c.s.stopWaiting()
			case c.s.watch(c):
				c.waits = true
				c.timer = time.AfterFunc(time.Until(c.s.reading.until), c.resume)
			}
		case hangUp:
			c.send()
			c.hungUp = true
		}
	}
}

func (c *SessionConn) send() {
	c.out = append(c.out, c.s.out...)
	c.s.sent()
}

// letGo spoils the bytes that the session may no longer look at.
func (c *SessionConn) letGo() {
	c.seen = slices.Clone(c.buf)
	rest := slices.Clone(c.buf[c.taken:])
	copy(c.buf, bytes.Repeat([]byte("!"), len(c.buf)))
	c.buf, c.fed, c.taken = rest, c.fed-c.taken, 0
}

// Wake is called with the log's lock held.
func (c *SessionConn) Wake() { go c.resume() }

func (c *SessionConn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopWatching()
	c.run()
}

func (c *SessionConn) stopWatching() {
	if c.waits {
		c.waits = false
		c.timer.Stop()
		c.s.unwatch(c)
	}
}

func (c *SessionConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hungUp {
		return 0, io.ErrClosedPipe
	}
	c.buf = append(c.buf, p...)
	c.run()
	return len(p), nil
}

func (c *SessionConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) == 0 {
		if c.hungUp {
			return 0, io.EOF
		}
		c.changed.Wait()
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

func (c *SessionConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.waits {
		c.stopWatching()
		c.s.stopWaiting()
	}
	c.run()
	return nil
}

func (c *SessionConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopWatching()
	c.hungUp = true
	c.changed.Broadcast()
	c.s.srv.counters.active.Add(-1)
	return nil
}

func (c *SessionConn) LocalAddr() net.Addr              { return nil }
func (c *SessionConn) RemoteAddr() net.Addr             { return nil }
func (c *SessionConn) SetDeadline(time.Time) error      { return nil }
func (c *SessionConn) SetReadDeadline(time.Time) error  { return nil }
func (c *SessionConn) SetWriteDeadline(time.Time) error { return nil }

// ServeSecure serves one connection as ServeTLS does.
func ServeSecure(s *Server, nc net.Conn, t *TLS) { s.serveConn(nc, t) }

// Seen returns what was fed to the session last, as it has left it.
func (c *SessionConn) Seen() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// TopicShares returns how many topics are remembered for their quota.
func TopicShares(s *Server) int {
	s.topics.mu.Lock()
	defer s.topics.mu.Unlock()
	return len(s.topics.byTopic)
}
