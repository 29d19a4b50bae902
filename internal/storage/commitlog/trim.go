package commitlog

import (
	"context"
	"errors"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// Trim removes the partitions that end at or before offset, after their hooks
// if the store has a Holder: what still waits for one goes when it is released.
// If offset is the log's next or more, a new partition is begun first, so that
// the whole log goes. Trim returns the oldest offset that is stored then.
//
// What it removes does not come back, whatever happens. It needs no room, and
// works for a log that takes no appends: one that has failed keeps its newest
// partition. What is not readable yet stays.
func (l *Log) Trim(ctx context.Context, offset int64) (oldest int64, err error) {
	// What is complete goes first: that may be the room for a new partition.
	if err := l.trimTo(offset); err != nil {
		return 0, l.trimError(err)
	}
	all, err := l.retireAll(offset)
	if err != nil {
		return 0, l.trimError(err)
	}
	if all {
		if l.policy().SyncsFirst() {
			err = l.SyncTo(ctx, l.parts.Head().Base) // only what is readable goes
		}
		if err == nil {
			err = l.trimTo(offset)
		}
		if err != nil {
			return 0, l.trimError(err)
		}
	}
	return l.Oldest(), nil
}

// TrimPoint returns the offset up to which Trim would remove partitions that are
// complete, and whether all would go if another partition was begun.
func (l *Log) TrimPoint(offset int64) (to int64, all bool) {
	parts := l.parts.All()
	k := partition.CompleteBefore(parts, min(offset, l.Readable()))
	head := parts[len(parts)-1]
	return parts[k].Base, offset >= head.End.Load() && head.End.Load() > head.Base && k == len(parts)-1
}

// trimError says what an error of Trim means.
func (l *Log) trimError(err error) error {
	switch {
	case l.Deleted():
		return topic.ErrDeleted
	case files.Transient(err):
		return ReadOnly(err)
	}
	return err
}

// trimTo removes the complete partitions that end at or before offset, or has
// them held first.
func (l *Log) trimTo(offset int64) error {
	offset = min(offset, l.Readable())
	parts := l.parts.All()
	k := partition.CompleteBefore(parts, offset)
	if k == 0 {
		return nil
	}
	return l.remove(parts[k].Base)
}

// retireAll begins a new partition if the log ends at or before offset, unless its
// head is empty, and reports whether all before the head may go.
func (l *Log) retireAll(offset int64) (bool, error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	defer l.failOnPanic("trim")
	head := l.parts.Head()
	if offset < l.next.Load() {
		return false, nil
	}
	if e := l.failed.Load(); e != nil {
		if errors.Is(e, topic.ErrClosed) || errors.Is(e, topic.ErrDeleted) {
			return false, e
		}
		return false, nil // where its files end is not known
	}
	if head.End.Load() == head.Base {
		return true, nil // somebody else has begun it
	}
	if err := l.parts.ReadyHead(); err != nil {
		return false, err
	}
	err := l.rotate()
	if files.NoRoom(err) {
		// The index of what is to go is a cache, and takes what a file takes.
		head.Loading.Lock()
		head.Ready.Store(false)
		derr := l.parts.DropIndex(head)
		head.Loading.Unlock()
		if derr != nil {
			return false, errors.Join(err, derr)
		}
		err = l.rotate()
	}
	if err != nil {
		return false, err
	}
	return true, l.syncFolder() // its name tells which offsets were given out
}
