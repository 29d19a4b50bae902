package index

import (
	"errors"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/journal"
)

// open reads the index file of a partition of the given size and keeps the
// entries up to trusted. It returns the last of them, from which a scan begins, the first,
// and what the dropped ones knew of times. An index that is not there or does
// not fit is empty.
func (ix *Index) open(size, trusted int64) (t times, last, first Entry) {
	err := ix.load(size)
	if err == nil {
		t.hints, err = ix.After(trusted)
	}
	if err == nil {
		err = ix.Truncate(trusted + 1)
	}
	if err == nil {
		first, err = ix.First()
	}
	if err == nil {
		last, _, err = ix.Search(func(*Entry) bool { return true })
	}
	if err != nil || last.Pos < 0 {
		ix.reset()
		ix.Stale = !errors.Is(err, fs.ErrNotExist)
		return times{known: -1}, Entry{}, Entry{}
	}
	t.known = last.Pos
	if n := len(t.hints); n > 0 {
		t.known = t.hints[n-1].Pos
	}
	return t, last, first
}

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
