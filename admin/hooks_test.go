package admin_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

func TestHooks(t *testing.T) {
	c, requests := answering(t,
		body("topic=a base=0 end=120 state=running attempts=0\r\n"+
			"topic=b base=7 end=9 state=failed attempts=3 next=2026-01-02T03:04:05.678Z later=x error=no room at=all\r\n"),
		"OK\r\n", "OK\r\n", "ERR not found\r\n", body("topic=a base=x\r\n"),
	)
	hooks, err := c.Hooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []admin.PendingHook{
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
	if err := c.SkipHook(t.Context(), "b", 8); !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("skip of a hook that is not pending: %v", err)
	}
	if err := c.SkipHook(t.Context(), "../b", 8); !errors.Is(err, logd.ErrInvalidRequest) {
		t.Errorf("skip with a bad name: %v", err)
	}
	if _, err := c.Hooks(t.Context()); !errors.Is(err, logd.ErrBadAnswer) {
		t.Errorf("nonsense: %v", err)
	}
	if want := []string{"HOOKS", "HOOK b 7 retry", "HOOK b 7 skip", "HOOK b 8 skip", "HOOKS"}; !reflect.DeepEqual(*requests, want) {
		t.Errorf("requests %q, want %q", *requests, want)
	}
}
