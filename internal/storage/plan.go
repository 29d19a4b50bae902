package storage

import (
	"math"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/topic"
)

// RetentionSettings say which partitions of a topic are kept.
type RetentionSettings struct {
	Partitions int           // kept; 0 or negative for all
	Bytes      int64         // 0 for any number
	Age        time.Duration // of a partition's newest batch; 0 for any
}

// Retention returns the settings that the log is kept by.
func (l *Log) Retention() RetentionSettings {
	o := &l.store.o
	return RetentionSettings{Partitions: max(o.Partitions, 0), Bytes: o.RetentionBytes, Age: o.RetentionAge}
}

// Plan returns what retention would do with each partition, oldest first, within
// the limits. It changes nothing.
func (l *Log) Plan(k topic.Limits) []Planned {
	s := l.Retention()
	if k.Partitions >= 0 {
		s.Partitions = int(min(k.Partitions, math.MaxInt32))
	}
	if k.Bytes >= 0 {
		s.Bytes = k.Bytes
	}
	if k.Age >= 0 {
		s.Age = k.Age
	}
	return l.plan(s)
}

// plan is Plan if the store had these settings.
func (l *Log) plan(s RetentionSettings) []Planned {
	parts := l.partitions()
	k := l.expired(parts, s)
	_, held := l.released()
	waits := make(map[int64]bool, len(held))
	for _, h := range held {
		waits[h.Base] = true
	}
	plan := make([]Planned, len(parts))
	a := l.ages(parts)
	for i, p := range parts {
		head := i == len(parts)-1
		plan[i] = Planned{Base: p.base, End: p.end.Load(), File: p.file.Name, Head: head, Held: waits[p.base]}
		if millis := l.planTime(a, i); millis > 0 {
			plan[i].Newest = time.UnixMilli(millis).UTC()
		}
		plan[i].Messages = l.countMessages(p)
		if i < k {
			plan[i].Remove = l.expiry(a, i, s)
			continue
		}
		l.foresee(&plan[i], parts, i, s)
	}
	return plan
}

// countMessages returns how many messages a partition has, -1 if that can't be
// told.
func (l *Log) countMessages(p *partition) int64 {
	sum, err := l.totals(p, min(p.end.Load(), l.Readable()))
	if err != nil {
		return -1
	}
	return sum.Messages
}

// totals is partitionTotals, and once more if the partition was found damaged.
func (l *Log) totals(p *partition, offset int64) (sum journal.Totals, err error) {
	err = again(func() error {
		sum, err = l.partitionTotals(p, offset)
		return err
	})
	return sum, err
}

// planTime returns when the newest batch of a partition was stored as its age
// counts, in ms, 0 if it has none. Calls come with growing i.
func (l *Log) planTime(a *ages, i int) int64 {
	p := a.parts[i]
	if i < len(a.parts)-1 {
		return a.newest(i, lastTime(p))
	}
	// Not headSum, for which it would wait for a write that is under way.
	sum, err := l.totals(p, p.end.Load())
	if err != nil || sum.Batches == 0 {
		return 0
	}
	return a.newest(i, sum.Last)
}

// foresee says what will remove a partition that stays for now.
func (l *Log) foresee(p *Planned, parts []*partition, i int, s RetentionSettings) {
	if s.Partitions > 0 {
		p.NewPartitions = s.Partitions - (len(parts) - i) + 1
	}
	if s.Bytes > 0 && !p.Head {
		p.NewBytes = s.Bytes - max(l.next.Load()-p.Base, 1) + 1
	}
	if s.Age > 0 && !p.Newest.IsZero() {
		p.At = p.Newest.Add(s.Age)
	}
}

// expiry returns why the partition with this index is to be removed now if all
// before it are, or Keep. Calls come with growing i.
func (l *Log) expiry(a *ages, i int, s RetentionSettings) Reason {
	parts := a.parts
	switch {
	case s.Partitions > 0 && i < len(parts)-s.Partitions:
		return ByPartitions
	case s.Bytes > 0 && l.next.Load()-parts[i].base > s.Bytes:
		return ByBytes
	case s.Age > 0 && !l.store.ageHeld.Load() && a.expired(i, lastTime(parts[i]), s.Age):
		return ByAge
	}
	return Keep
}
