package commitlog

import (
	"context"
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
)

// Lost notes that the bytes from one offset up to another, between which batches begin and
// end, are not there or not right, although the log should have them: they are set
// aside. When it returns nil that is durable. Refill puts them back.
//
// If from is before the oldest file the log begins there again, and all up to that file is
// set aside. If to is the log's end or behind it, next is to, and a partition begins
// there. What is between the end and from is set aside, too. The readable end stays
// what it was told to be.
//
// With an error, some of it may be noted already. ErrReadOnly is one of room, or of a log that
// has failed.
func (l *Log) Lost(ctx context.Context, from, to int64) error {
	if from < 0 || to <= from {
		return fmt.Errorf("%w: nothing is lost from %d to %d", ErrOffset, from, to)
	}
	return l.alone(ctx, "set aside", func() (err error) {
		// What is before a partition that begins behind the end counts as synced.
		if err := l.sync(); err != nil {
			return err
		}
		if err := l.removeCondemned(); err != nil {
			return refillError(err)
		}
		r := layout.Range{From: min(from, l.next.Load()), To: to}
		if begin := l.parts.Begin(); from < begin {
			r.To = max(to, begin)
			if err := l.beginBefore(layout.Range{From: from, To: begin}); err != nil {
				return err
			}
		}
		for _, p := range l.parts.All() {
			part := layout.Range{From: max(r.From, p.Base), To: min(r.To, p.End.Load())}
			if part.From < part.To {
				if err := l.loseOf(p, part); err != nil {
					return err
				}
			}
		}
		if err := l.noteLost(r); err != nil {
			return err
		}
		if err := l.goOnAt(r.To); err != nil {
			return err
		}
		l.store.Logger.Error("bytes that the topic should have are not there: they are set aside until another copy has put them back",
			"topic", l.name, "offset", r.From, "bytes", r.To-r.From)
		return nil
	})
}

// beginBefore has the log begin where a range does that is lost, and that ends at its oldest
// file: with a partition that has nothing yet.
func (l *Log) beginBefore(r layout.Range) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	// The file first: without the record it is removed, and the record without it would
	// speak of nothing.
	p, err := l.createPartition(r.From)
	if err != nil {
		return refillError(&Error{Op: "create", Topic: l.name, File: layout.Partition(l.dir(), r.From), Offset: r.From, Err: err})
	}
	if err := l.syncFolder(); err != nil {
		return refillError(err)
	}
	oldest, messages, batches := l.journal.Trimmed() // of which it is not known how much is back
	if r.From == 0 {
		messages, batches = 0, 0
	}
	records := journal.Append(nil, journal.Trim, min(oldest, r.From), messages, batches)
	if _, err := l.journal.Record(journal.Append(records, journal.Damaged, r.From, r.To)); err != nil {
		return refillError(&Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: r.From, Err: err})
	}
	parts := slices.Insert(slices.Clone(l.parts.All()), 0, p)
	l.parts.Set(parts)
	return nil
}

// loseOf sets aside what of a range in a partition is not: its index has counted that.
func (l *Log) loseOf(p *partition.Partition, r layout.Range) error {
	fresh := []layout.Range{r}
	for _, known := range *l.journal.Damaged() {
		fresh = layout.Without(fresh, known)
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := partition.RetryOnce(func() error { return l.parts.EnsureIndex(p) }); err != nil {
		return &Error{Op: "set aside", Topic: l.name, File: p.File.Name(), Offset: r.From, Err: err}
	}
	return l.remake(p, r.From, func(known []index.Entry) ([]index.Entry, error) {
		// HEALED of what was not set aside says only that what was counted does not hold.
		var records []byte
		for _, f := range fresh {
			records = journal.Append(records, journal.Healed, f.From, f.To)
		}
		_, err := l.journal.RecordHidden(journal.Append(records, journal.Damaged, r.From, r.To))
		return known, err
	})
}

// noteLost sets a range aside, also of what is in no file, durably.
func (l *Log) noteLost(r layout.Range) error {
	return refillError(l.record(journal.Damaged, r.From, r.To))
}

// goOnAt has a log that does not reach beyond an offset go on there, in a partition of
// its own, behind what is set aside.
func (l *Log) goOnAt(offset int64) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	head := l.parts.Head()
	if offset < l.next.Load() || head.Base == offset {
		return nil
	}
	if e := l.failed.Load(); e != nil {
		return ReadOnly(e)
	}
	err := l.parts.ReadyHead()
	if err == nil {
		err = l.rotateTo(offset)
	}
	if err == nil {
		err = l.syncFolder()
	}
	if err != nil {
		return refillError(&Error{Op: "rotate", Topic: l.name, File: head.File.Name(), Offset: offset, Err: err})
	}
	l.synced.Store(offset) // all before it is synced, or set aside
	return nil
}
