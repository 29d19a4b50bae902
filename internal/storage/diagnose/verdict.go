// Package diagnose decides what is on disk: what a folder holds, what a crash has
// interrupted, which partitions are to stay, what becomes of the end of a log,
// and where the log goes on. Recovery acts on these verdicts, and those who check
// and repair a work directory that no server has open print and apply the same
// ones: whoever cut off more than recovery does would have offsets given out again
// that recovery would not. Nothing is written here.
//
// [ContentsOf] tells what a folder is. A [Log] is what is known of a topic's log
// before its bytes are looked at. The verdicts on it come in this order, each when
// the ones before are carried out:
//
//	Trimmed, Cut     what the journal announces and is not done
//	InDoubt, Alive   a newest partition of which nothing may have reached the disk
//	Gone, Between    what is missing of the files
//	Synced           from where on batches are looked at, see also UncheckedBefore
//	Torn             what becomes of invalid bytes at the end
//	Missing, GoesOn  what is missing at the end, and which offset is next
package diagnose

import (
	"maps"
	"slices"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
)

// Log is what is known of a topic's log before its bytes are looked at.
type Log struct {
	Journal *journal.State
	// Adopted tells that there is no journal that knows the topic: its folder is of
	// the 0.3 layout.
	Adopted bool
	// Parts are the offsets from which to which the partition files reach, oldest
	// first. The last is the head.
	Parts []layout.Range
}

func (d *Log) head() layout.Range { return d.Parts[len(d.Parts)-1] }

// Trimmed returns how many of the oldest partitions a removal was taking away
// when it was interrupted: what they hold is before the oldest offset.
func (d *Log) Trimmed() (n int) {
	oldest := d.Journal.Trimmed.Oldest
	for n < len(d.Parts) && d.Parts[n].From < oldest &&
		(d.Parts[n].To <= oldest || (n+1 < len(d.Parts) && d.Parts[n+1].From <= oldest)) {
		n++
	}
	return n
}

// Cut returns what a truncation was taking away when it was interrupted, if the
// journal announces one: all partitions but the first keep of them, and of the
// last of those what is at and after Journal.Cut, if shorten is true. If it keeps none the log
// begins at Journal.Cut. When that is done, Journal.FinishCut notes it.
func (d *Log) Cut() (keep int, shorten, announced bool) {
	cut := d.Journal.Cut
	if cut < 0 {
		return len(d.Parts), false, false
	}
	keep = len(d.Parts)
	for keep > 1 && d.Parts[keep-1].From > cut {
		keep--
	}
	if keep == 1 && cut <= d.Journal.Trimmed.Oldest && d.Parts[0].From != cut {
		return 0, false, true // the log is emptied, and begins at cut
	}
	return keep, keep > 0 && d.Parts[keep-1].To > cut, true
}

// InDoubt reports whether the head is to be removed unless it is [Alive]: it begins
// after the synced mark, so perhaps nothing of it has reached the disk. The torn
// tail of the log is then in the partition before, which becomes the head.
func (d *Log) InDoubt() bool { return len(d.Parts) > 1 && d.head().From > d.Journal.Synced }

// Gone returns the partitions that the journal knows as complete, that were not
// removed by logd, and that are missing at the beginning of the log.
func (d *Log) Gone() (gone []layout.Range) {
	for _, base := range slices.Sorted(maps.Keys(d.Journal.Ends)) {
		if base >= d.Journal.Trimmed.Oldest && base < d.Parts[0].From {
			gone = append(gone, layout.Range{From: base, To: d.Journal.Ends[base].End})
		}
	}
	return gone
}

// Joint is how one partition follows another.
type Joint uint8

const (
	// Joined partitions leave nothing between them.
	Joined Joint = iota
	// Overlap: bytes of the first reach into the second. They do not count.
	Overlap
	// Gap: offsets are missing between the two.
	Gap
)

// Between returns how a partition that ends at end is followed by the one at next,
// and the offsets that are in both of them, or in none.
func Between(end, next int64) (Joint, layout.Range) {
	switch {
	case end > next:
		return Overlap, layout.Range{From: next, To: end}
	case end < next:
		return Gap, layout.Range{From: end, To: next}
	}
	return Joined, layout.Range{}
}

// Synced returns the offset before which everything is taken as good until it is
// read. Without a journal nothing is known, and the older partitions are.
func (d *Log) Synced() int64 {
	if d.Adopted {
		return d.head().From
	}
	return d.Journal.Synced
}

// UncheckedBefore returns the offset before which partitions begin that may never
// have been whole: they are older than the journal, and nobody has looked at them.
func (d *Log) UncheckedBefore() int64 {
	if d.Adopted {
		return d.head().From
	}
	return d.Journal.Adopted
}

// Torn reports whether the invalid bytes from a position on, at the end of the
// partition that begins at base, are a torn tail, which is cut off. It is at the
// end of the head, at or after what was synced, and no batch of another topic
// stands there: such a batch was never an append to this topic. What is not torn
// is damage, and kept.
func (d *Log) Torn(s *scan.Scanner, base, position int64) (bool, error) {
	if base != d.head().From || base+position < d.Synced() {
		return false, nil
	}
	foreign, err := s.ForeignAt(position)
	return !foreign, err
}

// Missing returns the offsets that were synced and are missing at the end of the
// log: something else has cut the file short. There are none if the range is
// empty.
func (d *Log) Missing() layout.Range {
	end := d.head().To
	return layout.Range{From: end, To: max(end, d.Synced())}
}

// GoesOn returns the offset that the next batch gets, given the ranges that are
// damaged, in order, and whether it is to begin a partition of its own. Appends
// neither reuse offsets that were given out, nor follow bytes that are set aside at the
// end of a file. If there are no partitions, the log goes on after all that the
// journal knows.
func (d *Log) GoesOn(damaged []layout.Range) (next int64, begins bool) {
	if len(d.Parts) == 0 {
		next = max(d.Journal.Synced, d.Journal.Trimmed.Oldest)
		for _, e := range d.Journal.Ends {
			next = max(next, e.End)
		}
		return next, true
	}
	head := d.head()
	if n := len(damaged); n > 0 {
		if last := damaged[n-1]; last.To > head.To || (last.To == head.To && head.To > head.From) {
			return last.To, true
		}
	}
	return head.To, false
}
