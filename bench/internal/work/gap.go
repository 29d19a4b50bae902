package work

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
)

const (
	// gapLimit is the longest gap that is waited for.
	gapLimit = 40 * time.Second
	// probePause is how long a probe waits before it tries again.
	probePause = time.Millisecond
	// gapsLimit ends a case before all its gaps were made.
	gapsLimit = 80 * time.Second
	// calm is how long acknowledgements come again before a gap is over, and before
	// the next one is made.
	calm = 400 * time.Millisecond
	// probesEach is how many probes each member has: while one waits for a reply that
	// will not come the other one tries.
	probesEach = 2
)

// probes write to one topic by way of every member, and keep the times of what was
// acknowledged.
type probes struct {
	mu    sync.Mutex
	acks  []time.Time
	last  error
	group sync.WaitGroup
	stop  context.CancelFunc
}

// probe starts probes at each of the members. The caller ends them.
func (r *clusterRun) probe(ctx context.Context) *probes {
	p := new(probes)
	ctx, p.stop = context.WithCancel(ctx)
	for i := range r.Members() {
		for k := range probesEach {
			p.group.Go(func() {
				caller := r.Probe(i)
				defer caller.Close()
				b := newBodies(small, i*probesEach+k)
				for ctx.Err() == nil {
					err := caller.Call(ctx, r.topic, b.next())
					now := time.Now()
					p.mu.Lock()
					if err == nil {
						p.acks = append(p.acks, now)
					} else {
						p.last = err
					}
					p.mu.Unlock()
					pauseFor(ctx, probePause)
				}
			})
		}
	}
	return p
}

func (p *probes) end() {
	p.stop()
	p.group.Wait()
}

// steady waits until acknowledgements have come for a while without a pause.
func (p *probes) steady(ctx context.Context) error {
	_, err := p.gap(ctx, func() error { return nil })
	return err
}

// gap does f and returns the longest time without an acknowledgement from then on,
// until they have come again for a while.
func (p *probes) gap(ctx context.Context, f func() error) (time.Duration, error) {
	p.mu.Lock()
	p.acks = p.acks[:0]
	p.acks = append(p.acks, time.Now())
	p.mu.Unlock()
	if err := f(); err != nil {
		return 0, err
	}
	did := time.Now()
	for ctx.Err() == nil {
		pauseFor(ctx, 20*time.Millisecond)
		p.mu.Lock()
		acks := slices.Clone(p.acks)
		last := p.last
		p.mu.Unlock()
		// The first one that can only be of after the event.
		at := slices.IndexFunc(acks, func(t time.Time) bool { return t.After(did.Add(5 * time.Millisecond)) })
		if at > 0 && acks[len(acks)-1].Sub(acks[at]) > calm {
			var longest time.Duration
			for i := range acks[1:] {
				longest = max(longest, acks[i+1].Sub(acks[i]))
			}
			return longest, nil
		}
		if time.Since(did) > gapLimit {
			return 0, fmt.Errorf("nothing is acknowledged within %v: %w", gapLimit, last)
		}
	}
	return 0, context.Cause(ctx)
}

// event is something that ends the lead of a member. It returns how to undo it.
type event func(ctx context.Context, r *clusterRun, leader int) (undo func() error, err error)

func kill(ctx context.Context, r *clusterRun, leader int) (func() error, error) {
	r.Members()[leader].Process().Kill()
	return func() error { return r.Restart(ctx, leader) }, nil
}

func pause(_ context.Context, r *clusterRun, leader int) (func() error, error) {
	p := r.Members()[leader].Process()
	p.Pause()
	return func() error { p.Resume(); return nil }, nil
}

func move(ctx context.Context, r *clusterRun, _ int) (func() error, error) {
	return func() error { return nil }, r.Move(ctx, r.topic)
}

func drainLeader(ctx context.Context, r *clusterRun, leader int) (func() error, error) {
	err := r.Drain(ctx, leader, false)
	return func() error { return r.Drain(ctx, leader, true) }, err
}

// gaps returns a run in which the leader goes so many times.
func (s *Sizes) gaps(topics, times int, e event) func(ctx context.Context, r *clusterRun) (report.Values, error) {
	return func(ctx context.Context, r *clusterRun) (report.Values, error) {
		if _, err := manyTopics(ctx, r.leading, topics); err != nil {
			return nil, err
		}
		p := r.probe(ctx)
		defer p.end()
		latency := newLatencies(1)
		var longest time.Duration
		n := 0
		for began := time.Now(); n < times && time.Since(began) < gapsLimit; n++ {
			if err := errors.Join(r.Whole(ctx), r.Lead(ctx, 0), p.steady(ctx)); err != nil {
				return nil, fmt.Errorf("before gap %d: %w", n+1, err)
			}
			leader, err := r.Leader(ctx, r.topic)
			if err != nil {
				return nil, err
			}
			var undo func() error
			gap, err := p.gap(ctx, func() (err error) {
				undo, err = e(ctx, r, leader)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("gap %d: %w", n+1, err)
			}
			record(latency[0], gap)
			longest = max(longest, gap)
			if err := undo(); err != nil {
				return nil, fmt.Errorf("after gap %d: %w", n+1, err)
			}
		}
		v := report.Values{report.Gaps: float64(n), report.GapMost: longest.Seconds() * 1e3}
		latency.add(v, map[report.Metric]float64{report.Gap50: 50, report.Gap99: 99})
		v[report.Gap50] /= 1e3
		v[report.Gap99] /= 1e3
		u, err := usage(r.Members())
		if err != nil {
			return nil, err
		}
		v[report.Peak], v[report.Files] = float64(u.PeakBytes)/(1<<20), float64(u.Files)
		return v, nil
	}
}

func makeFolder(dir string) error   { return os.Mkdir(dir, 0o700) }
func removeFolder(dir string) error { return os.RemoveAll(dir) }

// copyTime returns how long cp takes for the largest file of a folder.
func copyTime(ctx context.Context, dir string) (time.Duration, error) {
	var path string
	var size int64
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.Contains(at, ".cluster") {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			path, size = at, info.Size()
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	to := filepath.Join(dir, "copy")
	began := time.Now()
	if err := exec.CommandContext(ctx, "cp", path, to).Run(); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, os.Remove(to)
}
