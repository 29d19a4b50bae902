package storage

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// parallelSyncs is how many logs are synced at once by themselves.
const parallelSyncs = 8

// A sync of the whole file system writes what other programs have left there,
// too. One that takes longer than sharedSync and a sharedSyncEach for each of
// its logs is not repeated for apartFor.
const (
	sharedSync     = 100 * time.Millisecond
	sharedSyncEach = 100 * time.Microsecond
	apartFor       = 10 * time.Second
)

// syncQueue shares the syncs of a store. While one log is synced the others
// wait, and then go together: a few of them side by side, each with its own
// files, more of them by one sync of the whole file system. A hundred logs that
// don't wait for each other take five times as long (docs/design/append-path.md).
//
// Where a sync of all can't be relied on they only go side by side.
type syncQueue struct {
	store *Store

	mu      sync.Mutex
	running int  // logs that are synced by themselves
	all     bool // a sync of all is under way
	waiting []*queuedSync
	shared  sync.WaitGroup // for the goroutine of a sync of all

	never bool      // a sync of all can't be relied on here
	apart time.Time // until then there is none
}

// queuedSync is a log whose leader waits.
type queuedSync struct {
	log    *Log
	target int64
	turn   chan bool // true: synced; false: it is the log's turn to sync itself
}

func newQueuedSync(l *Log, target int64) *queuedSync {
	return &queuedSync{log: l, target: target, turn: make(chan bool, 1)}
}

// sync makes what the log has before target durable, and its names. Only the
// leader of the log's sync group calls it.
func (q *syncQueue) sync(l *Log, target int64) error {
	if l.elsewhere.Load() {
		return l.syncFiles(target) // no sync of all is for it, nor does it wait for one
	}
	q.mu.Lock()
	if !q.all && q.running < q.width() {
		q.running++
		q.mu.Unlock()
		return q.separately(l, target)
	}
	q.mu.Unlock()
	w := newQueuedSync(l, target)
	q.enqueue(w)
	return q.await(w)
}

// enqueue has logs wait for their syncs: for the same one, if they are many.
// await follows for each.
func (q *syncQueue) enqueue(logs ...*queuedSync) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, logs...)
	q.dispatch()
}

// await returns when the log is synced.
func (q *syncQueue) await(w *queuedSync) error {
	if <-w.turn {
		return nil
	}
	return q.separately(w.log, w.target)
}

// separately syncs a log by itself, which is counted as running.
func (q *syncQueue) separately(l *Log, target int64) error {
	err := l.syncFiles(target)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.dispatch()
	return err
}

// width returns how many logs may be synced at once before others have to
// wait. Caller holds mu.
func (q *syncQueue) width() int {
	if q.together() {
		return 1
	}
	return parallelSyncs
}

// together reports whether a sync of all is worth it. Caller holds mu.
func (q *syncQueue) together() bool {
	return !q.never && !q.store.o.Clock.Now().Before(q.apart)
}

// dispatch begins what can begin. Caller holds mu.
func (q *syncQueue) dispatch() {
	n := len(q.waiting)
	if q.all || n == 0 {
		return
	}
	if q.together() {
		if q.running > 0 {
			return
		}
		if n >= q.store.o.syncTogether {
			q.all = true
			group := q.waiting
			q.shared.Go(func() { q.syncAll(group) })
			q.waiting = nil
			return
		}
	}
	for q.running < parallelSyncs && len(q.waiting) > 0 {
		q.running++
		q.waiting[0].turn <- false
		q.waiting = q.waiting[1:]
	}
}

// syncAll syncs the file system for all of group. If that fails each of them
// has to sync itself, since only that tells which of them it concerns.
func (q *syncQueue) syncAll(group []*queuedSync) {
	// Names that change from here on are not synced by this.
	dir, root := make([]bool, len(group)), make([]bool, len(group))
	for i, w := range group {
		dir[i], root[i] = w.log.dirDirty.Swap(false), w.log.rootDirty.Swap(false)
	}
	begun := q.store.o.Clock.Now()
	err := q.store.fs.SyncAll()
	now := q.store.o.Clock.Now()
	for i, w := range group {
		if err == nil {
			w.turn <- true
			continue
		}
		if dir[i] {
			w.log.dirDirty.Store(true)
		}
		if root[i] {
			w.log.rootDirty.Store(true)
		}
	}
	unsupported := errors.Is(err, errors.ErrUnsupported)
	if err != nil && !unsupported {
		q.store.log.Error("sync of the file system failed; each topic is synced by itself", "err", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = false
	q.never = q.never || unsupported
	if now.Sub(begun) > sharedSync+time.Duration(len(group))*sharedSyncEach {
		q.apart = now.Add(apartFor)
	}
	if err != nil {
		for _, w := range group {
			q.running++ // beyond the bound: it is rare
			w.turn <- false
		}
	}
	q.dispatch()
}

// markInterval is how often a log notes in its journal how far it is synced, at
// most, and markRate how often all logs do together, a second. Recovery scans
// what came after the last mark.
const (
	markInterval = time.Second
	markRate     = 1000
)

// markLimit bounds the marks of all logs of a store.
type markLimit struct {
	second, n atomic.Int64
}

// allows reports whether one more mark is within markRate. Callers who come at
// once in a new second may get one more each.
func (m *markLimit) allows(now time.Time) bool {
	second := now.Unix()
	if m.second.Load() != second {
		m.second.Store(second)
		m.n.Store(0)
	}
	return m.n.Add(1) <= markRate
}
