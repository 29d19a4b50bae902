package logd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// remoteConn is a connection of TCP to some address, as far as one can see.
type remoteConn struct {
	net.Conn
	addr net.Addr
}

func (c remoteConn) RemoteAddr() net.Addr { return c.addr }

// TestToken: each connection shows the token before anything else, and what becomes of
// the calls by the server's answer to it.
func TestToken(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		err    error
		tries  int // connections until a call with three attempts is over
		retry  bool
	}{
		"a good one":                  {"OK\r\n", nil, 1, false},
		"a wrong one":                 {"ERR unauthorized\r\n", ErrUnauthorized, 1, false},
		"a server without identities": {"ERR invalid request\r\n", nil, 1, false},
		"a server that is busy":       {"ERR busy\r\n", ErrBusy, 3, true},
		"no answer of the protocol":   {"HTTP/1.1 400 Bad Request\r\n", ErrBadAnswer, 3, true},
		"a server that hangs up":      {"", ErrConnectionLost, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				_, cfg := fake(t, func(p *script.Peer) {
					tries++
					for {
						r, ok := p.Request()
						switch {
						case !ok || r.Line == "AUTH the-token" && test.answer == "":
							return
						case r.Line == "AUTH the-token":
							p.Answer("%s", test.answer)
						case r.Line == "PING":
							p.Answer("OK\r\n")
						default:
							t.Errorf("the server is asked %q", r.Line)
							return
						}
					}
				})
				cfg.Token, cfg.AllowPlainToken, cfg.ReconnectAttempts = StaticToken("the-token"), true, 3
				c, err := NewClient(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				err = c.Ping(t.Context())
				if !errors.Is(err, test.err) || test.err == nil && err != nil || tries != test.tries || IsRetryable(err) != test.retry {
					t.Errorf("%v (retryable: %v) after %d connections, want %v after %d", err, IsRetryable(err), tries, test.err, test.tries)
				}
				if err != nil && strings.Contains(err.Error(), "the-token") {
					t.Errorf("the token is shown: %v", err)
				}
			})
		})
	}
}

// TestPlainToken: a token does not leave the machine in the open, unless the user says
// so.
func TestPlainToken(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1774}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1774}
	for _, test := range []struct {
		dialed string
		addr   net.Addr
		allow  bool
		sent   bool
	}{
		{"192.0.2.1:1774", there, false, false},
		{"[2001:db8::1]:1774", &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1774}, false, false},
		{"192.0.2.1:1774", there, true, true},
		{"127.0.0.1:1774", here, false, true},
		{"localhost:1774", here, false, true},
		{"[::1]:1774", &net.TCPAddr{IP: net.IPv6loopback, Port: 1774}, false, true},
		{"logs.example:1774", here, false, false}, // by a proxy
		{"localhost:1774", there, false, false},
		{"localhost:1774", &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}, false, false}, // who knows
		{"unix:logd.sock", &net.UnixAddr{Name: "logd.sock", Net: "unix"}, false, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			sent := false
			_, cfg := fake(t, func(p *script.Peer) {
				for {
					r, ok := p.Request()
					if !ok {
						return
					}
					sent = sent || strings.HasPrefix(r.Line, "AUTH")
					p.Answer("OK\r\n")
				}
			})
			dial, server := cfg.Dial, cfg.Addrs[0]
			cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				nc, err := dial(ctx, "tcp", server)
				return remoteConn{nc, test.addr}, err
			}
			cfg.Addrs, cfg.Token, cfg.AllowPlainToken = []string{test.dialed}, StaticToken("the-token"), test.allow
			c, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Ping(t.Context())
			if sent != test.sent || (err == nil) != test.sent || err != nil && (!errors.Is(err, ErrPlainToken) || IsRetryable(err)) {
				t.Errorf("%s at %v, allowed: %v: sent %v, %v", test.dialed, test.addr, test.allow, sent, err)
			}
		})
	}
}

// TestTokenFile: the file is read for each connection, and one that can't be read is
// like a server that can't be reached.
func TestTokenFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		var shown []string
		_, cfg := fake(t, func(p *script.Peer) {
			for {
				r, ok := p.Request()
				if !ok {
					return
				}
				if token, ok := strings.CutPrefix(r.Line, "AUTH "); ok {
					shown = append(shown, token)
				}
				p.Answer("OK\r\n")
				if r.Line == "PING" {
					return
				}
			}
		})
		cfg.Token, cfg.AllowPlainToken, cfg.ReconnectAttempts = TokenFile(path), true, 2
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Ping(t.Context()); !errors.Is(err, ErrConnect) || !errors.Is(err, os.ErrNotExist) || !IsRetryable(err) {
			t.Errorf("no file: %v", err)
		}
		for _, text := range []string{"one\n", "\t two \r\n", " \n", "in two"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := c.Ping(t.Context())
			if strings.TrimSpace(text) == "" || strings.Contains(text, "in ") {
				if !errors.Is(err, ErrConnect) || strings.Contains(err.Error(), "in two") {
					t.Errorf("%q: %v", text, err)
				}
			} else if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			time.Sleep(time.Minute)
		}
		if got := strings.Join(shown, ","); got != "one,two" {
			t.Errorf("shown: %q", got)
		}
	})
}
