package commitlog

import (
	"time"

	"github.com/logd-dev/logd/internal/topic"
)

// Retain removes what the store's retention settings say is to go, or has it
// held first.
func (l *Log) Retain(now time.Time) error {
	k := l.limits()
	oldest, all, err := l.Decide(k, now)
	if err == nil && all {
		var begun int64
		if begun, err = l.retireHead(k, now); begun >= 0 && err == nil {
			oldest = l.ages(l.parts.All(), now.UnixMilli()).UpTo(begun)
		}
	}
	switch {
	case l.Deleted():
		return nil
	case err != nil:
		return err
	}
	return l.remove(oldest)
}

// Decide returns the offset at which the log should begin by some limits at a time of
// the clock: what AdvanceOldest would be told. Nothing is changed. If age would have the
// newest partition go as well, all is true: it can go when another was begun.
func (l *Log) Decide(k topic.Limits, now time.Time) (oldest int64, all bool, err error) {
	if l.Deleted() {
		return 0, false, topic.ErrDeleted
	}
	parts := l.parts.All()
	v := l.ages(parts, now.UnixMilli())
	n := v.Expired(k)
	if n == len(parts)-1 && k.Age > 0 && !v.Unsure {
		l.writer.Lock()
		defer l.writer.Unlock()
		if all, err = l.headExpired(k, now); err != nil {
			return 0, false, err
		}
	}
	return v.Oldest(n), all, nil
}

// headExpired reports whether the newest batch of the head is older than what is kept,
// with all before it gone. Caller holds writer.
func (l *Log) headExpired(k topic.Limits, now time.Time) (bool, error) {
	head := l.parts.Head()
	if l.failed.Load() != nil || head.End.Load() == head.Base {
		return false, nil
	}
	if err := l.parts.ReadyHead(); err != nil {
		return false, err
	}
	parts := l.parts.All()
	v := l.ages(parts, now.UnixMilli())
	v.Partitions[len(parts)-1].Last = l.parts.HeadSum.Last
	return v.Expired(k) == len(parts)-1 && v.HeadExpired(k), nil
}

// retireHead begins a new partition if the head is expired, and returns its base, or -1
// if it did not.
func (l *Log) retireHead(k topic.Limits, now time.Time) (begun int64, err error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	if expired, err := l.headExpired(k, now); err != nil || !expired {
		return -1, err
	}
	if err := l.rotate(); err != nil {
		return -1, err
	}
	return l.parts.Head().Base, l.syncFolder() // its name tells which offsets were given out
}
