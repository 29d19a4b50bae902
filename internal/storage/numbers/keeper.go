package numbers

import (
	"cmp"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/vfs"
)

// Keeper is what the Books of a store have in common. It writes their caches, and bounds
// the memory for tables: those that were not used for longest go.
//
// The exported fields are set before the first call of Start.
type Keeper struct {
	FS       vfs.FS
	FileMode fs.FileMode // of caches
	Clock    clock.Clock
	Logger   *slog.Logger
	Memory   int64 // bytes of tables
	Managed  bool  // somebody replicates the logs: what is set aside here is put back
	Books    func() []*Book

	window     atomic.Int64
	duplicates atomic.Int64

	alarm   *clock.Alarm
	passing sync.Mutex // held during a pass
	stopped atomic.Bool
	mu      sync.Mutex     // held while stopped becomes true
	loads   sync.WaitGroup // grows under mu
}

// keepEvery is how often the caches are looked after.
const keepEvery = time.Second

// Start makes the Keeper ready for its Books.
func (k *Keeper) Start() { k.alarm = clock.NewAlarm(k.Clock, keepEvery, k.pass) }

// Stop ends the passes, and the making of tables, and waits for what is under way.
func (k *Keeper) Stop() {
	k.mu.Lock()
	k.stopped.Store(true)
	k.mu.Unlock()
	k.alarm.Stop()
	k.loads.Wait()
	k.passing.Lock()
	defer k.passing.Unlock()
}

// SetWindow says how many batches tables look back; if it is 0 or less numbers are not
// looked at. A table that looks back another number of them is made anew. It may be
// called at any time.
func (k *Keeper) SetWindow(batches int64) { k.window.Store(batches) }

// Window returns what SetWindow was told last.
func (k *Keeper) Window() int64 { return k.window.Load() }

// Duplicates returns how many numbered batches came again.
func (k *Keeper) Duplicates() int64 { return k.duplicates.Load() }

// begin runs f in a goroutine of its own, or reports false if the store is being
// closed.
func (k *Keeper) begin(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped.Load() {
		return false
	}
	k.loads.Go(f)
	return true
}

func (k *Keeper) pass() {
	k.passing.Lock()
	defer k.passing.Unlock()
	k.alarm.Rings()
	if k.stopped.Load() {
		return
	}
	now := k.Clock.Now()
	var total int64
	var tables []keptTable
	for _, b := range k.Books() {
		if b.made.Load() == nil {
			continue
		}
		used := b.used.Load()
		bytes, again := b.keep(now, false)
		if again {
			k.alarm.Arm()
		}
		total += bytes
		tables = append(tables, keptTable{b, bytes, used})
	}
	if total <= k.Memory {
		return
	}
	slices.SortFunc(tables, func(a, b keptTable) int { return cmp.Compare(a.used, b.used) })
	for _, t := range tables[:max(len(tables)-1, 0)] {
		if total <= k.Memory {
			break
		}
		t.book.keep(now, true)
		if !t.book.drop() {
			k.alarm.Arm()
			continue
		}
		total -= t.bytes
	}
}

type keptTable struct {
	book  *Book
	bytes int64
	used  int64
}
