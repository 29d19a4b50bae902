package web

import (
	"bytes"
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
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
		{"localhost:1775", headers{"Origin": {"https://localhost:1775:443"}}, badOrigin, badOrigin},
		{"localhost:1775", headers{"Origin": {"http://u@localhost:1775"}}, badOrigin, badOrigin},
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
				if got := g.look(local, r, false); got != want {
					t.Errorf("Host %q, %v at %v: refused for %q, want %q", test.host, test.headers, local, got, want)
				}
			}
		}
	}
}

// FuzzGuard: what a page of another site has a browser say is refused, as package url
// understands it.
func FuzzGuard(f *testing.F) {
	for _, host := range []string{"localhost:1775", "LOGS.example.", "[::1]:80", "127.0.0.1:", "attacker.example", "localhost@attacker.example", "[fe80::1%25eth0]"} {
		for _, origin := range []string{"http://" + host, "https://" + host + ":443", "http://attacker.example", "null"} {
			f.Add(host, origin)
		}
	}
	const name = "logs.example"
	g := newGuard([]string{name}, slog.New(slog.DiscardHandler))
	loopback, public := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}
	f.Fuzz(func(t *testing.T, host, origin string) {
		own, err := url.Parse("http://" + host)
		if err != nil || own.Host != host || strings.Contains(own.Hostname(), ":") != strings.HasPrefix(host, "[") {
			return // no Host that package http lets through
		}
		is := strings.TrimSuffix(strings.ToLower(own.Hostname()), ".")
		_, err = netip.ParseAddr(is)
		ours := err == nil || is == "localhost" || is == name
		if g.look(loopback, &http.Request{Host: host}, false) == none && !ours {
			t.Errorf("Host %q is taken for this machine", host)
		}
		if g.look(public, &http.Request{Host: host, Header: http.Header{"Origin": {origin}}}, false) != none {
			return
		}
		port := func(u *url.URL) string {
			return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
		}
		site, err := url.Parse(origin)
		if err != nil {
			t.Fatalf("Origin %q is taken for that of Host %q: %v", origin, host, err)
		}
		own.Scheme = site.Scheme
		if !strings.EqualFold(site.Hostname(), own.Hostname()) || port(site) != port(own) {
			t.Errorf("Origin %q is taken for that of Host %q", origin, host)
		}
	})
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
