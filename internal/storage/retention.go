package storage

import (
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/retain"
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

// looksPerSecond is how many logs are looked at, at most, that nobody syncs: a look takes
// some 20 µs, so that is a 500th of a core however many topics there are.
const looksPerSecond = 100

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
	return min(retentionInterval(r.store.shared.Rules.Load().LeastAge), retentionInterval(r.store.o.DeleteAfter))
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
	var toLook []*Log
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
		if due {
			if now := r.store.o.Clock.Now(); len(toLook) == 0 && now.Sub(looked) >= commitlog.LookInterval {
				toLook, looked = r.store.All(), now
			}
			n := min(len(toLook), max(int(looksPerSecond*r.interval().Seconds()), 1))
			for _, l := range toLook[:n] {
				l.Look()
			}
			clear(toLook[:n])
			toLook = toLook[n:]
		}
		for l := range logs {
			if due {
				l.Forgive()
			}
			select {
			case <-r.quit:
				return
			default:
			}
			if r.store.o.Managed {
				continue
			}
			if err := l.Retain(now); err != nil && !l.Deleted() {
				r.store.log.Error("retention failed; it is tried again", "topic", l.Name(), "err", err)
			}
		}
	}
}

// lookAtClock sets Shared.AgeHeld: nothing is removed by age while the clock is
// not to be believed. It returns what the clock said: what it says a moment later
// may be another matter.
func (r *retention) lookAtClock() time.Time {
	s := r.store
	now := s.o.Clock.Now()
	ahead := r.clock.Look(time.Now(), now.UnixMilli())
	if ahead > 0 && !s.shared.AgeHeld.Load() {
		s.log.Warn("the clock was set ahead: if it stays so, partitions are removed by age again when the time is over",
			"by", retain.Duration(ahead), "time", retain.ClockHold)
	}
	s.shared.AgeHeld.Store(ahead > 0)
	return now
}

// Release lets a partition go that was held. When it returns nil that is
// durable, and the partition is removed if all before it were released, else
// with the last of them. The error is ErrNotFound if the topic does not hold
// such a partition.
func (s *Store) Release(topic string, base int64) error {
	l, err := s.Log([]byte(topic))
	if err != nil {
		return err
	}
	oldest, err := l.Released(base)
	if err != nil {
		return err
	}
	return l.AdvanceOldest(oldest)
}
