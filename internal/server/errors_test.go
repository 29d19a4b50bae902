package server

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// TestAnswers has the answer to each error of a store, also where it is wrapped.
func TestAnswers(t *testing.T) {
	disk := errors.New("disk on fire")
	tests := []struct {
		err    error
		reason string // empty if the protocol has none
		status int
	}{
		{topic.ErrNotFound, "not found", 404},
		{topic.ErrEnd, "not found", 404},
		{topic.ErrDeleted, "not found", 404},
		{fmt.Errorf("%w: %w", topic.ErrDeleted, topic.ErrReadOnly), "not found", 404},
		{fmt.Errorf("%w: %w", topic.ErrReadOnly, disk), "read only", 503},
		{topic.ErrBusy, "busy", 503},
		{topic.ErrMaxTopics, "maximum topics allowed", 429},
		{topic.ErrNotAllowed, "topic not allowed", 403},
		{fmt.Errorf("%w: %q", topic.ErrName, "."), "invalid request", 400},
		{topic.ErrClosed, "shutting down", 503},
		{protocol.ErrChecksumMismatch, "checksum mismatch", 400},
		{&topic.NotLeaderError{}, "not leader", 421},
		{fmt.Errorf("read: %w", &topic.NotLeaderError{Addr: "h:1"}), "not leader h:1", 421},
		{fmt.Errorf("%w: %w", topic.ErrInDoubt, &topic.NotLeaderError{}), "", 0},
		{disk, "", 0},
		{topic.ErrInDoubt, "", 0},
		{fmt.Errorf("%w: %w", topic.ErrInDoubt, topic.ErrReadOnly), "", 0},
	}
	for _, test := range tests {
		got := answerTo(test.err)
		if test.reason == "" {
			if got != nil {
				t.Errorf("%v is answered %v, want nothing", test.err, got)
			}
		} else if got == nil || got.Reason != test.reason || got.Status != test.status {
			t.Errorf("%v is answered %+v, want %q and %d", test.err, got, test.reason, test.status)
		}
	}
}

// TestReasonsAreCounted: an answer that says more than its reason counts as that reason.
func TestReasonsAreCounted(t *testing.T) {
	var s Server
	for _, err := range []*protocol.Error{protocol.NotLeader("h:1"), protocol.NotLeader(""), protocol.Busy(time.Second), protocol.OutOfOrder(7), protocol.Held(time.Second), protocol.VersionConflict(3)} {
		s.counters.failed(protocol.Read, err)
	}
	got := make(map[string]int64)
	for _, c := range s.ErrorCounts() {
		got[c.Reason] = c.Count
	}
	if want := map[string]int64{"not leader": 2, "busy": 1, "out of order": 1, "held": 1, "version conflict": 1}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
