package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/testkit"
)

// authFile makes a file of identities, each with its rules. The token of each is its
// name and "-token".
func authFile(t testing.TB, identities ...string) string {
	t.Helper()
	text := "version = 1\n"
	for _, id := range identities {
		name, allow, _ := strings.Cut(id, ": ")
		text += fmt.Sprintf("[[identity]]\nname = %q\n", name)
		if name != auth.Anonymous {
			text += fmt.Sprintf("tokens = [%q]\n", auth.Sum([]byte(name+"-token")))
		}
		text += fmt.Sprintf("allow = [%q]\n", allow)
	}
	path := filepath.Join(t.TempDir(), "auth.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// heard is a listener whose connections note all bytes, of both directions.
type heard struct {
	net.Listener
	mu   sync.Mutex
	said bytes.Buffer
}

type heardConn struct {
	net.Conn
	by *heard
}

func (h *heard) Accept() (net.Conn, error) {
	nc, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &heardConn{nc, h}, nil
}

func (c *heardConn) note(p []byte) {
	c.by.mu.Lock()
	defer c.by.mu.Unlock()
	c.by.said.Write(p)
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(p[:n])
	return n, err
}

func (c *heardConn) Write(p []byte) (int, error) {
	c.note(p)
	return c.Conn.Write(p)
}

// TestOnThePath: who hears all that is said to a server with TLS, and all answers, has
// neither tokens nor data.
func TestOnThePath(t *testing.T) {
	const body = "what nobody else is to read"
	a := testkit.NewAuthority(t)
	for name, secure := range map[string]bool{"TLS": true, "plain": false} {
		c := testConfig(t)
		c.AuthFile = authFile(t, "writer: read,write,create *")
		if secure {
			c.TLSCert, c.TLSKey = a.Issue(t, "server", []string{"127.0.0.1"})
		}
		h := new(heard)
		n, err := Start(t.Context(), Options{Config: c, Version: "test", Listen: func(addr string) (l net.Listener, err error) {
			h.Listener, err = net.Listen("tcp", addr)
			return h, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		if secure {
			pool := x509.NewCertPool()
			pool.AddCert(a.Cert)
			nc = tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
		}
		io.WriteString(nc, "AUTH writer-token\r\n"+testkit.Batch("t", body)+"READ t 0 1\r\nCLOSE\r\n")
		answers, err := io.ReadAll(nc)
		if err != nil || !bytes.Contains(answers, []byte(body)) {
			t.Errorf("%s: answered %q, %v", name, answers, err)
		}
		nc.Close()
		if err := n.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{"writer-token", body} {
			if got := bytes.Contains(h.said.Bytes(), []byte(secret)); got == secure {
				t.Errorf("%s: that %q is heard is %v", name, secret, got)
			}
		}
	}
}

// TestPagesTakeRights: which pages who may have, and what is told to those who may
// not.
func TestPagesTakeRights(t *testing.T) {
	n := startNode(t, func(c *config.Config) {
		c.AuthFile = authFile(t, "reader: read *", "scraper: monitor *", "operator: admin *", "part: admin orders.*")
	})
	h := n.newWeb()
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1775}
	const none = 0
	names := []string{"", "reader", "scraper", "operator", "part"}
	for _, page := range []struct {
		method, path, body string
		status             [5]int
	}{
		{"GET", "/healthz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/readyz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/metrics", "", [5]int{401, 403, 200, 200, 403}},
		{"GET", "/debug/vars", "", [5]int{401, 403, 403, 200, 403}},
		{"GET", "/debug/pprof/goroutine", "", [5]int{401, 403, 403, 200, 403}},
		{"GET", "/nothing", "", [5]int{401, 404, 404, 404, 404}},
		{"POST", "/log", "PING\r\n", [5]int{401, 200, 200, 200, 200}},
		{"POST", "/log", "SEEK t 0\r\n", [5]int{401, 404, 401, 401, 401}},
		{"POST", "/log", "TRIM orders.x 0\r\n", [5]int{401, 401, 401, 404, 404}},
		{"POST", "/log", "STATS\r\n", [5]int{401, 401, 200, 200, 401}},
		{"POST", "/log", "AUTH operator-token\r\n", [5]int{401, 400, 400, 400, 400}},
		{"POST", "/log", "AUTH operator-token", [5]int{401, 400, 400, 400, 400}},
	} {
		for who, want := range page.status {
			r := httptest.NewRequest(page.method, "http://localhost"+page.path, strings.NewReader(page.body))
			r.RemoteAddr = "127.0.0.1:5000"
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
			r.Header.Set("Content-Type", protocol.ContentType)
			if who != none {
				r.Header.Set("Authorization", "bearer "+names[who]+"-token")
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			what := fmt.Sprintf("%s %s %q as %q", page.method, page.path, page.body, names[who])
			if w.Code != want {
				t.Errorf("%s: %d, want %d", what, w.Code, want)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got == "Bearer") != (w.Code == 401) {
				t.Errorf("%s: %d with WWW-Authenticate: %q", what, w.Code, got)
			}
			if page.path == "/log" && w.Code == 401 && w.Body.String() != "ERR unauthorized\r\n" {
				t.Errorf("%s: %q", what, w.Body)
			}
			if page.path == "/" && w.Body.String() != "logd\n" {
				t.Errorf("a stranger is told %q", w.Body)
			}
		}
	}
	if n.auth.Stats().Denied["monitor"] == 0 {
		t.Error("who is not let in is not counted")
	}
}

// TestTokensOfHTTP: what is a token in a header, and that a wrong one waits.
func TestTokensOfHTTP(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.AuthFile = authFile(t, "a: monitor *", "anonymous: monitor *") })
	h := n.newWeb()
	for header, want := range map[string]int{
		"Bearer a-token": 200, "BEARER a-token": 200,
		"Bearer wrong": 401, "Bearer a-token ": 401, "Bearer  a-token": 401, "Bearer": 401, "Bearer ": 401, "": 401,
		"Basic YTphLXRva2Vu": 401, "a-token": 401, "Bearer a-token, Bearer a-token": 401, "Bearer " + strings.Repeat("a", 513): 401,
	} {
		r := httptest.NewRequest("GET", "http://localhost/metrics", nil)
		r.RemoteAddr = "127.0.0.1:5000"
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		began := time.Now()
		h.ServeHTTP(w, r)
		if took := time.Since(began); w.Code != want || want == 401 && took < 250*time.Millisecond {
			t.Errorf("%q: %d after %v, want %d", header, w.Code, took, want)
		}
	}
	// Who shows nothing is anonymous.
	if status, _ := get(t, n.HTTPAddr(), "/metrics"); status != 200 {
		t.Errorf("anonymous: %d", status)
	}
}

// TestAuthFileOfAStart: a file that is not right stops the start before anything is
// done.
func TestAuthFileOfAStart(t *testing.T) {
	c := testConfig(t)
	c.WorkDir = filepath.Join(c.WorkDir, "not-made")
	c.AuthFile = authFile(t, "a: read *")
	if err := os.Chmod(c.AuthFile, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Config: c})
	if err == nil || !strings.Contains(err.Error(), "others than its owner can write it") || !strings.Contains(err.Error(), c.AuthFile) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(c.WorkDir); err == nil {
		t.Error("the work directory was made")
	}
}
