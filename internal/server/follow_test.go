package server_test

import (
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// said is the answer to one request, in short.
type said string

func (s *said) OK()                       { *s = "OK" }
func (s *said) Offset(n, batches int64)   { *s = said(fmt.Sprintf("OK %d %d", n, batches)) }
func (s *said) Body(b []byte)             { *s = said(b) }
func (s *said) Error(err *protocol.Error) { *s = said("ERR " + err.Reason) }
func (s *said) Batches(v topic.View) {
	*s = said(fmt.Sprintf("OK %d %d", v.Offset(), v.Batches()))
	v.Close()
}

// TestFollower: a follower sees the topic that it follows and no other of that name, counts
// as one that waits over HTTP, and gives that back.
func TestFollower(t *testing.T) {
	inBubble(t, server.Options{MaxHTTPWaits: 1}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		c := connect(t, s)
		c.ask(testkit.Batch("orders", "one"), "OK 0 1")
		if _, err := s.Follow("", server.Shown{}, 0, []byte("none")); err != protocol.ErrNotFound {
			t.Errorf("of no topic: %v", err)
		}
		f, err := s.Follow("", server.Shown{}, 0, []byte("orders"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Follow("", server.Shown{}, 0, []byte("orders")); err != protocol.ErrBusy {
			t.Errorf("one too many: %v", err)
		}
		ask := func(request, want string) {
			t.Helper()
			var got said
			if err := f.Do(t.Context(), []byte(request), &got); err != nil || string(got) != want {
				t.Errorf("%q is answered %q (%v), want %q", request, got, err, want)
			}
		}
		ask("READ orders 0 1\r\n", "OK 0 1")
		ask("READ orders 0 1 wait=1\r\n", "OK 0 1")
		s.Recall()
		ask("READ orders 0 1\r\n", "OK 0 1")
		in, infoErr := func() (topic.Info, error) {
			log, err := store.Log([]byte("orders"))
			if err != nil {
				return topic.Info{}, err
			}
			return log.Info(t.Context())
		}()
		if infoErr != nil {
			t.Fatal(infoErr)
		}
		c.ask("DELETE orders id="+in.ID+"\r\n", "OK")
		c.ask(testkit.Batch("orders", "two"), "OK 0 1")
		if !f.Deleted() {
			t.Error("it is not said to be deleted")
		}
		for range 2 {
			ask("READ orders 0 1\r\n", "ERR not found")
			ask("INFO orders\r\n", "ERR not found")
			ask("READ orders 34 1 wait=1000\r\n", "ERR not found")
		}
		f.Close()
		if f, err = s.Follow("", server.Shown{}, 0, []byte("orders")); err != nil {
			t.Fatal(err)
		}
		ask("READ orders 0 1\r\n", "OK 0 1")
		f.Close()
	})
}
