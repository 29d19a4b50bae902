package work

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// warmUp is how many requests a caller makes before those that count.
const warmUp = 20

// request is W2: how long it takes until one message is safe.
func (s *Sizes) request() Work {
	const size = 100
	w := Work{Work: report.Work{
		Name: "W2", Title: "one synced message per request", Chart: report.Messages,
		What: fmt.Sprintf("Writers, each with a connection of its own, write one message of %s per request to one topic and wait for the reply, for %v. "+
			"The server syncs before it replies. The latency is that from the request to the reply.", bytesName(size), s.Duration),
	}}
	for _, writers := range []int{1, 8, 64} {
		w.Cases = append(w.Cases, Case{
			Name:  many(writers, "writer"),
			Sync:  true,
			Limit: 4*s.Duration + time.Minute,
			Bytes: 1 << 30,
			Skip: func(s system.System) string {
				if s.Durability(true) == "" {
					return "can't sync before it replies"
				}
				return ""
			},
			Run: func(ctx context.Context, t *Trial) error { return s.runRequest(ctx, t, size, writers) },
		})
	}
	return w
}

func (s *Sizes) runRequest(ctx context.Context, t *Trial, size, writers int) error {
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topic, err := topic(ctx, server)
	if err != nil {
		return err
	}
	callers, err := dial(ctx, server, writers)
	if err != nil {
		return err
	}
	defer closeAll(callers)
	if err := parallel(ctx, writers, func(ctx context.Context, i int) error {
		b := newBodies(size, i)
		for range warmUp {
			if err := callers[i].Call(ctx, topic, b.next()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	latency := newLatencies(writers)
	v, err := measure(server, func() (done, error) {
		var total atomic.Int64
		end := time.Now().Add(s.Duration)
		err := parallel(ctx, writers, func(ctx context.Context, i int) error {
			n, err := callUntil(ctx, callers[i], newBodies(size, i), end, latency[i], func(int64) string { return topic })
			total.Add(n)
			return err
		})
		return done{messages: total.Load()}, err
	})
	if err == nil {
		latency.addTo(v)
		t.record(v)
	}
	return err
}

// dial returns callers with a connection each.
func dial(ctx context.Context, server system.Server, n int) ([]system.Caller, error) {
	callers := make([]system.Caller, 0, n)
	for range n {
		c, err := server.Caller(ctx)
		if err != nil {
			closeAll(callers)
			return nil, err
		}
		callers = append(callers, c)
	}
	return callers, nil
}

func closeAll(callers []system.Caller) {
	for _, c := range callers {
		c.Close()
	}
}

// callUntil makes requests one after another until the time is over.
func callUntil(ctx context.Context, c system.Caller, b *bodies, end time.Time, h *hdrhistogram.Histogram, topic func(n int64) string) (n int64, err error) {
	for now := time.Now(); now.Before(end); n++ {
		if err := c.Call(ctx, topic(n), b.next()); err != nil {
			return n, err
		}
		then := now
		now = time.Now()
		record(h, now.Sub(then))
	}
	return n, nil
}

// maxLatency is the longest time that is told from longer ones.
const maxLatency = time.Minute

// latencies are the times that several goroutines measure, each its own.
type latencies []*hdrhistogram.Histogram

func newLatencies(n int) latencies {
	l := make(latencies, n)
	for i := range l {
		l[i] = hdrhistogram.New(1, int64(maxLatency), 3)
	}
	return l
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	h.RecordValue(int64(max(min(d, maxLatency), 1))) // always in range
}

// addTo adds the usual percentiles of all to the values.
func (l latencies) addTo(v report.Values) {
	l.add(v, map[report.Metric]float64{report.P50: 50, report.P99: 99, report.P999: 99.9})
}

// add adds percentiles of all to the values.
func (l latencies) add(v report.Values, percentiles map[report.Metric]float64) {
	all := hdrhistogram.New(1, int64(maxLatency), 3)
	for _, h := range l {
		all.Merge(h)
	}
	for m, q := range percentiles {
		v[m] = float64(all.ValueAtQuantile(q)) / 1e3
	}
}
