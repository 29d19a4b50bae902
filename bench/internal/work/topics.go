package work

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
)

// topics is T1: what many topics cost.
func (s *Sizes) topics() Work {
	const size = 100
	w := Work{Work: report.Work{
		Name: "T1", Title: "many topics", Chart: report.Messages,
		What: fmt.Sprintf("64 writers, each with a connection of its own, write one message of %s per request and wait for the reply: first one to each of so many "+
			"new topics, then for %v to one topic after the other. With JetStream a topic is a subject of one stream.", bytesName(size), s.Duration),
	}}
	for _, n := range s.Topics {
		w.Cases = append(w.Cases, Case{
			Name:  fmt.Sprintf("%d topics", n),
			Limit: 4*s.Duration + 3*time.Minute,
			Bytes: 4 << 30,
			Run:   func(ctx context.Context, t *Trial) error { return s.runTopics(ctx, t, size, n) },
		})
	}
	return w
}

func (s *Sizes) runTopics(ctx context.Context, t *Trial, size, n int) error {
	const writers = 64
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topics, err := server.Topics(ctx, "bench", n)
	if err != nil {
		return err
	}
	callers, err := dial(ctx, server, writers)
	if err != nil {
		return err
	}
	defer closeAll(callers)
	// A writer has every 64th of the topics.
	began := time.Now()
	if err := parallel(ctx, writers, func(ctx context.Context, i int) error {
		b := newBodies(size, i)
		for ; i < n; i += writers {
			if err := callers[i%writers].Call(ctx, topics[i], b.next()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	made := time.Since(began)
	latency := newLatencies(writers)
	v, err := measure(server, func() (done, error) {
		var total atomic.Int64
		end := time.Now().Add(s.Duration)
		err := parallel(ctx, writers, func(ctx context.Context, i int) error {
			topic := func(k int64) string { return topics[(int64(i)+k*writers)%int64(n)] }
			n, err := callUntil(ctx, callers[i], newBodies(size, i), end, latency[i], topic)
			total.Add(n)
			return err
		})
		return done{messages: total.Load()}, err
	})
	if err != nil {
		return err
	}
	v[report.Topics] = float64(n) / made.Seconds()
	latency.addTo(v)
	t.record(v)
	return nil
}
