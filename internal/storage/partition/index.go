package partition

import (
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// EnsureIndex makes the partition's index usable: what the file holds, if it
// fits, and a scan for the rest. Whoever comes meanwhile waits.
func (l *List) EnsureIndex(p *Partition) error {
	return l.ensureIndexWhile(p, nil)
}

// ensureIndexWhile is EnsureIndex with a scan that ends early, with the error that
// wanted returns, if that is not nil. It is asked between the reads.
func (l *List) ensureIndexWhile(p *Partition, wanted func() error) error {
	if p.Ready.Load() {
		return nil
	}
	p.Loading.Lock()
	defer p.Loading.Unlock()
	if p.Ready.Load() {
		return nil
	}
	if err := l.fillIndex(p, p.Index(), wanted); err != nil {
		return err
	}
	p.Ready.Store(true)
	return nil
}

// Rescan makes a partition's index anew in place of bad, setting damage aside.
// If somebody else has done that there is nothing to do.
func (l *List) Rescan(p *Partition, bad *index.Index) error { return l.rescanFrom(p, bad, -1) }

// rescanFrom is Rescan of the bytes from a position on, where bad is known to be
// right but for what is damaged: its entries before that are kept, and the times
// of all. A negative position is for an index that is not.
func (l *List) rescanFrom(p *Partition, bad *index.Index, from int64) error {
	head := p == l.Head()
	if head {
		l.Writer.Lock() // nothing is added meanwhile
		defer l.Writer.Unlock()
	}
	p.Loading.Lock()
	defer p.Loading.Unlock()
	if p.Index() != bad || (p == l.Head()) != head {
		return nil
	}
	var known []index.Entry
	var newest int64
	if from >= 0 { // else they are not to be believed
		known, newest = l.KnownTimes(p)
	}
	if err := bad.File.Remove(); err != nil {
		return err
	}
	if head {
		l.Recounts()
	} else {
		p.Sum.Store(nil)
	}
	var err error
	if len(known) > 0 {
		err = l.refillIndex(p, known, newest, from, *l.Journal.Damaged(), false)
	} else {
		err = l.fillIndex(p, l.newIndex(p), nil)
	}
	if head {
		l.TakeCount(p)
	}
	return err
}

// refillIndex is fillIndex from the entries of another index of the partition:
// those up to a position as they are, and of the others the times. newest is the
// time of the partition's last batch, 0 if that is not known, aside what is set aside,
// and durably tells that the index is to be made durable, with its times.
func (l *List) refillIndex(p *Partition, known []index.Entry, newest, from int64, aside []layout.Range, durably bool) error {
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.File.Release()
	size := p.End.Load() - p.Base
	src := l.indexSource(p, f, size)
	src.Aside, src.Last = layout.Clip(aside, p.Base, size), newest
	ix := l.newIndex(p)
	found, err := ix.RebuildAfter(src, known, from)
	if err != nil {
		return err
	}
	ix.Stale = ix.Stale || durably
	l.setAsideAll(p, found.Damaged)
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
// wanted, and makes it the partition's. Caller holds p.Loading, and writer if
// readers have used the head's index already.
func (l *List) fillIndex(p *Partition, ix *index.Index, wanted func() error) error {
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.File.Release()
	if wanted != nil {
		f = whileWanted{f, wanted}
	}
	known := l.knownTotals(p)
	size := p.End.Load() - p.Base
	found, err := l.Reindex(p, ix, f, size)
	sum := &found.Totals
	if err == nil && known != nil && (known.Messages != sum.Messages || known.Batches != sum.Batches) && found.Scanned < size {
		l.Logger.Warn("index does not fit its partition and is rebuilt", "file", ix.File.Name(),
			"batches", sum.Batches, "want", known.Batches)
		if err = ix.File.Remove(); err == nil {
			ix = l.newIndex(p)
			found, err = l.Reindex(p, ix, f, size)
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
func (l *List) adoptIndex(p *Partition, ix *index.Index, found index.Rebuilt) {
	sum := found.Totals
	size := p.End.Load() - p.Base
	// All this was served before, so an invalid end is no torn tail.
	if found.Tail < size {
		l.SetAside(p, layout.Range{From: p.Base + found.Tail, To: p.Base + size})
		ix.Force = true
	}
	if ix.Stale {
		if err := ix.Settle(); err != nil {
			l.Logger.Warn("entries of an index that are no longer true are not removed", "file", ix.File.Name(), "err", err)
		}
	}
	if p == l.Head() {
		p.Counted.Store(&sum)
	} else {
		l.SetTotals(p, sum)
		if found.Scanned > index.Interval {
			if err := ix.Flush(); err != nil {
				l.Logger.Warn("index not written; it will be rebuilt again", "file", ix.File.Name(), "err", err)
			}
		}
	}
	p.ix.Store(ix)
}

// ReadyHead makes the head's index usable and its totals known. Caller holds
// Writer.
func (l *List) ReadyHead() error {
	head := l.Head()
	if err := l.EnsureIndex(head); err != nil {
		return err
	}
	l.TakeCount(head)
	return nil
}

// TakeCount makes what was counted in the head the log's. Caller holds Writer.
func (l *List) TakeCount(head *Partition) {
	if sum := head.Counted.Swap(nil); sum != nil {
		l.HeadSum = *sum
		if sum.Batches > 0 {
			l.LastMillis = sum.Last
		}
	}
}

// knownTotals returns what the partition holds as far as the journal knows, or
// nil.
func (l *List) knownTotals(p *Partition) *journal.Totals {
	if p != l.Head() {
		return p.Sum.Load()
	}
	if sum, known := l.Journal.Head(p.End.Load()); known {
		return &sum
	}
	return nil
}

// DropIndex gives a partition an empty index and removes the file of the one
// that it had. The caller is the partition's only user.
func (l *List) DropIndex(p *Partition) error {
	if err := p.Index().File.Remove(); err != nil {
		return err
	}
	p.ix.Store(l.newIndex(p))
	return nil
}

// Reindex is [index.Index.Rebuild] for an index of a partition. Damage between
// batches is set aside; what to do with invalid bytes at the end is the caller's
// choice. The caller is the partition's only user or holds p.Loading, and is the
// only user of ix.
func (l *List) Reindex(p *Partition, ix *index.Index, f vfs.File, trusted int64) (index.Rebuilt, error) {
	src := l.indexSource(p, f, trusted)
	if known := l.knownTotals(p); known != nil {
		src.First, src.Last = known.First, known.Last
	}
	found, err := ix.Rebuild(src, trusted)
	l.setAsideAll(p, found.Damaged)
	return found, err
}

// indexSource returns what is known of a partition for making its index. whole is
// the position up to which its file is known to have been whole once.
func (l *List) indexSource(p *Partition, f vfs.File, whole int64) *index.Source {
	if p.Base < l.Unchecked {
		whole = 0
	}
	size := p.End.Load() - p.Base
	return &index.Source{
		File: f, Topic: l.Topic, Size: size, Whole: whole, Aside: layout.Clip(*l.Journal.Damaged(), p.Base, size),
		Latest: func(changed int64) int64 { return l.latestTime(p, changed) },
	}
}

// FlushIndex writes what the index has in memory alone. Caller holds Writer.
func (l *List) FlushIndex(p *Partition) {
	if err := p.Index().Flush(); err != nil {
		l.Logger.Warn("index not written; it will be rebuilt when it is needed",
			"file", p.Index().File.Name(), "err", err)
	}
}
