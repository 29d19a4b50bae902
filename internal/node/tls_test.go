package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestTLS: both listeners speak it, each by its own files; a change is in force from the
// commit on, and a client whose authority is gone loses its connection.
func TestTLS(t *testing.T) {
	a, b := testkit.NewAuthority(t), testkit.NewAuthority(t)
	names := []string{"127.0.0.1"}
	cert, key := a.Issue(t, "server", names)
	httpCert, httpKey := b.Issue(t, "http", names)
	n := startNode(t, func(c *config.Config) {
		c.TLSCert, c.TLSKey, c.TLSClientCA = cert, key, a.File
		c.HTTPTLSCert, c.HTTPTLSKey = httpCert, httpKey
	})
	client, err := tls.LoadX509KeyPair(a.Issue(t, "client", nil))
	if err != nil {
		t.Fatal(err)
	}
	trust := func(a *testkit.Authority) *tls.Config {
		pool := x509.NewCertPool()
		pool.AddCert(a.Cert)
		return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{client}}
	}
	ping := func(nc net.Conn) error {
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(nc, "PING\r\n")
		line, err := bufio.NewReader(nc).ReadString('\n')
		if err == nil && line != "OK\r\n" {
			err = fmt.Errorf("answered %q", line)
		}
		return err
	}
	connect := func() (net.Conn, error) {
		nc, err := tls.Dial("tcp", n.Addr().String(), trust(a))
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { nc.NetConn().Close() })
		return nc, ping(nc)
	}
	nc, err := connect()
	if err != nil {
		t.Fatal(err)
	}

	transport := &http.Transport{TLSClientConfig: trust(b), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	get := &http.Client{Transport: transport}
	resp, err := get.Get("https://" + n.HTTPAddr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "ok\n" || resp.ProtoMajor != 1 {
		t.Errorf("HTTP/%d: %q", resp.ProtoMajor, body)
	}
	if plain, err := http.Get("http://" + n.HTTPAddr().String() + "/healthz"); err == nil {
		if plain.Body.Close(); plain.StatusCode == http.StatusOK {
			t.Error("HTTP answers without TLS")
		}
	}

	// What does not load changes nothing; what does changes what comes later.
	c := n.o.Config
	c.HTTPTLSKey = key
	if _, err := n.secured.prepare(&c); err == nil || !strings.Contains(err.Error(), "http-tls-key: ") {
		t.Errorf("prepare with another's key: %v", err)
	}
	if _, err := connect(); err != nil {
		t.Error(err)
	}
	c = n.o.Config
	c.TLSClientCA = b.File
	commit, err := n.secured.prepare(&c)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if err := ping(nc); err != nil {
		t.Errorf("an open connection, before it is looked at: %v", err)
	}
	if _, err := connect(); err == nil {
		t.Error("a client whose authority is gone can connect")
	}
	if cut := n.server.Load().CutUnverified(); cut == 0 || ping(nc) == nil {
		t.Errorf("%d connections were cut, and the one whose authority is gone is served", cut)
	}
	testkit.Eventually(t, func() string {
		ok, failed := n.secured.protocol.Handshakes()
		return testkit.Unless(ok >= 2 && failed >= 1, fmt.Sprintf("%d handshakes went well and %d did not", ok, failed))
	})
}

// TestCertificatesAreIdentities: who has a certificate is the identity that names it, until
// the file does not name it any more; and a handshake that fails is in the audit.
func TestCertificatesAreIdentities(t *testing.T) {
	a, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	cert, key := a.Issue(t, "server", []string{"127.0.0.1"})
	file := filepath.Join(t.TempDir(), "auth.toml")
	write := func(name string) {
		text := fmt.Sprintf("version = 1\n[[identity]]\nname = \"a\"\ncerts = [%q]\nallow = [\"read,write,create t\"]\n", name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("dns:client.example")
	n, settings, log := startReloadable(t, func(c *config.Config) {
		c.TLSCert, c.TLSKey, c.TLSClientCA, c.TLSClientCertOptional, c.AuthFile = cert, key, a.File, true, file
	})
	ask := func(a2 *testkit.Authority, names ...string) (net.Conn, func(string) string) {
		pool := x509.NewCertPool()
		pool.AddCert(a.Cert)
		config := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
		if len(names) > 0 {
			pair, err := tls.LoadX509KeyPair(a2.Issue(t, "client", names))
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		nc, err := tls.Dial("tcp", n.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.NetConn().Close() })
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		r := bufio.NewReader(nc)
		return nc, func(request string) string {
			io.WriteString(nc, request)
			line, err := r.ReadString('\n')
			if err != nil {
				return err.Error()
			}
			return strings.TrimSpace(line)
		}
	}
	_, known := ask(a, "client.example")
	if got := known(testkit.Batch("t", "x")); got != "OK 0 1" {
		t.Errorf("an identity's certificate: %s", got)
	}
	if got := known("STATS\r\n"); got != "ERR unauthorized" {
		t.Errorf("what its rules do not allow: %s", got)
	}
	for name, with := range map[string][]string{"another certificate": {"else.example"}, "no certificate": nil} {
		_, do := ask(a, with...)
		if got := do("READ t 0 1\r\n"); got != "ERR unauthorized" {
			t.Errorf("%s: %s", name, got)
		}
	}
	_, stranger := ask(other, "client.example")
	if got := stranger("PING\r\n"); got == "OK" {
		t.Errorf("a certificate of another authority: %s", got)
	}
	var logged string
	testkit.Eventually(t, func() string {
		logged += log.take()
		return testkit.Unless(strings.Contains(logged, "event=tls_failed"), "no handshake that failed in "+logged)
	})
	write("dns:another.example")
	if err := n.reloadTo(settings); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() string {
		got := known("READ t 0 1\r\n")
		return testkit.Unless(got == "ERR unauthorized" || !strings.HasPrefix(got, "OK") && !strings.HasPrefix(got, "MOK"), "still served: "+got)
	})
}

// TestCheck: settings whose files don't fit together start nothing and touch no work
// directory, and Check says the same before.
func TestCheck(t *testing.T) {
	a := testkit.NewAuthority(t)
	cert, key := a.Issue(t, "server", []string{"127.0.0.1"})
	_, other := a.Issue(t, "other", nil)
	c := testConfig(t)
	c.WorkDir += "/data"
	c.TLSCert, c.TLSKey = cert, other
	c.HTTPTLSCert, c.HTTPTLSKey = cert+"x", key
	const lines = 2
	for name, err := range map[string]error{
		"check": Check(&c),
		"start": func() error { _, err := Start(context.Background(), Options{Config: c}); return err }(),
	} {
		if err == nil || strings.Count(err.Error(), "\n") != lines-1 || !strings.Contains(err.Error(), "\nhttp-tls-cert: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(&config.Config{}); err != nil {
		t.Errorf("no TLS: %v", err)
	}
}
