// Package memnet is a network in memory: servers listen on it and clients dial
// them, and nothing leaves the process. Its connections work in a bubble of
// package testing/synctest, where a test's time passes in an instant.
//
//	synctest.Test(t, func(t *testing.T) {
//		network := memnet.New(t)
//		server := logdtest.Start(t, logdtest.On(network))
//		...
//	})
//
// A [Network] that is made in a bubble is for use in that bubble only.
//
// A connection is a pair of [net.Pipe]: it holds no bytes, so what one side
// writes has been read by the other when Write returns. Errors are those of TCP:
// ECONNREFUSED where nobody listens, ECONNRESET after a reset, io.EOF at the end.
package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Network is a network. All methods are safe for concurrent use.
type Network struct {
	t testing.TB

	mu      sync.Mutex
	servers map[string]*server
	conns   map[*Conn]struct{} // the servers' sides
	dials   []string
	ports   int  // given out by Listen
	ended   bool // with the test

	group sync.WaitGroup // functions of Handle
}

// server is what answers at an address.
type server struct {
	handle func(*Conn)
}

// New returns a network for a test. The test's end waits for the functions of
// [Network.Handle] that are still running; if the test has failed, it cuts their
// connections.
func New(t testing.TB) *Network {
	n := &Network{t: t, servers: make(map[string]*server), conns: make(map[*Conn]struct{})}
	t.Cleanup(n.end)
	return n
}

func (n *Network) end() {
	n.mu.Lock()
	n.ended = true
	n.servers = nil
	n.mu.Unlock()
	if n.t.Failed() {
		n.Cut("")
	}
	n.group.Wait()
}

// Handle makes serve the server at an address: it is called for each connection,
// in a goroutine of its own, and the connection is closed when it returns. It
// takes the place of who was at the address; with nil, nobody is. Connections
// that there are go on.
func (n *Network) Handle(addr string, serve func(*Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if serve == nil || n.ended {
		delete(n.servers, addr)
		return
	}
	n.servers[addr] = &server{func(c *Conn) {
		n.group.Go(func() {
			defer c.Close()
			serve(c)
		})
	}}
}

// Listen returns a listener at the address HOST:PORT. For port 0 it has a port
// of its own. The error is EADDRINUSE if the address is taken.
func (n *Network) Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		n.ports++
		addr = net.JoinHostPort(host, strconv.Itoa(n.ports))
	}
	if n.servers[addr] != nil || n.ended {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: address(addr), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &Listener{network: n, addr: addr, arrived: make(chan struct{}, 1), closed: make(chan struct{})}
	l.server = &server{l.arrive}
	n.servers[addr] = l.server
	return l, nil
}

// Dial connects to a server. It is the Dial of a logd.ClientConfig, and a
// DialContext elsewhere.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	failed := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: address(addr), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return failed(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, addr)
	to := n.servers[addr]
	if to == nil {
		return failed(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	client, server := n.pipe(addr)
	n.conns[server] = struct{}{}
	to.handle(server)
	return client, nil
}

// Dials returns the addresses that were dialed so far, in order, also those
// where nobody was.
func (n *Network) Dials() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.dials...)
}

// Cut resets all connections with the server at an address, or all that there
// are if that is "".
func (n *Network) Cut(addr string) {
	n.mu.Lock()
	var cut []*Conn
	for c := range n.conns {
		if addr == "" || c.local == address(addr) {
			cut = append(cut, c)
		}
	}
	n.mu.Unlock()
	for _, c := range cut {
		c.Reset()
	}
}

// Listener takes the connections to an address. Of its methods, Accept waits
// until there is one.
type Listener struct {
	network *Network
	addr    string
	server  *server

	mu      sync.Mutex
	waiting []*Conn
	arrived chan struct{} // has a value if there may be somebody waiting
	closed  chan struct{}
	once    sync.Once
}

func (l *Listener) arrive(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, c)
	l.wake()
}

func (l *Listener) wake() {
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// Accept returns the next connection, which is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		select {
		case <-l.closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		case <-l.arrived:
		}
		l.mu.Lock()
		if len(l.waiting) > 0 {
			c := l.waiting[0]
			if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
				l.wake()
			}
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
	}
}

// Close frees the address. Connections that were not accepted are reset.
func (l *Listener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed})
	l.once.Do(func() {
		err = nil
		close(l.closed)
		n := l.network
		n.mu.Lock()
		if n.servers[l.addr] == l.server {
			delete(n.servers, l.addr)
		}
		n.mu.Unlock()
		l.mu.Lock()
		waiting := l.waiting
		l.waiting = nil
		l.mu.Unlock()
		for _, c := range waiting {
			c.Reset()
		}
	})
	return err
}

// Addr returns the address.
func (l *Listener) Addr() net.Addr { return address(l.addr) }

// address is an address of a network.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// clientAddress is where a client is, by the number of its connection.
func clientAddress(number int) address { return address(fmt.Sprintf("client:%d", number)) }
