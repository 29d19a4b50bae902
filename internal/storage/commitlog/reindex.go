package commitlog

import (
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// ensureIndex makes the partition's index usable: what the file holds, if it
// fits, and a scan for the rest. Whoever comes meanwhile waits.
func (l *Log) ensureIndex(p *partition) error {
	return l.ensureIndexWhile(p, nil)
}

// ensureIndexWhile is ensureIndex with a scan that ends early, with the error that
// wanted returns, if that is not nil. It is asked between the reads.
func (l *Log) ensureIndexWhile(p *partition, wanted func() error) error {
	if p.ready.Load() {
		return nil
	}
	p.loading.Lock()
	defer p.loading.Unlock()
	if p.ready.Load() {
		return nil
	}
	if err := l.fillIndex(p, p.index(), wanted); err != nil {
		return err
	}
	p.ready.Store(true)
	return nil
}

// rescan makes a partition's index anew in place of bad, setting damage aside.
// If somebody else has done that there is nothing to do.
func (l *Log) rescan(p *partition, bad *index.Index) error { return l.rescanFrom(p, bad, -1) }

// rescanFrom is rescan of the bytes from a position on, where bad is known to be
// right but for what is damaged: its entries before that are kept, and the times
// of all. A negative position is for an index that is not.
func (l *Log) rescanFrom(p *partition, bad *index.Index, from int64) error {
	head := p == l.head()
	if head {
		l.writer.Lock() // nothing is added meanwhile
		defer l.writer.Unlock()
	}
	p.loading.Lock()
	defer p.loading.Unlock()
	if p.index() != bad || (p == l.head()) != head {
		return nil
	}
	var known []index.Entry
	var newest int64
	if from >= 0 {
		var err error
		if known, err = bad.After(-1); err != nil {
			known = nil // it is damaged as well
		}
		if sum := p.sum.Load(); sum != nil {
			newest = sum.Last
		} else if head {
			newest = l.lastMillis
		}
	}
	if err := bad.File.Remove(); err != nil {
		return err
	}
	if head {
		l.recounts()
	} else {
		p.sum.Store(nil)
	}
	ix := l.newIndex(p)
	var err error
	if len(known) > 0 {
		err = l.refillIndex(p, ix, known, from, newest)
	} else {
		err = l.fillIndex(p, ix, nil)
	}
	if head {
		l.takeCount(p)
	}
	return err
}

// refillIndex is fillIndex from the entries of another index of the partition:
// those up to a position as they are, and of the others the times. newest is the
// time of the partition's last batch, 0 if that is not known.
func (l *Log) refillIndex(p *partition, ix *index.Index, known []index.Entry, from, newest int64) error {
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.file.Release()
	src := l.indexSource(p, f, p.end.Load()-p.base)
	src.Last = newest
	found, err := ix.RebuildAfter(src, known, from)
	if err != nil {
		return err
	}
	l.setAsideAll(p, found.Damaged)
	l.packed(p, found.Codecs)
	l.adoptIndex(p, ix, found)
	return nil
}

// whileWanted is a file that is read as long as wanted returns no error.
type whileWanted struct {
	vfs.File
	wanted func() error
}

// ReadAt reads, unless it is not wanted any more.
func (f whileWanted) ReadAt(b []byte, off int64) (int, error) {
	if err := f.wanted(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

// fillIndex makes ix hold what its file holds and a scan adds, as long as that is
// wanted, and makes it the partition's. Caller holds p.loading, and writer if
// readers have used the head's index already.
func (l *Log) fillIndex(p *partition, ix *index.Index, wanted func() error) error {
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.file.Release()
	if wanted != nil {
		f = whileWanted{f, wanted}
	}
	known := l.knownTotals(p)
	size := p.end.Load() - p.base
	found, err := l.reindex(p, ix, f, size)
	sum := &found.Totals
	if err == nil && known != nil && (known.Messages != sum.Messages || known.Batches != sum.Batches) && found.Scanned < size {
		l.store.Logger.Warn("index does not fit its partition and is rebuilt", "file", ix.File.Name(),
			"batches", sum.Batches, "want", known.Batches)
		if err = ix.File.Remove(); err == nil {
			ix = l.newIndex(p)
			found, err = l.reindex(p, ix, f, size)
		}
	}
	if err != nil {
		return err
	}
	if known != nil && known.Batches == sum.Batches {
		// A scan can't know the times; the journal does.
		sum.First, sum.Last = known.First, known.Last
	}
	l.adoptIndex(p, ix, found)
	return nil
}

// adoptIndex makes an index that was filled by a scan of the whole partition the
// partition's. What fillIndex says of its caller holds for this one's.
func (l *Log) adoptIndex(p *partition, ix *index.Index, found index.Rebuilt) {
	sum := found.Totals
	size := p.end.Load() - p.base
	// All this was served before, so an invalid end is no torn tail.
	if found.Tail < size {
		l.setAside(p, layout.Range{From: p.base + found.Tail, To: p.base + size})
		ix.Force = true
	}
	if ix.Stale {
		if err := ix.Settle(); err != nil {
			l.store.Logger.Warn("entries of an index that are no longer true are not removed", "file", ix.File.Name(), "err", err)
		}
	}
	if p == l.head() {
		p.counted.Store(&sum)
	} else {
		l.setTotals(p, sum)
		if found.Scanned > index.Interval {
			if err := ix.Flush(); err != nil {
				l.store.Logger.Warn("index not written; it will be rebuilt again", "file", ix.File.Name(), "err", err)
			}
		}
	}
	p.ix.Store(ix)
}

// readyHead makes the head's index usable and its totals known. Caller holds
// writer.
func (l *Log) readyHead() error {
	head := l.head()
	if err := l.ensureIndex(head); err != nil {
		return err
	}
	l.takeCount(head)
	return nil
}

// takeCount makes what was counted in the head the log's. Caller holds writer.
func (l *Log) takeCount(head *partition) {
	if sum := head.counted.Swap(nil); sum != nil {
		l.headSum = *sum
		if sum.Batches > 0 {
			l.lastMillis = sum.Last
		}
	}
}

// knownTotals returns what the partition holds as far as the journal knows, or
// nil.
func (l *Log) knownTotals(p *partition) *journal.Totals {
	if p != l.head() {
		return p.sum.Load()
	}
	if sum, known := l.journal.Head(p.end.Load()); known {
		return &sum
	}
	return nil
}

// dropIndex gives a partition an empty index and removes the file of the one
// that it had. The caller is the partition's only user.
func (l *Log) dropIndex(p *partition) error {
	if err := p.index().File.Remove(); err != nil {
		return err
	}
	p.ix.Store(l.newIndex(p))
	return nil
}

// reindex is [index.Index.Rebuild] for an index of a partition. Damage between
// batches is set aside; what to do with invalid bytes at the end is the caller's
// choice. The caller is the partition's only user or holds p.loading, and is the
// only user of ix.
func (l *Log) reindex(p *partition, ix *index.Index, f vfs.File, trusted int64) (index.Rebuilt, error) {
	src := l.indexSource(p, f, trusted)
	if known := l.knownTotals(p); known != nil {
		src.First, src.Last = known.First, known.Last
	}
	found, err := ix.Rebuild(src, trusted)
	l.setAsideAll(p, found.Damaged)
	l.packed(p, found.Codecs)
	return found, err
}

// indexSource returns what is known of a partition for making its index. whole is
// the position up to which its file is known to have been whole once.
func (l *Log) indexSource(p *partition, f vfs.File, whole int64) *index.Source {
	if p.base < l.uncheckedBefore {
		whole = 0
	}
	size := p.end.Load() - p.base
	return &index.Source{
		File: f, Topic: l.name, Size: size, Whole: whole, Aside: layout.Clip(*l.journal.Damaged(), p.base, size),
		Latest: func(changed int64) int64 { return l.latestTime(p, changed) },
	}
}
