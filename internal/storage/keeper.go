package storage

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage/commitlog"
)

// keeper writes the caches of the logs' tables of numbered batches, and bounds
// the memory for tables: those that were not used for longest go.
type keeper struct {
	store *Store
	alarm *commitlog.Alarm

	passing sync.Mutex // held during a pass
	mu      sync.Mutex
	stopped bool           // guarded by mu
	loads   sync.WaitGroup // grows under mu
}

// keepEvery is how often the caches are looked after.
const keepEvery = time.Second

func newKeeper(s *Store) *keeper {
	k := &keeper{store: s}
	k.alarm = commitlog.NewAlarm(s.o.Clock, keepEvery, k.pass)
	return k
}

// goLoad runs f in a goroutine of its own, or reports false if the store is being
// closed.
func (k *keeper) goLoad(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return false
	}
	k.loads.Go(f)
	return true
}

// stop ends the passes and waits for what is under way.
func (k *keeper) stop() {
	k.mu.Lock()
	k.stopped = true
	k.mu.Unlock()
	k.alarm.Stop()
	k.loads.Wait()
	k.passing.Lock()
	defer k.passing.Unlock()
}

func (k *keeper) pass() {
	k.passing.Lock()
	defer k.passing.Unlock()
	k.alarm.Rings()
	k.mu.Lock()
	stopped := k.stopped
	k.mu.Unlock()
	if stopped {
		return
	}
	now := k.store.o.Clock.Now()
	var total int64
	var tables []keptTable
	for _, l := range k.store.All() {
		used, has := l.NumbersUsed()
		if !has {
			continue
		}
		bytes, again := l.KeepNumbers(now, false)
		if again {
			k.alarm.Arm()
		}
		total += bytes
		tables = append(tables, keptTable{l, bytes, used})
	}
	if total <= k.store.o.numberBytes {
		return
	}
	slices.SortFunc(tables, func(a, b keptTable) int { return cmp.Compare(a.used, b.used) })
	for _, t := range tables[:max(len(tables)-1, 0)] {
		if total <= k.store.o.numberBytes {
			break
		}
		t.log.KeepNumbers(now, true)
		if !t.log.DropNumbers() {
			k.alarm.Arm()
			continue
		}
		total -= t.bytes
	}
}

type keptTable struct {
	log   *Log
	bytes int64
	used  int64
}
