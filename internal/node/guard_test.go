package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/protocol"
)

// TestGuardedPages: which pages look at who asks, by what name, from where, and
// what is answered.
func TestGuardedPages(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.HTTPAllowedHosts = []string{"logs.example"} })
	h := n.newWeb()
	here, away := "127.0.0.1:5000", "192.0.2.7:5000"
	loopback, public := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1775}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1775}
	type asked struct {
		local        net.Addr
		peer         string
		host, origin string
		site         string
	}
	good := []asked{
		{loopback, here, "localhost:1775", "", ""},
		{loopback, here, "127.0.0.1:1775", "http://127.0.0.1:1775", "same-origin"},
		{loopback, here, "logs.example", "https://logs.example", "same-origin"},
		{public, here, "logs.internal:1775", "", "none"},
	}
	remote := []asked{
		{public, away, "logs.internal:1775", "", ""},
		{public, away, "192.0.2.1:1775", "http://192.0.2.1:1775", "same-origin"},
	}
	bad := []asked{
		{loopback, here, "attacker.example:1775", "http://attacker.example:1775", "same-origin"},
		{loopback, here, "attacker.example:1775", "", ""},
		{loopback, here, "localhost:1775", "http://attacker.example", "cross-site"},
		{loopback, here, "localhost:1775", "", "cross-site"},
		{loopback, here, "localhost:1775", "null", ""},
		{public, away, "192.0.2.1:1775", "http://attacker.example", ""},
		{public, here, "192.0.2.1:1775", "", "same-site"},
	}
	const status, text = 403, "Forbidden\n"
	for _, page := range []struct {
		method, path      string
		good, remote, bad int
	}{
		{"GET", "/healthz", 200, 200, 200},
		{"GET", "/readyz", 200, 200, 200},
		{"GET", "/", 200, 200, 200},
		{"GET", "/metrics", 200, 200, 403},
		{"GET", "/nothing", 404, 404, 403},
		{"POST", "/log", 200, 200, 403},
		{"GET", "/log", 405, 405, 403},
		{"GET", "/log/../metrics", 307, 307, 403},
		{"GET", "/debug/vars", 200, 403, 403},
		{"GET", "/debug/pprof/", 200, 403, 403},
		{"GET", "/debug/pprof/cmdline", 200, 403, 403},
		{"GET", "/debug/pprof/goroutine", 200, 403, 403},
		{"GET", "/debug/pprof/nothing", 404, 403, 403},
		{"GET", "/debug/pprof/profile?seconds=61", 400, 403, 403},
		{"GET", "/debug/pprof/trace?seconds=NaN", 400, 403, 403},
		{"GET", "/debug/pprof/heap?seconds=1e3", 400, 403, 403},
		{"OPTIONS", "/log", 405, 405, 405},
		{"OPTIONS", "/metrics", 405, 405, 405},
		{"OPTIONS", "/healthz", 405, 405, 405},
		{"OPTIONS", "*", 405, 405, 405},
	} {
		for want, askers := range map[*int][]asked{&page.good: good, &page.remote: remote, &page.bad: bad} {
			for _, a := range askers {
				r := httptest.NewRequest(page.method, "http://x/", strings.NewReader("PING\r\n"))
				r.URL.Path, r.URL.RawQuery, _ = strings.Cut(page.path, "?")
				r.Host, r.RemoteAddr = a.host, a.peer
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, a.local))
				r.Header.Set("Content-Type", protocol.ContentType)
				for name, value := range map[string]string{"Origin": a.origin, "Sec-Fetch-Site": a.site} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				what := fmt.Sprintf("%s %s as %+v", page.method, page.path, a)
				if w.Code != *want {
					t.Errorf("%s: %d, want %d", what, w.Code, *want)
				}
				for name, value := range map[string]string{
					"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
				} {
					if got := w.Header().Get(name); got != value {
						t.Errorf("%s: %s: %q", what, name, got)
					}
				}
				for name := range w.Header() {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s: %s", what, name)
					}
				}
				if w.Code != status {
					continue
				}
				body := text
				if page.path == "/log" {
					body = "ERR unauthorized\r\n"
				}
				if w.Body.String() != body || w.Header().Get("Connection") != "close" {
					t.Errorf("%s: %q, Connection: %q", what, w.Body, w.Header().Get("Connection"))
				}
			}
		}
	}
	if _, metrics := get(t, n.HTTPAddr(), "/metrics"); !strings.Contains(metrics, `logd_http_refused_total{reason="host"} `) {
		t.Error("/metrics does not count what is refused")
	}
}

// TestRefusedBody: what is refused by its headers is answered without its body,
// of which little is read.
func TestRefusedBody(t *testing.T) {
	n := startNode(t, nil)
	c, err := net.Dial("tcp", n.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "POST /log HTTP/1.1\r\nHost: attacker.example\r\nContent-Type: application/logd\r\nContent-Length: 1000000000\r\n\r\n")
	answer := make([]byte, 4096)
	m, err := c.Read(answer)
	if err != nil || !bytes.HasPrefix(answer[:m], []byte("HTTP/1.1 403 ")) || !bytes.HasSuffix(answer[:m], []byte("\r\n\r\nERR unauthorized\r\n")) {
		t.Fatalf("%q, %v", answer[:m], err)
	}
	sent, piece := 0, make([]byte, 1024)
	for sent < 16<<20 {
		k, err := c.Write(piece)
		sent += k
		if err != nil {
			break
		}
	}
	if _, err := io.Copy(io.Discard, c); sent >= 16<<20 {
		t.Errorf("%d bytes of a body that is refused were taken; %v", sent, err)
	}
}
