package inputs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// post sends a request and returns its status and answer.
func post(t *testing.T, in *Input, target, body string, change func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequest("POST", "http://"+in.Addr().String()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, strings.TrimSpace(string(text))
}

func TestHTTP(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	for _, test := range []struct {
		name, target, body string
		change             func(*http.Request)
		status             int
		answer             string // in it
		taken              []string
	}{
		{"lines", "/lines", "a\n\nb\r\nc", nil, 200, `{"messages":4}`, []string{"a", "", "b\r", "c"}},
		{"one", "/lines", "a\n", nil, 200, `{"messages":1}`, []string{"a"}},
		{"none", "/lines", "", nil, 200, `{"messages":0}`, nil},
		{"chunked", "/lines", "a\nb\n", chunked, 200, `{"messages":2}`, []string{"a", "b"}},
		{"topic", "/lines?topic=a", "1\n", nil, 200, `{"messages":1}`, []string{"a: 1"}},
		{"other topic", "/lines?topic=c", "1\n", nil, 403, "topic not allowed", nil},
		{"bad topic", "/lines?topic=..", "1\n", nil, 403, "topic not allowed", nil},
		{"two topics", "/lines?topic=a&topic=b", "1\n", nil, 400, "more than once", nil},
		{"other query", "/lines?tpic=a", "1\n", nil, 400, "topic alone", nil},
		{"broken query", "/lines?topic=%zz", "1\n", nil, 400, "query", nil},
		{"other path", "/line", "1\n", nil, 404, "/lines", nil},
		{"GET", "/lines", "", method("GET"), 405, "POST", nil},
		{"PUT", "/lines", "1\n", method("PUT"), 405, "POST", nil},
		{"OPTIONS", "/lines", "", method("OPTIONS"), 405, "POST", nil},
		{"a web page", "/lines", "1\n", header("Origin", "http://127.0.0.1"), 403, "web pages", nil},
		{"a page of nobody", "/lines", "1\n", header("Origin", "null"), 403, "web pages", nil},
		{"compressed", "/lines", "1\n", header("Content-Encoding", "gzip"), 400, "compressed", nil},
		{"body too large", "/lines", strings.Repeat("abc\n", 26), nil, 413, "104 bytes", nil},
		{"chunked body too large", "/lines", strings.Repeat("abc\n", 26), chunked, 413, "100 bytes", nil},
		{"line too long", "/lines", "a\nbbbbbbbbbbb\nc\n", nil, 413, "line 2 has 11 bytes", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s sink
			in, _ := start(t, "http://127.0.0.1:0", &s, func(c *Config) { c.Topics, c.MaxBody, c.MaxLine = []string{"a"}, 100, 10 })
			status, answer := post(t, in, test.target, test.body, test.change)
			if status != test.status || !strings.Contains(answer, test.answer) {
				t.Errorf("%d %s; want %d, %s", status, answer, test.status, test.answer)
			}
			equal(t, "taken", s.bodies(), test.taken)
			for _, m := range s.messages() {
				if m.Remote == "" {
					t.Error("no address of the sender")
				}
			}
			eventually(t, "sources are closed", s.allClosed)
		})
	}
}

func TestHTTPTooManyLines(t *testing.T) {
	var s sink
	in, _ := start(t, "http://127.0.0.1:0", &s, nil)
	if status, answer := post(t, in, "/lines", strings.Repeat("\n", maxBodyLines), nil); status != 200 || answer != `{"messages":65536}` {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := post(t, in, "/lines", strings.Repeat("\n", maxBodyLines)+"a", nil); status != 413 || !strings.Contains(answer, "line 65537") {
		t.Errorf("%d %s", status, answer)
	}
	if n := len(s.messages()); n != maxBodyLines {
		t.Errorf("%d were taken", n)
	}
}

// 503: nothing is taken. 504: it is not known. 200: all is safe, and not before.
func TestHTTPSafe(t *testing.T) {
	s := &sink{room: make(chan struct{})}
	in, _ := start(t, "http://127.0.0.1:0", s, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	status, answer := post(t, in, "/lines", "a\nb\n", nil)
	if status != 503 || !strings.Contains(answer, "nothing was taken") {
		t.Errorf("without room: %d %s", status, answer)
	}
	c := *in.config.Load()
	c.Full = feed.Block
	if err := in.Update(c); err != nil {
		t.Fatal(err)
	}
	if status, answer = post(t, in, "/lines", "a\nb\n", nil); status != 503 || !strings.Contains(answer, "nothing was taken") {
		t.Errorf("without room, if it waits: %d %s", status, answer)
	}
	if len(s.messages()) > 0 {
		t.Error("something was taken")
	}
	close(s.room)
	s.mu.Lock()
	s.hold = true
	s.mu.Unlock()
	if status, answer = post(t, in, "/lines", "c\n", nil); status != 504 {
		t.Errorf("not safe in time: %d %s", status, answer)
	}
	c.Timeout = 10 * time.Second
	in.Update(c)
	answered := make(chan int, 1)
	go func() {
		status, _ := post(t, in, "/lines", "d\n", nil)
		answered <- status
	}()
	eventually(t, "it is put", func() bool { return len(s.messages()) == 2 })
	select {
	case status := <-answered:
		t.Errorf("%d before it was safe", status)
	case <-time.After(100 * time.Millisecond):
	}
	s.release()
	if status := <-answered; status != 200 {
		t.Errorf("safe: %d", status)
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if status, answer = post(t, in, "/lines", "e\n", nil); status != 503 || !strings.Contains(answer, "shutting down") {
		t.Errorf("when the agent ends: %d %s", status, answer)
	}
}

// A body that does not come, or breaks off, is not taken.
func TestHTTPHalf(t *testing.T) {
	var s sink
	in, _ := start(t, "http://127.0.0.1:0", &s, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	nc := dial(t, in)
	io.WriteString(nc, "POST /lines HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\na\nb\n")
	a, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil || a.StatusCode != 400 {
		t.Errorf("%+v, %v", a, err)
	}
	nc = dial(t, in)
	io.WriteString(nc, "POST /lines HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\na\nb\n")
	nc.Close()
	eventually(t, "sources are closed", s.allClosed)
	equal(t, "taken", s.bodies(), nil)
}

// One request more than there is room for is refused, and takes no memory.
func TestHTTPStop(t *testing.T) {
	s := &sink{hold: true}
	in, counters := start(t, "http://127.0.0.1:0", s, nil)
	// One without a request, one that is kept after one, one in the middle of a body.
	fresh, begun := dial(t, in), dial(t, in)
	io.WriteString(begun, "POST /lines HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\na\n")
	eventually(t, "two connections", func() bool { return counters.Connections.Load() == 2 })
	stopped := make(chan error, 1)
	began := time.Now()
	go func() { stopped <- in.Stop(t.Context()) }()
	<-in.stopping
	io.WriteString(begun, "b\n")
	eventually(t, "the body is taken", func() bool { return len(s.messages()) == 2 })
	s.release()
	a, err := http.ReadResponse(bufio.NewReader(begun), nil)
	if err != nil || a.StatusCode != 200 {
		t.Errorf("%+v, %v", a, err)
	}
	if err := <-stopped; err != nil || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if n, err := fresh.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a connection without a request is open")
	}
	if !s.allClosed() || counters.Connections.Load() != 0 {
		t.Error("something is open")
	}
}

func TestHTTPBusy(t *testing.T) {
	var s sink
	in, counters := start(t, "http://127.0.0.1:0", &s, func(c *Config) { c.MaxConnections = 1 })
	dial(t, in)
	eventually(t, "a connection", func() bool { return counters.Connections.Load() == 1 })
	// The answer does not wait for a request.
	a, err := http.ReadResponse(bufio.NewReader(dial(t, in)), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != 503 {
		t.Errorf("the second: %d", a.StatusCode)
	}
}

// A panic ends its request alone.
func TestHTTPPanic(t *testing.T) {
	var s sink
	in, _ := start(t, "http://127.0.0.1:0", &s, nil)
	s.mu.Lock()
	s.broken = func() { panic("test") }
	s.mu.Unlock()
	nc := dial(t, in)
	io.WriteString(nc, "POST /lines HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na\n")
	if got, _ := io.ReadAll(nc); len(got) > 0 {
		t.Errorf("answer %q", got)
	}
	s.mu.Lock()
	s.broken = nil
	s.mu.Unlock()
	if status, _ := post(t, in, "/lines", "a\n", nil); status != 200 {
		t.Errorf("after it: %d", status)
	}
}

// Lines are what is between LFs, all of them or none.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{"", "\n", "a\nb", "a\r\nb\r\n", "0123456789a\nb\n"} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, trim bool) {
		c := &Config{MaxLine: 10, TrimCR: trim}
		messages, err := c.split(bytes.Clone(body), "", "")
		text, longest := "", 0
		for line := range strings.SplitSeq(strings.TrimSuffix(string(body), "\n"), "\n") {
			if trim {
				line = strings.TrimSuffix(line, "\r")
			}
			longest = max(longest, len(line))
			text += line + "\n"
		}
		if len(body) == 0 {
			text = ""
		}
		if (err != nil) != (longest > 10) {
			t.Fatalf("%q: %v", body, err)
		}
		got := ""
		for _, m := range messages {
			got += string(m.Body) + "\n"
		}
		if err == nil && got != text {
			t.Errorf("%q: %q, want %q", body, got, text)
		}
	})
}

// Whatever comes, it is answered, or cut off, and what is said to be safe was taken.
func FuzzHTTP(f *testing.F) {
	f.Add([]byte("POST /lines HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na\n"))
	f.Add([]byte("POST /lines?topic=a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))

	// One input for all: its end waits for the half second that package http keeps a
	// connection after a bad request. Over a unix socket no ports run out.
	var s sink
	path := filepath.Join(f.TempDir(), "http")
	in, err := Start(Config{
		From: From{HTTP, "unix", path}, MaxBody: 100, MaxLine: 10, Topics: []string{"a"},
		MaxConnections: 1 << 20, Timeout: time.Second,
	}, &s, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { in.Stop(f.Context()) }) // which has ended by then, so that all is cut off
	f.Fuzz(func(t *testing.T, data []byte) {
		s.mu.Lock()
		s.sources = nil // of the runs before
		s.mu.Unlock()
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write(data)
		nc.(*net.UnixConn).CloseWrite()
		r := bufio.NewReader(nc)
		n := 0
		for {
			a, err := http.ReadResponse(r, &http.Request{Method: "POST"})
			if err != nil {
				break
			}
			text, _ := io.ReadAll(a.Body)
			var m int
			if a.StatusCode == 200 {
				fmt.Sscanf(string(text), `{"messages":%d}`, &m)
				n += m
			}
		}
		if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("neither answered nor cut off")
		}
		if got := len(s.messages()); got < n {
			t.Errorf("%d were said to be safe, and %d were taken", n, got)
		}
	})
}
