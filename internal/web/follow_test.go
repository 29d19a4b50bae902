package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// TestFollowStaysOpen: who follows a topic to which nothing comes is sent a comment now and
// then, for longer than a request may take.
func TestFollowStaysOpen(t *testing.T) {
	inBubble(t, server.Options{IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
		connect(t, s).ask(testkit.Batch("orders", "one"), "OK 0 1")
		c := dial()
		c.send("GET /api/v1/topics/orders/messages?format=sse HTTP/1.1\r\nHost: logd\r\n\r\n")
		read := func() string {
			var text strings.Builder
			for {
				b, err := c.in.Peek(1)
				if err != nil {
					t.Fatalf("%v after %q", err, text.String())
				}
				_ = b
				all, _ := c.in.Peek(c.in.Buffered())
				text.Write(all)
				c.in.Discard(len(all))
				if strings.HasSuffix(text.String(), "\n\n\r\n") {
					return text.String()
				}
			}
		}
		synctest.Wait()
		if head := read(); !strings.Contains(head, "event: topic\n") {
			t.Fatalf("%q", head)
		}
		begun := time.Now()
		for i := range 5 {
			if got := read(); !strings.Contains(got, ":\n\n") {
				t.Errorf("%q", got)
			}
			if took, want := time.Since(begun), time.Duration(i+1)*15*time.Second; took < want-time.Second || took > want+time.Second {
				t.Errorf("comment %d after %v", i, took)
			}
		}
		c.nc.Close()
	})
}

// follow has a connection follow "t", and reads the head of the answer.
func (c *client) follow(version string) *http.Response {
	c.t.Helper()
	c.send("GET /api/v1/topics/t/messages?format=sse HTTP/" + version + "\r\nHost: logd\r\n\r\n")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// wantText reads what is in the answer until it ends with something.
func wantText(t *testing.T, r io.Reader, end string) {
	t.Helper()
	var text []byte
	for b := make([]byte, 1<<10); !bytes.HasSuffix(text, []byte(end)); {
		n, err := r.Read(b)
		text = append(text, b[:n]...)
		if err != nil && !bytes.HasSuffix(text, []byte(end)) {
			t.Fatalf("%v after %q, which does not end with %q", err, text, end)
		}
	}
}

// TestFollowVersions: an answer to HTTP/1.1 comes in chunks, of which the last says that it is
// whole; to HTTP/1.0 it ends with the connection. Nothing else is answered on it.
func TestFollowVersions(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		t.Run(version, func(t *testing.T) {
			inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
				w := connect(t, s)
				w.ask(testkit.Batch("t", "one"), "OK 0 1")
				c := dial()
				resp := c.follow(version)
				for name, want := range map[string]string{
					"Content-Type": "text/event-stream", "Connection": "close", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
				} {
					if got := resp.Header.Get(name); got != want && !(name == "Connection" && resp.Close) {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if chunked := len(resp.TransferEncoding) > 0; resp.StatusCode != 200 || resp.Proto != "HTTP/"+version || chunked != (version == "1.1") {
					t.Errorf("%s %s, in chunks %v", resp.Proto, resp.Status, chunked)
				}
				if date, err := http.ParseTime(resp.Header.Get("Date")); err != nil || time.Since(date) > time.Second {
					t.Errorf("Date: %q (%v)", resp.Header.Get("Date"), err)
				}
				c.send("GET /healthz HTTP/" + version + "\r\nHost: logd\r\n\r\n")
				w.ask(testkit.Batch("t", "two"), "OK "+fmt.Sprint(len(testkit.Batch("t", "one")))+" 1")
				wantText(t, resp.Body, `"body":"two"}`+"\n\n")
				w.ask("DELETE t id=00000000000000000000000000000001\r\n", "OK")
				rest, err := io.ReadAll(resp.Body)
				if want := "event: deleted\ndata: {\"topic\":\"t\"}\n\n"; string(rest) != want || err != nil {
					t.Errorf("%q (%v), want %q", rest, err, want)
				}
				c.wantClosed()
			})
		})
	}
}

// TestFollowAway: who goes away is missed at once, not with the next event.
func TestFollowAway(t *testing.T) {
	inBubble(t, server.Options{MaxHTTPWaits: 1}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		connect(t, s).ask(testkit.Batch("t", "one"), "OK 0 1")
		for range 3 {
			c := dial()
			if resp := c.follow("1.1"); resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
			wantWatching(t, s, store, 1)
			c.nc.Close()
			wantWatching(t, s, store, 0)
		}
	})
}

// TestFollowTalks: of who says more and more, no more is read than a body that should not be
// there may have. It is sent events all the same, and missed when something is to be sent.
func TestFollowTalks(t *testing.T) {
	inBubble(t, server.Options{IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		w := connect(t, s)
		w.ask(testkit.Batch("t", "one"), "OK 0 1")
		c := dial()
		resp := c.follow("1.1")
		wantText(t, resp.Body, "\"}\n\n")
		c.nc.SetWriteDeadline(time.Now().Add(time.Second))
		const most = 64 << 10
		if n, err := c.nc.Write(make([]byte, 2*most)); n < most || n > most+1<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes were read (%v), want %d", n, err, most)
		}
		w.ask(testkit.Batch("t", "two"), fmt.Sprintf("OK %d 1", len(testkit.Batch("t", "one"))))
		wantText(t, resp.Body, `"body":"two"}`+"\n\n")
		wantWatching(t, s, store, 1)
		c.nc.Close()
		time.Sleep(16 * time.Second) // longer than between comments
		wantWatching(t, s, store, 0)
	})
}

// TestFollowSlow: who takes nothing for the timeout is cut, and who takes something stays,
// however long it takes for all.
func TestFollowSlow(t *testing.T) {
	o := server.Options{IdleTimeout: time.Hour, Settings: protocol.Settings{MaxBatchSize: 1 << 20}}
	inBubble(t, o, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		w := connect(t, s)
		w.ask(testkit.Batch("t", "one"), "OK 0 1")
		nothing, resp := dial().follow("1.1"), dial().follow("1.1")
		body := strings.Repeat("x", 60_000)
		at, many := int64(len(testkit.Batch("t", "one"))), testkit.Batch("t", body, body, body, body, body, body, body)
		start := time.Now()
		w.ask(many, fmt.Sprintf("OK %d 1", at))
		left := make(chan int, 1)
		go func() {
			n := 0
			for b := make([]byte, 4<<10); n < 7*len(body); n += len(b) {
				time.Sleep(timeout / 32)
				if _, err := io.ReadFull(resp.Body, b); err != nil {
					t.Errorf("%v after %d bytes and %v", err, n, time.Since(start))
					break
				}
			}
			left <- 7*len(body) - n
		}()
		time.Sleep(timeout + timeout/32)
		if text, err := io.ReadAll(nothing.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(text) > 7*len(body) {
			t.Errorf("who has taken nothing gets %d bytes (%v)", len(text), err)
		}
		if n := <-left; n > 0 {
			t.Errorf("%d bytes have not come", n)
		}
		if took := time.Since(start); took < 2*timeout {
			t.Errorf("it took %v, which is not slow", took)
		}
	})
}

// TestFollowShutdown: who follows is told of the end, and Shutdown waits for that.
func TestFollowShutdown(t *testing.T) {
	inWebBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, w *web.Server, dial func() *client) {
		connect(t, s).ask(testkit.Batch("t", "one"), "OK 0 1")
		c := dial()
		resp := c.follow("1.1")
		wantWatching(t, s, store, 1)
		ended := make(chan error, 1)
		go func() {
			err := s.Shutdown(t.Context())
			ended <- errors.Join(err, w.Shutdown(t.Context()))
		}()
		wantText(t, resp.Body, "event: closing\ndata: {}\n\n")
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q (%v)", rest, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.wantClosed()
	})
}

// TestFollowClose: Close cuts who follows, and the answer is not whole.
func TestFollowClose(t *testing.T) {
	inWebBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, w *web.Server, dial func() *client) {
		connect(t, s).ask(testkit.Batch("t", "one"), "OK 0 1")
		resp := dial().follow("1.1")
		wantWatching(t, s, store, 1)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		w.Close()
		wantWatching(t, s, store, 0)
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v, want an answer that is not whole", err)
		}
	})
}
