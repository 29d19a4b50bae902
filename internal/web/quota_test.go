package web_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// TestLogOverQuota: a request waits for its quota with those of the protocol, before its
// body is read; one that would have to wait for too long is told how long that is.
func TestLogOverQuota(t *testing.T) {
	const rate = 1000
	b := testkit.Batch("t", strings.Repeat("x", 1000-len("BATCH 1010 t 1234567890 1\r\nMSG 970\r\n\r\n")+1))
	most := min(5*time.Second, timeout/2)
	owed := int(most/time.Second) * rate
	inBubble(t, server.Options{TopicWriteRate: rate, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, store *topictest.Memory, dial func() *client) {
		took := func(want time.Duration, f func()) {
			t.Helper()
			begun := time.Now()
			f()
			if got := time.Since(begun); got < want-20*time.Millisecond || got > want+20*time.Millisecond {
				t.Errorf("it took %v, want %v", got, want)
			}
		}
		c, p := dial(), connect(t, s)
		took(0, func() {
			c.post(protocol.ContentType, b)
			c.wantAnswer(200, "OK 0 1\r\n")
		})
		took(time.Second, func() { p.ask(b, fmt.Sprintf("OK %d 1", len(b))) })
		took(time.Second, func() {
			c.post(protocol.ContentType, b)
			c.wantAnswer(200, fmt.Sprintf("OK %d 1\r\n", 2*len(b)))
		})

		// The wait is over before the rest is there, and what is left of it is its own.
		line := strings.IndexByte(b, '\n') + 1
		c.send(fmt.Sprintf("POST /log HTTP/1.1\r\nHost: logd\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", protocol.ContentType, len(b), b[:line]))
		time.Sleep(time.Second)
		took(0, func() {
			c.send(b[line:])
			c.wantAnswer(200, fmt.Sprintf("OK %d 1\r\n", 3*len(b)))
		})

		// One that would have to wait for too long is dropped, and its connection stays.
		time.Sleep(time.Second)
		large := testkit.Batch("t", strings.Repeat("x", owed+1500))
		p.send(large)
		p.want(fmt.Sprintf("OK %d 1\r\n", 4*len(b)))
		before := length(store, "t")
		took(0, func() {
			c.post(protocol.ContentType, b)
			status, body, h := c.answer()
			want := fmt.Sprint((len(large) + len(b) - rate + 999) / rate)
			if status != 503 || body != "ERR busy\r\n" || h.Get("Retry-After") != want {
				t.Errorf("received %d %q, Retry-After %q; want 503, ERR busy, %s", status, body, h.Get("Retry-After"), want)
			}
		})
		if n := length(store, "t"); n != before {
			t.Errorf("the topic has %d bytes, want %d", n, before)
		}

		// A control: another topic, and a request that writes nothing.
		took(0, func() {
			c.post(protocol.ContentType, testkit.Batch("u", "one"))
			c.wantAnswer(200, "OK 0 1\r\n")
			c.post(protocol.ContentType, "SEEK t 0")
			c.wantAnswer(200, "OK 0 0\r\n")
		})
		if got := s.Stats().Throttled["topic"]; got != 4 {
			t.Errorf("%d throttled, want 4", got)
		}

		// Who is gone waits no more.
		time.Sleep(time.Hour / 2)
		p.send(large)
		p.wantLine("OK ")
		time.Sleep(2 * time.Second)
		c.post(protocol.ContentType, b)
		synctest.Wait()
		took(0, func() { s.Close() })
	})
}

// wantLine receives a line that begins so.
func (c *client) wantLine(want string) {
	c.t.Helper()
	if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("received %q (%v), want %s", line, err, want)
	}
}
