package work

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// write is W1: how much a server takes from writers that batch.
func (s *Sizes) write() Work {
	w := Work{Work: report.Work{
		Name: "W1", Title: "write throughput", Chart: report.Messages,
		What: fmt.Sprintf("Writers, each with a connection of its own, write to one topic for %v, in batches of about 64 KiB with 8 of them in flight "+
			"(JetStream: 4,096 messages), and wait for all acknowledgements.", s.Duration),
	}}
	for _, size := range []int{100, 1024} {
		for _, producers := range []int{1, 8} {
			w.Cases = append(w.Cases, Case{
				Name:  fmt.Sprintf("%s, %s", bytesName(size), many(producers, "writer")),
				Limit: 4*s.Duration + time.Minute,
				Bytes: 2 * s.WriteBytes, // envelopes and framing
				Run: func(ctx context.Context, t *Trial) error {
					return s.runWrite(ctx, t, size, producers)
				},
			})
		}
	}
	return w
}

func (s *Sizes) runWrite(ctx context.Context, t *Trial, size, producers int) error {
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topic, err := topic(ctx, server)
	if err != nil {
		return err
	}
	writers := make([]system.Writer, producers)
	for i := range writers {
		w, err := server.Writer(ctx, topic)
		if err != nil {
			return err
		}
		defer w.Close()
		writers[i] = w
		// The topic and the connections are made before the clock starts.
		if err := w.Write(newBodies(size, i).next()); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	limit := s.WriteBytes / int64(size) / int64(producers)
	v, err := measure(server, func() (done, error) {
		var total atomic.Int64
		end := time.Now().Add(s.Duration)
		err := parallel(ctx, producers, func(ctx context.Context, i int) error {
			n, err := writeUntil(ctx, writers[i], newBodies(size, i), end, limit)
			total.Add(n)
			return err
		})
		return done{messages: total.Load(), bytes: total.Load() * int64(size)}, err
	})
	if err == nil {
		t.record(v)
	}
	return err
}

// writeUntil writes until the time is over or the number is reached, and waits
// for all acknowledgements.
func writeUntil(ctx context.Context, w system.Writer, b *bodies, end time.Time, limit int64) (n int64, err error) {
	const between = 64 // looks at the clock
	for n < limit {
		if n%between == 0 && (time.Now().After(end) || ctx.Err() != nil) {
			break
		}
		if err := w.Write(b.next()); err != nil {
			return n, err
		}
		n++
	}
	return n, w.Flush()
}

// bytesName names a size.
func bytesName(n int) string {
	if n%1024 == 0 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}

// many puts a number before a word.
func many(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
