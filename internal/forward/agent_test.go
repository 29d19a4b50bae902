package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/testkit"
)

// A reload takes a certificate that was renewed in its file, and keeps the old one if the
// new one can't be used.
func TestReloadCertificate(t *testing.T) {
	authority := testkit.NewAuthority(t)
	dir := t.TempDir()
	renew := func() (cert, key string) { return authority.Issue(t, "agent", []string{"127.0.0.1"}) }
	cert, key := renew()
	roots := x509.NewCertPool()
	roots.AddCert(authority.Cert)
	file := filepath.Join(dir, "c.toml")
	text := strings.NewReplacer("DIR", dir, "CERT", cert, "KEY", key).Replace(`
host = ["127.0.0.1:1"]
http-host = ""
state-dir = "DIR/state"
topic = "a"
shutdown-timeout = "1ms"
[[input]]
name = "s"
from = "syslog+tls://127.0.0.1:0"
tls-cert = "CERT"
tls-key = "KEY"
`)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func() *settings.Config {
		c, err := settings.Load(settings.Sources{File: file, Hostname: "here"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, err := New(Options{Settings: load(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-a.Ready()
	a.mu.Lock()
	addr := a.running["s"].(*inputs.Input).Addr().String()
	a.mu.Unlock()
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	renew()
	if err := a.Reload(load()); err != nil {
		t.Fatal(err)
	}
	second := serial()
	if second == first {
		t.Error("the certificate of before is shown")
	}
	if err := os.WriteFile(cert, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(load()); err == nil || !strings.Contains(err.Error(), "tls-cert") {
		t.Errorf("a file without a certificate: %v", err)
	}
	if got := serial(); got != second {
		t.Error("a refused reload has changed the certificate")
	}
}
