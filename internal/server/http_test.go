package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
	"github.com/logd-dev/logd/internal/web"
)

// httpTimeout is the ReadTimeout and WriteTimeout of the HTTP servers here.
const httpTimeout = 10 * time.Second

// inHTTPBubble is inBubble with an HTTP server before the server.
func inHTTPBubble(t *testing.T, o server.Options, f func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client)) {
	t.Helper()
	inBubble(t, o, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		f(t, s, store, serveHTTP(t, handler(s, o)))
	})
}

// serveHTTP serves HTTP until the test ends. Each call of dial makes a connection
// to it.
func serveHTTP(t *testing.T, handler http.Handler) (dial func() *client) {
	conns := make(chan net.Conn)
	l := &fakeListener{closed: make(chan struct{})}
	l.accept = func() (net.Conn, error) {
		select {
		case nc := <-conns:
			return nc, nil
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	h := &http.Server{Handler: handler, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout, IdleTimeout: time.Hour}
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	t.Cleanup(func() {
		h.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	return func() *client {
		nc, srv := net.Pipe()
		conns <- srv
		return &client{t, nc, bufio.NewReader(nc)}
	}
}

// handler returns the server of HTTP before s.
func handler(s *server.Server, o server.Options) *web.Server {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = 15 * time.Second
	}
	return web.New(web.Options{
		Protocol: func() *server.Server { return s }, Timeout: timeout, AllowedHosts: []string{"logd"}, Logger: o.Logger,
	})
}

// post sends POST /log.
func (c *client) post(contentType, body string) {
	c.t.Helper()
	c.send(fmt.Sprintf("POST /log HTTP/1.1\r\nHost: logd\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body))
}

// answer receives the answer to POST /log.
func (c *client) answer() (status int, body string, h http.Header) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	resp.Body.Close()
	return resp.StatusCode, string(b), resp.Header
}

func (c *client) wantAnswer(status int, body string) {
	c.t.Helper()
	gotStatus, gotBody, h := c.answer()
	if gotStatus != status || gotBody != body || h.Get("Content-Type") != protocol.ContentType {
		c.t.Errorf("received %d %q (%q), want %d %q", gotStatus, gotBody, h.Get("Content-Type"), status, body)
	}
}

// TestHTTPRequests: the body is one whole request, the answer its response, and
// the status says it again. What ends a connection of the protocol does not end
// one of HTTP, but what is wrong with a request does.
func TestHTTPRequests(t *testing.T) {
	store := topictest.NewMemory()
	store.MaxTopics, store.Allowed = 2, []string{"t", "u", "v"}
	b := testkit.Batch("t", "one")
	reply := func(reason string) string { return "ERR " + reason + "\r\n" }
	inHTTPBubble(t, server.Options{Store: store, MaxBatchSize: 1000, MaxMessages: 10}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		c := dial()
		for _, test := range []struct {
			request string
			status  int
			answer  string
		}{
			{"PING\r\n", 200, "OK\r\n"},
			{"PING\n", 200, "OK\r\n"},
			{"PING", 200, "OK\r\n"},
			{"CLOSE\r\n", 200, "OK\r\n"},
			{b, 200, "OK 0 1\r\n"},
			{strings.Replace(b, "\r\n", "\n", 1), 200, fmt.Sprintf("OK %d 1\r\n", len(b))},
			{"READ t 0 2\r\n", 200, "OK 0 2\r\n" + b + b},
			{"TAIL t 1\r\n", 200, "OK 0 1\r\n" + b},
			{"TOPICS\r\n", 200, "MOK 3\r\nt\r\n\r\n"},
			{"SEEK t 0\r\n", 200, "OK 0 0\r\n"},

			{"READ t 1 1\r\n", 404, reply("not found")},
			{"INFO nothing\r\n", 404, reply("not found")},
			{"READ t 0 0\r\n", 400, reply("invalid request")},
			{"READ t 0 11\r\n", 400, reply("invalid request")},
			{"HELLO 1\r\n", 400, reply("invalid request")},
			{strings.Replace(b, " t ", " .t ", 1), 400, reply("invalid request")},
			{strings.Replace(b, " t ", " __t ", 1), 400, reply("invalid request")},
			{"BATCH x t 0 1\r\n", 400, reply("invalid request")},
			{"what\r\n", 400, reply("invalid protocol")},
			{"", 400, reply("invalid protocol")},
			{"\r\n", 400, reply("invalid protocol")},
			{strings.Repeat("x", protocol.MaxLine+1) + "\r\n", 400, reply("invalid protocol")},
			{strings.Replace(b, "one", "two", 1), 400, reply("checksum mismatch")},
			{testkit.Batch("w", "one"), 403, reply("topic not allowed")},
			{testkit.Batch("u", "one"), 200, "OK 0 1\r\n"},
			{testkit.Batch("v", "one"), 429, reply("maximum topics allowed")},
			{testkit.Batch("t", strings.Repeat("x", 1000)), 413, reply("too large")},
			{testkit.Batch("t", strings.Repeat("x", 980)), 413, reply("too large")}, // by its envelope
			{"BATCH 9223372036854775807 t 0 1\r\n", 413, reply("too large")},

			// One request, whole, and no more.
			{"PING\r\nPING\r\n", 400, reply("invalid request")},
			{b + "PING\r\n", 400, reply("invalid request")},
			{b[:len(b)-1], 400, reply("invalid request")},
			{b[:10], 400, reply("invalid request")},
			{"PING\r\n" + strings.Repeat("x", 5000), 400, reply("invalid request")},
			{"what\r\nwhat\r\n", 400, reply("invalid protocol")},
		} {
			sent := make(chan struct{})
			go func(c *client) { // which may be answered before it is sent whole
				defer close(sent)
				c.post(protocol.ContentType, test.request)
			}(c)
			status, answer, h := c.answer()
			<-sent
			if status != test.status || answer != test.answer {
				t.Errorf("%.60q: received %d %q, want %d %q", test.request, status, answer, test.status, test.answer)
			}
			if got := h.Get("Content-Type"); got != protocol.ContentType {
				t.Errorf("%.60q: Content-Type %q", test.request, got)
			}
			switch test.status {
			case 400, 401, 403, 413, 415:
				c.wantClosed()
				c = dial()
			}
		}
		if got, want := length(store, "t"), 2*len(b); got != want {
			t.Errorf("%d bytes are stored, want %d", got, want)
		}
		c.nc.Close()
	})
}

// TestHTTPStatusOfStoreErrors: every error of the protocol has its status.
func TestHTTPStatusOfStoreErrors(t *testing.T) {
	var fails error
	store := topictest.NewMemory()
	store.OnRead = func(string) error { return fails }
	store.Create([]byte("t"))
	inHTTPBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		c := dial()
		for _, test := range []struct {
			err    error
			status int
			reason string
		}{
			{protocol.ErrUnauthorized, 401, "unauthorized"},
			{protocol.ErrUnsupportedCodec, 400, "unsupported codec"},
			{protocol.ErrNotLeader, 421, "not leader"},
			{protocol.ErrBusy, 503, "busy"},
			{protocol.ErrShuttingDown, 503, "shutting down"},
			{protocol.ErrReadOnly, 503, "read only"},
			{errors.New("disk on fire"), 500, "internal error"},
		} {
			fails = test.err
			c.post(protocol.ContentType, "READ t 0 1\r\n")
			c.wantAnswer(test.status, "ERR "+test.reason+"\r\n")
			if test.status < 500 && test.status != 421 {
				c.wantClosed()
				c = dial()
			}
		}
		c.nc.Close()
	})
}

func TestHTTPContentTypeAndMethod(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		h := handler(s, server.Options{})
		dial := serveHTTP(t, h)
		c := dial()
		b := testkit.Batch("t", "one")
		for _, header := range []string{
			"", "Content-Type:\r\n", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n",
			"Content-Type: application/logd2\r\n", "Content-Type: ;\r\n", "Content-Type: application/logd, text/plain\r\n",
			"Content-Type: application/logd\r\nContent-Type: application/logd\r\n",
			"Content-Type: application/logd\r\nContent-Type: text/plain\r\n",
			"Content-Type: text/plain\r\nContent-Type: application/logd\r\n",
		} {
			c.send(fmt.Sprintf("POST /log HTTP/1.1\r\nHost: logd\r\n%sContent-Length: %d\r\n\r\n%s", header, len(b), b))
			c.wantAnswer(415, "ERR invalid request\r\n")
			c.wantClosed()
			c = dial()
		}
		if n := h.Refused()["content_type"]; n != 10 {
			t.Errorf("%d requests of another content type are counted, want 10", n)
		}
		if n := length(store, "t"); n != -1 {
			t.Errorf("%d bytes are stored", n)
		}
		c.post("application/logd; charset=utf-8", b)
		c.wantAnswer(200, "OK 0 1\r\n")
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			c.send(method + " /log HTTP/1.1\r\nHost: logd\r\nContent-Length: 0\r\n\r\n")
			status, body, h := c.answer()
			if status != 405 || body != "ERR invalid request\r\n" || h.Get("Allow") != "POST" || h.Get("Content-Type") != protocol.ContentType {
				t.Errorf("%s: %d %q, Allow %q, Content-Type %q", method, status, body, h.Get("Allow"), h.Get("Content-Type"))
			}
		}
		c.nc.Close()
	})
}

// TestHTTPWaitingRead: it ends by an append, in time, when its client goes
// away, with a drain and with Close, and by nothing else.
func TestHTTPWaitingRead(t *testing.T) {
	b := testkit.Batch("t", "one")
	wait := fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))
	nothing := fmt.Sprintf("OK %d 0\r\n", len(b))
	start := func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) (w, c *client) {
		w, c = connect(t, s), dial()
		w.ask(b, "OK 0 1")
		c.post(protocol.ContentType, wait)
		wantWatching(t, s, store, 1)
		return w, c
	}
	type scene func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client)
	for name, f := range map[string]scene{
		"append": func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
			_, c := start(t, s, store, dial)
			time.Sleep(10 * httpTimeout) // which is no deadline of a read that waits
			wantWatching(t, s, store, 1)
			began := time.Now()
			connect(t, s).ask(b, fmt.Sprintf("OK %d 1", len(b)))
			c.wantAnswer(200, fmt.Sprintf("OK %d 1\r\n%s", len(b), b))
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
			c.post(protocol.ContentType, "PING\r\n")
			c.wantAnswer(200, "OK\r\n")
		},
		"time": func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
			began := time.Now()
			_, c := start(t, s, store, dial)
			c.wantAnswer(200, nothing)
			if d := time.Since(began); d != time.Hour {
				t.Errorf("it took %v", d)
			}
			c.post(protocol.ContentType, "PING\r\n")
			c.wantAnswer(200, "OK\r\n")
		},
		"gone": func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
			_, c := start(t, s, store, dial)
			c.nc.Close()
			wantWatching(t, s, store, 0)
		},
		"drain": func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
			w, c := start(t, s, store, dial)
			w.nc.Close()
			done := make(chan error, 1)
			began := time.Now()
			go func() { done <- s.Shutdown(context.Background()) }()
			c.wantAnswer(200, nothing)
			if err := <-done; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
			c.post(protocol.ContentType, "PING\r\n")
			c.wantAnswer(503, "ERR shutting down\r\n")
		},
		"close": func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
			start(t, s, store, dial)
			began := time.Now()
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
			wantWatching(t, s, store, 0)
		},
	} {
		t.Run(name, func(t *testing.T) { inHTTPBubble(t, server.Options{Timeout: httpTimeout}, scene(f)) })
	}
}

// TestHTTPBodyThatDribbles is cut by the HTTP server's own deadline, and
// nothing of it is stored.
func TestHTTPBodyThatDribbles(t *testing.T) {
	inHTTPBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		c := dial()
		start := time.Now()
		b := testkit.Batch("t", strings.Repeat("x", 1000))
		c.send(fmt.Sprintf("POST /log HTTP/1.1\r\nHost: logd\r\nContent-Type: application/logd\r\nContent-Length: %d\r\n\r\n", len(b)))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range b {
				if _, err := c.nc.Write([]byte{b[i]}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		c.wantAnswer(400, "ERR invalid request\r\n")
		elapsed(t, start, httpTimeout)
		c.nc.Close()
		<-done
		if n := length(store, "t"); n != -1 {
			t.Errorf("%d bytes are stored", n)
		}
	})
}

// TestHTTPReaderThatDoesNotRead is cut after Timeout.
func TestHTTPReaderThatDoesNotRead(t *testing.T) {
	inHTTPBubble(t, server.Options{Timeout: httpTimeout}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		c := dial()
		b := testkit.Batch("t", strings.Repeat("x", 60_000))
		c.post(protocol.ContentType, b)
		c.wantAnswer(200, "OK 0 1\r\n")
		start := time.Now()
		c.post(protocol.ContentType, "READ t 0 1\r\n")
		synctest.Wait()
		if err := s.Shutdown(context.Background()); err != nil { // waits for what runs
			t.Errorf("Shutdown: %v", err)
		}
		elapsed(t, start, httpTimeout)
	})
}

// TestHTTPMaxConnections: requests over HTTP count as connections while they
// are answered, so that reads that wait are bounded there too.
func TestHTTPMaxConnections(t *testing.T) {
	inHTTPBubble(t, server.Options{MaxConnections: 3, MaxHTTPWaits: 2}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		w := connect(t, s)
		w.ask(testkit.Batch("t", "one"), "OK 0 1")
		a, b, c := dial(), dial(), dial()
		for _, waiting := range []*client{a, b} {
			waiting.post(protocol.ContentType, "READ t 37 1 wait=60000\r\n")
		}
		wantWatching(t, s, store, 2)
		c.post(protocol.ContentType, "PING\r\n")
		c.wantAnswer(503, "ERR busy\r\n")
		d := connect(t, s)
		d.want("ERR busy\r\n")
		d.wantClosed()
		if n := s.Stats().ConnectionsRefused; n != 2 {
			t.Errorf("%d are refused, want 2", n)
		}
		w.ask(testkit.Batch("t", "one"), "OK 37 1")
		for _, waiting := range []*client{a, b} {
			waiting.wantAnswer(200, "OK 37 1\r\n"+testkit.Batch("t", "one"))
		}
		synctest.Wait()
		c.post(protocol.ContentType, "PING\r\n")
		c.wantAnswer(200, "OK\r\n")
	})
}

// TestHTTPWaitsAreLimited: reads over HTTP that wait take some of its
// connections, and never all. A read that need not wait is not counted.
func TestHTTPWaitsAreLimited(t *testing.T) {
	inHTTPBubble(t, server.Options{MaxConnections: 9}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		b := testkit.Batch("t", "one")
		w := connect(t, s)
		w.ask(b, "OK 0 1")
		var waiting []*client
		for range 4 {
			c := dial()
			c.post(protocol.ContentType, "TAIL t 1 wait=60000\r\n") // does not wait
			c.wantAnswer(200, "OK 0 1\r\n"+b)
			c.post(protocol.ContentType, fmt.Sprintf("READ t %d 1 wait=60000\r\n", len(b)))
			waiting = append(waiting, c)
		}
		wantWatching(t, s, store, 4)
		c := dial()
		for range 3 {
			c.post(protocol.ContentType, fmt.Sprintf("READ t %d 1 wait=60000\r\n", len(b)))
			c.wantAnswer(503, "ERR busy\r\n")
			wantWatching(t, s, store, 4)
		}
		c.post(protocol.ContentType, "READ t 0 1 wait=60000\r\n")
		c.wantAnswer(200, "OK 0 1\r\n"+b)
		over := connect(t, s) // not over HTTP
		over.send(fmt.Sprintf("READ t %d 1 wait=60000\r\n", len(b)))
		wantWatching(t, s, store, 5)

		waiting[0].nc.Close()
		wantWatching(t, s, store, 4)
		c.post(protocol.ContentType, fmt.Sprintf("READ t %d 1 wait=60000\r\n", len(b)))
		wantWatching(t, s, store, 5)
		w.ask(b, fmt.Sprintf("OK %d 1", len(b)))
		for _, c := range append(waiting[1:], c) {
			c.wantAnswer(200, fmt.Sprintf("OK %d 1\r\n%s", len(b), b))
		}
	})
}

// TestHTTPPanic: it is logged with its stack and counted, as on any connection;
// nothing of the request is left.
func TestHTTPPanic(t *testing.T) {
	store := topictest.NewMemory()
	store.OnAppend = func(string) error { panic("the store is broken") }
	log, logger := logBuffer()
	inHTTPBubble(t, server.Options{Store: store, Logger: logger}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		c := dial()
		c.post(protocol.ContentType, testkit.Batch("t", "one"))
		c.wantClosed() // an error answer would say that nothing is stored
		c = dial()
		c.post(protocol.ContentType, "PING\r\n")
		c.wantAnswer(200, "OK\r\n")
		if n := s.Stats().Panics; n != 1 {
			t.Errorf("%d panics are counted, want 1", n)
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	for _, text := range []string{"the store is broken", "stack=", "http_test.go"} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("the log does not have %q: %s", text, log.String())
		}
	}
}

// TestHTTPFileShorterThanPromised: half an answer does not end as a whole one
// does.
func TestHTTPFileShorterThanPromised(t *testing.T) {
	store, b := newFileStore(t, 200_000, 1<<40)
	inHTTPBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
		for _, whole := range []bool{true, false} {
			if !whole {
				if err := os.Truncate(store.log.file.Name(), filePosition+100_000); err != nil {
					t.Fatal(err)
				}
			}
			c := dial()
			c.post(protocol.ContentType, "READ t 0 1\r\n")
			resp, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if want := "OK 0 1\r\n" + b; !strings.HasPrefix(want, string(got)) || whole && len(got) != len(want) {
				t.Errorf("received %d bytes, want %d, or the first of them", len(got), len(want))
			}
			if (err == nil) != whole {
				t.Errorf("the answer ends with %v", err)
			}
			c.nc.Close()
		}
		if n := s.Stats().Panics; n != 0 {
			t.Errorf("%d panics are counted", n)
		}
	})
}
