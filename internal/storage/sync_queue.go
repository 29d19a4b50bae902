package storage

import (
	"errors"
	"slices"
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
// A sync of all that fails says so once, and not whom it concerns: after it a log
// has to be synced by itself before one of all counts for it again. Its own files
// still tell of what was lost.
//
// Where a sync of all can't be relied on they only go side by side.
type syncQueue struct {
	store *Store

	one sync.Mutex // held during a sync of all; before mu

	mu       sync.Mutex
	failures int64 // syncs of all that failed
	running  int   // logs that are synced by themselves
	all      bool  // a sync of all is under way
	waiting  []*queuedSync
	shared   sync.WaitGroup // for the goroutine of a sync of all

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
	if l.otherDevice.Load() {
		return l.syncFiles(target, false) // no sync of all is for it, nor does it wait for one
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
	q.mu.Lock()
	failures := q.failures
	cleared := l.cleared == failures
	q.mu.Unlock()
	// What was written before a sync of all failed is looked behind wholly, also
	// beyond target.
	defer q.ended()
	err := l.syncFiles(target, !cleared)
	if err == nil {
		q.mu.Lock()
		l.cleared = failures
		q.mu.Unlock()
	}
	return err
}

// ended notes that a log that was synced by itself no longer is.
func (q *syncQueue) ended() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.dispatch()
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

// trusts reports whether a sync of all says anything about the log: none has
// failed since it was last synced by itself, nor has one of the work directory
// since its folder was made. Caller holds mu.
func (q *syncQueue) trusts(l *Log) bool {
	return l.cleared == q.failures && (!l.rootDirty.Load() || l.rootSeen == q.store.rootFailures.Load())
}

// dispatch begins what can begin. Caller holds mu.
func (q *syncQueue) dispatch() {
	if q.all || len(q.waiting) == 0 {
		return
	}
	together := q.together()
	q.separate(func(w *queuedSync) bool { return !together || !q.trusts(w.log) })
	if !together || q.running > 0 || len(q.waiting) == 0 {
		return
	}
	if len(q.waiting) < q.store.o.syncTogether {
		q.separate(func(*queuedSync) bool { return true })
		return
	}
	q.all = true
	group, failures := q.waiting, q.failures
	q.waiting = nil
	q.shared.Go(func() { q.syncAll(group, failures) })
}

// separate has logs that wait sync themselves, as many as may. Caller holds mu.
func (q *syncQueue) separate(which func(*queuedSync) bool) {
	q.waiting = slices.DeleteFunc(q.waiting, func(w *queuedSync) bool {
		if q.running >= parallelSyncs || !which(w) {
			return false
		}
		q.running++
		w.turn <- false
		return true
	})
}

// syncAll syncs the file system for all of group. If that fails each of them
// has to sync itself, since only that tells which of them it concerns.
func (q *syncQueue) syncAll(group []*queuedSync, failures int64) {
	// Names that change from here on are not synced by this.
	dir, root := make([]bool, len(group)), make([]bool, len(group))
	for i, w := range group {
		dir[i], root[i] = w.log.dirDirty.Swap(false), w.log.rootDirty.Swap(false)
	}
	begun := q.store.o.Clock.Now()
	err := q.syncFS(failures)
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
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = false
	if now.Sub(begun) > sharedSync+time.Duration(len(group))*sharedSyncEach {
		q.apart = now.Add(apartFor)
	}
	if err != nil {
		q.waiting = append(group, q.waiting...)
	}
	q.dispatch()
}

// alone syncs the file system for one log, whose leader calls it, and reports
// whether that has made all of it durable that was written before.
func (q *syncQueue) alone(l *Log) bool {
	q.mu.Lock()
	trusts, failures := q.trusts(l), q.failures
	q.mu.Unlock()
	return trusts && q.syncFS(failures) == nil
}

// errSyncTold is a sync of all that says nothing.
var errSyncTold = errors.New("another sync of the file system was told of an error")

// syncFS is the only one to call SyncAll, and one at a time: an error is told to
// one of them. It counts those that fail, and fails if one has failed since the
// caller saw failures of them.
func (q *syncQueue) syncFS(failures int64) error {
	q.one.Lock()
	defer q.one.Unlock()
	err := q.store.fs.SyncAll()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		q.never = true
	case err != nil:
		q.failures++
		q.store.log.Error("sync of the file system failed; each topic is synced by itself", "err", err)
	case q.failures != failures:
		err = errSyncTold
	}
	return err
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
