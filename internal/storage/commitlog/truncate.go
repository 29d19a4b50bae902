package commitlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// TruncateTo cuts the log off at offset, where a batch begins, or a range that is
// set aside, or which is next: what lies at and after it is gone for good when
// TruncateTo returns nil, and offset is next. Offsets that it frees are given out
// again. What it keeps is on stable storage then. The error is ErrNotFound for any
// other offset, also within what is set aside, and for one before the log begins.
func (l *Log) TruncateTo(ctx context.Context, offset int64) error {
	return l.truncate(ctx, offset, cutting{})
}

// cutting is how a log is cut off.
type cutting struct {
	// unread refuses to take away what is readable: ErrOffset.
	unread bool
	// join has the log go on in the partition that ends where it is cut off,
	// instead of one that begins there.
	join bool
}

// headAt returns the index of the partition that is the head when the log is cut off
// at offset, or -1.
func (l *Log) headAt(parts []*partition.Partition, offset int64, how cutting) int {
	i := partition.Find(parts, offset)
	if how.join && i > 0 && parts[i].Base == offset && parts[i-1].End.Load() == offset && l.parts.PastDamage(offset-1) < offset {
		return i - 1 // and nothing at its end is set aside, which no batch may follow
	}
	return i
}

// alone does something to the log that nobody may remove from, cut off, sync or write a
// cache of meanwhile: a sync that was under way would count what it began with.
// Appends are the caller's to keep out.
func (l *Log) alone(ctx context.Context, op string, f func() error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.trimming.Lock()
	defer l.trimming.Unlock()
	l.numbers.Keeping.Lock() // no cache is written meanwhile
	defer l.numbers.Keeping.Unlock()
	if l.Deleted() {
		return topic.ErrDeleted
	}
	if _, err := l.syncing.Join(ctx, math.MaxInt64); err != nil {
		return err
	}
	defer func() {
		if l.syncFailed.Load() == nil {
			l.syncing.Done(nil) // an error that concerns this call alone
			return
		}
		l.syncing.Done(err)
	}()
	defer l.failOnPanic(op)
	return f()
}

func (l *Log) truncate(ctx context.Context, offset int64, how cutting) error {
	return l.alone(ctx, "truncate", func() (err error) {
		if offset > l.next.Load() {
			return topic.ErrNotFound
		}
		// What is kept will be marked as synced.
		if err := l.sync(); err != nil {
			return err
		}
		if !l.hasAt(offset, how) {
			return nil // it ends there
		}
		// What is before offset does not change meanwhile.
		var at index.Entry
		if err := partition.RetryOnce(func() (err error) {
			at, err = l.stateBefore(offset, how)
			return err
		}); err != nil {
			return err
		}
		l.writer.Lock()
		defer l.writer.Unlock()
		defer l.failOnPanic("truncate")
		if e := l.failed.Load(); e != nil {
			return ReadOnly(e)
		}
		parts := l.parts.All()
		i := l.headAt(parts, offset, how)
		switch {
		case i < 0:
			return topic.ErrNotFound
		case offset == l.next.Load() && i == len(parts)-1:
			return nil
		case how.unread && offset < l.Readable():
			return fmt.Errorf("%w: cut off at %d, and readable up to %d", ErrOffset, offset, l.Readable())
		}
		p := parts[i]
		if offset == p.Base {
			at = index.Entry{} // begun since, perhaps
		}
		if err := l.roomForCut(p); err != nil {
			return err
		}
		if err := l.announceCut(offset); err != nil {
			return err
		}
		// From here on a failure leaves a truncation that only opening the log again
		// can finish.
		if err := l.cut(parts[:i+1], parts[i+1:], offset, at); err != nil {
			return l.fail("truncate", p.File.Name(), offset, err)
		}
		return nil
	})
}

// stateBefore returns the state, before offset, of the partition that is the head
// when the log is cut off there.
func (l *Log) stateBefore(offset int64, how cutting) (index.Entry, error) {
	parts := l.parts.All()
	i := l.headAt(parts, offset, how)
	aside := layout.From(*l.journal.Damaged(), offset)
	if i < 0 || aside >= 0 && aside < offset {
		return index.Entry{}, topic.ErrNotFound
	}
	if p := parts[i]; aside < 0 && p.End.Load() > offset {
		return l.parts.StateAt(p, offset)
	}
	// No batch begins there, but one ends.
	sum, err := l.parts.TotalsBefore(parts[i], offset)
	return index.Entry{Messages: sum.Messages, Batches: sum.Batches}, errors.Join(err, l.parts.EnsureIndex(parts[i]))
}

// roomForCut has what a truncation writes to the index of p take its room before anything
// is changed: what is written then stands where this does.
func (l *Log) roomForCut(p *partition.Partition) error {
	p.Loading.Lock() // nobody makes its index anew
	defer p.Loading.Unlock()
	ix := p.Index()
	if err := ix.Flush(); err != nil && files.Transient(err) {
		return ReadOnly(&Error{Op: "truncate", Topic: l.name, File: ix.File.Name(), Offset: -1, Err: err})
	}
	return nil // of any other error the truncation tells
}

// announceCut records durably that the log is being cut off at offset. If it
// can't tell whether the record will be found after a crash, the log takes no
// more appends: they might be cut off with the rest.
func (l *Log) announceCut(offset int64) error {
	written, err := l.journal.Record(journal.Append(nil, journal.Cut, offset))
	if err != nil && !written && files.Transient(err) {
		return ReadOnly(&Error{Op: "truncate", Topic: l.name, File: l.journal.File.Name(), Offset: offset, Err: err})
	}
	if err != nil {
		return l.fail("truncate", l.journal.File.Name(), offset, err)
	}
	return nil
}

// cut takes from the log what TruncateTo gives up. Caller holds writer.
func (l *Log) cut(keep, drop []*partition.Partition, offset int64, at index.Entry) error {
	p := keep[len(keep)-1]
	p.Loading.Lock() // nobody makes its index anew
	defer p.Loading.Unlock()
	l.untell(offset)
	defer l.numbers.Cut()
	if err := l.numbers.RemoveCache(); err != nil {
		return err
	}
	l.next.Store(offset)
	l.synced.Store(min(l.synced.Load(), offset))
	p.End.Store(offset)
	p.Sum.Store(nil)
	kept := slices.Clone(keep)
	l.parts.Set(kept)
	if err := l.removeFiles(drop); err != nil {
		return err
	}
	if err := files.Truncate(p.File, offset-p.Base); err != nil {
		return err
	}
	ix := p.Index()
	if err := ix.Truncate(offset - p.Base); err != nil {
		return err
	}
	if err := ix.Settle(); err != nil {
		return err
	}
	p.Counted.Store(nil)
	l.parts.HeadSum = journal.Totals{Messages: at.Messages, Batches: at.Batches, Last: ix.Last.Millis}
	if first, err := ix.First(); err == nil && first.Pos >= 0 {
		l.parts.HeadSum.First = first.Millis
	}
	l.parts.LastMillis = l.parts.HeadSum.Last
	if n := len(keep); n > 1 && l.parts.HeadSum.Batches == 0 {
		l.parts.LastMillis = keep[n-2].LastTime()
	}
	l.synced.Store(offset)
	l.journal.Grows(p.Base)
	return l.record(journal.Synced, offset)
}
