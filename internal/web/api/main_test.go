package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a real logd, asked over HTTP.
type site struct {
	t      testing.TB
	node   *node.Node
	config config.Config
	client *http.Client
}

// start starts a logd whose settings are the defaults but for a change.
func start(t testing.TB, change func(*config.Config)) *site {
	t.Helper()
	c := config.Default()
	c.Host, c.HTTPHost, c.WorkDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	if change != nil {
		change(&c)
	}
	s := &site{t: t, config: c}
	s.run()
	t.Cleanup(s.stop)
	return s
}

func (s *site) run() {
	s.t.Helper()
	n, err := node.Start(context.Background(), node.Options{Config: s.config, Version: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = n
	s.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *site) stop() {
	if s.node == nil {
		return
	}
	s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.node.Shutdown(ctx); err != nil {
		s.t.Errorf("shutdown: %v", err)
	}
	s.node = nil
}

// answer is an answer over HTTP, whole.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

// url returns the address of a path of the API, or of one that begins with //, of HTTP.
func (s *site) url(path string) string {
	at := "http://" + s.node.HTTPAddr().String()
	if whole, is := strings.CutPrefix(path, "//"); is {
		return at + "/" + whole
	}
	return at + "/api/v1" + path
}

// do makes a request. Headers are pairs of name and value.
func (s *site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, s.url(path), r)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	a := answer{resp, string(text), err}
	s.check(&a)
	return a
}

func (s *site) get(path string, headers ...string) answer {
	s.t.Helper()
	return s.do("GET", path, "", headers...)
}

// check checks what is true of every answer of the API.
func (s *site) check(a *answer) {
	s.t.Helper()
	if !strings.HasPrefix(a.Request.URL.Path, "/api/v1") {
		return
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if got := a.Header.Get(name); got != want {
			s.t.Errorf("%s of %s: %q", name, a.Request.URL, got)
		}
	}
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control") || name == "Set-Cookie" {
			s.t.Errorf("%s has %s", a.Request.URL, name)
		}
	}
	fits(s.t, a)
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	switch kind {
	case "application/json", "application/x-ndjson", "application/logd", "text/plain", "text/event-stream", "application/octet-stream":
	case "application/problem+json":
		if a.StatusCode < 400 {
			s.t.Errorf("%s: %d is a problem", a.Request.URL, a.StatusCode)
		}
	case "":
		if a.StatusCode != http.StatusNoContent && a.body != "" {
			s.t.Errorf("%s: an answer without a type", a.Request.URL)
		}
	default:
		s.t.Errorf("%s: type %q", a.Request.URL, kind)
	}
}

// problemJSON is a problem as it comes.
type problemJSON struct {
	Type, Title, Detail, Reason string
	Status                      int
}

// wantProblem checks that the answer is a problem of that name, whose detail has all the
// words.
func (a answer) wantProblem(t testing.TB, status int, name string, words ...string) {
	t.Helper()
	var p problemJSON
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %d %q is no problem: %v", a.Request.Method, a.Request.URL, a.StatusCode, a.body, err)
		return
	}
	if a.StatusCode != status || p.Status != status || p.Type != "urn:logd:"+name || p.Title == "" {
		t.Errorf("%s %s: %d %s, want %d %s", a.Request.Method, a.Request.URL, a.StatusCode, a.body, status, name)
	}
	for _, word := range words {
		if !strings.Contains(p.Detail, word) {
			t.Errorf("%s %s: %q does not say %q", a.Request.Method, a.Request.URL, p.Detail, word)
		}
	}
}

// want checks that the answer is well and of that body.
func (a answer) want(t testing.TB, status int, body string) {
	t.Helper()
	if a.StatusCode != status || a.body != body || a.err != nil {
		t.Errorf("%s %s: %d %q (%v), want %d %q", a.Request.Method, a.Request.URL, a.StatusCode, a.body, a.err, status, body)
	}
}

// object returns the body, which is to be a JSON object.
func (a answer) object(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(a.body))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%s %s: %d %q: %v", a.Request.Method, a.Request.URL, a.StatusCode, a.body, err)
	}
	return m
}

// protocol makes a request of the protocol over its own port, and returns what comes
// back until the server closes.
func (s *site) protocol(request string) string {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.node.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(nc, request+"CLOSE\r\n"); err != nil {
		s.t.Fatal(err)
	}
	all, err := io.ReadAll(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(bytes.TrimSuffix(all, []byte("OK\r\n")))
}

// info returns what INFO says of a topic, over HTTP so that it is by the node's own.
func (s *site) info(topic string) protocol.TopicInfo {
	s.t.Helper()
	text := s.protocol("INFO " + topic + "\r\n")
	_, body, _ := strings.Cut(text, "\r\n")
	in, err := protocol.ParseInfo([]byte(strings.TrimSuffix(body, "\r\n")))
	if err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	return in
}

// authFile makes a file of identities, each with its rules: "name: rule; rule". The token
// of each is its name and "-token".
func authFile(t testing.TB, identities ...string) string {
	t.Helper()
	text := "version = 1\n"
	for _, id := range identities {
		name, rules, _ := strings.Cut(id, ": ")
		text += fmt.Sprintf("[[identity]]\nname = %q\n", name)
		if name != auth.Anonymous {
			text += fmt.Sprintf("tokens = [%q]\n", auth.Sum([]byte(name+"-token")))
		}
		var allow []string
		for rule := range strings.SplitSeq(rules, "; ") {
			allow = append(allow, fmt.Sprintf("%q", rule))
		}
		text += "allow = [" + strings.Join(allow, ", ") + "]\n"
	}
	path := filepath.Join(t.TempDir(), "auth.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
