package logd

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd/backlog"
)

func TestBatchError(t *testing.T) {
	cause := &OpError{Op: "append", Topic: "t", Addr: "a:1", Err: ErrBusy, Outcome: OutcomeNotStored}
	for _, tt := range []struct {
		err  *BatchError
		says string
		is   []error
		not  []error
	}{
		{&BatchError{Topic: "t", Messages: 3, Err: cause, Kept: true},
			`logd: 3 messages for topic "t" are kept in the backlog: logd: append "t" at a:1: busy`, []error{ErrBusy, ErrBacklogged}, []error{backlog.ErrFull}},
		{&BatchError{Topic: "t", Messages: 3, Err: cause},
			`logd: 3 messages for topic "t" are given up: logd: append "t" at a:1: busy`, []error{ErrBusy}, []error{ErrBacklogged}},
		{&BatchError{Topic: "t", Messages: 3, Err: cause, Backlog: fmt.Errorf("%w: 9 bytes", backlog.ErrFull)},
			`logd: 3 messages for topic "t" are given up, not kept (backlog is full: 9 bytes): logd: append "t" at a:1: busy`, []error{ErrBusy, backlog.ErrFull}, []error{ErrBacklogged}},
	} {
		if got := tt.err.Error(); got != tt.says {
			t.Errorf("%q, want %q", got, tt.says)
		}
		for _, target := range tt.is {
			if !errors.Is(tt.err, target) {
				t.Errorf("%v is not %v", tt.err, target)
			}
		}
		for _, target := range tt.not {
			if errors.Is(tt.err, target) {
				t.Errorf("%v is %v", tt.err, target)
			}
		}
		if !IsNotStored(tt.err) || IsUnknown(tt.err) || !IsRetryable(tt.err) {
			t.Errorf("%v: not stored %v, unknown %v, retryable %v", tt.err, IsNotStored(tt.err), IsUnknown(tt.err), IsRetryable(tt.err))
		}
	}
	drop := &DropError{Topic: "t", Messages: 2}
	if !errors.Is(drop, ErrDropped) || errors.Is(drop, ErrBusy) || !strings.HasPrefix(drop.Error(), `logd: 2 messages for topic "t" dropped`) {
		t.Errorf("%v", drop)
	}
}

func TestWriterNames(t *testing.T) {
	for got, want := range map[fmt.Stringer]string{
		StateConnected: "connected", StateFlushing: "flushing", StateFailing: "failing", StateClosed: "closed", WriterState(9): "WriterState(9)",
		Block: "Block", Fail: "Fail", DropNewest: "DropNewest", DropOldest: "DropOldest", FullPolicy(9): "FullPolicy(9)",
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
