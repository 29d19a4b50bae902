package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var local = []string{"127.0.0.1", "localhost"}

// serve answers handshakes by a configuration, and each line of a client with itself. It
// returns the address.
func serve(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := tls.Server(nc, config)
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if c.Handshake() == nil {
				io.CopyN(c, c, 1)
			}
			nc.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// talk connects and sends a byte back and forth: TLS 1.3 tells a client only then that
// its certificate is refused.
func talk(t *testing.T, d *Dialer, addr string) (*tls.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write([]byte("x")); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		return nil, err
	}
	state := nc.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
	return &state, nil
}

func newServer(t *testing.T, f Files) *Server {
	t.Helper()
	return prepared(t, NewServer("tls-", "client-ca", Protocol), f)
}

func prepared(t *testing.T, s *Server, f Files) *Server {
	t.Helper()
	commit, err := s.Prepare(f)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	return s
}

// What a client is told when it can't connect.
func TestExplain(t *testing.T) {
	ours, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	files := func(a *testkit.Authority, name string, names []string, changes ...func(*x509.Certificate)) Files {
		cert, key := a.Issue(t, name, names, changes...)
		return Files{Cert: cert, Key: key}
	}
	good := files(ours, "good", local)
	mutual := good
	mutual.ClientCA = ours.File
	mine := files(ours, "client", nil)
	tests := []struct {
		name   string
		server Files
		client Dialer
		min    uint16 // of the server
		want   string
	}{
		{"expired", files(ours, "expired", local, testkit.Ends(time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC))), Dialer{}, 0,
			"the server's certificate expired on 2020-02-03 04:05:06 UTC"},
		{"early", files(ours, "early", local, testkit.Begins(time.Date(2100, 2, 3, 4, 5, 6, 0, time.UTC))), Dialer{}, 0,
			"the server's certificate is not valid before 2100-02-03 04:05:06 UTC"},
		{"wrong name", files(ours, "wrong", []string{"a.example", "10.1.2.3"}), Dialer{}, 0,
			"is for a.example, 10.1.2.3, not for 127.0.0.1: see --tls-server-name"},
		{"no name", files(ours, "nameless", nil), Dialer{}, 0, "has no names (subjectAltName), so it is for none, not for 127.0.0.1"},
		{"unknown authority", files(other, "unknown", local), Dialer{}, 0, "is signed by an unknown authority: see --tls-ca"},
		{"for clients only", files(ours, "usage", local, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), Dialer{}, 0,
			"the server's certificate is not good"},
		{"no client certificate", mutual, Dialer{}, tls.VersionTLS13, "the server wants a client certificate: --tls-cert and --tls-key"},
		{"other client certificate", mutual, Dialer{Cert: files(other, "stranger", nil).Cert, Key: filepath.Join(filepath.Dir(other.File), "stranger.key")}, tls.VersionTLS13,
			"the server refuses the client certificate"},
		{"client certificate expired", mutual, Dialer{Cert: files(ours, "old", nil, testkit.Ends(time.Now().Add(-time.Hour))).Cert, Key: filepath.Join(filepath.Dir(ours.File), "old.key")}, tls.VersionTLS13,
			"the server refuses the client certificate"},
		{"CA is not there", good, Dialer{CA: "/nowhere/ca.pem"}, 0, "--tls-ca: open /nowhere/ca.pem: no such file or directory"},
		{"certificate without key", good, Dialer{Cert: mine.Cert}, 0, "--tls-key: open : no such file or directory"},
		{"key of another", good, Dialer{Cert: mine.Cert, Key: good.Key}, 0, "is not the key of the first certificate in"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.server.MinVersion = test.min
			addr := serve(t, newServer(t, test.server).Config())
			d := test.client
			if d.CA == "" {
				d.CA = ours.File
			}
			_, err := talk(t, &d, addr)
			if err == nil {
				t.Fatal("connected")
			}
			if got := Explain(err, d.Cert != ""); !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q in it; of %v", got, test.want, err)
			}
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		config := newServer(t, mutual).current.Load().config.Clone()
		config.MaxVersion = tls.VersionTLS12
		_, err := talk(t, &Dialer{CA: ours.File}, serve(t, config))
		if got := Explain(err, false); !strings.Contains(got, "the server wants a client certificate") {
			t.Errorf("%q of %v", got, err)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if nc, err := l.Accept(); err == nil {
				nc.Write([]byte("ERR invalid protocol\r\n"))
				io.Copy(io.Discard, nc)
				nc.Close()
			}
		}()
		_, err = talk(t, &Dialer{CA: ours.File}, l.Addr().String())
		if got := Explain(err, false); got != "the server does not speak TLS: leave out --tls" {
			t.Errorf("%q of %v", got, err)
		}
	})
	for _, err := range []error{nil, io.EOF, errors.New("x"), &net.OpError{Op: "read", Err: errors.New("tls: bad certificate")}} {
		if got := Explain(err, false); got != "" {
			t.Errorf("%v: %q", err, got)
		}
	}
}

// What is negotiated, and with whom.
func TestHandshake(t *testing.T) {
	a := testkit.NewAuthority(t)
	cert, key := a.Issue(t, "server", local)
	s := newServer(t, Files{Cert: cert, Key: key})
	addr := serve(t, s.Config())
	state, err := talk(t, &Dialer{CA: a.File}, addr)
	if err != nil {
		t.Fatal(err)
	}
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != Protocol {
		t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	dial := func(c *tls.Config) error {
		c.RootCAs = pool
		nc, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, c)
		if err != nil {
			return err
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write([]byte("x"))
		_, err = io.ReadFull(nc, make([]byte, 1))
		return err
	}
	if err := dial(&tls.Config{}); err != nil {
		t.Errorf("without ALPN: %v", err)
	}
	if err := dial(&tls.Config{NextProtos: []string{"h2", "http/1.1"}}); Explain(err, false) != "the server speaks TLS, but not the protocol of logd" {
		t.Errorf("a browser's ALPN: %v", err)
	}
	if err := dial(&tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256} {
		if err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}); err == nil {
			t.Errorf("%s is spoken", tls.CipherSuiteName(suite))
		}
	}
	// No tickets: nobody comes back without a look at its certificate.
	cache := tls.NewLRUClientSessionCache(1)
	for range 3 {
		c := &tls.Config{RootCAs: pool, ServerName: "localhost", ClientSessionCache: cache}
		nc, err := tls.Dial("tcp", addr, c)
		if err != nil {
			t.Fatal(err)
		}
		nc.Write([]byte("x"))
		io.ReadFull(nc, make([]byte, 1))
		if nc.ConnectionState().DidResume {
			t.Error("resumed")
		}
		nc.Close()
	}
	if _, ok := cache.Get("localhost"); ok {
		t.Error("there is a session ticket")
	}

	commit, err := s.Prepare(Files{Cert: cert, Key: key, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(&tls.Config{MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("TLS 1.2 before the commit: %v", err)
	}
	commit()
	if err := dial(&tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is spoken where 1.3 is the least")
	}
}

// Certificate, key and the authorities of clients can be changed; what does not load
// changes nothing.
func TestPrepare(t *testing.T) {
	a, b := testkit.NewAuthority(t), testkit.NewAuthority(t)
	cert, key := a.Issue(t, "server", local)
	clientCert, clientKey := a.Issue(t, "client", nil)
	f := Files{Cert: cert, Key: key, ClientCA: a.File}
	s := newServer(t, f)
	addr := serve(t, s.Config())
	first := s.Ends()
	client := &Dialer{CA: a.File, Cert: clientCert, Key: clientKey}
	state, err := talk(t, client, addr)
	if err != nil {
		t.Fatal(err)
	}
	seen := []*x509.Certificate{parse(t, clientCert)}
	if err := s.Verify(seen); err != nil {
		t.Errorf("the client's certificate: %v", err)
	}
	if err := s.Verify(nil); err == nil {
		t.Error("no certificate is good where one is required")
	}

	a.Issue(t, "server", local, testkit.Ends(time.Now().Add(100*time.Hour)))
	commit, err := s.Prepare(f)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	again, err := talk(t, client, addr)
	if err != nil {
		t.Fatal(err)
	}
	if again.PeerCertificates[0].Equal(state.PeerCertificates[0]) || s.Ends().Equal(first) {
		t.Error("the certificate is the old one")
	}

	bad := map[string]struct {
		f    Files
		want string
	}{
		"no such file":      {Files{Cert: cert + "x", Key: key}, "tls-cert: open "},
		"no certificate":    {Files{Cert: key, Key: key}, "holds no certificate in PEM form"},
		"no key":            {Files{Cert: cert, Key: cert}, "holds no private key in PEM form"},
		"another's key":     {Files{Cert: cert, Key: clientKey}, "is not the key of the first certificate"},
		"no authority":      {Files{Cert: cert, Key: key, ClientCA: key}, "tls-client-ca: "},
		"torn authority":    {Files{Cert: cert, Key: key, ClientCA: file(t, &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})}, "tls-client-ca: certificate 1 of"},
		"torn certificate":  {Files{Cert: file(t, &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), Key: key}, "tls-cert: "},
		"encrypted key":     {Files{Cert: cert, Key: file(t, &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})}, "is encrypted, and nobody is there who could be asked"},
		"old encrypted key": {Files{Cert: cert, Key: file(t, &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")})}, "is encrypted"},
		"folder":            {Files{Cert: filepath.Dir(cert), Key: key}, "tls-cert: "},
		"endless file":      {Files{Cert: "/dev/zero", Key: key}, "is longer than"},
	}
	for name, test := range bad {
		if _, err := s.Prepare(test.f); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", name, err, test.want)
		}
	}
	if _, err := talk(t, client, addr); err != nil {
		t.Errorf("after what did not load: %v", err)
	}

	f.ClientCA = b.File
	if commit, err = s.Prepare(f); err != nil {
		t.Fatal(err)
	}
	commit()
	if _, err := talk(t, client, addr); err == nil {
		t.Error("a client whose authority is gone can connect")
	}
	if err := s.Verify(seen); err == nil {
		t.Error("its open connection is good")
	}
	f.Optional = true
	if commit, err = s.Prepare(f); err != nil {
		t.Fatal(err)
	}
	commit()
	if _, err := talk(t, &Dialer{CA: a.File}, addr); err != nil {
		t.Errorf("without a certificate, which is optional: %v", err)
	}
	if err := s.Verify(nil); err != nil {
		t.Errorf("without a certificate, which is optional: %v", err)
	}
}

// Of a certificate that is asked for often the chain is looked at seldom, but when it counts.
func TestVerifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
		cert, key := ours.Issue(t, "server", local)
		s := newServer(t, Files{Cert: cert, Key: key, ClientCA: ours.File})
		pair, err := tls.LoadX509KeyPair(ours.Issue(t, "client", nil, testkit.Ends(time.Now().Add(90*time.Second))))
		if err != nil {
			t.Fatal(err)
		}
		verify := s.Verifier([]*x509.Certificate{pair.Leaf})
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { verify() }); n > 0 {
			t.Errorf("the chain is looked at again: %v allocations", n)
		}
		prepared(t, s, Files{Cert: cert, Key: key, ClientCA: other.File})
		if verify() == nil {
			t.Error("a certificate is good whose authority is gone")
		}
		prepared(t, s, Files{Cert: cert, Key: key, ClientCA: ours.File})
		if err := verify(); err != nil {
			t.Errorf("the authority is there again: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if verify() == nil {
			t.Error("a certificate is good that has ended")
		}
	})
}

// Members of a cluster are client and server by the same files.
func TestClientConfig(t *testing.T) {
	a, b := testkit.NewAuthority(t), testkit.NewAuthority(t)
	member := func(a *testkit.Authority, name string) *Server {
		cert, key := a.Issue(t, name, local)
		return prepared(t, NewServer("peer-tls-", "ca", "logd-peer"), Files{Cert: cert, Key: key, ClientCA: a.File})
	}
	addr := serve(t, member(a, "one").Config())
	dial := func(s *Server) error {
		config := s.ClientConfig()
		config.ServerName = "localhost"
		nc, err := tls.Dial("tcp", addr, config)
		if err != nil {
			return err
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write([]byte("x"))
		_, err = io.ReadFull(nc, make([]byte, 1))
		return err
	}
	if err := dial(member(a, "two")); err != nil {
		t.Error(err)
	}
	if err := dial(member(b, "three")); err == nil {
		t.Error("another's authority is believed")
	}
}

// The end of a certificate is told of 14 days before, a day before, and when it is there.
func TestWarnOfEnd(t *testing.T) {
	a := testkit.NewAuthority(t)
	f := Files{}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "until" {
			return slog.Attr{}
		}
		return a
	}}))
	said := func() string { s := log.String(); log.Reset(); return s }
	synctest.Test(t, func(t *testing.T) {
		f.Cert, f.Key = a.Issue(t, "server", local, testkit.Ends(time.Now().Add(15*24*time.Hour)))
		s := newServer(t, f)
		const day = 24 * time.Hour
		for i, want := range []string{
			"",
			"level=WARN msg=\"the certificate ends in less than 14 days: renew it\" setting=tls-cert subject=\"CN=server\"\n",
			"",
			"level=WARN msg=\"the certificate ends in less than a day: renew it\" setting=tls-cert subject=\"CN=server\"\n",
			"level=ERROR msg=\"the certificate has ended: clients refuse it\" setting=tls-cert subject=\"CN=server\"\n",
			"",
		} {
			s.WarnOfEnd(logger)
			if got := said(); got != want {
				t.Errorf("%d: %q, want %q", i, got, want)
			}
			time.Sleep([]time.Duration{day, 12 * day, day + time.Second, day, day, 0}[i])
		}
		f.Cert, f.Key = a.Issue(t, "server", local, testkit.Ends(time.Now().Add(day/2)))
		commit, err := s.Prepare(f)
		if err != nil {
			t.Fatal(err)
		}
		commit()
		if s.WarnOfEnd(logger); !strings.Contains(said(), "less than a day") {
			t.Error("nothing is said of the new certificate")
		}
		if commit, err = s.Prepare(f); err != nil {
			t.Fatal(err)
		}
		commit()
		if s.WarnOfEnd(logger); said() != "" {
			t.Error("it is said again of the same certificate")
		}
	})
}

func file(t *testing.T, b *pem.Block) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func parse(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
