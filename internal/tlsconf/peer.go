package tlsconf

import (
	"context"
	"net"
	"sync"

	"github.com/logd-dev/logd/internal/tlsconn"
)

// Listen returns a listener whose connections speak TLS. A connection does its handshake
// when it is first read from, so that nobody's handshake holds up others, and within the
// read deadline that it has then.
func (s *Server) Listen(l net.Listener) net.Listener { return &listener{l, s} }

type listener struct {
	net.Listener
	s *Server
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &accepted{Conn: tlsconn.Server(nc, nil, l.s.Config(), 0), s: l.s}, nil
}

// accepted is a connection that counts its handshake.
type accepted struct {
	*tlsconn.Conn
	s    *Server
	once sync.Once
}

func (c *accepted) Read(p []byte) (int, error) {
	c.once.Do(func() { c.s.Count(c.Handshake()) })
	return c.Conn.Read(p)
}

// Dial connects to another member of a cluster, by the files that are in force now: see
// [Server.ClientConfig]. The other side's certificate has to be for the host in addr. A
// done ctx ends the handshake, too.
func (s *Server) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	config := s.ClientConfig()
	config.ServerName = host
	return dial(ctx, network, addr, config)
}
