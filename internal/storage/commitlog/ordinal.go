package commitlog

import (
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// stateAt returns the state of a partition before the batch that begins at
// offset, or at the partition's end.
func (l *Log) stateAt(p *partition, offset int64) (index.Entry, error) {
	if err := l.ensureIndex(p); err != nil {
		return index.Entry{}, err
	}
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return index.Entry{}, err
	}
	defer p.file.Release()
	w := walk.New(f, l.name)
	defer w.Free()
	ix := p.index()
	at, err := w.Find(ix, offset-p.base, p.end.Load()-p.base)
	if err != nil {
		return index.Entry{}, l.readError(p, ix, offset, err)
	}
	return at, nil
}

// Ordinal returns how many batches the log has had before the one at offset,
// since its birth; for a log that began with files of the 0.3 layout, since
// the oldest of them. The error is ErrNotFound where no batch begins.
func (l *Log) Ordinal(offset int64) (ordinal int64, err error) {
	err = retryOnce(func() error {
		ordinal, err = l.ordinal(offset)
		return err
	})
	return ordinal, err
}

func (l *Log) ordinal(offset int64) (int64, error) {
	n, parts := l.trimmedBatches()
	for _, p := range parts {
		if offset >= p.base && offset < p.end.Load() {
			at, err := l.stateAt(p, offset)
			return n + at.Batches, err
		}
		sum, err := l.partitionTotals(p, p.end.Load())
		if err != nil {
			return 0, err
		}
		n += sum.Batches
	}
	if offset == l.next.Load() {
		return n, nil
	}
	return 0, topic.ErrNotFound
}

// OffsetOf returns the offset of the batch with the given ordinal, or the next
// offset for the ordinal that the next batch will have. The error is
// ErrNotFound for a batch that was removed or is not there yet.
func (l *Log) OffsetOf(ordinal int64) (offset int64, err error) {
	err = retryOnce(func() error {
		offset, err = l.offsetOf(ordinal)
		return err
	})
	return offset, err
}

func (l *Log) offsetOf(ordinal int64) (int64, error) {
	n, parts := l.trimmedBatches()
	if ordinal < n {
		return 0, topic.ErrNotFound
	}
	for _, p := range parts {
		sum, err := l.partitionTotals(p, p.end.Load())
		if err != nil {
			return 0, err
		}
		if ordinal >= n+sum.Batches {
			n += sum.Batches
			continue
		}
		f, err := p.file.Acquire(files.ToRead)
		if err != nil {
			return 0, err
		}
		defer p.file.Release()
		if err := l.ensureIndex(p); err != nil {
			return 0, err
		}
		ix := p.index()
		at, _, err := ix.Search(func(e *index.Entry) bool { return e.Batches <= ordinal-n })
		w := walk.New(f, l.name)
		defer w.Free()
		for err == nil && at.Batches < ordinal-n {
			err = w.Step(&at, p.end.Load()-p.base)
		}
		if err != nil {
			return 0, l.readError(p, ix, p.base+at.Pos, err)
		}
		return p.base + at.Pos, nil
	}
	if ordinal == n {
		return l.next.Load(), nil
	}
	return 0, topic.ErrNotFound
}

// trimmedBatches returns the partitions and how many batches came before them.
func (l *Log) trimmedBatches() (int64, []*partition) {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	_, _, batches := l.journal.Trimmed()
	return batches, l.partitions()
}
