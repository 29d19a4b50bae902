package logd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/testkit"
)

// startNode starts a server of its own until the test ends, and returns its address.
func startNode(t *testing.T, o node.Options, change func(*config.Config)) string {
	t.Helper()
	o.Config = config.Default()
	o.Config.Host, o.Config.HTTPHost, o.Config.WorkDir = "127.0.0.1:0", "", t.TempDir()
	change(&o.Config)
	n, err := node.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		n.Shutdown(ctx)
	})
	return n.Addr().String()
}

// A Client speaks TLS if it is told to, and its errors are those of the libraries, also if
// the server refuses its certificate, of which TLS 1.3 tells late.
func TestClientTLS(t *testing.T) {
	a, b := testkit.NewAuthority(t), testkit.NewAuthority(t)
	cert, key := a.Issue(t, "server", []string{"127.0.0.1"})
	open := startNode(t, node.Options{}, func(c *config.Config) { c.TLSCert, c.TLSKey = cert, key })
	mutual := startNode(t, node.Options{}, func(c *config.Config) { c.TLSCert, c.TLSKey, c.TLSClientCA = cert, key, a.File })
	plain := startNode(t, node.Options{}, func(*config.Config) {})
	config := func(a, client *testkit.Authority) *tls.Config {
		c := &tls.Config{RootCAs: x509.NewCertPool()}
		c.RootCAs.AddCert(a.Cert)
		if client != nil {
			pair, err := tls.LoadX509KeyPair(client.Issue(t, "client", nil))
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		return c
	}
	named := config(a, nil)
	named.ServerName = "a.example"
	remote := func(err error) bool {
		op, ok := errors.AsType[*net.OpError](err)
		return ok && op.Op == "remote error" && errors.Is(err, logd.ErrConnect)
	}
	as := func(target any) func(error) bool {
		return func(err error) bool { return errors.As(err, target) && errors.Is(err, logd.ErrConnect) }
	}
	for _, test := range []struct {
		name string
		addr string
		tls  *tls.Config
		good func(error) bool // nil: there is none
	}{
		{"good", open, config(a, nil), nil},
		{"mutual", mutual, config(a, a), nil},
		{"unknown authority", open, config(b, nil), as(new(x509.UnknownAuthorityError))},
		{"other name", open, named, as(new(x509.HostnameError))},
		{"server without TLS", plain, config(a, nil), as(new(tls.RecordHeaderError))},
		{"client without TLS", open, nil, func(err error) bool { return errors.Is(err, logd.ErrTLSRequired) && !logd.IsRetryable(err) }},
		{"client without TLS, with a token", open, nil, func(err error) bool { return errors.Is(err, logd.ErrTLSRequired) && !logd.IsRetryable(err) }},
		{"no certificate", mutual, config(a, nil), remote},
		{"certificate of another authority", mutual, config(a, b), remote},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := logd.ClientConfig{Addrs: []string{test.addr}, TLS: test.tls, ReconnectAttempts: 2, ReconnectMax: 100 * time.Millisecond}
			if strings.HasSuffix(test.name, "token") {
				cfg.Token = logd.StaticToken("logd_token")
			}
			client, err := logd.NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			var batch logd.Batch
			batch.Add([]byte("hello"))
			_, err = client.Append(t.Context(), "greetings", &batch)
			switch {
			case test.good == nil && err != nil:
				t.Error(err)
			case test.good != nil && (err == nil || !test.good(err) || !logd.IsNotStored(err)):
				t.Errorf("%v, or the batch is not known not to be stored", err)
			}
			if test.tls != nil && (len(test.tls.NextProtos) > 0 || test.tls.ServerName == "127.0.0.1") {
				t.Error("the configuration was changed")
			}
		})
	}
}

// An address may be a unix socket, over which no TLS is spoken.
func TestClientUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logd.sock")
	startNode(t, node.Options{Listen: func(string) (net.Listener, error) { return net.Listen("unix", path) }}, func(*config.Config) {})
	for _, secure := range []*tls.Config{nil, {}} {
		client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{"unix:" + path}, TLS: secure})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		client.Close()
	}
	if err := (&logd.ClientConfig{Addrs: []string{"unix:"}}).Validate(); err == nil {
		t.Error("a unix socket without a path is taken")
	}
}
