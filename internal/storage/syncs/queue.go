package syncs

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/vfs"
)

// parallelSyncs is how many logs are synced at once by themselves.
const parallelSyncs = 8

// A sync of the whole file system writes what other programs have left there,
// too. One that takes longer than sharedSync and a sharedSyncEach for each of
// its logs is not repeated for ApartFor.
const (
	sharedSync     = 100 * time.Millisecond
	sharedSyncEach = 100 * time.Microsecond
	ApartFor       = 10 * time.Second
)

// Member is a log in a Queue.
type Member struct {
	// Sync makes what the log has before target durable, and its names if they
	// have changed. If all is true it leaves no file out that may have bytes which
	// are not synced. Only the leader of the log's Group has it called.
	Sync func(target int64, all bool) error

	// FolderDirty tells that names in the log's folder have changed since they were
	// synced, RootDirty that the folder's own name was not synced yet.
	FolderDirty, RootDirty atomic.Bool
	// Parent is the folder that the folder's own name is in. Only the leader of the
	// log's Group changes it.
	Parent string
	// RootSeen is how many syncs of the work directory, or of another Parent, had failed before the
	// folder was made: Queue.RootFailures.
	RootSeen int64

	// OtherDevice tells that something of the log is on another device than the
	// work directory, mounted there: what a sync of all does not sync.
	OtherDevice atomic.Bool

	// cleared is how many syncs of all had failed when the log was last synced by
	// itself; guarded by Queue.mu.
	cleared int64
}

// Queue shares the syncs of a work directory. While one log is synced the others
// wait, and then go together: a few of them side by side, each with its own
// files, more of them by one sync of the whole file system. A hundred logs that
// don't wait for each other take five times as long (docs/design/append-path.md).
//
// A sync of all that fails says so once, and not whom it concerns: after it a log
// has to be synced by itself before one of all counts for it again. Its own files
// still tell of what was lost.
//
// Where a sync of all can't be relied on they only go side by side.
type Queue struct {
	FS       vfs.FS
	Now      func() time.Time
	Logger   *slog.Logger
	Together int // from how many logs that wait on one sync of all serves them

	// root is held while the work directory is synced, rootFailures is how often
	// that has failed.
	root         sync.Mutex
	rootFailures atomic.Int64

	one sync.Mutex // held during a sync of all; before mu

	mu       sync.Mutex
	failures int64 // syncs of all that failed
	running  int   // logs that are synced by themselves
	all      bool  // a sync of all is under way
	waiting  []*Waiting
	never    bool      // a sync of all can't be relied on here
	apart    time.Time // until then there is none

	shared sync.WaitGroup // for the goroutine of a sync of all

	// waiters are what Groups wait with, to be used again. They are not the
	// process's: a channel that was made in a bubble of package testing/synctest
	// must not get into another.
	waiters sync.Pool // of *waiter
}

func (q *Queue) takeWaiter() *waiter {
	if w, ok := q.waiters.Get().(*waiter); ok {
		return w
	}
	return &waiter{turn: make(chan turn, 1)}
}

// Waiting is a log whose leader waits.
type Waiting struct {
	member *Member
	target int64
	turn   chan bool // true: synced; false: it is the log's turn to sync itself
}

// NewWaiting returns a log for Enqueue, to be synced up to target.
func NewWaiting(m *Member, target int64) *Waiting {
	return &Waiting{member: m, target: target, turn: make(chan bool, 1)}
}

// Sync makes what the log has before target durable, and its names. Only the
// leader of the log's Group calls it.
func (q *Queue) Sync(m *Member, target int64) error {
	if m.OtherDevice.Load() {
		return m.Sync(target, false) // no sync of all is for it, nor does it wait for one
	}
	q.mu.Lock()
	if !q.all && q.running < q.width() {
		q.running++
		q.mu.Unlock()
		return q.separately(m, target)
	}
	q.mu.Unlock()
	w := NewWaiting(m, target)
	q.Enqueue(w)
	return q.Await(w)
}

// Enqueue has logs wait for their syncs: for the same one, if they are many.
// Await follows for each. A log on another device is not enqueued.
func (q *Queue) Enqueue(logs ...*Waiting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, logs...)
	q.dispatch()
}

// Await returns when the log is synced.
func (q *Queue) Await(w *Waiting) error {
	if <-w.turn {
		return nil
	}
	return q.separately(w.member, w.target)
}

// separately syncs a log by itself, which is counted as running.
func (q *Queue) separately(m *Member, target int64) error {
	q.mu.Lock()
	failures := q.failures
	cleared := m.cleared == failures
	q.mu.Unlock()
	// What was written before a sync of all failed is looked behind wholly, also
	// beyond target.
	defer q.ended()
	err := m.Sync(target, !cleared)
	if err == nil {
		q.mu.Lock()
		m.cleared = failures
		q.mu.Unlock()
	}
	return err
}

// ended notes that a log that was synced by itself no longer is.
func (q *Queue) ended() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.dispatch()
}

// width returns how many logs may be synced at once before others have to
// wait. Caller holds mu.
func (q *Queue) width() int {
	if q.together() {
		return 1
	}
	return parallelSyncs
}

// together reports whether a sync of all is worth it. Caller holds mu.
func (q *Queue) together() bool {
	return !q.never && !q.Now().Before(q.apart)
}

// trusts reports whether a sync of all says anything about the log: none has
// failed since it was last synced by itself, nor has one of the work directory
// since its folder was made. Caller holds mu.
func (q *Queue) trusts(m *Member) bool {
	return m.cleared == q.failures && (!m.RootDirty.Load() || m.RootSeen == q.rootFailures.Load())
}

// dispatch begins what can begin. Caller holds mu.
func (q *Queue) dispatch() {
	if q.all || len(q.waiting) == 0 {
		return
	}
	together := q.together()
	q.separate(func(w *Waiting) bool { return !together || !q.trusts(w.member) })
	if !together || q.running > 0 || len(q.waiting) == 0 {
		return
	}
	if len(q.waiting) < q.Together {
		q.separate(func(*Waiting) bool { return true })
		return
	}
	q.all = true
	group, failures := q.waiting, q.failures
	q.waiting = nil
	q.shared.Go(func() { q.syncAll(group, failures) })
}

// separate has logs that wait sync themselves, as many as may. Caller holds mu.
func (q *Queue) separate(which func(*Waiting) bool) {
	q.waiting = slices.DeleteFunc(q.waiting, func(w *Waiting) bool {
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
func (q *Queue) syncAll(group []*Waiting, failures int64) {
	// Names that change from here on are not synced by this.
	dir, root := make([]bool, len(group)), make([]bool, len(group))
	for i, w := range group {
		dir[i], root[i] = w.member.FolderDirty.Swap(false), w.member.RootDirty.Swap(false)
	}
	begun := q.Now()
	err := q.syncFS(failures)
	now := q.Now()
	for i, w := range group {
		if err == nil {
			w.turn <- true
			continue
		}
		if dir[i] {
			w.member.FolderDirty.Store(true)
		}
		if root[i] {
			w.member.RootDirty.Store(true)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = false
	if now.Sub(begun) > sharedSync+time.Duration(len(group))*sharedSyncEach {
		q.apart = now.Add(ApartFor)
	}
	if err != nil {
		q.waiting = append(group, q.waiting...)
	}
	q.dispatch()
}

// Alone syncs the file system for one log, whose leader calls it, and reports
// whether that has made all of it durable that was written before.
func (q *Queue) Alone(m *Member) bool {
	q.mu.Lock()
	trusts, failures := q.trusts(m), q.failures
	q.mu.Unlock()
	return trusts && q.syncFS(failures) == nil
}

// errSyncTold is a sync of all that says nothing.
var errSyncTold = errors.New("another sync of the file system was told of an error")

// syncFS is the only one to call SyncAll, and one at a time: an error is told to
// one of them. It counts those that fail, and fails if one has failed since the
// caller saw failures of them.
func (q *Queue) syncFS(failures int64) error {
	q.one.Lock()
	defer q.one.Unlock()
	err := q.FS.SyncAll()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		q.never = true
	case err != nil:
		q.failures++
		q.Logger.Error("sync of the file system failed; each topic is synced by itself", "err", err)
	case q.failures != failures:
		err = errSyncTold
	}
	return err
}

// Failures returns how many syncs of the file system have failed.
func (q *Queue) Failures() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failures
}

// Wait returns when no sync of the file system is under way that nobody waits for
// any more. No other may begin.
func (q *Queue) Wait() { q.shared.Wait() }

// errRootTold is a sync of the work directory that would tell nothing.
var errRootTold = errors.New("the work directory could not be synced after the topic's folder was made")

// SyncRootFor makes the name of the log's folder durable. It fails if a sync of the
// work directory has failed since the folder was made.
func (q *Queue) SyncRootFor(m *Member) error {
	q.root.Lock()
	defer q.root.Unlock()
	if q.rootFailures.Load() != m.RootSeen {
		return errRootTold
	}
	return q.syncRoot(m.Parent)
}

// SyncRoot makes the names in the work directory, or in another Parent, durable, for those who remove
// or move them. If it fails the logs are told whose folders are new.
func (q *Queue) SyncRoot(parent string) error {
	q.root.Lock()
	defer q.root.Unlock()
	return q.syncRoot(parent)
}

// RootFailures returns how many syncs of the work directory, or of another Parent, have failed.
func (q *Queue) RootFailures() int64 { return q.rootFailures.Load() }

func (q *Queue) syncRoot(parent string) error {
	err := q.FS.SyncDir(parent)
	if err != nil && !files.NoDescriptor(err) {
		q.rootFailures.Add(1)
	}
	return err
}
