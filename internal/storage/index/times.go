package index

import "github.com/logd-dev/logd/internal/storage/journal"

// times tells when batches were appended, as far as an index knows that
// is otherwise no longer trusted.
type times struct {
	hints  []Entry // in order
	known  int64   // position up to which the index knew the times
	oldest int64   // of the batch at position 0; 0 if that is not known
	newest int64   // no batch is younger than this
}

// fit reports whether the next entry that the index knew is of the batch at
// pos, with the given totals before it, or of a later one.
func (t *times) fit(pos int64, before journal.Totals) bool {
	if len(t.hints) == 0 || t.hints[0].Pos > pos {
		return true
	}
	e := &t.hints[0]
	return e.Pos == pos && e.Messages == before.Messages && e.Batches == before.Batches
}

// at returns the time of the batch at pos, given the time of the one before
// it. Calls come with growing positions. A time that is not known is taken as
// late as it can have been, so that a reader who seeks it is given too much
// and not too little.
func (t *times) at(pos, before int64) int64 {
	for len(t.hints) > 0 && t.hints[0].Pos <= pos {
		before = max(before, t.hints[0].Millis)
		t.hints = t.hints[1:]
	}
	switch {
	case pos <= t.known:
		return before
	case pos == 0 && t.oldest > 0:
		return t.oldest
	}
	return max(before, t.newest)
}
