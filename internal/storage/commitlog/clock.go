package commitlog

import (
	"time"

	"github.com/logd-dev/logd/internal/storage/partition"
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

// appendTime returns the time of a batch that is appended to the head at a time
// of the clock. Caller holds writer.
func (l *Log) appendTime(now int64) int64 { return max(now, l.parts.HeadSum.Last) }

// timeOf returns the time of a request that is appended to the head: that which a
// Run tells, but never before the one of a batch before it. Caller holds writer.
func (l *Log) timeOf(r *appendRequest, now int64) int64 {
	if !r.placed {
		return l.appendTime(now)
	}
	last := max(l.parts.LastMillis, l.parts.HeadSum.Last)
	if l.parts.HeadSum.Batches == 0 {
		if p := partition.BeforeHead(l.parts.All()); p != nil {
			last = max(last, p.LastTime())
		}
	}
	return max(r.millis, last)
}

// findLastTime sees to it that lastTime knows of the batch before a head that is
// empty, if that can be found out.
func (l *Log) findLastTime() {
	parts := l.parts.All()
	if head := parts[len(parts)-1]; head.End.Load() > head.Base {
		return
	}
	if p := partition.BeforeHead(parts); p != nil && p.Sum.Load() == nil {
		if _, err := l.parts.Totals(p, p.End.Load()); err != nil {
			l.store.Logger.Warn("the time of the newest batch is not known: the next one may get an earlier one", "topic", l.name, "err", err)
		}
	}
}

// keepTimes makes the times in the head's index durable when the clock has gone
// back. What is appended from here on gives the file a time before that of earlier
// batches: if a crash lost their times, latestTime would conclude too early ones.
// Caller holds writer.
func (l *Log) keepTimes(now int64) {
	if now >= l.parts.HeadSum.Last {
		l.timesKept = nil
		return
	}
	head := l.parts.Head()
	if l.timesKept == head {
		return
	}
	ix := head.Index()
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
	behind := l.parts.LastMillis - now
	if behind <= 0 {
		l.clockBehind = false
	}
	if behind <= retain.Slack || l.clockBehind {
		return
	}
	l.clockBehind = true
	l.store.Logger.Warn("the clock is behind the time of the topic's newest batch, so one of the two is wrong; "+
		"batches get the newest time until a partition begins, which has the clock's again",
		"topic", l.name, "behind", retain.Duration(behind), "newest", time.UnixMilli(l.parts.LastMillis).UTC())
}

// ages returns the log as retention, and whoever asks for times, sees it: with
// parts, which are the log's partitions, at a time of the clock.
func (l *Log) ages(parts []*partition.Partition, now int64) *retain.View {
	v := l.parts.Ages(parts, now)
	v.Next, v.Readable = l.next.Load(), l.Readable()
	v.Removed, v.Unsure = l.newestRemoved.Load(), l.store.AgeHeld.Load()
	return v
}

// sensible returns the times of a log's first and last batch as they can have
// been, as far as that is known, where they are ahead of the clock.
func (l *Log) sensible(parts []*partition.Partition, first, last int64) (int64, int64) {
	now := l.store.Clock.Now().UnixMilli()
	if first <= now && last <= now {
		return first, last
	}
	newest := len(parts) - 1
	for newest >= 0 && parts[newest].End.Load() == parts[newest].Base {
		newest--
	}
	return l.ages(parts, now).Sensible(first, last, newest)
}

// noteRemoved keeps in mind how new what retention removes is, which is a bound
// for what comes after it.
func (l *Log) noteRemoved(gone []*partition.Partition) {
	now := l.store.Clock.Now().UnixMilli()
	for _, p := range gone {
		if t := p.LastTime(); t <= now {
			l.newestRemoved.Store(max(t, l.newestRemoved.Load()))
		}
	}
}
