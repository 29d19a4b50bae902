package logd

import (
	"errors"
	"fmt"

	"github.com/logd-dev/logd/internal/intake"
)

// Errors of a Writer. Test for them with errors.Is.
var (
	// ErrNotSynced: the server answers before a batch is on stable storage, and
	// WriterConfig.RequireSync is set.
	ErrNotSynced = errors.New("the server answers before it has synced")
	// ErrFailing: the Writer is failing. The error wraps the cause, too.
	ErrFailing = errors.New("writer is failing")
	// ErrBufferFull: there is no room for a message (see Fail).
	ErrBufferFull = intake.ErrFull
	// ErrDropped: a message was dropped because there was no room (see
	// DropNewest and DropOldest).
	ErrDropped = intake.ErrDropped
	// ErrBacklogged: a batch could not be delivered and is in the backlog. It
	// will be delivered from there.
	ErrBacklogged = errors.New("kept in the backlog")
)

// BatchError is what became of the messages of a batch that could not be
// delivered. It is ErrBacklogged to errors.Is if they are kept. [IsNotStored]
// and [IsUnknown] tell what is known of the batch.
type BatchError struct {
	Topic    string
	Messages int64
	// Batches is how many batches Messages are in: 1, or more if OnError is
	// told of several that failed in the same way.
	Batches int64
	// Err is why the batch could not be delivered.
	Err error
	// Kept tells that the batch is in the backlog.
	Kept bool
	// Backlog is why it could not be kept, nil if it is, or with backlog.None.
	Backlog error
}

// Error says what failed, why, and what became of it.
func (e *BatchError) Error() string {
	s := fmt.Sprintf("logd: %d messages ", e.Messages)
	if e.Batches > 1 {
		s += fmt.Sprintf("in %d batches ", e.Batches)
	}
	s += fmt.Sprintf("for topic %q ", e.Topic)
	switch {
	case e.Kept:
		s += "are kept in the backlog"
	case e.Backlog != nil:
		s += "are given up, not kept (" + e.Backlog.Error() + ")"
	default:
		s += "are given up"
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the reasons.
func (e *BatchError) Unwrap() []error {
	errs := []error{e.Err}
	if e.Kept {
		errs = append(errs, ErrBacklogged)
	}
	if e.Backlog != nil {
		errs = append(errs, e.Backlog)
	}
	return errs
}

// DropError counts messages that were dropped. It is ErrDropped to errors.Is.
type DropError struct {
	Topic    string
	Messages int64
}

// Error says how many messages were dropped.
func (e *DropError) Error() string {
	return fmt.Sprintf("logd: %d messages for topic %q dropped: the writer's buffer was full", e.Messages, e.Topic)
}

// Is reports whether target is ErrDropped.
func (e *DropError) Is(target error) bool { return target == ErrDropped }
