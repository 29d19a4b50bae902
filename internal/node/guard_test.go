package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/protocol"
)

// TestGuard: what a browser says of the page that it asks for, and what else
// asks.
func TestGuard(t *testing.T) {
	loopback := []net.Addr{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1775}, &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9), Port: 1775},
		&net.TCPAddr{IP: net.IPv6loopback, Port: 1775}, &net.UnixAddr{Name: "s", Net: "unix"},
	}
	public := []net.Addr{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1775}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1775}}
	type headers = http.Header
	for _, test := range []struct {
		host    string
		headers headers
		local   refusal // on a loopback connection
		other   refusal // on any other
	}{
		{"localhost", nil, none, none},
		{"localhost:1775", nil, none, none},
		{"LocalHost.:1775", nil, none, none},
		{"127.0.0.1", nil, none, none},
		{"127.0.0.1:", nil, none, none},
		{"127.0.0.1.:1775", nil, none, none},
		{"10.0.0.1:1775", nil, none, none},
		{"[::1]:1775", nil, none, none},
		{"[::1]", nil, none, none},
		{"logs.example", nil, none, none},
		{"LOGS.example.:443", nil, none, none},
		{"dotted.example", nil, none, none},

		{"", nil, badHost, none},
		{":1775", nil, badHost, none},
		{"attacker.example:1775", nil, badHost, none},
		{"localhost.attacker.example", nil, badHost, none},
		{"attacker.localhost", nil, badHost, none},
		{"localhost..", nil, badHost, none},
		{"xlogs.example", nil, badHost, none},
		{"logs.example.attacker.example", nil, badHost, none},
		{"127.0.0.1.attacker.example", nil, badHost, none},
		{"127.1", nil, badHost, none},
		{"0x7f000001", nil, badHost, none},
		{"localhost:x", nil, badHost, none},
		{"localhost:1:2", nil, badHost, none},
		{"::1", nil, badHost, none},
		{"[::1", nil, badHost, none},
		{"[::1]x", nil, badHost, none},
		{"[localhost]", nil, badHost, none},
		{"[fe80::1%eth0]", nil, badHost, none},
		{"localhost@attacker.example", nil, badHost, none},

		{"localhost:1775", headers{"Sec-Fetch-Site": {"none"}}, none, none},
		{"localhost:1775", headers{"Sec-Fetch-Site": {"same-origin"}}, none, none},
		{"localhost:1775", headers{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://localhost:1775"}}, none, none},
		{"localhost:1775", headers{"Sec-Fetch-Site": {"same-site"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Sec-Fetch-Site": {"cross-site"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Sec-Fetch-Site": {""}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Sec-Fetch-Site": {"none", "cross-site"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://localhost:1775"}}, badOrigin, badOrigin},

		{"localhost:1775", headers{"Origin": {"http://localhost:1775"}}, none, none},
		{"LOCALHOST:1775", headers{"Origin": {"http://localhost:1775"}}, none, none},
		{"[::1]:1775", headers{"Origin": {"http://[::1]:1775"}}, none, none},
		{"logs.example", headers{"Origin": {"https://logs.example"}}, none, none},
		{"logs.example:443", headers{"Origin": {"https://logs.example"}}, none, none},
		{"logs.example", headers{"Origin": {"http://logs.example:80"}}, none, none},
		{"logs.example:80", headers{"Origin": {"https://logs.example"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"null"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {""}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://localhost"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://localhost:3000"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://127.0.0.1:1775"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://attacker.example"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://localhost:1775/"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://localhost:1775.attacker.example"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"ftp://localhost:1775"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"localhost:1775"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://localhost:1775", "http://attacker.example"}}, badOrigin, badOrigin},
		{"", headers{"Origin": {"http://"}}, badHost, badOrigin},
		{"", headers{"Origin": {"http://:80"}}, badHost, badOrigin},

		// DNS rebinding: the page's own name leads to this machine.
		{"attacker.example:1775", headers{"Origin": {"http://attacker.example:1775"}, "Sec-Fetch-Site": {"same-origin"}}, badHost, none},
	} {
		g := newGuard([]string{"logs.example", "Dotted.Example."}, slog.New(slog.DiscardHandler))
		r := &http.Request{Host: test.host, Header: test.headers}
		for addrs, want := range map[*[]net.Addr]refusal{&loopback: test.local, &public: test.other} {
			for _, local := range *addrs {
				if got := g.look(local, r); got != want {
					t.Errorf("Host %q, %v at %v: refused for %q, want %q", test.host, test.headers, local, got, want)
				}
			}
		}
	}
}

// TestGuardedPages: which pages look at who asks, by what name, from where, and
// what is answered.
func TestGuardedPages(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.HTTPAllowedHosts = []string{"logs.example"} })
	h := n.newHTTP()
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
				h.Handler.ServeHTTP(w, r)
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
				if page.path == logPath {
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

// TestRefusalsAreLogged: the operator is told why and what to do, and not for
// each request.
func TestRefusalsAreLogged(t *testing.T) {
	var log bytes.Buffer
	g := newGuard(nil, slog.New(slog.NewTextHandler(&log, nil)))
	for range 100 {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host = "logs.example"
		g.count(badHost, r)
		r.Header.Set("Origin", "http://"+strings.Repeat("x", 1000))
		g.count(badOrigin, r)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "http-allowed-hosts") || log.Len() > 1000 {
		t.Errorf("%d lines, want 2:\n%s", n, log.String())
	}
}

// TestOneProfile: while one is made there is no other.
func TestOneProfile(t *testing.T) {
	begun, end := make(chan bool), make(chan bool)
	h := oneProfile()(func(http.ResponseWriter, *http.Request) { begun <- true; <-end })
	ask := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/profile?seconds=60", nil))
		return w.Code
	}
	first := make(chan int)
	go func() { first <- ask() }()
	<-begun
	if status := ask(); status != 503 {
		t.Errorf("a second profile: %d", status)
	}
	end <- true
	if status := <-first; status != 200 {
		t.Errorf("the first profile: %d", status)
	}
	go func() { first <- ask() }()
	<-begun
	end <- true
	if status := <-first; status != 200 {
		t.Errorf("a profile after it: %d", status)
	}
}
