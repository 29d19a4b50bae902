package work

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// drain bounds how long followers may take for the last messages.
const drain = 20 * time.Second

// latency is L1: how long a message takes from its writer to its followers.
func (s *Sizes) latency() Work {
	const size = 100
	w := Work{Work: report.Work{
		Name: "L1", Title: "latency to followers", Chart: report.P99,
		What: fmt.Sprintf("One writer writes messages of %s at a steady pace, one per request, for %v; followers, each with a connection of its own, get every one. "+
			"The latency is that from just before the request (or from when it was due, if the writer was held up) until the follower has the message.",
			bytesName(size), s.Duration),
	}}
	for _, c := range []struct{ perSecond, followers int }{{1000, 1}, {1000, 100}, {100, 100}} {
		w.Cases = append(w.Cases, Case{
			Name:  fmt.Sprintf("%d/s, %s", c.perSecond, many(c.followers, "follower")),
			Limit: 4*s.Duration + time.Minute,
			Bytes: 1 << 30,
			Run:   func(ctx context.Context, t *Trial) error { return s.runLatency(ctx, t, size, c.perSecond, c.followers) },
		})
	}
	return w
}

func (s *Sizes) runLatency(ctx context.Context, t *Trial, size, perSecond, followers int) error {
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topic, err := topic(ctx, server)
	if err != nil {
		return err
	}
	caller, err := server.Caller(ctx)
	if err != nil {
		return err
	}
	defer caller.Close()
	b := newBodies(size, 0)
	if err := caller.Call(ctx, topic, b.next()); err != nil {
		return err
	}
	crowd, err := follow(ctx, server, topic, followers)
	if err != nil {
		return err
	}
	v, err := measure(server, func() (done, error) {
		n, elapsed, err := pace(ctx, perSecond, s.Duration, func(at time.Time) error {
			return caller.Call(ctx, topic, b.stamped(at))
		})
		if err != nil {
			return done{}, err
		}
		return done{messages: n, elapsed: elapsed}, crowd.await(ctx, n)
	})
	if err := crowd.end(err); err != nil {
		return err
	}
	crowd.latency.addTo(v)
	t.record(v)
	return nil
}

// pace calls f so many times a second, for a time. f gets the time when it is
// called; if the call before it took so long that it is late, the time when it
// should have been called.
func pace(ctx context.Context, perSecond int, d time.Duration, f func(at time.Time) error) (n int64, elapsed time.Duration, err error) {
	interval := time.Second / time.Duration(perSecond)
	began := time.Now()
	for due := began; due.Sub(began) < d; due = due.Add(interval) {
		at := due
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			at = time.Now() // a timer that is late is not the server's fault
		}
		if ctx.Err() != nil {
			return n, time.Since(began), context.Cause(ctx)
		}
		if err := f(at); err != nil {
			return n, time.Since(began), err
		}
		n++
	}
	return n, time.Since(began), nil
}

// crowd are followers of one topic.
type crowd struct {
	latency latencies
	got     []atomic.Int64 // stamped messages, of each
	cancel  context.CancelCauseFunc
	ctx     context.Context
	group   sync.WaitGroup
}

// follow starts followers and returns when all are ready. The caller ends them
// by end.
func follow(ctx context.Context, server system.Server, topic string, n int) (*crowd, error) {
	c := &crowd{latency: newLatencies(n), got: make([]atomic.Int64, n)}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	ready := make(chan struct{}, n)
	for i := range n {
		c.group.Go(func() {
			err := server.Follow(c.ctx, topic, func() { ready <- struct{}{} }, func(body []byte) {
				if at, ok := stampOf(body); ok {
					record(c.latency[i], time.Since(at))
					c.got[i].Add(1)
				}
			})
			if err != nil {
				c.cancel(fmt.Errorf("follower %d: %w", i, err))
			}
		})
	}
	for range n {
		select {
		case <-ready:
		case <-c.ctx.Done():
			return nil, c.end(context.Cause(c.ctx))
		}
	}
	return c, nil
}

// await waits until every follower has n stamped messages.
func (c *crowd) await(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range c.got {
		for c.got[i].Load() < n {
			select {
			case <-tick.C:
			case <-c.ctx.Done():
				return context.Cause(c.ctx)
			case <-ctx.Done():
				return fmt.Errorf("follower %d has %d of %d messages: %w", i, c.got[i].Load(), n, context.Cause(ctx))
			}
		}
	}
	return nil
}

// end ends the followers and waits for them. It returns err, or why a follower
// ended by itself.
func (c *crowd) end(err error) error {
	if cause := context.Cause(c.ctx); err == nil && cause != nil {
		err = cause
	}
	c.cancel(nil)
	c.group.Wait()
	return err
}
