package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Files name what the TLS of a listener is made of.
type Files struct {
	// Cert is a chain in PEM form, the own certificate first, and Key its key.
	Cert, Key string
	// ClientCA is a bundle of the authorities that sign certificates of clients. If it
	// is empty, clients are not asked for one.
	ClientCA string
	// Optional has clients without a certificate be served, too.
	Optional bool
	// MinVersion is the lowest version: tls.VersionTLS12, also if it is 0, or
	// tls.VersionTLS13.
	MinVersion uint16
}

// Server is the TLS of one listener. It is safe for concurrent use.
type Server struct {
	prefix, clientCA string // of the settings' names: see NewServer
	protocol         string
	current          atomic.Pointer[loaded]

	// Of the handshakes, as far as the Server is told: see Count.
	ok, failed atomic.Int64

	mu   sync.Mutex
	told stage // of the end of the certificate in force
}

// loaded is what files said.
type loaded struct {
	config *tls.Config
	leaf   *x509.Certificate
	peers  *x509.CertPool // signs the certificates of the other side; nil: nobody is asked
}

// NewServer returns the TLS of a listener, which is of no use before the first Prepare is
// committed. Protocol is the one that ALPN agrees on: a client that offers others alone is
// refused. Prefix, "tls-" say, begins the names of the settings that name the files, and
// clientCA is the rest of that for ClientCA.
func NewServer(prefix, clientCA, protocol string) *Server {
	return &Server{prefix: prefix, clientCA: clientCA, protocol: protocol}
}

// Prepare reads the files and checks that they fit together. Nothing has changed until
// commit is called: handshakes that begin from then on are by what was read.
func (s *Server) Prepare(f Files) (commit func(), err error) {
	pair, err := loadPair(s.prefix, f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	next := &loaded{leaf: pair.Leaf}
	next.config = &tls.Config{
		Certificates: []tls.Certificate{*pair}, NextProtos: []string{s.protocol},
		MinVersion: max(f.MinVersion, tls.VersionTLS12), CipherSuites: suites,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
	if f.ClientCA != "" {
		if next.peers, err = loadPool(s.prefix+s.clientCA, f.ClientCA); err != nil {
			return nil, err
		}
		next.config.ClientCAs, next.config.ClientAuth = next.peers, tls.RequireAndVerifyClientCert
		if f.Optional {
			next.config.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if last := s.current.Swap(next); last == nil || !last.leaf.Equal(next.leaf) {
			s.told = good
		}
	}, nil
}

// Config returns the configuration for [tls.Server]. Each handshake is by the files that
// are in force when it begins.
func (s *Server) Config() *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().config, nil },
		// What precedes that.
		MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
}

// ClientConfig returns the configuration for [tls.Client] of a member of a cluster, who
// shows others the certificate that it has as a server, and believes those whom the same
// authorities have signed. It is by the files that are in force now. The name of the other
// side is for the caller to set.
func (s *Server) ClientConfig() *tls.Config {
	now := s.current.Load()
	return &tls.Config{
		Certificates: now.config.Certificates, RootCAs: now.peers, NextProtos: now.config.NextProtos,
		MinVersion: now.config.MinVersion, CipherSuites: suites, DynamicRecordSizingDisabled: true,
	}
}

// Verify returns why a client with these certificates would not be let in now: they are
// not signed any more, or have ended. The first is its own. One without any is good where
// that may be.
func (s *Server) Verify(certs []*x509.Certificate) error {
	now := s.current.Load()
	switch {
	case now.peers == nil:
		return nil
	case len(certs) == 0:
		if now.config.ClientAuth == tls.RequireAndVerifyClientCert {
			return errors.New("a client certificate is required now")
		}
		return nil
	}
	o := x509.VerifyOptions{Roots: now.peers, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := certs[0].Verify(o)
	return err
}

// Verifier returns what [Server.Verify] says of these certificates, for one goroutine that
// asks often: the chain is looked at when other files have come into force, and each
// minute.
func (s *Server) Verifier(certs []*x509.Certificate) func() error {
	const every = time.Minute
	var by *loaded
	var again time.Time
	var err error
	return func() error {
		if now := s.current.Load(); now != by || !time.Now().Before(again) {
			by, again = now, time.Now().Add(every)
			err = s.Verify(certs)
		}
		return err
	}
}

// Ends returns when the certificate in force ends.
func (s *Server) Ends() time.Time { return s.current.Load().leaf.NotAfter }

// Count counts a handshake that has ended.
func (s *Server) Count(err error) {
	if err == nil {
		s.ok.Add(1)
	} else {
		s.failed.Add(1)
	}
}

// Handshakes returns how many were counted.
func (s *Server) Handshakes() (ok, failed int64) { return s.ok.Load(), s.failed.Load() }

// stage is how near the end of a certificate is.
type stage uint8

const (
	good stage = iota
	twoWeeks
	oneDay
	ended
)

func stageOf(left time.Duration) stage {
	switch {
	case left <= 0:
		return ended
	case left <= 24*time.Hour:
		return oneDay
	case left <= 14*24*time.Hour:
		return twoWeeks
	}
	return good
}

// WarnOfEnd logs that the certificate in force ends soon, or has ended: once 14 days
// before that, once a day before, and once after.
func (s *Server) WarnOfEnd(log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.current.Load()
	left := time.Until(now.leaf.NotAfter)
	stage := stageOf(left)
	if stage <= s.told {
		return
	}
	s.told = stage
	attrs := []any{"setting", s.prefix + "cert", "subject", now.leaf.Subject.String(), "until", now.leaf.NotAfter.UTC().Format(time.RFC3339)}
	if stage == ended {
		log.Error("the certificate has ended: clients refuse it", attrs...)
		return
	}
	in := "14 days"
	if stage == oneDay {
		in = "a day"
	}
	log.Warn("the certificate ends in less than "+in+": renew it", attrs...)
}
