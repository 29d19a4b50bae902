package commitlog

import (
	"math"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// holder is asked before partitions of the log are removed, if there is one.
func (l *Log) holder() Holder {
	if batch.Own(l.name) {
		return nil
	}
	return l.store.Holder
}

// Plan returns what retention would do with each partition, oldest first, within
// the limits. It changes nothing.
func (l *Log) Plan(k topic.Limits) []topic.Planned {
	own := l.limits()
	if k.Partitions < 0 {
		k.Partitions = own.Partitions
	}
	k.Partitions = min(k.Partitions, math.MaxInt32)
	if k.Bytes < 0 {
		k.Bytes = own.Bytes
	}
	if k.Age < 0 {
		k.Age = own.Age
	}
	parts := l.parts.All()
	plan := make([]topic.Planned, len(parts))
	for i, p := range parts {
		plan[i] = topic.Planned{Base: p.Base, End: p.End.Load(), File: p.File.Name(), Head: i == len(parts)-1, Messages: l.countMessages(p)}
	}
	_, held := l.released()
	waits := make(map[int64]bool, len(held))
	for _, h := range held {
		waits[h.Base] = true
	}
	// Counting has made times known that were not.
	v := l.ages(parts, l.store.Clock.Now().UnixMilli())
	head := len(parts) - 1
	// Not headSum, for which it would wait for a write that is under way.
	sum, err := l.parts.Totals(parts[head], parts[head].End.Load())
	if err == nil {
		v.Partitions[head].Last = sum.Last
	}
	expired := v.Expired(k)
	for i := range plan {
		p := &plan[i]
		p.Held = waits[p.Base]
		var newest int64
		if i < head || err == nil && sum.Batches > 0 {
			newest = v.Newest(i)
		}
		if newest > 0 {
			p.Newest = time.UnixMilli(newest).UTC()
		}
		if i < expired {
			p.Remove = v.Reason(i, k)
			continue
		}
		p.NewPartitions, p.NewBytes, p.At = v.Foresee(i, newest, k)
	}
	return plan
}

// countMessages returns how many messages a partition has, -1 if that can't be
// told.
func (l *Log) countMessages(p *partition.Partition) int64 {
	sum, err := l.parts.Totals(p, min(p.End.Load(), l.Readable()))
	if err != nil {
		return -1
	}
	return sum.Messages
}
