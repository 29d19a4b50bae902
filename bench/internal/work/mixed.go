package work

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// What goes on in M1.
const (
	mixedWriters   = 4
	mixedBursts    = 100 // of each writer a second
	mixedBurst     = 25  // messages
	mixedFollowers = 10
)

// mixed is M1: all of it together.
func (s *Sizes) mixed() Work {
	return Work{
		Work: report.Work{
			Name: "M1", Title: "a mixed day", Chart: report.P99,
			What: fmt.Sprintf("%d writers write %d messages of %s every %v each, %d a second together; %d followers get every one; one reader reads the %d MiB "+
				"that were there before, again and again; for %v. The latency is that from just before a burst is written (or from when it was due, "+
				"if the writer was held up) until a follower has the message; "+
				"write p99 is until the burst is acknowledged.",
				mixedWriters, mixedBurst, bytesName(readSize), time.Second/mixedBursts, mixedWriters*mixedBursts*mixedBurst,
				mixedFollowers, s.ReadBytes>>20, s.Duration),
		},
		Cases: []Case{s.mixedCase("without the reader", false), s.mixedCase("all together", true)},
	}
}

func (s *Sizes) mixedCase(name string, reader bool) Case {
	return Case{
		Name:  name,
		Limit: 4*s.Duration + 5*time.Minute,
		Bytes: 2*s.ReadBytes + 1<<30,
		Run:   func(ctx context.Context, t *Trial) error { return s.runMixed(ctx, t, reader) },
	}
}

func (s *Sizes) runMixed(ctx context.Context, t *Trial, reader bool) error {
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topic, err := topic(ctx, server)
	if err != nil {
		return err
	}
	before := s.ReadBytes / readSize
	if !t.System.Traits().Replays {
		before = 1 // the topic has to be there
	}
	if err := fill(ctx, server, topic, before, readSize); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	crowd, err := follow(ctx, server, topic, mixedFollowers)
	if err != nil {
		return err
	}
	var read behind
	writes := newLatencies(mixedWriters)
	v, err := measure(server, func() (done, error) {
		if reader && t.System.Traits().Replays {
			read.begin(ctx, server, topic, before)
		}
		d, err := s.writeBursts(ctx, server, topic, writes)
		if late := read.end(); err == nil {
			err = late
		}
		if err == nil {
			err = crowd.await(ctx, d.messages)
		}
		return d, err
	})
	if err := crowd.end(err); err != nil {
		return err
	}
	if read.elapsed > 0 {
		v[report.CatchUp] = float64(read.bytes.Load()) / 1e6 / read.elapsed.Seconds()
	}
	crowd.latency.addTo(v)
	writes.add(v, map[report.Metric]float64{report.WriteP99: 99})
	t.record(v)
	return nil
}

// writeBursts writes at the pace of M1, and notes how long each writer's bursts
// take.
func (s *Sizes) writeBursts(ctx context.Context, server system.Server, topic string, took latencies) (done, error) {
	var total atomic.Int64
	began := time.Now()
	err := parallel(ctx, mixedWriters, func(ctx context.Context, i int) error {
		w, err := server.Writer(ctx, topic)
		if err != nil {
			return err
		}
		defer w.Close()
		b := newBodies(readSize, i)
		n, _, err := pace(ctx, mixedBursts, s.Duration, func(at time.Time) error {
			for range mixedBurst {
				if err := w.Write(b.stamped(at)); err != nil {
					return err
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			record(took[i], time.Since(at))
			return nil
		})
		total.Add(n * mixedBurst)
		return err
	})
	n := total.Load()
	return done{messages: n, bytes: n * readSize, elapsed: time.Since(began)}, err
}

// readerTurn is how much the reader takes before it lets the writers and
// followers have a turn that share its process: in life it is another program.
const readerTurn = 256 << 10

// behind is a reader that catches up again and again.
type behind struct {
	bytes   atomic.Int64
	began   time.Time
	elapsed time.Duration
	err     error
	cancel  context.CancelFunc
	group   sync.WaitGroup
}

func (r *behind) begin(ctx context.Context, server system.Server, topic string, n int64) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.began = time.Now()
	r.group.Go(func() {
		for ctx.Err() == nil {
			err := server.CatchUp(ctx, topic, n, func(body []byte) {
				if r.bytes.Add(int64(len(body)))%readerTurn == 0 {
					runtime.Gosched()
				}
			})
			if err != nil && ctx.Err() == nil {
				r.err = fmt.Errorf("reader: %w", err)
				return
			}
		}
	})
}

// end ends the reader, if it was begun, and returns why it failed.
func (r *behind) end() error {
	if r.cancel == nil {
		return nil
	}
	r.elapsed = time.Since(r.began)
	r.cancel()
	r.group.Wait()
	return r.err
}
