package api_test

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
)

// TestGzip: JSON is compressed for who takes that, and is the same; what is followed, and
// what is small, is not.
func TestGzip(t *testing.T) {
	s := start(t, func(c *config.Config) { c.FlushInterval = -1 })
	s.do("POST", "/topics/orders/messages", strings.Repeat("a line of a log\n", 3000))
	for _, path := range []string{"/topics/orders/messages", "/topics/orders/messages?format=json&limit=1000", "/stats", "/openapi.json"} {
		plain := s.get(path, "Accept-Encoding", "identity")
		packed := s.do("GET", path, "", "Accept-Encoding", "br, gzip;q=0.5")
		if path == "/stats" {
			plain.body = packed.body // which has moved on
		}
		if packed.Header.Get("Content-Encoding") != "gzip" {
			if path != "/openapi.json" {
				t.Errorf("%s: %v", path, packed.Header)
			}
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(packed.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil || path != "/stats" && string(text) != plain.body || len(packed.body) >= len(text) {
			t.Errorf("%s: %d bytes of %d, %v", path, len(text), len(plain.body), err)
		}
		if packed.Trailer.Get("Logd-Next") != plain.Trailer.Get("Logd-Next") {
			t.Errorf("%s: %v", path, packed.Trailer)
		}
	}
	for path, headers := range map[string][]string{
		"/topics/orders/messages?wait=1": {"Accept-Encoding", "gzip"}, "/topics/orders/messages?format=text": {"Accept-Encoding", "gzip"}, "/topics/orders/messages?format=raw": {"Accept-Encoding", "gzip"},
		"/topics/orders": {"Accept-Encoding", "gzip"}, "/topics/orders/messages": {"Accept-Encoding", "gzip;q=0"}, "/topics/orders/messages?format=json": {"Accept-Encoding", "gzipped"},
	} {
		if a := s.get(path, headers...); a.Header.Get("Content-Encoding") != "" || a.StatusCode != 200 {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
	}
}

// TestLeads: a balancer is told who leads.
func TestLeads(t *testing.T) {
	s := start(t, func(c *config.Config) { c.AuthFile = authFile(t, "reader: read orders", "writer: write,create *") })
	who := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	s.do("POST", "/topics/orders/messages", "a", who("writer")...)
	for _, test := range []struct {
		who, leads string
		status     int
	}{
		{"reader", "orders", 200}, {"reader", "users", 401}, {"writer", "orders", 401}, {"reader", "all", 200}, {"reader", ".x", 400}, {"reader", "", 400},
	} {
		if a := s.get("//readyz?leads="+test.leads, who(test.who)...); a.StatusCode != test.status {
			t.Errorf("%s, %s: %d %s, want %d", test.who, test.leads, a.StatusCode, a.body, test.status)
		}
	}
	if a := s.get("//readyz?leads=orders"); a.StatusCode != 401 {
		t.Errorf("who shows nothing: %d", a.StatusCode)
	}
}
