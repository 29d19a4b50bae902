package server

import (
	"errors"
	"fmt"
	"testing"

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
