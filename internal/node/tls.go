package node

import (
	"errors"
	"net"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/peernet"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/tlsconf"
)

// secured is the TLS of a node's listeners; nil is that of a listener without.
type secured struct {
	protocol, http, peer *tlsconf.Server
}

// newSecured returns what is of use once prepare was called and committed.
func newSecured(c *config.Config) (s secured) {
	if c.TLSCert != "" {
		s.protocol = tlsconf.NewServer("tls-", "client-ca", tlsconf.Protocol)
	}
	if c.HTTPTLSCert != "" && c.HTTPHost != "" {
		s.http = tlsconf.NewServer("http-tls-", "client-ca", "http/1.1")
	}
	if c.PeerTLSCert != "" && c.Node != "" {
		s.peer = tlsconf.NewServer("peer-tls-", "ca", "logd-peer")
	}
	return s
}

// dialPeer connects to other members, or is nil if they speak no TLS.
func (s *secured) dialPeer() peernet.Dial {
	if s.peer == nil {
		return nil
	}
	return s.peer.Dial
}

// listenerTLS is the TLS of one listener.
type listenerTLS struct {
	*tlsconf.Server
	listener string
	files    tlsconf.Files
}

// all returns those that are there, with the files that the settings name.
func (s *secured) all(c *config.Config) (all []listenerTLS) {
	for _, l := range [...]listenerTLS{
		{s.protocol, "protocol", tlsconf.Files{Cert: c.TLSCert, Key: c.TLSKey, ClientCA: c.TLSClientCA, Optional: c.TLSClientCertOptional}},
		{s.http, "http", tlsconf.Files{Cert: c.HTTPTLSCert, Key: c.HTTPTLSKey, ClientCA: c.HTTPTLSClientCA, Optional: c.HTTPTLSClientCertOptional}},
		{s.peer, "peer", tlsconf.Files{Cert: c.PeerTLSCert, Key: c.PeerTLSKey, ClientCA: c.PeerTLSCA}},
	} {
		if l.files.MinVersion = c.TLSMinVersion; l.Server != nil {
			all = append(all, l)
		}
	}
	return all
}

// prepare reads the files that the settings name. They are in force for handshakes that
// begin after commit. The error has a line for each problem.
func (s *secured) prepare(c *config.Config) (commit func(), err error) {
	var commits []func()
	var errs []error
	for _, l := range s.all(c) {
		commit, err := l.Prepare(l.files)
		commits, errs = append(commits, commit), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return func() {
		for _, commit := range commits {
			commit()
		}
	}, nil
}

// files returns the files that the settings name.
func (s *secured) files(c *config.Config) (files []string) {
	for _, l := range s.all(c) {
		files = append(files, l.files.Cert, l.files.Key)
		if l.files.ClientCA != "" {
			files = append(files, l.files.ClientCA)
		}
	}
	return files
}

// serveProtocol serves the protocol until the server is shut down.
func (n *Node) serveProtocol(s *server.Server, l net.Listener) error {
	t := n.secured.protocol
	if t == nil || l.Addr().Network() == "unix" {
		return s.Serve(l)
	}
	return s.ServeTLS(l, &server.TLS{
		Config: t.Config(), Plain: n.o.Config.TLSPlain, Verify: t.Verify,
		Ended: func(remote string, err error) {
			if t.Count(err); err != nil {
				n.log.Debug("TLS handshake failed", "remote", remote, "err", err)
			}
		},
	})
}

// watchCertificates sees, until the node stops, to what only time does: the ends of
// certificates, of the listeners and of clients that are connected.
func (n *Node) watchCertificates() {
	const every = time.Minute
	all := n.secured.all(&n.o.Config)
	if len(all) == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, l := range all {
			l.WarnOfEnd(n.log)
		}
		n.server.Load().CutUnverified()
		select {
		case <-tick.C:
		case <-n.reload.ctx.Done():
			return
		}
	}
}

// Check returns why a node would not start with these settings, as far as that can be
// told without its work directory and its listeners: what is wrong with the files that
// they name, and which listeners strangers could use. The error has a line for each
// problem. It may look up the addresses of names.
func Check(c *config.Config) error {
	s := newSecured(c)
	_, err := s.prepare(c)
	if c.AuthFile != "" {
		_, bad := auth.Load(c.AuthFile)
		err = errors.Join(err, bad)
	}
	_, bad := groupOf(c)
	return errors.Join(err, bad, checkExposed(c))
}
