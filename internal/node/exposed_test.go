package node

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
)

// TestExposed: what others than this machine reach has TLS and knows its clients, or is
// not listened on.
func TestExposed(t *testing.T) {
	plain := func(*config.Config) {}
	tls := func(c *config.Config) { c.TLSCert, c.HTTPTLSCert = "cert", "cert" }
	mutual := func(c *config.Config) { tls(c); c.TLSClientCA, c.HTTPTLSClientCA = "ca", "ca" }
	optional := func(c *config.Config) { mutual(c); c.TLSClientCertOptional, c.HTTPTLSClientCertOptional = true, true }
	identities := func(c *config.Config) { tls(c); c.AuthFile = "auth.toml" }
	plainIdentities := func(c *config.Config) { c.AuthFile = "auth.toml" }
	changing := func(c *config.Config) { mutual(c); c.TLSPlain = true }
	for _, test := range []struct {
		name, host, http, peer string
		change                 func(*config.Config)
		want                   string // the settings that are named
	}{
		{"loopback", "127.0.0.1:1", "[::1]:1", "127.9.9.9:1", plain, ""},
		{"loopback, mapped", "[::ffff:127.0.0.1]:1", "", "", plain, ""},
		{"loopback by name", "localhost:1", "", "", plain, ""},
		{"nowhere", "x.invalid:1", "", "", plain, ""},
		{"all", ":1", ":2", ":3", plain, "host http-host peer-host"},
		{"all of IPv4", "0.0.0.0:1", "0.0.0.0:2", "", plain, "host http-host"},
		{"all of IPv6", "[::]:1", "[::]:2", "", plain, "host http-host"},
		{"one", "10.1.2.3:1", "127.0.0.1:1", "[fe80::1]:1", plain, "host peer-host"},
		{"mapped", "[::ffff:10.1.2.3]:1", "", "", plain, "host"},
		{"TLS", ":1", ":2", "", tls, "host http-host"},
		{"certificates of clients", ":1", ":2", "", mutual, ""},
		{"identities", ":1", ":2", "", identities, ""},
		{"identities without TLS", ":1", ":2", "", plainIdentities, "host http-host"},
		{"optional", ":1", ":2", "", optional, "host http-host"},
		{"changing over", ":1", ":2", "", changing, "host"},
		{"TLS among members", "127.0.0.1:1", "", ":3", func(c *config.Config) { c.PeerTLSCert = "cert" }, ""},
		{"TLS for clients alone", "127.0.0.1:1", "", ":3", mutual, "peer-host"},
		{"TLS on loopback", "127.0.0.1:1", "", "", tls, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config.Default()
			c.Host, c.HTTPHost = test.host, test.http
			if test.peer != "" {
				c.Node, c.PeerHost = "a", test.peer
			}
			test.change(&c)
			var named []string
			for _, err := range exposed(&c) {
				setting, _, _ := strings.Cut(err.Error(), " = ")
				named = append(named, setting)
				for _, word := range []string{"insecure = true", "127.0.0.1"} {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%v: without %s", err, word)
					}
				}
			}
			if got := strings.Join(named, " "); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestExposedStart: nothing is made before a start is refused for that, and with insecure
// it is a warning at each start.
func TestExposedStart(t *testing.T) {
	c := testConfig(t)
	c.WorkDir, c.Host = filepath.Join(c.WorkDir, "data"), "0.0.0.0:0"
	for name, err := range map[string]error{
		"check": Check(&c),
		"start": func() error { _, err := Start(context.Background(), Options{Config: c}); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), `host = "0.0.0.0:0" is reached from other machines`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(c.WorkDir); !os.IsNotExist(err) {
		t.Errorf("the work directory is there: %v", err)
	}
	c.Insecure = true
	if err := Check(&c); err != nil {
		t.Error(err)
	}
	var log bytes.Buffer
	n, err := Start(context.Background(), Options{Config: c, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "0.0.0.0:0") {
		t.Errorf("no warning:\n%s", log.String())
	}
}
