package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// consumersEach is how many consumers of P1 save over one connection, one after another.
const consumersEach = 10

// positions is P1: consumers that save where they are.
func (s *Sizes) positions() Work {
	w := Work{Work: report.Work{
		Name: "P1", Title: "consumers that save where they are", Chart: report.CPUMessage,
		What: fmt.Sprintf("Consumers of one topic save once a second, at a moment of their own, %d over each connection; a save counts as a message. "+
			"Then a server starts again that keeps as many positions as are named.", consumersEach),
	}}
	skip := func(s system.System) string {
		if _, ok := s.(system.Keeping); !ok {
			return "keeps no positions that a client names"
		}
		return ""
	}
	w.Cases = append(w.Cases, Case{
		Name: fmt.Sprintf("%d save", s.Consumers), Positions: s.Consumers, Limit: 4*s.Duration + time.Minute, Bytes: 1 << 30, Skip: skip,
		Run: func(ctx context.Context, t *Trial) error { return s.runSaves(ctx, t, s.Consumers) },
	}, Case{
		Name: fmt.Sprintf("start with %d", 10*s.Consumers), Positions: 10 * s.Consumers, Limit: 5 * time.Minute, Bytes: 1 << 30, Skip: skip,
		Run: func(ctx context.Context, t *Trial) error { return runKeptStart(ctx, t, 10*s.Consumers) },
	})
	return w
}

// keeping starts a server that keeps positions, and makes a topic there.
func keeping(ctx context.Context, t *Trial) (system.Keeper, string, error) {
	server, err := t.start(ctx)
	if err != nil {
		return nil, "", err
	}
	keeper, ok := server.(system.Keeper)
	if !ok {
		return nil, "", errors.New("the server keeps no positions")
	}
	name, err := topic(ctx, server)
	if err != nil {
		return nil, "", err
	}
	return keeper, name, fill(ctx, server, name, 1, 100)
}

// savers returns savers with a connection each, and what closes them.
func savers(ctx context.Context, k system.Keeper, topic string, n int) (list []system.Saver, closeAll func(), err error) {
	closeAll = func() {
		for _, s := range list {
			s.Close()
		}
	}
	for i := range n {
		names := make([]string, consumersEach)
		for j := range names {
			names[j] = fmt.Sprintf("c-%d", i*consumersEach+j)
		}
		saver, err := k.Saver(ctx, topic, names)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		list = append(list, saver)
	}
	return list, closeAll, nil
}

func (s *Sizes) runSaves(ctx context.Context, t *Trial, consumers int) error {
	server, name, err := keeping(ctx, t)
	if err != nil {
		return err
	}
	conns, closeAll, err := savers(ctx, server, name, consumers/consumersEach)
	if err != nil {
		return err
	}
	defer closeAll()
	// Each has a version then.
	if err := parallel(ctx, len(conns), func(ctx context.Context, i int) error {
		for j := range consumersEach {
			if err := conns[i].Save(ctx, j); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	latency := newLatencies(len(conns))
	var batches perBatch
	stop := batches.watch(ctx, server)
	v, err := measure(server, func() (done, error) {
		var total atomic.Int64
		begin := time.Now()
		err := parallel(ctx, len(conns), func(ctx context.Context, i int) error {
			every := time.Second / consumersEach
			due := begin.Add(every * time.Duration(i) / time.Duration(len(conns)))
			for n := 0; due.Sub(begin) < s.Duration; n++ {
				select {
				case <-time.After(time.Until(due)):
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := conns[i].Save(ctx, n%consumersEach); err != nil {
					return err
				}
				record(latency[i], time.Since(due))
				total.Add(1)
				due = due.Add(every)
			}
			return nil
		})
		return done{messages: total.Load()}, err
	})
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	v[report.Sets] = batches.mean()
	latency.addTo(v)
	t.record(v)
	return nil
}

// perBatch counts how many saves a server stores together.
type perBatch struct{ saves, batches int64 }

func (p *perBatch) mean() float64 { return float64(p.saves) / float64(max(p.batches, 1)) }

// watch looks at a server a few times a second until the function that it returns is
// called. What is between two looks does not count if the server has made a snapshot.
func (p *perBatch) watch(ctx context.Context, k system.Keeper) (stop func() error) {
	end := make(chan struct{})
	var group sync.WaitGroup
	var failed error
	group.Go(func() {
		tick := time.NewTicker(time.Second / 4)
		defer tick.Stop()
		var last system.Kept
		for {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			kept, err := k.Kept(ctx)
			if err != nil {
				failed = err
				return
			}
			if last.Batches > 0 && kept.Oldest == last.Oldest {
				p.saves += kept.Saves - last.Saves
				p.batches += kept.Batches - last.Batches
			}
			last = kept
		}
	})
	return func() error {
		close(end)
		group.Wait()
		return failed
	}
}

func runKeptStart(ctx context.Context, t *Trial, consumers int) error {
	server, name, err := keeping(ctx, t)
	if err != nil {
		return err
	}
	if err := server.Process().Stop(stopLimit); err != nil {
		return err
	}
	again, err := t.timeStart(ctx, "start with none")
	if err != nil {
		return err
	}
	server = again.(system.Keeper)
	conns, closeAll, err := savers(ctx, server, name, consumers/consumersEach/10)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := parallel(ctx, len(conns), func(ctx context.Context, i int) error {
		return conns[i].Fill(ctx, 10*consumersEach)
	}); err != nil {
		return err
	}
	if err := server.Process().Stop(stopLimit); err != nil {
		return err
	}
	_, err = t.timeStart(ctx, t.Case.Name)
	return err
}
