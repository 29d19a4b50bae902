// Package hook runs a program of the operator's for each partition that is
// about to be removed, and lets the partition go when the program has
// succeeded.
package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Pauses before a hook that failed is run again: the first, and the longest;
// each is twice the one before.
const (
	firstPause   = time.Second
	longestPause = 10 * time.Minute
)

// ErrNotPending is returned for a partition that waits for no hook.
var ErrNotPending = errors.New("no hook is pending for this partition")

// State says how far a partition has come.
type State uint8

const (
	Waiting State = iota // for its turn
	Running
	Failed // waiting to be run again
	Ending // succeeded or skipped; being let go
)

// String returns the state in lower case.
func (s State) String() string {
	return [...]string{"waiting", "running", "failed", "ending"}[s]
}

// Entry is a partition in a queue.
type Entry struct {
	Partition
	State    State
	Attempts int       // that have ended
	Next     time.Time // when a failed one is run again
	Err      error     // why the last attempt failed
}

// Counts is what a queue has done since it was made.
type Counts struct{ Succeeded, Failed, Skipped int64 }

// Options are what a queue works with.
type Options struct {
	// Run runs the hook of a partition, until ctx ends.
	Run func(ctx context.Context, p Partition) error
	// Release lets a partition go. On return it is recorded durably that its
	// hook need not be run again. If that fails the hook is: a hook runs at
	// least once, and perhaps twice.
	Release func(p Partition) error
	// Parallel is how many hooks run at once, at least 1.
	Parallel int
	Logger   *slog.Logger
}

// Queue runs the hooks of partitions. What waits in it is known to whoever adds
// it and is added again after a restart; the queue itself is in memory. Its
// methods are safe for concurrent use and do not block, but for Shutdown.
type Queue struct {
	o      Options
	life   context.Context // of the programs that run
	cancel context.CancelFunc

	mu      sync.Mutex
	entries map[key]*entry
	added   int64 // entries so far
	running int
	closed  bool
	counts  Counts
	group   sync.WaitGroup
}

type key struct {
	topic string
	base  int64
}

type entry struct {
	Entry
	order   int64 // of coming
	pause   time.Duration
	timer   *time.Timer        // of a failed one
	cancel  context.CancelFunc // of a running one
	skipped bool
}

// NewQueue returns an empty queue.
func NewQueue(o Options) *Queue {
	q := &Queue{o: o, entries: make(map[key]*entry)}
	q.life, q.cancel = context.WithCancel(context.Background())
	return q
}

// Add makes the queue run the hook of a partition, if it does not know it yet.
func (q *Queue) Add(p Partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := key{p.Topic, p.Base}
	if q.closed || q.entries[k] != nil {
		return
	}
	q.added++
	q.entries[k] = &entry{Entry: Entry{Partition: p}, order: q.added}
	q.startSome()
}

// Drop forgets a partition that is gone, and ends its hook if that is running.
func (q *Queue) Drop(topic string, base int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := key{topic, base}
	if e := q.entries[k]; e != nil {
		e.stop()
		delete(q.entries, k)
	}
}

// stop ends what the entry waits for.
func (e *entry) stop() {
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.cancel != nil {
		e.cancel()
	}
}

// Entries returns what is in the queue, by topic and offset.
func (q *Queue) Entries() []Entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := make([]Entry, 0, len(q.entries))
	for _, e := range q.entries {
		list = append(list, e.Entry)
	}
	slices.SortFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Base, b.Base))
	})
	return list
}

// Counts returns what the queue has done.
func (q *Queue) Counts() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.counts
}

// Retry runs the hook of a partition that failed as soon as there is room. The
// error is ErrNotPending if the queue does not have the partition, or is shut
// down; one that waits or runs is left as it is.
func (q *Queue) Retry(topic string, base int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[key{topic, base}]
	if e == nil || q.closed {
		return ErrNotPending
	}
	if e.State == Failed {
		e.timer.Stop()
		e.State, e.pause = Waiting, 0
		q.startSome()
	}
	return nil
}

// Skip lets a partition go without its hook, which is killed if it runs. The
// error is ErrNotPending if the queue does not have the partition, or is shut
// down.
func (q *Queue) Skip(topic string, base int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[key{topic, base}]
	switch {
	case e == nil || q.closed:
		return ErrNotPending
	case e.State == Ending:
		return nil
	}
	e.skipped = true
	if e.State == Running {
		e.cancel() // its goroutine sees the rest
		return nil
	}
	e.stop()
	e.State = Ending
	q.group.Go(func() { q.release(e) })
	return nil
}

// Shutdown starts no more hooks and waits for those that run. If ctx ends
// first they are killed; what is not done stays due. It returns the cause of
// ctx's end then, and nil otherwise.
func (q *Queue) Shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	for _, e := range q.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	q.mu.Unlock()

	done := make(chan struct{})
	go func() {
		q.group.Wait()
		close(done)
	}()
	defer q.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		q.cancel()
		<-done
		return context.Cause(ctx)
	}
}

// startSome starts hooks for which there is room, first come first served.
// Caller holds mu.
func (q *Queue) startSome() {
	for !q.closed && q.running < q.o.Parallel {
		var first *entry
		for _, e := range q.entries {
			if e.State == Waiting && (first == nil || e.order < first.order) {
				first = e
			}
		}
		if first == nil {
			return
		}
		q.start(first)
	}
}

// start runs the hook of an entry. Caller holds mu.
func (q *Queue) start(e *entry) {
	ctx, cancel := context.WithCancel(q.life)
	e.State, e.cancel = Running, cancel
	q.running++
	q.group.Go(func() {
		err := q.o.Run(ctx, e.Partition)
		cancel()
		q.ran(e, err)
	})
}

// ran deals with the end of a hook.
func (q *Queue) ran(e *entry, err error) {
	q.mu.Lock()
	q.running--
	q.startSome()
	e.Attempts++
	e.cancel = nil
	switch {
	case q.entries[key{e.Topic, e.Base}] != e: // dropped
		q.mu.Unlock()
		return
	case err != nil && !e.skipped:
		q.failed(e, err)
		q.mu.Unlock()
		return
	}
	if err == nil {
		e.skipped = false
	}
	e.State, e.Err = Ending, nil
	q.mu.Unlock()
	q.release(e)
}

// failed makes an entry wait until it is tried again. Caller holds mu.
func (q *Queue) failed(e *entry, err error) {
	e.pause = min(max(2*e.pause, firstPause), longestPause)
	e.State, e.Err, e.Next = Failed, err, time.Now().Add(e.pause)
	q.counts.Failed++
	log := q.o.Logger.With("topic", e.Topic, "partition", e.Path, "attempts", e.Attempts, "err", err)
	if q.closed {
		log.Warn("delete hook failed; it is run again after the restart")
		return
	}
	log.Warn("delete hook failed; the partition stays until it succeeds", "retry-in", e.pause)
	e.timer = time.AfterFunc(e.pause, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if e.State == Failed {
			e.State = Waiting
			q.startSome()
		}
	})
}

// release lets the partition of an entry go.
func (q *Queue) release(e *entry) {
	err := q.o.Release(e.Partition)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[key{e.Topic, e.Base}] != e {
		return
	}
	if err != nil {
		e.skipped = false
		q.failed(e, fmt.Errorf("let the partition go: %w", err))
		return
	}
	if e.skipped {
		q.counts.Skipped++
		q.o.Logger.Warn("delete hook skipped", "topic", e.Topic, "partition", e.Path)
	} else {
		q.counts.Succeeded++
	}
	delete(q.entries, key{e.Topic, e.Base})
}
