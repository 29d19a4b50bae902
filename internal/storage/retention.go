package storage

import (
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage/retain"
	"github.com/logd-dev/logd/internal/topic"
)

// retentionInterval is how often retention looks at every topic: often enough
// for the age that it enforces. A topic that begins a partition is looked at
// right away.
func retentionInterval(age time.Duration) time.Duration {
	const least, most = 100 * time.Millisecond, 10 * time.Second
	if age <= 0 {
		return most
	}
	return min(max(age/10, least), most)
}

// retention removes the oldest partitions of logs, in one goroutine, so that
// no append waits for it.
type retention struct {
	store *Store
	timer Timer
	clock retain.ClockWatch // run's own
	kicks chan struct{}
	quit  chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	kicked map[*Log]bool
	due    bool // the timer fired: all logs are to be looked at
	short  bool // an append was refused for want of room
}

func startRetention(s *Store) *retention {
	r := &retention{
		store: s, clock: retain.NewClockWatch(time.Now(), s.o.Clock.Now().UnixMilli()), kicks: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		kicked: make(map[*Log]bool), due: true,
	}
	r.timer = s.o.Clock.AfterFunc(r.interval(), func() { r.wake(nil) })
	r.wake(nil)
	go r.run()
	return r
}

// interval is how often to look.
func (r *retention) interval() time.Duration {
	o := &r.store.o
	return min(retentionInterval(o.RetentionAge), retentionInterval(o.DeleteAfter))
}

// makeRoom asks for the room of deleted topics whose files are kept.
func (r *retention) makeRoom() {
	r.mu.Lock()
	r.short = true
	r.mu.Unlock()
	r.signal()
}

// kick asks for a look at one log.
func (r *retention) kick(l *Log) { r.wake(l) }

func (r *retention) wake(l *Log) {
	r.mu.Lock()
	if l != nil {
		r.kicked[l] = true
	} else {
		r.due = true
	}
	r.mu.Unlock()
	r.signal()
}

func (r *retention) signal() {
	select {
	case r.kicks <- struct{}{}:
	default:
	}
}

// stop ends the goroutine and waits for it.
func (r *retention) stop() {
	close(r.quit)
	<-r.ended
	r.timer.Stop() // last: run sets it again
}

func (r *retention) run() {
	defer close(r.ended)
	looked := r.store.o.Clock.Now() // at a start all is in place
	for {
		select {
		case <-r.quit:
			return
		case <-r.kicks:
		}
		r.mu.Lock()
		logs, due, short := r.kicked, r.due, r.short
		r.kicked, r.due, r.short = make(map[*Log]bool), false, false
		r.mu.Unlock()
		if due || short {
			r.store.deleted.Empty()
		}
		now := r.lookAtClock()
		if due {
			for _, l := range r.store.All() {
				logs[l] = true
			}
			r.timer.Reset(r.interval())
		}
		look := due && r.store.o.Clock.Now().Sub(looked) >= lookInterval
		if look {
			looked = r.store.o.Clock.Now()
		}
		for l := range logs {
			if due {
				l.lastRefusal.Store(nil)
			}
			if look {
				l.look()
			}
			select {
			case <-r.quit:
				return
			default:
			}
			if r.store.o.Managed {
				continue
			}
			if err := l.retain(now); err != nil && !l.Deleted() {
				r.store.log.Error("retention failed; it is tried again", "topic", l.name, "err", err)
			}
		}
	}
}

// lookAtClock sets Store.ageHeld: nothing is removed by age while the clock is
// not to be believed. It returns what the clock said: what it says a moment later
// may be another matter.
func (r *retention) lookAtClock() time.Time {
	s := r.store
	now := s.o.Clock.Now()
	ahead := r.clock.Look(time.Now(), now.UnixMilli())
	if ahead > 0 && !s.ageHeld.Load() {
		s.log.Warn("the clock was set ahead: if it stays so, partitions are removed by age again when the time is over",
			"by", millisDuration(ahead), "time", retain.ClockHold)
	}
	s.ageHeld.Store(ahead > 0)
	return now
}

// retain removes what the store's retention settings say is to go, or has it
// held first.
func (l *Log) retain(now time.Time) error {
	k := l.limits()
	oldest, all, err := l.Decide(k, now)
	if err == nil && all {
		var begun int64
		if begun, err = l.retireHead(k, now); begun >= 0 && err == nil {
			oldest = l.upTo(begun, now)
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
		return 0, false, ErrDeleted
	}
	parts := l.partitions()
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
	head := l.head()
	if l.failed.Load() != nil || head.end.Load() == head.base {
		return false, nil
	}
	if err := l.readyHead(); err != nil {
		return false, err
	}
	parts := l.partitions()
	v := l.ages(parts, now.UnixMilli())
	v.Partitions[len(parts)-1].Last = l.headSum.Last
	return v.Expired(k) == len(parts)-1 && v.HeadExpired(k), nil
}

// upTo returns the offset at which the log begins when all before a partition go
// that are readable. Partitions that were begun since stay: nothing was decided
// about them.
func (l *Log) upTo(base int64, now time.Time) int64 {
	v := l.ages(l.partitions(), now.UnixMilli())
	n := 0
	for v.Partitions[n].Base < base {
		n++
	}
	return v.Oldest(n)
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
	return l.head().base, l.syncFolder() // its name tells which offsets were given out
}
