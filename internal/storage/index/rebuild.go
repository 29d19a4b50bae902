package index

import (
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// Source is a partition of which an index is made, and what is known of it.
type Source struct {
	File  vfs.File
	Topic string
	Size  int64          // how much of the file is the partition's
	Whole int64          // position up to which the file is known to have been whole once
	Aside []layout.Range // positions that are set aside, in order

	// First and Last are the times of the first and the last batch; 0 if they are
	// not known.
	First, Last int64
	// Latest returns the time of batches that nothing tells the time of, given when
	// the file was changed last. It is asked only if Last is not known.
	Latest func(changed int64) int64
}

// Rebuilt is what a scan has found that made the entries of an index.
type Rebuilt struct {
	// Totals are those of the whole partition, also of what was not scanned.
	Totals journal.Totals
	// Result has the damage between batches, for the caller to set aside, and where
	// the invalid bytes at the end begin, if there are any: what becomes of those is
	// the caller's choice.
	scan.Result
}

// Rebuild scans the partition from the last entry of the index's file that is not
// after trusted (a position) to its end, and makes the entries anew from there
// on. Below trusted the file is used as it is, if it fits. The caller is the only
// user of the index.
//
// What the index file can't take for now is stood for by one entry, see Add: that
// is no error.
func (ix *Index) Rebuild(src *Source, trusted int64) (Rebuilt, error) {
	r := &rebuilding{ix: ix}
	r.times, r.start, r.first = ix.open(src.Size, trusted)
	r.times.oldest, r.times.newest = src.First, src.Last
	return r.scan(src)
}

// RebuildAfter is Rebuild with the entries of another index of the partition,
// which is known to be right: those up to a position are taken as they are, and of
// the others the times.
func (ix *Index) RebuildAfter(src *Source, known []Entry, pos int64) (Rebuilt, error) {
	r := &rebuilding{ix: ix, times: times{known: -1, newest: src.Last}}
	if len(known) > 0 {
		r.times.known = known[len(known)-1].Pos
	}
	n := 0
	for ; n < len(known) && known[n].Pos <= pos; n++ {
		if err := ix.Add(known[n]); err != nil && !files.Transient(err) {
			return Rebuilt{}, err
		}
	}
	if n > 0 {
		r.first, r.start = known[0], known[n-1]
	}
	r.times.hints = known[n:]
	return r.scan(src)
}

// rebuilding is one scan that makes entries.
type rebuilding struct {
	ix     *Index
	times  times
	start  Entry // the last that the index has: the scan begins there
	first  Entry // that it has
	totals journal.Totals
	any    bool // a batch was visited
}

func (r *rebuilding) scan(src *Source) (Rebuilt, error) {
	st, err := src.File.Stat()
	if err != nil {
		return Rebuilt{}, err
	}
	// Something else may have cut the file short: what is missing is damaged.
	size := min(src.Size, st.Size())
	if r.times.newest == 0 {
		r.times.newest = src.Latest(st.ModTime().UnixMilli())
	}
	r.totals = journal.Totals{Messages: r.start.Messages, Batches: r.start.Batches, First: r.first.Millis, Last: r.start.Millis}
	sc := &scan.Scanner{File: src.File, Size: size, Topic: src.Topic, Synced: src.Whole, Aside: src.Aside}
	found, err := sc.Scan(r.start.Pos, r.visit)
	if err != nil {
		return Rebuilt{}, err
	}
	if !r.any && size > r.start.Pos && r.ix.Covers(r.start.Pos) {
		if err := r.dropStart(); err != nil {
			return Rebuilt{}, err
		}
		r.totals.Last = r.ix.Last.Millis
	}
	if len(r.times.hints) > 0 {
		r.ix.Stale = true
	}
	if r.totals.Batches == 0 {
		r.totals = journal.Totals{}
	}
	return Rebuilt{Totals: r.totals, Result: found}, nil
}

// visit takes note of a batch.
func (r *rebuilding) visit(pos int64, h *batch.Header, _ int64, gap bool) error {
	if !r.any && pos > r.start.Pos && r.ix.Covers(r.start.Pos) {
		if err := r.dropStart(); err != nil {
			return err
		}
	}
	r.any = true
	if !r.times.fit(pos, r.totals) {
		r.ix.Stale = true
	}
	millis := r.times.at(pos, r.totals.Last)
	if r.totals.Batches == 0 {
		r.totals.First = millis
	}
	r.totals.Last = millis
	if !r.ix.Covers(pos) && (gap || r.ix.Wants(pos, millis)) {
		// Without room the index stands for the entry in memory, and the log is
		// served all the same.
		e := Entry{Pos: pos, Messages: r.totals.Messages, Batches: r.totals.Batches, Millis: millis}
		if err := r.ix.Add(e); err != nil && !files.Transient(err) {
			return fmt.Errorf("write index %s: %w", r.ix.File.Name(), err)
		}
	}
	r.totals.Messages += h.Messages
	r.totals.Batches++
	return nil
}

// dropStart drops the index's entry where the scan began: no valid batch is there
// any more. What follows the batch that was there is not older than it.
func (r *rebuilding) dropStart() error {
	r.ix.Stale = true
	return r.ix.Truncate(r.start.Pos)
}
