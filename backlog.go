package logd

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// Errors of backlogs. Test for them with errors.Is.
var (
	// ErrBacklogFull: a batch did not fit in the backlog, and is in none.
	ErrBacklogFull = errors.New("backlog is full")
	// ErrBacklogDamaged: a backlog's file is not what was written. It was left
	// as it is.
	ErrBacklogDamaged = errors.New("backlog is damaged")
	// ErrBacklogVersion: a backlog's file is of a newer version of this
	// package.
	ErrBacklogVersion = errors.New("backlog is of a newer version")
	// ErrBacklogInUse: another Writer or process uses the backlog.
	ErrBacklogInUse = errors.New("backlog is in use")
	// ErrBacklogClosed: the backlog was closed.
	ErrBacklogClosed = errors.New("backlog is closed")
)

// Backlog keeps the batches that a [Writer] could not deliver, whole and in
// order, until it can: a [MemoryBacklog] for as long as the process lives, a
// [DiskBacklog] for the next process, too. [NoBacklog] keeps nothing.
//
// There are no others: a Backlog has methods that are this package's own. It is
// used by one Writer at a time, and belongs to one topic for as long as it holds
// anything. Who made it closes it, after the Writer.
type Backlog interface {
	// Len returns how many batches are kept, Bytes their length.
	Len() int64
	Bytes() int64
	// All returns what is kept, oldest first. An error ends it.
	All() iter.Seq2[BacklogEntry, error]
	// Close ends the use of the Backlog. What is kept stays if it is on disk.
	Close() error

	// put keeps the batch, or returns an error and keeps none of it. It copies
	// what it is given.
	put(e *BacklogEntry) error
	// next returns the batch behind the one that the last next returned, and
	// false if there is none. Its bytes are in buf, grown if need be.
	next(buf []byte) (seq int64, raw []byte, ok bool, err error)
	// rewind makes next begin with the oldest batch again.
	rewind()
	// delivered forgets the batch with this number. The error means that it
	// is forgotten until the backlog is opened again.
	delivered(seq int64) error
	// room returns the length of the largest batch that it could keep if it were
	// empty.
	room() int64
	// messages returns how many messages are kept.
	messages() int64
	// topic returns whose batches are kept, "" if there are none.
	topic() string
	// claim makes the caller the one user, until release.
	claim() error
	release()
	// warning returns what a Writer's OnError should hear once, or nil.
	warning() error
}

// NoBacklog is the [Backlog] that keeps nothing: what a Writer with it cannot
// deliver it gives up.
type NoBacklog struct{}

// Len returns 0.
func (NoBacklog) Len() int64 { return 0 }

// Bytes returns 0.
func (NoBacklog) Bytes() int64 { return 0 }

// All ranges over nothing.
func (NoBacklog) All() iter.Seq2[BacklogEntry, error] {
	return func(func(BacklogEntry, error) bool) {}
}

// Close does nothing.
func (NoBacklog) Close() error { return nil }

func (NoBacklog) put(*BacklogEntry) error { return errNoBacklog }
func (NoBacklog) next(buf []byte) (int64, []byte, bool, error) {
	return 0, buf, false, nil
}
func (NoBacklog) rewind()               {}
func (NoBacklog) delivered(int64) error { return nil }
func (NoBacklog) room() int64           { return math.MaxInt64 } // it keeps none
func (NoBacklog) messages() int64       { return 0 }
func (NoBacklog) topic() string         { return "" }
func (NoBacklog) claim() error          { return nil }
func (NoBacklog) release()              {}
func (NoBacklog) warning() error        { return nil }

// errNoBacklog tells that nothing was meant to be kept.
var errNoBacklog = errors.New("there is no backlog")

// BacklogEntry is a batch in a [Backlog].
type BacklogEntry struct {
	// Raw is the batch as it is sent, envelope and data.
	Raw []byte
	// Messages is how many messages it has.
	Messages int64
	// Reason says why it could not be delivered, and came in. Attempts to
	// deliver it from here are not noted.
	Reason string
	// Unknown tells that it may have been stored all the same before it came
	// in: the connection was lost before the answer. If it was, its messages
	// will be there twice.
	Unknown bool
	// Time is when the batch came into the backlog.
	Time time.Time
}

// user is what knows that a backlog has one user.
type user struct{ claimed bool }

func (u *user) claim() error {
	if u.claimed {
		return fmt.Errorf("%w: by another Writer", ErrBacklogInUse)
	}
	u.claimed = true
	return nil
}
