package logd

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// answering returns a client of a server that answers each request with one of
// the answers, and notes the requests.
func answering(t *testing.T, answers ...string) (*Client, *[]string) {
	t.Helper()
	requests := new([]string)
	_, cfg := fake(t, func(p *script.Peer) {
		for _, answer := range answers {
			r, ok := p.Request()
			line := r.Line
			if !ok {
				return
			}
			*requests = append(*requests, line)
			fmt.Fprint(p, answer)
		}
		p.Request()
	})
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, requests
}

func body(text string) string { return fmt.Sprintf("MOK %d\r\n%s\r\n", len(text), text) }

func TestClientHooks(t *testing.T) {
	c, requests := answering(t,
		body("topic=a base=0 end=120 state=running attempts=0\r\n"+
			"topic=b base=7 end=9 state=failed attempts=3 next=2026-01-02T03:04:05.678Z later=x error=no room at=all\r\n"),
		"OK\r\n", "OK\r\n", "ERR not found\r\n", body("topic=a base=x\r\n"),
	)
	hooks, err := c.Hooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []PendingHook{
		{Topic: "a", End: 120, State: "running"},
		{Topic: "b", Base: 7, End: 9, State: "failed", Attempts: 3, Next: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Error: "no room at=all"},
	}
	if !reflect.DeepEqual(hooks, want) {
		t.Errorf("hooks are %+v, want %+v", hooks, want)
	}
	if err := c.RetryHook(t.Context(), "b", 7); err != nil {
		t.Error(err)
	}
	if err := c.SkipHook(t.Context(), "b", 7); err != nil {
		t.Error(err)
	}
	if err := c.SkipHook(t.Context(), "b", 8); !errors.Is(err, ErrNotFound) {
		t.Errorf("skip of a hook that is not pending: %v", err)
	}
	if err := c.SkipHook(t.Context(), "../b", 8); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("skip with a bad name: %v", err)
	}
	if _, err := c.Hooks(t.Context()); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("nonsense: %v", err)
	}
	if want := []string{"HOOKS", "HOOK b 7 retry", "HOOK b 7 skip", "HOOK b 8 skip", "HOOKS"}; !reflect.DeepEqual(*requests, want) {
		t.Errorf("requests %q, want %q", *requests, want)
	}
}

func TestClientRetention(t *testing.T) {
	c, requests := answering(t,
		body("base=0 end=3 verdict=remove why=partitions messages=5 newest=2026-01-02T03:04:05Z\r\n"+
			"base=3 end=50 verdict=keep after-partitions=1 after-bytes=2 at=2026-01-03T03:04:05Z\r\n"),
		"ERR not found\r\n",
	)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plan, err := c.Retention(t.Context(), "t", RetentionOptions{Partitions: -1, Age: 90 * time.Second})
	want := []PlannedPartition{
		{Base: 0, End: 3, Verdict: "remove", Why: "partitions", Messages: 5, Newest: at},
		{Base: 3, End: 50, Verdict: "keep", Messages: -1, AfterPartitions: 1, AfterBytes: 2, At: at.Add(24 * time.Hour)},
	}
	if err != nil || !reflect.DeepEqual(plan, want) {
		t.Errorf("plan is %+v (%v), want %+v", plan, err, want)
	}
	if _, err := c.Retention(t.Context(), "none", RetentionOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no topic: %v", err)
	}
	if want := []string{"RETENTION t partitions=0 age=90000", "RETENTION none"}; !reflect.DeepEqual(*requests, want) {
		t.Errorf("requests %q, want %q", *requests, want)
	}
}
