package commitlog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// refusePassing refuses a group because of an error that has done no harm. If
// patient is true, and a descriptor is missing, it returns the group instead.
func (l *Log) refusePassing(op string, group []*appendRequest, patient bool, err error) (rest []*appendRequest) {
	if patient && files.NoDescriptor(err) {
		l.ungather(group)
		return group
	}
	l.refuse(group, l.passingRefusal(op, err))
	return nil
}

// passingRefusal wraps an error that refuses appends for now and has done no
// harm. The first of a row is logged. If the log has failed for good with it, that is the
// refusal, which was logged.
func (l *Log) passingRefusal(op string, err error) error {
	if e := l.failed.Load(); e != nil {
		return ReadOnly(e)
	}
	if errors.Is(err, fs.ErrNotExist) && !l.Deleted() { // and does not come back
		return l.failWrite(op, l.parts.Head().File.Name(), l.next.Load(), fmt.Errorf("%w: %w", layout.ErrDisplaced, err))
	}
	e := &Error{Op: op, Topic: l.name, File: l.parts.Head().File.Name(), Offset: l.next.Load(), Err: err}
	if l.lastRefusal.Swap(e) == nil {
		if files.NoRoom(err) {
			l.store.Owner.FreeRoom()
		}
		l.store.Logger.Error("appends are refused; they are taken again when the cause is gone", "topic", l.name, "file", e.File, "err", err)
	}
	return ReadOnly(e)
}

// accepting notes that appends succeed.
func (l *Log) accepting() {
	if l.lastRefusal.Load() != nil && l.lastRefusal.Swap(nil) != nil {
		l.store.Logger.Info("appends are taken again", "topic", l.name)
	}
}

// refuse answers what is left of the group with err. Caller holds writer.
func (l *Log) refuse(group []*appendRequest, err error) {
	l.numbers.Unstage()
	refuse(group, err)
}

func refuse(group []*appendRequest, err error) {
	for _, r := range group {
		if r.err == nil && r.done < len(r.extents) {
			r.err = err
		}
	}
}

// errPanic is why a log has failed in which somebody has panicked.
var errPanic = errors.New("panic")

// panicked ends writing to a log in the middle of whose change there was a panic:
// what it has in memory is not known to fit what is on disk. What was written
// before can still be synced.
func (l *Log) panicked(op string, r any) error {
	return l.failWrite(op, l.parts.Head().File.Name(), l.next.Load(), fmt.Errorf("%w: %v", errPanic, r))
}

// failOnPanic is to be deferred by who changes the log. It is called before the
// locks are let go of.
func (l *Log) failOnPanic(op string) {
	if r := recover(); r != nil {
		l.panicked(op, r)
		panic(r)
	}
}
