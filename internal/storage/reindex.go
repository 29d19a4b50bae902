package storage

import (
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// ensureIndex makes the partition's index usable: what the file holds, if it
// fits, and a scan for the rest. Whoever comes meanwhile waits.
func (l *Log) ensureIndex(p *partition) error {
	if p.ready.Load() {
		return nil
	}
	p.loading.Lock()
	defer p.loading.Unlock()
	if p.ready.Load() {
		return nil
	}
	if err := l.fillIndex(p, p.index()); err != nil {
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
		l.journalMu.Lock()
		l.state.Clean = false
		l.journalMu.Unlock()
	} else {
		p.sum.Store(nil)
	}
	ix := l.newIndex(p)
	var err error
	if len(known) > 0 {
		err = l.refillIndex(p, ix, known, from, newest)
	} else {
		err = l.fillIndex(p, ix)
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
	start := indexStart{times: index.Times{Known: known[len(known)-1].Pos, Newest: newest}}
	n := 0
	for ; n < len(known) && known[n].Pos <= from; n++ {
		if err := ix.Add(known[n]); err != nil && !passing(err) {
			return err
		}
	}
	if n > 0 {
		start.first, start.from = known[0], known[n-1]
	}
	start.times.Hints = known[n:]
	size := p.end.Load() - p.base
	sum, found, err := l.scanIndex(p, ix, f, &start, size)
	if err != nil {
		return err
	}
	l.adoptIndex(p, ix, sum, found)
	return nil
}

// fillIndex makes ix hold what its file holds and a scan adds, and makes it the
// partition's. Caller holds p.loading, and writer if readers have used the
// head's index already.
func (l *Log) fillIndex(p *partition, ix *index.Index) error {
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.file.Release()
	known := l.knownTotals(p)
	size := p.end.Load() - p.base
	sum, found, err := l.reindex(p, ix, f, size)
	if err == nil && known != nil && (known.Messages != sum.Messages || known.Batches != sum.Batches) && found.Scanned < size {
		l.store.log.Warn("index does not fit its partition and is rebuilt", "file", ix.File.Name,
			"batches", sum.Batches, "want", known.Batches)
		if err = ix.File.Remove(); err == nil {
			ix = l.newIndex(p)
			sum, found, err = l.reindex(p, ix, f, size)
		}
	}
	if err != nil {
		return err
	}
	if known != nil && known.Batches == sum.Batches {
		// A scan can't know the times; the journal does.
		sum.First, sum.Last = known.First, known.Last
	}
	l.adoptIndex(p, ix, sum, found)
	return nil
}

// adoptIndex makes an index that was filled by a scan of the whole partition the
// partition's. What fillIndex says of its caller holds for this one's.
func (l *Log) adoptIndex(p *partition, ix *index.Index, sum journal.Totals, found scan.Result) {
	size := p.end.Load() - p.base
	// All this was served before, so an invalid end is no torn tail.
	if found.Tail < size {
		l.setAside(p, layout.Range{From: p.base + found.Tail, To: p.base + size})
		ix.Force = true
	}
	if ix.Stale {
		if err := ix.Settle(); err != nil {
			l.store.log.Warn("entries of an index that are no longer true are not removed", "file", ix.File.Name, "err", err)
		}
	}
	if p == l.head() {
		p.counted.Store(&sum)
	} else {
		l.setTotals(p, sum)
		if found.Scanned > index.Interval {
			if err := ix.Flush(); err != nil {
				l.store.log.Warn("index not written; it will be rebuilt again", "file", ix.File.Name, "err", err)
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
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	if !l.state.Clean || l.state.Synced != p.end.Load() {
		return nil
	}
	sum := l.state.Head
	return &sum
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

// reindex scans the partition from the last index entry that is not after
// trusted (a position) to its end, and makes the entries of ix anew from there
// on. Below trusted the index file is used as it is, if it fits. It returns
// the totals of the whole partition. The caller is the partition's only user
// or holds p.loading, and is the only user of ix.
//
// Damage between batches is set aside; what to do with invalid bytes at the
// end is the caller's choice.
func (l *Log) reindex(p *partition, ix *index.Index, f vfs.File, trusted int64) (journal.Totals, scan.Result, error) {
	var start indexStart
	start.times, start.from, start.first = ix.Open(p.end.Load()-p.base, trusted)
	if known := l.knownTotals(p); known != nil {
		start.times.Oldest, start.times.Newest = known.First, known.Last
	}
	return l.scanIndex(p, ix, f, &start, trusted)
}

// indexStart is where a scan begins that makes the entries of an index.
type indexStart struct {
	times index.Times
	from  index.Entry // the last that the index has; the scan begins there
	first index.Entry // that it has
}

// scanIndex is reindex with an index that has the entries up to start. whole is
// the position up to which the file is known to have been whole once.
func (l *Log) scanIndex(p *partition, ix *index.Index, f vfs.File, start *indexStart, whole int64) (journal.Totals, scan.Result, error) {
	size := p.end.Load() - p.base
	times, from, first := &start.times, start.from, start.first
	st, err := f.Stat()
	if err != nil {
		return journal.Totals{}, scan.Result{}, err
	}
	// Something else may have cut the file short: what is missing is damaged.
	size = min(size, st.Size())
	if times.Newest == 0 {
		times.Newest = l.latestTime(p, st.ModTime().UnixMilli())
	}
	sum := journal.Totals{Messages: from.Messages, Batches: from.Batches, First: first.Millis, Last: from.Millis}
	sc := &scan.Scanner{File: f, Size: size, Topic: l.name, Synced: whole, Aside: l.damagedIn(p)}
	if p.base < l.wholeFrom {
		sc.Synced = 0
	}
	// The entry where the scan begins was not scanned itself. What follows the
	// batch that was there is not older than it.
	drop := func() error {
		ix.Stale = true
		return ix.Truncate(from.Pos)
	}
	visited := false
	found, err := sc.Scan(from.Pos, func(pos int64, h *batch.Header, n int64, gap bool) error {
		if !visited && pos > from.Pos && ix.Covers(from.Pos) {
			if err := drop(); err != nil {
				return err
			}
		}
		visited = true
		if !times.Fit(pos, sum) {
			ix.Stale = true
		}
		millis := times.At(pos, sum.Last)
		if sum.Batches == 0 {
			sum.First = millis
		}
		sum.Last = millis
		if !ix.Covers(pos) && (gap || ix.Wants(pos, millis)) {
			// Without room the index stands for the entry in memory, and the log is
			// served all the same.
			if err := ix.Add(index.Entry{Pos: pos, Messages: sum.Messages, Batches: sum.Batches, Millis: millis}); err != nil && !passing(err) {
				return fmt.Errorf("write index %s: %w", ix.File.Name, err)
			}
		}
		sum.Messages += h.Messages
		sum.Batches++
		return nil
	})
	if err != nil {
		return sum, found, err
	}
	if !visited && size > from.Pos && ix.Covers(from.Pos) {
		if err := drop(); err != nil {
			return sum, found, err
		}
		sum.Last = ix.Last.Millis
	}
	if len(times.Hints) > 0 {
		ix.Stale = true
	}
	if sum.Batches == 0 {
		sum = journal.Totals{}
	}
	for _, r := range found.Damaged {
		l.setAside(p, layout.Range{From: p.base + r.From, To: p.base + r.To})
	}
	return sum, found, nil
}

// damagedIn returns the positions of a partition that are set aside.
func (l *Log) damagedIn(p *partition) []layout.Range {
	var in []layout.Range
	for _, r := range *l.damaged.Load() {
		if r.To > p.base && r.From < p.end.Load() {
			in = append(in, layout.Range{From: r.From - p.base, To: r.To - p.base})
		}
	}
	return in
}
