package storage

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/syncs"
)

// interval syncs all logs that have batches which are not synced, a flush
// interval after the first of them was appended: in one go, so that they can
// share a sync.
type interval struct {
	store *Store
	every time.Duration // 0 for never
	timer Timer
	armed atomic.Bool // timer will fire

	passing sync.Mutex   // held during a pass
	passes  atomic.Int64 // that have ended
	stopped bool         // guarded by passing
}

func newInterval(s *Store) *interval {
	iv := &interval{store: s, every: s.policy().interval()}
	if iv.every > 0 {
		iv.timer = s.o.Clock.AfterFunc(iv.every, iv.pass)
		iv.timer.Stop()
	}
	return iv
}

// arm sees to it that what was appended is synced within the flush interval.
func (iv *interval) arm() {
	if iv.every > 0 && !iv.armed.Load() && iv.armed.CompareAndSwap(false, true) {
		iv.timer.Reset(iv.every)
	}
}

// makeRoom syncs now what is written, so that the files of it need not stay open
// any longer. Where somebody else does so already, it waits for that.
func (iv *interval) makeRoom() {
	passes := iv.passes.Load()
	iv.passing.Lock()
	defer iv.passing.Unlock()
	if iv.stopped || iv.passes.Load() != passes {
		return
	}
	iv.syncAll()
	for _, l := range iv.store.all() {
		l.unpin() // what was refused has nothing to sync
	}
}

// stop ends the passes and waits for one that is under way.
func (iv *interval) stop() {
	if iv.timer != nil {
		iv.timer.Stop()
	}
	iv.passing.Lock()
	defer iv.passing.Unlock()
	iv.stopped = true
}

func (iv *interval) pass() {
	iv.passing.Lock()
	defer iv.passing.Unlock()
	// In this order: who appends from here on arms the timer again, and what
	// was appended before is seen.
	iv.armed.Store(false)
	if !iv.stopped {
		iv.syncAll()
	}
}

// syncAll syncs all logs that have something to sync. Caller holds passing.
func (iv *interval) syncAll() {
	defer iv.passes.Add(1)
	var g sync.WaitGroup
	var again atomic.Bool
	var queued []*syncs.Waiting
	for _, l := range iv.store.all() {
		if l.syncFailed.Load() != nil || l.synced.Load() >= l.next.Load() {
			continue
		}
		// What fails is logged and kept by the log itself.
		failed := func(err error) {
			if err != nil && l.syncFailed.Load() == nil {
				again.Store(true)
			}
		}
		if l.member.OtherDevice.Load() || !l.syncing.Lead() {
			g.Go(func() { failed(l.syncAll()) }) // or somebody syncs it, but perhaps not all of it
			continue
		}
		if err := l.unsyncable(); err != nil { // since a moment ago
			l.syncing.Done(err)
			continue
		}
		u := l.unsynced()
		w := syncs.NewWaiting(&l.member, u.target)
		queued = append(queued, w)
		g.Go(func() {
			err := l.durable(u, iv.store.syncs.Await(w))
			failed(err)
			l.syncing.Done(err)
		})
	}
	iv.store.syncs.Enqueue(queued...)
	g.Wait()
	if again.Load() {
		iv.arm()
	}
}
