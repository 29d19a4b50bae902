package commitlog

import (
	"time"

	"github.com/logd-dev/logd/internal/storage/retain"
)

// What a log knows of times is what the clock said when a batch was appended,
// and clocks are wrong now and then: ahead until NTP has set them right, behind
// after a dead battery. Order and offsets never depend on them. Times do not
// decrease within a partition, whose index is searched by them, so a batch that
// comes while the clock is behind gets the time of the one before; each
// partition begins with what the clock says.
//
// That makes times of different partitions contradict one another: package retain
// says what is made of them.

// firstPlausible is the year 2000, in ms: what files of a restored folder say
// that are older was not kept, or never known.
const firstPlausible = 946_684_800_000

// appendTime returns the time of a batch that is appended to the head at a time
// of the clock. Caller holds writer.
func (l *Log) appendTime(now int64) int64 { return max(now, l.headSum.Last) }

// timeOf returns the time of a request that is appended to the head: that which a
// Run tells, but never before the one of a batch before it. Caller holds writer.
func (l *Log) timeOf(r *appendRequest, now int64) int64 {
	if !r.placed {
		return l.appendTime(now)
	}
	last := max(l.lastMillis, l.headSum.Last)
	if l.headSum.Batches == 0 {
		if p := beforeHead(l.partitions()); p != nil {
			last = max(last, lastTime(p))
		}
	}
	return max(r.millis, last)
}

// beforeHead returns the newest partition before the head that has batches, or nil.
func beforeHead(parts []*partition) *partition {
	for i := len(parts) - 2; i >= 0; i-- {
		if p := parts[i]; p.end.Load() > p.base {
			return p
		}
	}
	return nil
}

// findLastTime sees to it that lastTime knows of the batch before a head that is
// empty, if that can be found out.
func (l *Log) findLastTime() {
	parts := l.partitions()
	if head := parts[len(parts)-1]; head.end.Load() > head.base {
		return
	}
	if p := beforeHead(parts); p != nil && p.sum.Load() == nil {
		if _, err := l.totals(p, p.end.Load()); err != nil {
			l.store.Logger.Warn("the time of the newest batch is not known: the next one may get an earlier one", "topic", l.name, "err", err)
		}
	}
}

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
		l.store.Logger.Warn("the clock has gone back, and the times of batches before that are not written: a crash may lose them",
			"topic", l.name, "file", ix.File.Name(), "err", err)
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
	if behind <= retain.Slack || l.clockBehind {
		return
	}
	l.clockBehind = true
	l.store.Logger.Warn("the clock is behind the time of the topic's newest batch, so one of the two is wrong; "+
		"batches get the newest time until a partition begins, which has the clock's again",
		"topic", l.name, "behind", retain.Duration(behind), "newest", time.UnixMilli(l.lastMillis).UTC())
}

// adoptedWith reports whether a partition may have been there before the journal,
// in a folder of the 0.3 layout.
func (l *Log) adoptedWith(p *partition) bool { return p.base <= l.uncheckedBefore }

// latestTime returns the time of batches of a partition that nothing tells the
// time of: as late as they can have been, given when the file was changed last.
func (l *Log) latestTime(p *partition, changed int64) int64 {
	switch {
	case changed >= l.created, l.adoptedWith(p) && changed >= firstPlausible:
		return changed
	case l.adoptedWith(p):
		return l.created
	}
	return max(l.store.Clock.Now().UnixMilli(), changed, 0) // the clock may be further behind than it was
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

// ages returns the log as retention, and whoever asks for times, sees it: with
// parts, which are the log's partitions, at a time of the clock.
func (l *Log) ages(parts []*partition, now int64) *retain.View {
	v := &retain.View{
		Partitions: make([]retain.Partition, len(parts)),
		Next:       l.next.Load(),
		Readable:   l.Readable(),
		Now:        now,
		Created:    l.created,
		Removed:    l.newestRemoved.Load(),
		Unsure:     l.store.AgeHeld.Load(),
		Traces:     traces{l, parts},
	}
	for i, p := range parts {
		v.Partitions[i] = retain.Partition{Base: p.base, Last: lastTime(p), Adopted: l.adoptedWith(p)}
	}
	return v
}

// traces are the partitions of a log as retain.Traces.
type traces struct {
	log   *Log
	parts []*partition
}

// First implements retain.Traces.
func (t traces) First(i int) int64 { return firstTime(t.parts[i]) }

// Changed implements retain.Traces.
func (t traces) Changed(i int) (millis int64, ok bool) {
	st, err := t.log.store.FS.Stat(t.parts[i].file.Name())
	if err != nil {
		return 0, false
	}
	return st.ModTime().UnixMilli(), true
}

// Doubted implements retain.Traces.
func (t traces) Doubted(i int) time.Duration {
	p := t.parts[i]
	d := p.doubted.Load()
	if end := p.end.Load(); d == nil || d.end != end {
		d = &doubt{end: end, at: time.Now()}
		p.doubted.Store(d)
	}
	return time.Since(d.at)
}

// doubt is when a partition that ended there was first found to have no time to
// go by.
type doubt struct {
	end int64
	at  time.Time // by a clock that is never set
}

// sensible returns the times of a log's first and last batch as they can have
// been, as far as that is known, where they are ahead of the clock.
func (l *Log) sensible(parts []*partition, first, last int64) (int64, int64) {
	now := l.store.Clock.Now().UnixMilli()
	if first <= now && last <= now {
		return first, last
	}
	newest := len(parts) - 1
	for newest >= 0 && parts[newest].end.Load() == parts[newest].base {
		newest--
	}
	return l.ages(parts, now).Sensible(first, last, newest)
}

// noteRemoved keeps in mind how new what retention removes is, which is a bound
// for what comes after it.
func (l *Log) noteRemoved(gone []*partition) {
	now := l.store.Clock.Now().UnixMilli()
	for _, p := range gone {
		if t := lastTime(p); t <= now {
			l.newestRemoved.Store(max(t, l.newestRemoved.Load()))
		}
	}
}
