package keeper

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/positions"
)

// queue has the changes that wait for their turn, in the order in which they came.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	ready   chan struct{} // has something if something waits
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) add(r *request) {
	q.mu.Lock()
	q.waiting = append(q.waiting, r)
	q.mu.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// remove takes a change away, and reports false if it has had its turn.
func (q *queue) remove(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take returns the first of the changes, at most so many.
func (q *queue) take(most int) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) <= most {
		all := q.waiting
		q.waiting = nil
		return all
	}
	all := slices.Clone(q.waiting[:most])
	q.waiting = slices.Delete(q.waiting, 0, most)
	q.wake()
	return all
}

// A batch costs what a dozen changes do. So while many consumers save, one is made each
// pace, of all that have come since the last one. There are many if so many consumers as
// crowd is have saved within a pace, until half as many come.
const (
	pace  = 10 * time.Millisecond
	crowd = 16
)

// crowding tells whether many consumers save at once.
type crowding struct {
	is     bool
	last   time.Time                  // when changes were taken last
	since  time.Time                  // consumers are counted from then on
	recent map[positions.Key]struct{} // who has saved since
}

// wait returns when it is time for the next batch: at once where there is no crowd. One
// who saves again and again never waits.
func (c *crowding) wait(ctx context.Context) {
	left := time.Until(c.last.Add(pace))
	if !c.is || left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// took is told what was taken.
func (c *crowding) took(all []*request) {
	c.last = time.Now()
	if c.is && len(all) >= crowd/2 {
		return
	}
	if c.is || c.last.Sub(c.since) > pace {
		c.since = c.last
		clear(c.recent)
	}
	if c.recent == nil {
		c.recent = make(map[positions.Key]struct{}, crowd)
	}
	for _, r := range all {
		c.recent[r.change.Key] = struct{}{}
	}
	c.is = len(c.recent) >= crowd
}
