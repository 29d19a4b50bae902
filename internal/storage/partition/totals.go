package partition

import (
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// TotalsBefore returns what a partition holds before offset. The error is ErrRescanned if
// it is to be tried once more.
func (l *List) TotalsBefore(p *Partition, offset int64) (journal.Totals, error) {
	if offset <= p.Base {
		return journal.Totals{}, nil
	}
	whole := offset >= p.End.Load()
	if sum := p.Sum.Load(); sum != nil && whole {
		return *sum, nil
	}
	if err := l.EnsureIndex(p); err != nil {
		return journal.Totals{}, err
	}
	if sum := p.Sum.Load(); sum != nil && whole {
		return *sum, nil
	}
	limit := min(p.End.Load(), offset) - p.Base
	if limit <= 0 {
		return journal.Totals{}, nil
	}
	// The head may grow meanwhile: count up to limit.
	ix := p.Index()
	first, err := ix.First()
	var at index.Entry
	if err == nil {
		at, _, err = ix.Search(func(e *index.Entry) bool { return e.Pos < limit })
	}
	if err != nil {
		return journal.Totals{}, l.ReadError(p, ix, p.Base, err)
	}
	if at.Pos < 0 {
		return journal.Totals{}, nil
	}
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return journal.Totals{}, err
	}
	defer p.File.Release()
	w := walk.New(f, l.Topic)
	defer w.Free()
	limit = min(limit, l.SegmentEnd(p, p.Base+at.Pos)-p.Base)
	for at.Pos < limit {
		if err := w.Step(&at, limit); err != nil {
			return journal.Totals{}, l.ReadError(p, ix, p.Base+at.Pos, err)
		}
	}
	return journal.Totals{Messages: at.Messages, Batches: at.Batches, First: first.Millis, Last: at.Millis}, nil
}

// Totals is TotalsBefore, and once more if the partition was found damaged.
func (l *List) Totals(p *Partition, offset int64) (sum journal.Totals, err error) {
	err = RetryOnce(func() error {
		sum, err = l.TotalsBefore(p, offset)
		return err
	})
	return sum, err
}

// StateAt returns the state of a partition before the batch that begins at
// offset, or at the partition's end.
func (l *List) StateAt(p *Partition, offset int64) (index.Entry, error) {
	if err := l.EnsureIndex(p); err != nil {
		return index.Entry{}, err
	}
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return index.Entry{}, err
	}
	defer p.File.Release()
	w := walk.New(f, l.Topic)
	defer w.Free()
	ix := p.Index()
	at, err := w.Find(ix, offset-p.Base, p.End.Load()-p.Base)
	if err != nil {
		return index.Entry{}, l.ReadError(p, ix, offset, err)
	}
	return at, nil
}

// Ordinal returns how many batches partitions, the oldest of a log that ends at end, have
// before the one at offset. The error is topic.ErrNotFound where no batch begins, and
// ErrRescanned if it is to be tried once more.
func (l *List) Ordinal(parts []*Partition, offset, end int64) (int64, error) {
	n := int64(0)
	for _, p := range parts {
		if offset >= p.Base && offset < p.End.Load() {
			at, err := l.StateAt(p, offset)
			return n + at.Batches, err
		}
		sum, err := l.TotalsBefore(p, p.End.Load())
		if err != nil {
			return 0, err
		}
		n += sum.Batches
	}
	if offset == end {
		return n, nil
	}
	return 0, topic.ErrNotFound
}

// MessagesFrom returns how many messages partitions have in the batches from offset on, up
// to end. Errors are those of Ordinal.
func (l *List) MessagesFrom(parts []*Partition, offset, end int64) (int64, error) {
	if offset == end {
		return 0, nil
	}
	n, found := int64(0), false
	for _, p := range parts {
		if p.End.Load() <= offset || p.Base >= end {
			continue
		}
		sum, err := l.TotalsBefore(p, end)
		if err != nil {
			return 0, err
		}
		n += sum.Messages
		if p.Base <= offset {
			at, err := l.StateAt(p, offset)
			if err != nil {
				return 0, err
			}
			n, found = n-at.Messages, true
		}
	}
	if !found {
		return 0, topic.ErrNotFound
	}
	return n, nil
}

// OffsetOf returns the offset of the batch before which there are as many others in
// partitions, the oldest of a log that ends at end, or end if there are no more. Errors
// are those of Ordinal.
func (l *List) OffsetOf(parts []*Partition, ordinal, end int64) (int64, error) {
	n := int64(0)
	if ordinal < n {
		return 0, topic.ErrNotFound
	}
	for _, p := range parts {
		sum, err := l.TotalsBefore(p, p.End.Load())
		if err != nil {
			return 0, err
		}
		if ordinal >= n+sum.Batches {
			n += sum.Batches
			continue
		}
		f, err := p.File.Acquire(files.ToRead)
		if err != nil {
			return 0, err
		}
		defer p.File.Release()
		if err := l.EnsureIndex(p); err != nil {
			return 0, err
		}
		ix := p.Index()
		at, _, err := ix.Search(func(e *index.Entry) bool { return e.Batches <= ordinal-n })
		w := walk.New(f, l.Topic)
		defer w.Free()
		for err == nil && at.Batches < ordinal-n {
			err = w.Step(&at, p.End.Load()-p.Base)
		}
		if err != nil {
			return 0, l.ReadError(p, ix, p.Base+at.Pos, err)
		}
		return p.Base + at.Pos, nil
	}
	if ordinal == n {
		return end, nil
	}
	return 0, topic.ErrNotFound
}

// SetTotals notes what a complete partition holds, and has the journal know.
func (l *List) SetTotals(p *Partition, sum journal.Totals) {
	p.Sum.Store(&sum)
	end := journal.PartitionEnd{End: p.End.Load(), Totals: sum}
	if err := l.Journal.Complete(p.Base, end, func() bool { return l.Gone(p) }); err != nil {
		// The totals can be had from the partition itself.
		l.Logger.Warn("journal record not written", "topic", l.Topic, "err", err)
	}
}

// Recounts notes that the journal does not know any more what the head holds. A
// start that finds otherwise counts it anew.
func (l *List) Recounts() {
	if err := l.Journal.Recount(); err != nil {
		l.Logger.Warn("journal record not written", "topic", l.Topic, "err", err)
	}
}
