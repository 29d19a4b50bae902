package web_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
	"github.com/logd-dev/logd/internal/web"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// timeout is that of the servers here, for requests and answers.
const timeout = 10 * time.Second

// inBubble runs f in a bubble of synctest, with a server of the protocol and one of
// HTTP before it. Each call of dial makes a connection to that one.
func inBubble(t *testing.T, o server.Options, f func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client)) {
	t.Helper()
	inWebBubble(t, o, func(t *testing.T, s *server.Server, store *topictest.Memory, _ *web.Server, dial func() *client) {
		f(t, s, store, dial)
	})
}

// inWebBubble is inBubble for who wants to see the server of HTTP as well.
func inWebBubble(t *testing.T, o server.Options, f func(t *testing.T, s *server.Server, store *topictest.Memory, w *web.Server, dial func() *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := o
		store, _ := o.Store.(*topictest.Memory)
		if o.Store == nil {
			store = topictest.NewMemory()
			o.Store, o.Hooks = store, store
		}
		o.Timeout = timeout
		s := server.New(o)
		w := web.New(web.Options{
			Protocol: func() *server.Server { return s }, Logger: o.Logger, Auth: o.Auth,
			Limits: web.Limits{Timeout: timeout, IdleTimeout: time.Hour, AllowedHosts: []string{"logd"}, MaxConnections: 100},
		})
		network := memnet.New(t)
		l, err := network.Listen("logd:1775")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- w.Serve(l) }()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if n := s.Stats().Connections; n != 0 {
				t.Errorf("%d connections after Close", n)
			}
			w.Close()
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve = %v", err)
			}
		})
		f(t, s, store, w, func() *client {
			nc, err := network.Dial(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return &client{t, nc, bufio.NewReader(nc)}
		})
	})
}

// client is a connection in a bubble.
type client struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

// connect returns a connection of the protocol.
func connect(t testing.TB, s *server.Server) *client {
	nc, srv := net.Pipe()
	s.ServeConn(srv)
	return &client{t, nc, bufio.NewReader(nc)}
}

// send sends text, which the server must take.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, text); err != nil {
		c.t.Fatalf("send %.60q: %v", text, err)
	}
}

// want receives exactly text.
func (c *client) want(text string) {
	c.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(c.in, got)
	if err != nil || string(got) != text {
		c.t.Fatalf("received %.200q (%v), want %.200q", got[:n], err, text)
	}
}

// ask sends a request of the protocol that has one line as its answer.
func (c *client) ask(request, answer string) {
	c.t.Helper()
	c.send(request)
	c.want(answer + "\r\n")
}

// wantClosed waits for the server to close.
func (c *client) wantClosed() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
		c.t.Fatalf("received %.200q (%v), want the connection closed", rest, err)
	}
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

// length returns how much is in a topic, -1 if there is no such topic.
func length(store *topictest.Memory, name string) int {
	data, ok := store.Data(name)
	if !ok {
		return -1
	}
	return len(data)
}

// wantWatching waits until nothing moves, and fails unless so many reads wait, as
// the server and the store see it.
func wantWatching(t *testing.T, s *server.Server, store *topictest.Memory, want int) {
	t.Helper()
	synctest.Wait()
	if readers, watchers := s.Stats().WaitingReads, store.Watchers("t"); int(readers) != want || watchers != want {
		t.Fatalf("%d reads wait, %d watch the log; want %d", readers, watchers, want)
	}
}

// elapsed fails unless the time since start is from want to want + 1/32.
func elapsed(t testing.TB, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got < want || got > want+want/32 {
		t.Errorf("it took %v, want %v", got, want)
	}
}

// TestLogRequests: the body is one whole request, the answer its response, and
// the status says it again. What ends a connection of the protocol does not end
// one of HTTP, but what is wrong with a request does.
func TestLogRequests(t *testing.T) {
	store := topictest.NewMemory()
	store.MaxTopics, store.Allowed = 2, []string{"t", "u", "v"}
	b := testkit.Batch("t", "one")
	reply := func(reason string) string { return "ERR " + reason + "\r\n" }
	inBubble(t, server.Options{Store: store, Settings: protocol.Settings{MaxBatchSize: 1000, MaxMessages: 10}}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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

// TestLogStatusOfStoreErrors: every error of the protocol has its status.
func TestLogStatusOfStoreErrors(t *testing.T) {
	var fails error
	store := topictest.NewMemory()
	store.OnRead = func(string) error { return fails }
	store.Create(t.Context(), []byte("t"))
	inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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

func TestLogContentTypeAndMethod(t *testing.T) {
	inWebBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, w *web.Server, dial func() *client) {
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
		if n := w.Refused()["content_type"]; n != 10 {
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

// TestLogWaitingRead: it ends by an append, in time, when its client goes
// away, with a drain and with Close, and by nothing else.
func TestLogWaitingRead(t *testing.T) {
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
			time.Sleep(10 * timeout) // which is no deadline of a read that waits
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
		t.Run(name, func(t *testing.T) { inBubble(t, server.Options{}, scene(f)) })
	}
}

// TestLogBodyThatDribbles is cut by the HTTP server's own deadline, and
// nothing of it is stored.
func TestLogBodyThatDribbles(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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
		elapsed(t, start, timeout)
		c.nc.Close()
		<-done
		if n := length(store, "t"); n != -1 {
			t.Errorf("%d bytes are stored", n)
		}
	})
}

// TestLogReaderThatDoesNotRead is cut after Timeout.
func TestLogReaderThatDoesNotRead(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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
		elapsed(t, start, timeout)
	})
}

// TestLogMaxConnections: requests over HTTP count as connections while they
// are answered, so that reads that wait are bounded there too.
func TestLogMaxConnections(t *testing.T) {
	inBubble(t, server.Options{MaxConnections: 3, MaxHTTPWaits: 2}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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

// TestLogWaitsAreLimited: reads over HTTP that wait take some of its
// connections, and never all. A read that need not wait is not counted.
func TestLogWaitsAreLimited(t *testing.T) {
	inBubble(t, server.Options{MaxConnections: 9}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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

// TestLogPanic: it is logged with its stack and counted, as on any connection;
// nothing of the request is left.
func TestLogPanic(t *testing.T) {
	store := topictest.NewMemory()
	store.OnAppend = func(string) error { panic("the store is broken") }
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, server.Options{Store: store, Logger: logger}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
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
	for _, text := range []string{"the store is broken", "stack=", "log_test.go"} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("the log does not have %q: %s", text, log.String())
		}
	}
}

// shortStore has a topic t whose file may be shorter than what a read promises.
type shortStore struct {
	*topictest.Memory
	data string
	has  atomic.Int64 // so many bytes of data are there
}

func (s *shortStore) Log([]byte) (topic.Log, error) {
	log, err := s.Memory.Log([]byte("t"))
	return shortLog{log, s}, err
}

type shortLog struct {
	topic.Log
	store *shortStore
}

func (l shortLog) Read(offset, messages, maxBytes int64) (topic.View, error) {
	v, err := l.Log.Read(offset, messages, maxBytes)
	return shortView{v, l.store}, err
}

type shortView struct {
	topic.View
	store *shortStore
}

func (v shortView) Sections() int { return 1 }

func (v shortView) Section(int) (io.ReaderAt, int64, int64) {
	return strings.NewReader(v.store.data[:v.store.has.Load()]), 0, int64(len(v.store.data))
}

// TestLogFileShorterThanPromised: half an answer does not end as a whole one
// does.
func TestLogFileShorterThanPromised(t *testing.T) {
	b := testkit.Batch("t", strings.Repeat("0123456789", 20_000))
	store := &shortStore{Memory: topictest.NewMemory(), data: b}
	inBubble(t, server.Options{Store: store, Settings: protocol.Settings{MaxBatchSize: 1 << 20}}, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
		c := dial()
		store.Create(t.Context(), []byte("t"))
		c.post(protocol.ContentType, b)
		c.wantAnswer(200, "OK 0 1\r\n")
		for _, whole := range []bool{true, false} {
			store.has.Store(100_000)
			if whole {
				store.has.Store(int64(len(b)))
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

// TestLogInDoubt: what may be stored or not has no answer; the connection ends.
func TestLogInDoubt(t *testing.T) {
	for _, where := range []string{"append", "commit"} {
		t.Run(where, func(t *testing.T) {
			store := topictest.NewMemory()
			fails := func(string) error { return fmt.Errorf("%w: %w", topic.ErrInDoubt, errors.New("disk on fire")) }
			if where == "append" {
				store.OnAppend = fails
			} else {
				store.OnCommit = fails
			}
			inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
				c := dial()
				c.post(protocol.ContentType, testkit.Batch("t", "one"))
				c.wantClosed()
				c = dial()
				c.post(protocol.ContentType, "PING\r\n")
				c.wantAnswer(200, "OK\r\n")
				if n := s.Stats().Panics; n != 0 {
					t.Errorf("%d panics are counted", n)
				}
			})
		})
	}
}

// TestLogTooLarge: what is too large is said to be so from the first line, whether
// the data is there or not.
func TestLogTooLarge(t *testing.T) {
	inBubble(t, server.Options{Settings: protocol.Settings{MaxBatchSize: 2000}}, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
		for _, line := range []string{
			"BATCH 2000 t 1 1\r\n", "BATCH 1983 t 1 1\r\n", "BATCH 1983 t 1 1\n", "BATCH 2000 t 1 0\r\n", "BATCH 2000 / 1 1\r\n",
			"BATCH 9223372036854775807 t 1 1\r\n",
		} {
			c := dial()
			c.post(protocol.ContentType, line)
			c.wantAnswer(413, "ERR too large\r\n")
			c.wantClosed()
		}
	})
}

// refusingStore refuses to give out logs while there is a reason.
type refusingStore struct {
	*topictest.Memory
	reason atomic.Pointer[protocol.Error]
}

func (s *refusingStore) Log(name []byte) (topic.Log, error) {
	if err := s.reason.Load(); err != nil {
		return nil, err
	}
	return s.Memory.Log(name)
}

// TestLogRecall: a read that waits gives back its log when the server is told to. It
// waits on if the store still gives the log out, and ends at once if not.
func TestLogRecall(t *testing.T) {
	b := testkit.Batch("t", "one")
	for _, reason := range []*protocol.Error{protocol.ErrUnauthorized, protocol.ErrNotLeader} {
		store := &refusingStore{Memory: topictest.NewMemory()}
		inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
			connect(t, s).ask(b, "OK 0 1")
			waiting, refused := dial(), dial()
			atEnd := fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))
			waiting.post(protocol.ContentType, atEnd)
			for range 5 {
				time.Sleep(time.Second)
				s.Recall()
				wantWatching(t, s, store.Memory, 1)
			}
			connect(t, s).ask(b, fmt.Sprintf("OK %d 1", len(b)))
			waiting.wantAnswer(200, fmt.Sprintf("OK %d 1\r\n%s", len(b), b))

			refused.post(protocol.ContentType, fmt.Sprintf("READ t %d 1 wait=3600000\r\n", 2*len(b)))
			wantWatching(t, s, store.Memory, 1)
			store.reason.Store(reason)
			began := time.Now()
			s.Recall()
			refused.wantAnswer(reason.Status, "ERR "+reason.Reason+"\r\n")
			if took := time.Since(began); took != 0 {
				t.Errorf("the read ended after %v", took)
			}
			wantWatching(t, s, store.Memory, 0)
		})
	}
}
