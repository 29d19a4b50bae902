package partition

import (
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
)

// LockPartition makes the caller the only one who changes a partition or its index,
// until unlock is called. Caller keeps out who removes or cuts off
// partitions, so that the head does not become another but by being completed.
func (l *List) LockPartition(p *Partition) (unlock func()) {
	if p == l.Head() {
		l.Writer.Lock()
		if p == l.Head() {
			p.Loading.Lock()
			return func() {
				p.Loading.Unlock()
				l.Writer.Unlock()
			}
		}
		l.Writer.Unlock()
	}
	p.Loading.Lock()
	return p.Loading.Unlock
}

// KnownTimes returns the entries of a partition's index, none if it is damaged, and
// the time of the last batch, 0 if that is not known.
func (l *List) KnownTimes(p *Partition) (known []index.Entry, newest int64) {
	known, err := p.Index().After(-1)
	if err != nil {
		known = nil
	}
	if sum := p.Sum.Load(); sum != nil {
		newest = sum.Last
	} else if p == l.Head() {
		newest = l.LastMillis
	}
	return known, newest
}

// WithTimes returns what is known of the times in a partition that begins at base,
// with those of a range of offsets. Times do not decrease in a partition.
func WithTimes(known []index.Entry, base int64, r layout.Range, times []topic.TimeMark) []index.Entry {
	var merged, after []index.Entry
	from, to := r.From-base, r.To-base
	for _, e := range known {
		switch {
		case e.Pos < from:
			merged = append(merged, e)
		case e.Pos >= to:
			after = append(after, e)
		}
	}
	low := int64(0)
	if n := len(merged); n > 0 {
		low = merged[n-1].Millis
	}
	if len(times) == 0 && len(after) > 0 {
		times = []topic.TimeMark{{Offset: r.From, Millis: after[0].Millis}}
	}
	last := index.Entry{Pos: -1}
	for _, m := range times {
		if m.Offset >= r.To {
			break
		}
		e := index.Entry{Pos: max(m.Offset-base, from), Millis: max(m.Millis, low)}
		if len(after) > 0 {
			e.Millis = min(e.Millis, after[0].Millis)
		}
		if last.Pos == e.Pos {
			merged = merged[:len(merged)-1]
		}
		merged = append(merged, e)
		last, low = e, e.Millis
	}
	if last.Pos >= 0 && last.Pos < to-1 {
		merged = append(merged, index.Entry{Pos: to - 1, Millis: last.Millis}) // up to the end of the range
	}
	return append(merged, after...)
}

// Recount makes a partition's index anew from a position on, with the times that are
// known and what is set aside, and makes it durable but for its name. Caller has
// LockPartition, and has removed the index's file.
func (l *List) Recount(p *Partition, known []index.Entry, newest, from int64, aside []layout.Range) error {
	err := l.refillIndex(p, known, newest, from-1, aside, true)
	if err == nil && p == l.Head() {
		l.TakeCount(p)
	}
	return err
}
