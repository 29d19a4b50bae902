// Package tlsconn is a TLS connection as servers and clients of logd need it: what is
// written at once leaves with one system call however many records it takes, Close never
// waits, and an answer to the other side's key update has a deadline of its own.
//
// It knows nothing of certificates: it is given a [tls.Config]. It uses the standard
// library only.
package tlsconn

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"time"
)

// Conn is a TLS connection. As of a net.Conn, one goroutine may read while another
// writes; Close and the deadlines are for any.
type Conn struct {
	*tls.Conn
	under *under
}

// Server returns the server's side of a TLS connection over nc, from which some bytes
// have been read already: first, which is the connection's then. No write to nc that makes no progress takes longer than
// the timeout, if that is not 0.
func Server(nc net.Conn, first []byte, config *tls.Config, timeout time.Duration) *Conn {
	u := &under{Conn: nc, timeout: timeout, first: first}
	return &Conn{tls.Server(u, config), u}
}

// Client returns the client's side of a TLS connection over nc.
func Client(nc net.Conn, config *tls.Config) *Conn {
	u := &under{Conn: nc}
	return &Conn{tls.Client(u, config), u}
}

// NetConn returns the connection that TLS is spoken over.
func (c *Conn) NetConn() net.Conn { return c.under.Conn }

// Write writes p. After an error, also that of a deadline, nothing can be written any
// more.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.WriteMore(p)
	if e := c.under.flush(); err == nil {
		err = e
	}
	return n, err
}

// WriteMore is Write, but some of what is written waits for the next Write, which must
// come soon.
func (c *Conn) WriteMore(p []byte) (int, error) {
	c.under.hold()
	return c.Conn.Write(p)
}

// WriteBuffers writes all of b, as much at a time as there is. It returns how many bytes
// may have been sent, and leaves what is behind them.
func (c *Conn) WriteBuffers(b *net.Buffers) (n int64, err error) {
	for len(*b) > 0 && err == nil {
		var m int
		m, err = c.WriteMore((*b)[0])
		n += int64(m)
		if m == len((*b)[0]) {
			*b = (*b)[1:]
		} else {
			(*b)[0] = (*b)[0][m:]
		}
	}
	if e := c.under.flush(); err == nil {
		err = e
	}
	return n, err
}

// Close closes the connection at once. The other side is not told that this is the end,
// as it is by CloseWrite: that may take as long as it reads nothing.
func (c *Conn) Close() error { return c.under.Conn.Close() }

// gathered is how much is written with one system call: four records, and some more.
const gathered = 96 << 10

var buffers = sync.Pool{New: func() any { return new([gathered]byte) }}

// under is what TLS reads from and writes to.
type under struct {
	net.Conn
	timeout time.Duration
	first   []byte // what was read before; of the goroutine that reads

	// Of the goroutine that writes, but for the writes of TLS itself, which answers
	// an update of keys while it reads: those come under the lock.
	mu   sync.Mutex
	held bool
	buf  *[gathered]byte // nil while it is empty
	n    int
}

func (u *under) Read(p []byte) (int, error) {
	if len(u.first) > 0 {
		n := copy(p, u.first)
		u.first = u.first[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// Write writes a record, or keeps it while writes are held.
func (u *under) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.held {
		// TLS itself writes, to answer an update of keys, say. One that brings update after
		// update would never have to wait, and others would for as long as it goes on.
		runtime.Gosched()
		u.extend()
		return u.Conn.Write(p)
	}
	if u.n+len(p) > gathered {
		if err := u.send(); err != nil {
			return 0, err
		}
	}
	if len(p) > gathered {
		u.extend()
		return u.Conn.Write(p)
	}
	if u.buf == nil {
		u.buf = buffers.Get().(*[gathered]byte)
	}
	u.n += copy(u.buf[u.n:], p)
	return len(p), nil
}

// hold keeps what is written from now on until flush.
func (u *under) hold() {
	u.mu.Lock()
	u.held = true
	u.mu.Unlock()
}

func (u *under) flush() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held = false
	return u.send()
}

// send writes what was kept. Caller holds mu.
func (u *under) send() error {
	if u.buf == nil {
		return nil
	}
	u.extend()
	_, err := u.Conn.Write(u.buf[:u.n])
	buffers.Put(u.buf)
	u.buf, u.n = nil, 0
	return err
}

// extend gives the next write its time. Without it the deadline of a write long ago
// would be that of the answer to an update of keys, and end the connection.
func (u *under) extend() {
	if u.timeout > 0 {
		u.Conn.SetWriteDeadline(time.Now().Add(u.timeout))
	}
}
