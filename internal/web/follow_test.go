package web_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
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
