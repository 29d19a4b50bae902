// Package backlog keeps the batches that a Writer of package logd could not
// deliver, whole and in order, until it can: [Memory] for as long as the process
// lives, [Disk] for the next process, too. [None] keeps nothing.
//
//	kept, err := backlog.OpenDisk(backlog.DiskConfig{Path: "shipper.backlog"})
//	if err != nil {
//		return err // a damaged backlog is not an empty one
//	}
//	defer kept.Close()
//	w, err := logd.NewWriter(ctx, client, "syslog", logd.WriterConfig{Backlog: kept})
//
// A program that appends batches by itself can keep them here, too: with Put, Front
// and Drop of a Memory or a Disk. The package knows nothing of connections, and
// sends nothing.
package backlog

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Errors of backlogs. Test for them with errors.Is.
var (
	// ErrFull: a batch did not fit in the backlog, and is in none.
	ErrFull = errors.New("backlog is full")
	// ErrDamaged: a backlog's file is not what was written. It was left as it is.
	ErrDamaged = errors.New("backlog is damaged")
	// ErrVersion: a backlog's file is of a newer version of this package.
	ErrVersion = errors.New("backlog is of a newer version")
	// ErrInUse: another Writer or process uses the backlog.
	ErrInUse = errors.New("backlog is in use")
	// ErrClosed: the backlog was closed.
	ErrClosed = errors.New("backlog is closed")
	// ErrNone: None was asked to keep a batch.
	ErrNone = errors.New("there is no backlog")
)

// Backlog is what a Writer keeps batches in. It is used by one Writer at a time,
// which claims it, and belongs to one topic for as long as it holds anything.
// Who made it closes it, after the Writer.
//
// All methods are safe for concurrent use. Len, Bytes, Messages, Topic and MaxBatch
// never wait for a disk.
type Backlog interface {
	// Len returns how many batches are kept, Bytes their length, and Messages how
	// many messages they have.
	Len() int64
	Bytes() int64
	Messages() int64
	// Topic returns whose batches are kept, "" if there are none.
	Topic() string
	// MaxBatch returns the length of the largest batch that the Backlog can keep
	// while it is empty.
	MaxBatch() int64
	// All returns what is kept, oldest first. An error ends it.
	All() iter.Seq2[Entry, error]
	// Close ends the use of the Backlog. What is kept stays if it is on disk.
	Close() error

	// Claim makes the caller the one Writer, until Release. The error is ErrInUse if
	// there is another.
	Claim() error
	Release()
	// Put keeps a batch behind the others, or returns an error and keeps nothing of
	// it. The error is ErrFull if there is no room. e is not kept, nor is e.Raw.
	Put(e *Entry) error
	// Next returns the number of the oldest batch whose number is greater than after,
	// and the batch in the memory of buf, which grows if need be. Numbers are 1 or
	// more, in the order of the batches. If there is no such batch, seq is 0.
	Next(after int64, buf []byte) (seq int64, raw []byte, err error)
	// Delivered forgets the batch with the number, if it is kept. With an error the
	// batch is forgotten until the Backlog is opened again.
	Delivered(seq int64) error
}

// Entry is a batch in a [Backlog].
type Entry struct {
	// Raw is the batch as it is sent, envelope and data. The envelope has the batch's
	// number, if it has one: so a Writer of another process, too, sends it with that
	// number.
	Raw []byte
	// Messages is how many messages it has.
	Messages int64
	// Reason says why it could not be delivered, and came in. Attempts to
	// deliver it from here are not noted.
	Reason string
	// Unknown tells that it may have been stored all the same before it came
	// in: the connection was lost before the answer. If it was, and has no number,
	// its messages will be there twice.
	Unknown bool
	// Time is when the batch came into the backlog.
	Time time.Time
}

// remade returns what the batch is replaced by: see Memory.Rewrite.
func (e *Entry) remade(remake func(raw []byte) [][]byte) []Entry {
	pieces := remake(slices.Clone(e.Raw))
	if pieces == nil {
		return []Entry{*e}
	}
	entries := make([]Entry, len(pieces))
	for i, raw := range pieces {
		h, _, _ := batch.Parse(raw)
		entries[i] = *e
		entries[i].Raw, entries[i].Messages = raw, h.Messages
	}
	return entries
}

// None is the [Backlog] that keeps nothing: what a Writer with it cannot deliver it
// gives up.
type None struct{}

// Len returns 0.
func (None) Len() int64 { return 0 }

// Bytes returns 0.
func (None) Bytes() int64 { return 0 }

// Messages returns 0.
func (None) Messages() int64 { return 0 }

// Topic returns "".
func (None) Topic() string { return "" }

// MaxBatch returns the largest number: None refuses no batch for its length.
func (None) MaxBatch() int64 { return math.MaxInt64 }

// All ranges over nothing.
func (None) All() iter.Seq2[Entry, error] { return func(func(Entry, error) bool) {} }

// Close does nothing.
func (None) Close() error { return nil }

// Claim does nothing: any number of Writers may use None.
func (None) Claim() error { return nil }

// Release does nothing.
func (None) Release() {}

// Put returns ErrNone.
func (None) Put(*Entry) error { return ErrNone }

// Next finds nothing.
func (None) Next(_ int64, buf []byte) (seq int64, raw []byte, err error) { return 0, buf, nil }

// Delivered does nothing.
func (None) Delivered(int64) error { return nil }

// user is what knows that a backlog has one user.
type user struct{ claimed bool }

func (u *user) claim() error {
	if u.claimed {
		return fmt.Errorf("%w: by another Writer", ErrInUse)
	}
	u.claimed = true
	return nil
}

// topicOf returns the topic of the batch.
func topicOf(raw []byte) string {
	h, _, _ := batch.Parse(raw)
	return string(h.Topic)
}

// wrongTopic returns the error of a batch that is of another topic than those that
// are kept, and nil if it is not.
func wrongTopic(kept string, raw []byte) error {
	if topic := topicOf(raw); kept != "" && kept != topic {
		return fmt.Errorf("the backlog keeps batches of topic %q: it takes none of topic %q", kept, topic)
	}
	return nil
}

// without returns the slice without its i-th element, in little time for the
// first one.
func without[T any](s []T, i int) []T {
	if i > 0 {
		return slices.Delete(s, i, i+1)
	}
	clear(s[:1]) // for the garbage collector
	return s[1:]
}
