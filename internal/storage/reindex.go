package storage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/logd-dev/logd/internal/batch"
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
	f, err := p.file.acquire(toRead)
	if err != nil {
		return err
	}
	defer p.file.release()
	head := p == l.head()
	known := l.knownTotals(p)
	size := p.end.Load() - p.base
	sum, found, err := l.reindex(p, f, size)
	if err == nil && known != nil && (known.messages != sum.messages || known.batches != sum.batches) && found.scanned < size {
		l.store.log.Warn("index does not fit its partition and is rebuilt", "file", p.index.file.name,
			"batches", sum.batches, "want", known.batches)
		if err = l.dropIndex(p); err == nil {
			sum, found, err = l.reindex(p, f, size)
		}
	}
	if err != nil {
		return err
	}
	// All this was served before, so an invalid end is no torn tail.
	if found.valid < size {
		l.setAside(p, byteRange{p.base + found.valid, p.base + size})
		p.index.force = true
	}
	if p.index.stale {
		if err := p.index.settle(); err != nil {
			l.store.log.Warn("entries of an index that are no longer true are not removed", "file", p.index.file.name, "err", err)
		}
	}
	if known != nil && known.batches == sum.batches {
		// A scan can't know the times; the journal does.
		sum.first, sum.last = known.first, known.last
	}
	if head {
		l.headSum = sum
		l.lastMillis = max(l.lastMillis, sum.last)
	} else {
		l.setTotals(p, sum)
		if found.scanned > indexInterval {
			if err := p.index.flush(); err != nil {
				l.store.log.Warn("index not written; it will be rebuilt again", "file", p.index.file.name, "err", err)
			}
		}
	}
	p.ready.Store(true)
	return nil
}

// knownTotals returns what the partition holds as far as the journal knows, or
// nil.
func (l *Log) knownTotals(p *partition) *totals {
	if p != l.head() {
		return p.sum.Load()
	}
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	if !l.state.clean || l.state.synced != p.end.Load() {
		return nil
	}
	sum := l.state.head
	return &sum
}

// dropIndex forgets a partition's index and removes its file.
func (l *Log) dropIndex(p *partition) error {
	p.index.reset()
	if err := p.index.file.remove(); err != nil {
		return err
	}
	p.index.file = l.store.files.file(p.index.file.name)
	return nil
}

// reindex scans the partition from the last index entry that is not after
// trusted (a position) to its end, and makes the index entries anew from there
// on. Below trusted the index file is used as it is, if it fits. It returns
// the totals of the whole partition. The caller is the partition's only user
// or holds p.loading.
//
// Damage between batches is set aside; what to do with invalid bytes at the
// end is the caller's choice.
func (l *Log) reindex(p *partition, f vfs.File, trusted int64) (totals, scanned, error) {
	size := p.end.Load() - p.base
	times, from, first := l.loadIndex(p, size, trusted)
	times.newest = l.store.o.Clock.Now().UnixMilli()
	if known := l.knownTotals(p); known != nil {
		times.newest = known.last
	} else if st, err := f.Stat(); err == nil {
		times.newest = min(times.newest, st.ModTime().UnixMilli())
	}
	sum := totals{messages: from.messages, batches: from.batches, first: first.millis, last: from.millis}
	sc := &scanner{f: f, size: size, topic: l.name, synced: trusted, aside: l.damagedIn(p)}
	if p.base < l.wholeFrom {
		sc.synced = 0
	}
	// The entry where the scan begins was not scanned itself.
	drop := func() error {
		p.index.stale = true
		err := p.index.truncate(from.pos)
		sum.last = p.index.last.millis
		return err
	}
	visited := false
	found, err := sc.scan(from.pos, func(pos int64, h *batch.Header, n int64, gap bool) error {
		if !visited && pos > from.pos && p.index.covers(from.pos) {
			if err := drop(); err != nil {
				return err
			}
		}
		visited = true
		if !times.fit(pos, sum) {
			p.index.stale = true
		}
		millis := times.at(pos, sum.last)
		if sum.batches == 0 {
			sum.first = millis
		}
		sum.last = millis
		if !p.index.covers(pos) && (gap || p.index.wants(pos, millis)) {
			if err := p.index.add(entry{pos: pos, messages: sum.messages, batches: sum.batches, millis: millis}); err != nil {
				return fmt.Errorf("write index %s: %w", p.index.file.name, err)
			}
		}
		sum.messages += h.Messages
		sum.batches++
		return nil
	})
	if err != nil {
		return sum, found, err
	}
	if !visited && size > from.pos && p.index.covers(from.pos) {
		if err := drop(); err != nil {
			return sum, found, err
		}
	}
	if len(times.hints) > 0 {
		p.index.stale = true
	}
	if sum.batches == 0 {
		sum = totals{}
	}
	for _, r := range found.damaged {
		l.setAside(p, byteRange{p.base + r.from, p.base + r.to})
	}
	return sum, found, nil
}

// damagedIn returns the positions of a partition that are set aside.
func (l *Log) damagedIn(p *partition) []byteRange {
	var in []byteRange
	for _, r := range *l.damaged.Load() {
		if r.to > p.base && r.from < p.end.Load() {
			in = append(in, byteRange{r.from - p.base, r.to - p.base})
		}
	}
	return in
}

// loadIndex reads the partition's index file and keeps the entries up to
// trusted. It returns the last of them, from which a scan begins, the first,
// and what the dropped ones knew of times. An index that is not there or does
// not fit is empty.
func (l *Log) loadIndex(p *partition, size, trusted int64) (times appendTimes, from, first entry) {
	times.known = -1
	err := p.index.load(size)
	if err == nil {
		times.hints, err = p.index.after(trusted)
	}
	if err == nil {
		err = p.index.truncate(trusted + 1)
	}
	if err == nil {
		first, err = p.index.first()
	}
	if err == nil {
		from, _, err = p.index.search(func(*entry) bool { return true })
	}
	if err != nil || from.pos < 0 {
		p.index.reset()
		p.index.stale = !errors.Is(err, fs.ErrNotExist)
		return appendTimes{known: -1}, entry{}, entry{}
	}
	times.known = from.pos
	if n := len(times.hints); n > 0 {
		times.known = times.hints[n-1].pos
	}
	return times, from, first
}

// appendTimes tells when batches were appended, as far as an index knows that
// is otherwise no longer trusted.
type appendTimes struct {
	hints  []entry // in order
	known  int64   // position up to which the index knew the times
	newest int64   // no batch is younger than this
}

// fit reports whether the next entry that the index knew is of the batch at
// pos, with the given totals before it, or of a later one.
func (t *appendTimes) fit(pos int64, before totals) bool {
	if len(t.hints) == 0 || t.hints[0].pos > pos {
		return true
	}
	e := &t.hints[0]
	return e.pos == pos && e.messages == before.messages && e.batches == before.batches
}

// at returns the time of the batch at pos, given the time of the one before
// it. Calls come with growing positions. A time that is not known is taken as
// late as it can have been, so that a reader who seeks it is given too much
// and not too little.
func (t *appendTimes) at(pos, before int64) int64 {
	for len(t.hints) > 0 && t.hints[0].pos <= pos {
		before = max(before, t.hints[0].millis)
		t.hints = t.hints[1:]
	}
	if pos > t.known {
		return max(before, t.newest)
	}
	return before
}
