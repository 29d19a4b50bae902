// Package syncs shares syncs: those of a log among all who wait for it, and those
// of many logs among each other. It decides who syncs, when, and whether one sync
// counts for another; what a log has to sync, and what a failure means for it, is
// the log's matter.
//
// A [Group] belongs to a log. Whoever finds nobody syncing leads: it syncs and
// answers all who then wait. Whoever leads is alone with the log's syncs until it
// calls Done.
//
// A [Queue] belongs to a work directory. Leaders of groups ask it: a few logs are
// synced side by side, many by one sync of the whole file system.
//
// # Errors are told once
//
// What could not be written is told by a sync to one of those who ask, and the
// next sync is told nothing. So no sync of the file system, or of the work
// directory, counts for a log that one before may have failed for. After a sync of
// the file system that failed, a log has to be synced by itself first: its own
// files still tell of what was lost.
//
// All methods are safe for concurrent use.
package syncs

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Group shares the syncs of a log among those who wait for them.
type Group struct {
	Queue *Queue // of the log's work directory

	// Synced is up to where the log is synced. Whoever leads advances it before
	// Done.
	Synced *atomic.Int64
	// Failed returns why a sync would tell nothing, or nil.
	Failed func() error

	mu      sync.Mutex
	running bool
	waiting []*waiter
}

type waiter struct {
	offset int64
	turn   chan turn
}

// turn is what a waiter is told.
type turn struct {
	lead bool // sync yourself
	err  error
}

// Join returns lead if the caller has to do the sync itself, and call Done
// after it. Otherwise it waits until offset is synced, and returns the error of
// the sync, or of a ctx that is done before. The error is Failed's if a sync would
// tell nothing.
func (g *Group) Join(ctx context.Context, offset int64) (lead bool, err error) {
	g.mu.Lock()
	if g.Synced.Load() >= offset {
		g.mu.Unlock()
		return false, nil
	}
	if err := g.Failed(); err != nil {
		g.mu.Unlock()
		return false, err
	}
	if !g.running {
		g.running = true
		g.mu.Unlock()
		return true, nil
	}
	t, err := g.wait(ctx, offset)
	if err != nil {
		return false, err
	}
	return t.lead, t.err
}

// Claim makes the caller the one who syncs, whatever has failed before, when a
// sync that is under way has ended, and returns the error of a ctx that is done
// before. The caller calls Done.
func (g *Group) Claim(ctx context.Context) error {
	for {
		g.mu.Lock()
		if !g.running {
			g.running = true
			g.mu.Unlock()
			return nil
		}
		t, err := g.wait(ctx, 1<<63-1)
		if err != nil || t.lead {
			return err
		}
	}
}

// wait returns what the caller is told, after it has waited in the queue. Caller
// holds mu, which wait lets go of.
func (g *Group) wait(ctx context.Context, offset int64) (turn, error) {
	w := g.Queue.takeWaiter()
	defer g.Queue.waiters.Put(w)
	w.offset = offset
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()

	select {
	case t := <-w.turn:
		return t, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, w)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i >= 0 {
		return turn{}, ctx.Err()
	}
	return <-w.turn, nil
}

// Lead makes the caller the one who syncs, who calls Done after it. It reports
// false if somebody else is.
func (g *Group) Lead() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running {
		return false
	}
	g.running = true
	return true
}

// Done ends the caller's lead: it answers those whose offset is synced, or all
// of them if the sync failed, and hands the lead to the first of the others.
func (g *Group) Done(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	synced := g.Synced.Load()
	kept := g.waiting[:0]
	for _, w := range g.waiting {
		if err != nil || w.offset <= synced {
			w.turn <- turn{err: err}
			continue
		}
		kept = append(kept, w)
	}
	clear(g.waiting[len(kept):])
	g.waiting = kept
	if len(kept) == 0 {
		g.running = false
		return
	}
	next := kept[0]
	g.waiting = slices.Delete(kept, 0, 1)
	next.turn <- turn{lead: true}
}
