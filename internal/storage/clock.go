package storage

import (
	"math"
	"slices"
	"time"
)

// What a log knows of times is what the clock said when a batch was appended,
// and clocks are wrong now and then: ahead until NTP has set them right, behind
// after a dead battery. Order and offsets never depend on them. Times do not
// decrease within a partition, whose index is searched by them, so a batch that
// comes while the clock is behind gets the time of the one before; each
// partition begins with what the clock says.
//
// That makes times of different partitions contradict one another. Who asks
// when something was stored takes of what there is that which loses nothing:
// Seek gives rather too much, and age keeps rather too long.

const (
	// clockSlack is how far the clock may go back without a word.
	clockSlack = int64(time.Second / time.Millisecond)

	// clockDoubt is how far ahead of the clock a time must be for Seek to believe
	// a later partition more than it. It is more than what a wrong time zone or
	// summer time makes, since then the clock may as well be behind: what was
	// stored before it was set back must still be found by its time.
	clockDoubt = int64(15 * time.Hour / time.Millisecond)

	// clockHold is how long nothing is removed by age after the clock has gone ahead
	// by more than clockDoubt at once: one that is wrong is mostly set right soon.
	clockHold = time.Hour

	// firstPlausible is the year 2000, in ms: what files of a restored folder say
	// that are older was not kept, or never known.
	firstPlausible = 946_684_800_000
)

// appendTime returns the time of a batch that is appended to the head at a time
// of the clock. Caller holds writer.
func (l *Log) appendTime(now int64) int64 { return max(now, l.headSum.Last) }

// keepTimes makes the times in the head's index durable when the clock has gone
// back. What is appended from here on gives the file a time before that of earlier
// batches: if a crash lost their times, latestTime would conclude too early ones.
// Caller holds writer.
func (l *Log) keepTimes(now int64) {
	if now >= l.headSum.Last {
		l.timesKept = nil
		return
	}
	head := l.head()
	if l.timesKept == head {
		return
	}
	ix := head.index()
	if err := ix.Settle(); err != nil {
		l.store.log.Warn("the clock has gone back, and the times of batches before that are not written: a crash may lose them",
			"topic", l.name, "file", ix.File.Name, "err", err)
		return
	}
	l.timesKept = head
}

// lookAtClock says once that the clock is behind the newest batch's time. Caller
// holds writer, or is the log's only user.
func (l *Log) lookAtClock(now int64) {
	behind := l.lastMillis - now
	if behind <= 0 {
		l.clockBehind = false
	}
	if behind <= clockSlack || l.clockBehind {
		return
	}
	l.clockBehind = true
	l.store.log.Warn("the clock is behind the time of the topic's newest batch, so one of the two is wrong; "+
		"batches get the newest time until a partition begins, which has the clock's again",
		"topic", l.name, "behind", millisDuration(behind), "newest", time.UnixMilli(l.lastMillis).UTC())
}

// millisDuration returns milliseconds as a duration, the longest for too many.
func millisDuration(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// adoptedWith reports whether a partition may have been there before the journal,
// in a folder of the 0.3 layout.
func (l *Log) adoptedWith(p *partition) bool { return p.base <= l.wholeFrom }

// latestTime returns the time of batches of a partition that nothing tells the
// time of: as late as they can have been, given when the file was changed last.
func (l *Log) latestTime(p *partition, changed int64) int64 {
	switch {
	case changed >= l.state.Created, l.adoptedWith(p) && changed >= firstPlausible:
		return changed
	case l.adoptedWith(p):
		return l.state.Created
	}
	return max(l.store.o.Clock.Now().UnixMilli(), changed, 0) // the clock may be further behind than it was
}

// lastTime returns the recorded time of a partition's newest batch, and 0 where
// it is not known or there is none, as with the head.
func lastTime(p *partition) int64 {
	if sum := p.sum.Load(); sum != nil {
		return sum.Last
	}
	return 0
}

// firstTime returns the recorded time of a partition's first batch, and 0 where
// it is not known or there is none.
func firstTime(p *partition) int64 {
	if sum := p.sum.Load(); sum != nil {
		return sum.First
	}
	if p.ready.Load() {
		if e, err := p.index().First(); err == nil && e.Pos >= 0 {
			return e.Millis
		}
	}
	return 0
}

// knownSince returns a time that is not ahead of the clock and that no batch of
// the first partition is older than, if the clock was right: when the topic was
// created, or its folder of the 0.3 layout first opened, and when what retention
// has removed was stored. It is 0 if there is none.
func (l *Log) knownSince(now int64) (since int64) {
	for _, t := range [...]int64{l.state.Created, l.newestRemoved.Load()} {
		if t <= now {
			since = max(since, t)
		}
	}
	return since
}

// storedBefore returns when all of parts[i] was stored at the latest, as later
// partitions tell, if it has times ahead of the clock, and MaxInt64 if none
// tells. asked is the time that is sought: for one ahead of the clock nothing is
// told if the clock is certainly behind, since the topic was created later.
func (l *Log) storedBefore(parts []*partition, i int, now, asked int64) int64 {
	if asked > now && l.state.Created > now {
		return math.MaxInt64
	}
	since := l.knownSince(now)
	for _, p := range parts[:i+1] {
		for _, t := range [...]int64{firstTime(p), lastTime(p)} {
			if t <= now {
				since = max(since, t)
			}
		}
	}
	return firstWithin(parts[i+1:], since, now)
}

// firstWithin returns when the first of the partitions that began between two
// times did, and MaxInt64 if there is none.
func firstWithin(parts []*partition, from, to int64) int64 {
	for _, p := range parts {
		if t := firstTime(p); t > 0 && from <= t && t <= to {
			return t
		}
	}
	return math.MaxInt64
}

// ages tells when the newest batch of each partition was stored, for retention.
type ages struct {
	log   *Log
	parts []*partition
	now   int64
	since int64 // parts[next] is not older
	next  int
}

func (l *Log) ages(parts []*partition) *ages {
	now := l.store.o.Clock.Now().UnixMilli()
	return &ages{log: l, parts: parts, now: now, since: l.knownSince(now)}
}

// expired reports whether the newest batch of parts[i] was stored more than the
// age ago. recorded is its time in the log, 0 if that is not known. Calls come
// with growing i.
func (a *ages) expired(i int, recorded int64, age time.Duration) bool {
	a.pass(i)
	if a.since <= recorded && recorded <= a.now && !a.older(recorded, age) {
		return false // what newest finds is not older
	}
	return a.older(a.newest(i, recorded), age)
}

// pass takes note of the partitions before parts[i].
func (a *ages) pass(i int) {
	for ; a.next < i; a.next++ {
		if t := lastTime(a.parts[a.next]); t <= a.now {
			a.since = max(a.since, t)
		}
	}
}

// newest returns when the newest batch of parts[i] was stored, rather too late
// than too early. See expired for the arguments.
//
// The time in the log counts unless the clock is known to have been wrong: the
// time is ahead of it, or before that of what was stored before, or behind that
// of the file, which was written at a time that the batch did not get. Then the
// time of the file counts, and if that is contradicted, too, when a later
// partition began, since all was stored before. Otherwise it is as if all was
// stored when it was first looked at.
func (a *ages) newest(i int, recorded int64) int64 {
	a.pass(i)
	l, p := a.log, a.parts[i]
	least := a.since
	if recorded <= a.now {
		least = max(least, recorded)
	}
	fits := func(t int64) bool { return t > 0 && least <= t && t <= a.now }
	if st, err := l.store.fs.Stat(p.file.Name); err == nil {
		changed := st.ModTime().UnixMilli()
		if fits(recorded) && changed >= recorded-clockSlack {
			return recorded
		}
		if fits(changed) {
			return changed
		}
	}
	// What is older than the journal came from elsewhere with its folder, and its
	// files may have any time.
	if created := l.state.Created; l.adoptedWith(p) && recorded <= created && fits(created) {
		return created
	}
	if t := firstWithin(a.parts[i+1:], least, a.now); a.since > 0 && t <= a.now {
		return t
	}
	d := p.doubted.Load()
	if end := p.end.Load(); d == nil || d.end != end {
		d = &doubt{end: end, at: time.Now()}
		p.doubted.Store(d)
	}
	return a.now - time.Since(d.at).Milliseconds()
}

// doubt is when a partition that ended there was first found to have no time to
// go by.
type doubt struct {
	end int64
	at  time.Time // by a clock that is never set
}

// older reports whether a time is more than the age ago.
func (a *ages) older(millis int64, age time.Duration) bool { return a.now-millis > age.Milliseconds() }

// sensible returns the times of a log's first and last batch as they can have
// been, as far as that is known, where they are ahead of the clock.
func (l *Log) sensible(parts []*partition, first, last int64) (int64, int64) {
	now := l.store.o.Clock.Now().UnixMilli()
	if last > now {
		for _, p := range slices.Backward(parts) {
			if p.end.Load() == p.base {
				continue
			}
			if st, err := l.store.fs.Stat(p.file.Name); err == nil && st.ModTime().UnixMilli() <= now {
				last = st.ModTime().UnixMilli()
			}
			break
		}
	}
	if first > now {
		first = min(first, firstWithin(parts, 0, now), last)
	}
	return first, last
}

// clockWatch finds the clock to be set ahead. It is for one goroutine.
type clockWatch struct {
	store *Store
	begun time.Time // by a clock that is never set
	wall  int64     // what the clock said then, or would have said as it is set now
	since time.Time // when it was first found to be set as it is; zero if it is set as then
	by    int64     // how far ahead it was found at since
	low   int64     // how far behind it has been, negative, since it was last set as then
}

func newClockWatch(s *Store) clockWatch {
	return clockWatch{store: s, begun: time.Now(), wall: s.o.Clock.Now().UnixMilli()}
}

// look sets Store.ageHeld: for clockHold from when the clock was set ahead, or
// until it is set back. After that the clock is believed.
func (w *clockWatch) look() {
	steady := time.Now()
	ahead := w.store.o.Clock.Now().UnixMilli() - w.wall - steady.Sub(w.begun).Milliseconds()
	switch {
	case max(ahead, -ahead) <= clockDoubt:
		w.since, w.low = time.Time{}, 0
	case w.since.IsZero() || max(ahead-w.by, w.by-ahead) > clockDoubt:
		w.since, w.by, w.low = steady, ahead, min(w.low, ahead)
	case steady.Sub(w.since) >= clockHold:
		w.wall, w.since, w.low, ahead = w.wall+ahead, time.Time{}, 0, 0
	}
	ahead -= w.low
	held := ahead > clockDoubt
	if held && !w.store.ageHeld.Load() {
		w.store.log.Warn("the clock was set ahead: if it stays so, partitions are removed by age again when the time is over",
			"by", millisDuration(ahead), "time", clockHold)
	}
	w.store.ageHeld.Store(held)
}

// noteRemoved keeps in mind how new what retention removes is, which is a bound
// for what comes after it.
func (l *Log) noteRemoved(gone []*partition) {
	now := l.store.o.Clock.Now().UnixMilli()
	for _, p := range gone {
		if t := lastTime(p); t <= now {
			l.newestRemoved.Store(max(t, l.newestRemoved.Load()))
		}
	}
}
