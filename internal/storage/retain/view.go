// Package retain decides what retention removes from a log: how far its oldest
// offset is to advance, why, and what would be next. It only decides: it opens
// nothing, keeps nothing in mind and removes nothing, so that what it has decided
// can be told to others, or agreed on with them, before anybody carries it out.
//
// A [View] is the log at a moment, as it is told, and [topic.Limits] say what is
// kept. [View.Expired] is the decision. A [ClockWatch] tells whether the clock can
// be believed.
//
// # Ages
//
// Partitions go by age as well, and what a log knows of times is what a clock
// said when a batch was appended. Clocks are wrong now and then: ahead until NTP
// has set them right, behind after a dead battery. Times do not decrease within a
// partition, but each partition begins with what the clock says, so those of two
// partitions may contradict one another. Whoever asks when something was stored
// is told of what there is that which loses nothing: age keeps rather too long
// ([View.Newest]), and a search by time gives rather too much
// ([View.StoredBefore]).
//
// Times are in milliseconds since 1970. A View is for one goroutine.
package retain

import (
	"math"
	"time"

	"github.com/logd-dev/logd/internal/topic"
)

// View is a log at a moment.
type View struct {
	Partitions []Partition // oldest first; the last is the head
	Next       int64       // offset of the next batch
	Readable   int64       // the readable end

	Now     int64 // what the clock says
	Created int64 // when the topic was created, or its folder of the 0.3 layout first opened
	Removed int64 // how new the newest batch is that was removed; 0 if none was
	// Unsure tells that the clock may be wrong: nothing is removed by age.
	Unsure bool

	// Traces tell of times what Partitions do not. They are asked for in doubt
	// alone.
	Traces Traces

	floors []int64 // see floor
}

// Partition is a partition of a View.
type Partition struct {
	Base int64
	// Last is the time of its newest batch in the log; 0 if it has none, or if
	// that is not known.
	Last int64
	// Adopted tells that it may have been there before the journal, in a folder
	// of the 0.3 layout.
	Adopted bool
}

// Traces are what else tells of the times of partitions, which are named by
// their indexes in View.Partitions.
type Traces interface {
	// First returns the time of the first batch in the log, 0 if that is not
	// known or there is none.
	First(i int) int64
	// Changed returns when the file was changed last, as far as that can be told.
	Changed(i int) (millis int64, ok bool)
	// Doubted returns how long ago it was first asked for since the partition
	// has its size: nothing else tells how old its batches are.
	Doubted(i int) time.Duration
}

// UpTo returns the offset at which the log begins when all before a partition go
// that are readable. Partitions that were begun since stay: nothing was decided
// about them.
func (v *View) UpTo(base int64) int64 {
	n := 0
	for v.Partitions[n].Base < base {
		n++
	}
	return v.Oldest(n)
}

// Oldest returns the offset at which the log is to begin if its n oldest
// partitions go, but for what is not readable yet.
func (v *View) Oldest(n int) int64 {
	for n > 0 && v.Partitions[n].Base > v.Readable {
		n-- // not durable yet
	}
	return v.Partitions[n].Base
}

// Expired is the decision: how many of the oldest partitions are beyond the
// limits. The head is not among them.
func (v *View) Expired(k topic.Limits) int {
	n := 0
	for n < len(v.Partitions)-1 && v.Reason(n, k) != topic.Keep {
		n++
	}
	return n
}

// HeadExpired reports whether age alone would have the head go as well, with
// all before it gone: it goes after another was begun. Its Last has to be known.
func (v *View) HeadExpired(k topic.Limits) bool {
	head := len(v.Partitions) - 1
	return k.Age > 0 && !v.Unsure && v.older(head, k.Age)
}

// Reason returns why the partition is beyond the limits if all before it are, or
// Keep.
func (v *View) Reason(i int, k topic.Limits) topic.Reason {
	switch {
	case k.Partitions > 0 && int64(i) < int64(len(v.Partitions))-k.Partitions:
		return topic.ByPartitions
	case k.Bytes > 0 && v.Next-v.Partitions[i].Base > k.Bytes:
		return topic.ByBytes
	case k.Age > 0 && !v.Unsure && v.older(i, k.Age):
		return topic.ByAge
	}
	return topic.Keep
}

// Foresee says what will remove a partition that stays for now, if nothing else
// does first: that so many more partitions are begun, so many more bytes written,
// and the time. They are 0 where the limits have none. newest is what Newest
// returns, or 0 for a partition without a batch.
func (v *View) Foresee(i int, newest int64, k topic.Limits) (partitions int, bytes int64, at time.Time) {
	if k.Partitions > 0 {
		partitions = int(k.Partitions) - (len(v.Partitions) - i) + 1
	}
	if k.Bytes > 0 && i < len(v.Partitions)-1 {
		bytes = k.Bytes - max(v.Next-v.Partitions[i].Base, 1) + 1
	}
	if k.Age > 0 && newest > 0 {
		at = time.UnixMilli(newest).UTC().Add(k.Age)
	}
	return partitions, bytes, at
}

// older reports whether the newest batch of the partition was stored more than
// the age ago.
func (v *View) older(i int, age time.Duration) bool {
	before := v.Now - age.Milliseconds()
	// What Newest finds is not older than a time that it may take for true: the
	// traces need not be asked for. A batch may have come since the clock was asked.
	if recorded := v.Partitions[i].Last; v.floor(i) <= recorded && recorded <= v.Now+Slack && recorded >= before {
		return false
	}
	return v.Newest(i) < before
}

// floor returns a time that is not ahead of the clock and that no batch of the
// partition is older than, if the clock was right: when the topic was created,
// when what was removed was stored, and what is before it. It is 0 if there is none.
func (v *View) floor(i int) int64 {
	if v.floors == nil {
		v.floors = make([]int64, len(v.Partitions))
		var since int64
		for _, t := range [...]int64{v.Created, v.Removed} {
			if t <= v.Now {
				since = max(since, t)
			}
		}
		for j := range v.floors {
			v.floors[j] = since
			if t := v.Partitions[j].Last; t <= v.Now {
				since = max(since, t)
			}
		}
	}
	return v.floors[i]
}

// Newest returns when the newest batch of the partition was stored, rather too
// late than too early.
//
// The time in the log counts unless the clock is known to have been wrong: the
// time is ahead of it, or before that of what was stored before, or behind that
// of the file, which was written at a time that the batch did not get. Then the
// time of the file counts, and if that is contradicted, too, when a later
// partition began, since all was stored before. Otherwise it is as if all was
// stored when it was first looked at.
func (v *View) Newest(i int) int64 {
	p, since := v.Partitions[i], v.floor(i)
	least, recorded := since, p.Last
	if recorded <= v.Now {
		least = max(least, recorded)
	}
	fits := func(t int64) bool { return t > 0 && least <= t && t <= v.Now }
	if changed, ok := v.Traces.Changed(i); ok {
		if fits(recorded) && changed >= recorded-Slack {
			return recorded
		}
		if fits(changed) {
			return changed
		}
	}
	// What is older than the journal came from elsewhere with its folder, and its
	// files may have any time.
	if p.Adopted && recorded <= v.Created && fits(v.Created) {
		return v.Created
	}
	if t := v.firstWithin(i+1, least, v.Now); since > 0 && t <= v.Now {
		return t
	}
	return v.Now - v.Traces.Doubted(i).Milliseconds()
}

// StoredBefore returns when all of a partition that has times ahead of the clock
// was stored at the latest, as later partitions tell, and MaxInt64 if none tells.
// asked is the time that is sought: for one ahead of the clock nothing is told if
// the clock is certainly behind, since the topic was created later.
func (v *View) StoredBefore(i int, asked int64) int64 {
	if asked > v.Now && v.Created > v.Now {
		return math.MaxInt64
	}
	since := v.floor(i)
	for j := range i + 1 {
		for _, t := range [...]int64{v.Traces.First(j), v.Partitions[j].Last} {
			if t <= v.Now {
				since = max(since, t)
			}
		}
	}
	return v.firstWithin(i+1, since, v.Now)
}

// Sensible returns the times of a log's first and last batch as they can have
// been, as far as that is known, where the log has them ahead of the clock.
// newest is the last partition with a batch, or negative.
func (v *View) Sensible(first, last int64, newest int) (int64, int64) {
	if last > v.Now && newest >= 0 {
		if changed, ok := v.Traces.Changed(newest); ok && changed <= v.Now {
			last = changed
		}
	}
	if first > v.Now {
		first = min(first, v.firstWithin(0, 0, v.Now), last)
	}
	return first, last
}

// firstWithin returns when the first partition, of this one and those behind it,
// that began between two times did, and MaxInt64 if there is none.
func (v *View) firstWithin(i int, from, to int64) int64 {
	for ; i < len(v.Partitions); i++ {
		if t := v.Traces.First(i); t > 0 && from <= t && t <= to {
			return t
		}
	}
	return math.MaxInt64
}
