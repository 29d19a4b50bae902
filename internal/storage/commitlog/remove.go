package commitlog

import (
	"errors"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// remove has the partitions before offset removed, as AdvanceOldest does, but
// after their hooks if the store has a Holder.
func (l *Log) remove(offset int64) error {
	if l.holder() != nil {
		return l.removeHeld(offset)
	}
	return l.AdvanceOldest(offset)
}

// AdvanceOldest removes the partitions that end at or before offset; the head
// stays, and so does what is not readable yet. Once it returns nil they do not
// come back, whatever happens. Readers that have a View of them keep it. In a store
// that is Managed nobody misses what is before offset in a partition that stays.
func (l *Log) AdvanceOldest(offset int64) error {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return topic.ErrDeleted
	}
	l.numbers.Unmissed(offset)
	if l.store.Managed {
		if err := l.splitHole(min(offset, l.Readable())); err != nil {
			return err
		}
	}
	parts := l.parts.All()
	if k := partition.CompleteBefore(parts, min(offset, l.Readable())); k > 0 {
		l.condemn(parts[:k], parts[k].Base)
	}
	return l.removeCondemned()
}

// splitHole begins a partition at an offset in the middle of one of which all from
// before there is set aside, so that what is before the offset can go: another copy
// can put back the rest, and has nothing before it any more. Caller holds trimming.
func (l *Log) splitHole(offset int64) error {
	parts := l.parts.All()
	i := partition.Find(parts, offset)
	if i < 0 || i == len(parts)-1 || parts[i].Base == offset {
		return nil
	}
	p := parts[i]
	for _, r := range *l.journal.Damaged() {
		if r.From >= offset || r.To < parts[i+1].Base || r.To <= offset {
			continue
		}
		l.writer.Lock()
		defer l.writer.Unlock()
		begun, err := l.createPartition(offset)
		if err != nil {
			return refillError(&Error{Op: "create", Topic: l.name, File: layout.Partition(l.dir(), offset), Offset: offset, Err: err})
		}
		now := slices.Insert(slices.Clone(l.parts.All()), i+1, begun)
		l.parts.Set(now)
		p.End.Store(min(p.End.Load(), r.From))
		l.parts.SetTotals(begun, journal.Totals{})
		return nil
	}
	return nil
}

// condemn takes the oldest partitions from what is served; their files are still
// to be removed. Caller holds trimming.
func (l *Log) condemn(gone []*partition.Partition, oldest int64) {
	var messages, batches int64
	for _, p := range gone {
		sum, err := l.parts.Totals(p, p.End.Load())
		if err != nil {
			l.store.Logger.Warn("partition is removed uncounted", "file", p.File.Name(), "err", err)
		}
		messages += sum.Messages
		batches += sum.Batches
	}
	l.noteRemoved(gone)

	l.writer.Lock()
	now := l.parts.All() // may have grown
	kept := slices.Clone(now[len(gone):])
	l.parts.Set(kept)
	l.numbers.Trim(oldest)
	l.writer.Unlock()

	_, m, b := l.journal.Trimmed()
	l.journal.Remember(journal.Trim, oldest, m+messages, b+batches) // recorded when the files go
	l.condemned = append(l.condemned, gone...)
}

// removeCondemned removes the files of what is condemned, also of what an earlier
// call could not. Caller holds trimming.
func (l *Log) removeCondemned() error {
	gone := l.condemned
	if len(gone) == 0 {
		return nil
	}
	oldest, messages, batches := l.journal.Trimmed()
	// With the record on disk a crash in the middle is finished at the next
	// start. Without it, on a full disk, which is when removal is wanted most, or
	// after a failure, the files go one by one, the oldest first.
	err := l.record(journal.Trim, oldest, messages, batches)
	if err != nil && !files.Transient(err) && l.failed.Load() == nil {
		return err
	}
	if err != nil {
		if err := l.syncRemoved(); err != nil {
			return err
		}
		for i := range gone {
			if err := l.removeFiles(gone[i : i+1]); err != nil {
				return err
			}
		}
	} else if err := l.removeFiles(gone); err != nil {
		return err
	}
	l.condemned = nil
	l.store.Logger.Info("partitions removed", "topic", l.name, "partitions", len(gone), "from", gone[0].Base, "oldest", oldest)
	return nil
}

// removeFiles removes partitions and their indexes, durably.
func (l *Log) removeFiles(parts []*partition.Partition) error {
	if len(parts) == 0 {
		return nil
	}
	for _, p := range parts {
		l.unpinIf(func(o *partition.Partition) bool { return o == p })
		if err := errors.Join(p.File.Discard(), p.Index().File.Discard()); err != nil {
			return &Error{Op: "remove partition of", Topic: l.name, File: p.File.Name(), Offset: p.Base, Err: err}
		}
	}
	return l.syncRemoved()
}
