package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// Conn is one side of a connection.
type Conn struct {
	net.Conn // of a pipe

	network       *Network
	peer          *Conn
	local, remote address
	number        int

	closed atomic.Bool  // this side
	reset  *atomic.Bool // both sides
}

// pipe returns the sides of a connection to addr. Caller holds mu.
func (n *Network) pipe(addr string) (client, server *Conn) {
	number := len(n.dials)
	c, s := net.Pipe()
	reset := new(atomic.Bool)
	client = &Conn{Conn: c, network: n, local: clientAddress(number), remote: address(addr), number: number, reset: reset}
	server = &Conn{Conn: s, network: n, local: address(addr), remote: client.local, number: number, reset: reset}
	client.peer, server.peer = server, client
	return client, server
}

// Number returns which of the network's dials has made the connection, from 1
// on.
func (c *Conn) Number() int { return c.number }

// LocalAddr returns the address of this side: a client's is its own.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other side.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Read reads what the other side writes. It returns io.EOF when that is closed.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		err = c.failed("read", err)
	}
	return n, err
}

// Write returns when the other side has read all of p, or there is an error.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		err = c.failed("write", err)
	}
	return n, err
}

// Close closes this side: the other one reads io.EOF.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "tcp", Addr: c.remote, Err: net.ErrClosed}
	}
	c.forget()
	return c.Conn.Close()
}

// Reset ends the connection as if the other side, or what is between them, had
// gone: reads and writes of both sides fail with ECONNRESET.
func (c *Conn) Reset() {
	c.reset.Store(true)
	c.Conn.Close()
	c.peer.Conn.Close()
	c.forget()
}

// forget takes the connection out of the network's.
func (c *Conn) forget() {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	delete(c.network.conns, c)
	delete(c.network.conns, c.peer)
}

// failed returns the error that TCP would give in place of a pipe's.
func (c *Conn) failed(op string, err error) error {
	switch {
	case c.closed.Load():
		err = net.ErrClosed
	case c.reset.Load():
		err = os.NewSyscallError(op, syscall.ECONNRESET)
	case err == io.EOF:
		return err
	case errors.Is(err, io.ErrClosedPipe):
		err = os.NewSyscallError(op, syscall.EPIPE)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
