package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/tlsconn"
)

// TLS is how the connections of a listener are secured.
type TLS struct {
	// Config is that of the server's side. It gives the certificate, and asks for that
	// of the client.
	Config *tls.Config
	// Plain has clients that speak no TLS be served, too.
	Plain bool
	// Ended is told of each handshake how it has ended. Default: nobody is.
	Ended func(remote string, err error)
	// Verify returns why a client, which was let in with these certificates, would not
	// be let in now: see [Server.CutUnverified]. Default: all would be.
	Verify func(certs []*x509.Certificate) error
}

// handshakeRecord begins each handshake of TLS, and no request.
const handshakeRecord = 22

// errTLSRequired ends a connection on which no TLS was begun.
var errTLSRequired = errors.New("TLS is required")

// secure makes the connection one of TLS, if that is what the client begins with.
// Nothing is written to one that begins so, but by TLS itself; it is closed without a
// word if no handshake comes of it in time.
func (c *conn) secure() error {
	by := time.Now().Add(c.srv.limits.Load().AuthTimeout)
	c.accepted.SetDeadline(by)
	if c.draining.Load() {
		return ErrServerClosed // drain has set its deadline before ours
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(c.accepted, first); err != nil {
		return err
	}
	if first[0] != handshakeRecord {
		c.accepted.SetDeadline(time.Time{})
		c.in.buf = getBuffer(c.in.class)
		c.in.w = copy(c.in.buf.b, first)
		c.srv.counters.bytesIn.Add(1)
		tcp, ok := c.remote.(*net.TCPAddr)
		c.bare = !ok || !tcp.IP.IsLoopback()
		if !c.tls.Plain {
			c.srv.counters.requests[protocol.Unknown].Add(1)
			c.refuse(c, protocol.Unknown, nil, protocol.ErrTLSRequired)
			if err := c.flush(false); err != nil {
				return err
			}
			return errTLSRequired
		}
		return nil
	}
	nc := tlsconn.Server(c.accepted, first, c.tls.Config, c.srv.limits.Load().Timeout)
	err := nc.Handshake()
	if c.tls.Ended != nil {
		c.tls.Ended(c.from(), err)
	}
	if err != nil {
		if c.auth != nil {
			c.auth.NoTLS(c.remote, err)
		}
		return err
	}
	c.accepted.SetDeadline(time.Time{})
	if c.draining.Load() {
		return ErrServerClosed
	}
	if state := nc.ConnectionState(); len(state.PeerCertificates) > 0 {
		c.certs.Store(&state.PeerCertificates)
		if c.auth != nil {
			c.show(c.auth.Certificate(&state, c.remote))
		}
	}
	c.nc = nc
	c.in.raw, c.in.readFn = nil, nil
	c.sock.Init(nc, c.srv.limits.Load().Timeout, &c.srv.counters.out, c.moved)
	return nil
}

// secured has the connection count as one that has to show who it is only if that is so:
// until its handshake was done each counted. From here on it has the time for that.
func (c *conn) secured() {
	if c.isStranger() {
		c.showBy = time.Now().Add(c.srv.limits.Load().AuthTimeout)
	} else {
		c.endStranger()
	}
}

// whyNoTLS says what was wrong with a handshake, without a word of the client's.
func whyNoTLS(err error) string {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	alert, alerted := errors.AsType[tls.AlertError](err)
	switch {
	case unverified:
		return "the client's certificate is not good"
	case alerted:
		return "the client says: " + alert.Error()
	case isTimeout(err):
		return "not done in time"
	}
	return "the client does not do as TLS has it"
}

// CutUnverified ends the connections whose client would not be let in now: see
// [TLS.Verify]. It returns how many.
func (s *Server) CutUnverified() (cut int) {
	var conns []*conn
	s.mu.Lock()
	for m := range s.members {
		if c, ok := m.(*conn); ok && c.certs.Load() != nil && c.tls.Verify != nil {
			conns = append(conns, c)
		}
	}
	s.mu.Unlock()
	for _, c := range conns { // without the lock: a look at a chain takes a while
		if err := c.tls.Verify(*c.certs.Load()); err != nil {
			s.log.Warn("a connection is closed: its client certificate is not good any more", "remote", c.from(), "err", err)
			c.cut()
			cut++
		}
	}
	return cut
}
