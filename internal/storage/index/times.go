package index

import (
	"errors"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/journal"
)

// Open reads the index file of a partition of the given size and keeps the
// entries up to trusted. It returns the last of them, from which a scan begins, the first,
// and what the dropped ones knew of times. An index that is not there or does
// not fit is empty.
func (ix *Index) Open(size, trusted int64) (times Times, from, first Entry) {
	times.Known = -1
	err := ix.load(size)
	if err == nil {
		times.Hints, err = ix.After(trusted)
	}
	if err == nil {
		err = ix.Truncate(trusted + 1)
	}
	if err == nil {
		first, err = ix.First()
	}
	if err == nil {
		from, _, err = ix.Search(func(*Entry) bool { return true })
	}
	if err != nil || from.Pos < 0 {
		ix.Reset()
		ix.Stale = !errors.Is(err, fs.ErrNotExist)
		return Times{Known: -1}, Entry{}, Entry{}
	}
	times.Known = from.Pos
	if n := len(times.Hints); n > 0 {
		times.Known = times.Hints[n-1].Pos
	}
	return times, from, first
}

// Times tells when batches were appended, as far as an index knows that
// is otherwise no longer trusted.
type Times struct {
	Hints  []Entry // in order
	Known  int64   // position up to which the index knew the times
	Oldest int64   // of the batch at position 0; 0 if that is not known
	Newest int64   // no batch is younger than this
}

// Fit reports whether the next entry that the index knew is of the batch at
// pos, with the given totals before it, or of a later one.
func (t *Times) Fit(pos int64, before journal.Totals) bool {
	if len(t.Hints) == 0 || t.Hints[0].Pos > pos {
		return true
	}
	e := &t.Hints[0]
	return e.Pos == pos && e.Messages == before.Messages && e.Batches == before.Batches
}

// At returns the time of the batch at pos, given the time of the one before
// it. Calls come with growing positions. A time that is not known is taken as
// late as it can have been, so that a reader who seeks it is given too much
// and not too little.
func (t *Times) At(pos, before int64) int64 {
	for len(t.Hints) > 0 && t.Hints[0].Pos <= pos {
		before = max(before, t.Hints[0].Millis)
		t.Hints = t.Hints[1:]
	}
	switch {
	case pos <= t.Known:
		return before
	case pos == 0 && t.Oldest > 0:
		return t.Oldest
	}
	return max(before, t.Newest)
}
