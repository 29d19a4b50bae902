package storage

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/commitlog"
)

// interval syncs all logs that have batches which are not synced, a flush
// interval after the first of them was appended: in one go, so that they can
// share a sync.
type interval struct {
	store *Store
	alarm *clock.Alarm

	passing sync.Mutex   // held during a pass
	passes  atomic.Int64 // that have ended
	stopped bool         // guarded by passing
}

func newInterval(s *Store) *interval {
	iv := &interval{store: s}
	iv.alarm = clock.NewAlarm(s.o.Clock, s.shared.Policy.Interval(), iv.pass)
	return iv
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
	for _, l := range iv.store.All() {
		l.Unpin() // what was refused has nothing to sync
	}
}

// stop ends the passes and waits for one that is under way.
func (iv *interval) stop() {
	iv.alarm.Stop()
	iv.passing.Lock()
	defer iv.passing.Unlock()
	iv.stopped = true
}

func (iv *interval) pass() {
	iv.passing.Lock()
	defer iv.passing.Unlock()
	// In this order: who appends from here on arms the timer again, and what
	// was appended before is seen.
	iv.alarm.Rings()
	if !iv.stopped {
		iv.syncAll()
	}
}

// syncAll syncs all logs that have something to sync. Caller holds passing.
func (iv *interval) syncAll() {
	defer iv.passes.Add(1)
	var again atomic.Bool
	logs := slices.DeleteFunc(iv.store.All(), func(l *Log) bool { return !l.WantsSync() })
	commitlog.SyncTogether(iv.store.syncs, logs, func(l *Log, err error) {
		// What fails is logged and kept by the log itself.
		if err != nil && l.Unsyncable() == nil {
			again.Store(true)
		}
	})
	if again.Load() {
		iv.alarm.Arm()
	}
}

// SyncTogether makes all that was appended to the logs before the call durable, and
// the logs themselves where nothing was, and calls further meanwhile, if that is not nil: to sync a file that is not storage's.
// Each log is named once. They share syncs, also with others who sync them: a few
// logs are synced side by side, many by one sync of the whole file system.
//
// It returns what SyncTo would of each log, in order and nil where it is
// synced, and what further has returned.
func (s *Store) SyncTogether(logs []*Log, further func() error) (errs []error, furtherErr error) {
	var g sync.WaitGroup
	if further != nil {
		g.Go(func() { furtherErr = further() })
	}
	at := make(map[*Log]int, len(logs))
	for i, l := range logs {
		at[l] = i
	}
	errs = make([]error, len(logs))
	commitlog.SyncTogether(s.syncs, logs, func(l *Log, err error) { errs[at[l]] = err })
	g.Wait()
	return errs, furtherErr
}
