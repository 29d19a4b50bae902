package logd_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/progress"
)

// store makes a topic of n messages of the size, in batches of as many as the
// server takes, or of one.
func store(tb testing.TB, client *logd.Client, topic string, n, size, perBatch int) {
	tb.Helper()
	body := bytes.Repeat([]byte("x"), size)
	var b logd.Batch
	for i := range n {
		b.Add(body)
		if i == n-1 || int(b.Messages()) == perBatch || !b.Fits(topic, size, logd.DefaultMaxBatchSize) {
			if _, err := client.Append(tb.Context(), topic, &b); err != nil {
				tb.Fatal(err)
			}
			b.Reset()
		}
	}
}

// BenchmarkScanner reads messages of 100 bytes from a server in the same
// process, over loopback and out of the page cache.
func BenchmarkScanner(b *testing.B) {
	for _, perBatch := range []int{1, 10, 0} {
		for _, state := range []bool{false, true} {
			label := fmt.Sprintf("batch=%d/state=%v", perBatch, state)
			if perBatch == 0 {
				label = fmt.Sprintf("batch=64KiB/state=%v", state)
			}
			b.Run(label, func(b *testing.B) {
				const n, size = 1 << 20, 100
				client := logdtest.Start(b).Client(b)
				stored := n
				if perBatch == 1 {
					stored = n / 8
				}
				store(b, client, "t", stored, size, perBatch)
				b.SetBytes(size)
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; {
					var memory progress.Memory
					cfg := logd.ScannerConfig{Limit: int64(left)}
					if state {
						cfg.Progress = &memory
					}
					s := newScanner(b, client, "t", cfg)
					for s.Scan() {
						m := s.Message()
						if len(m.Body) != size {
							b.Fatal(m)
						}
						if state {
							memory.Done(m.ID(), nil)
						}
						left--
					}
					if s.Err() != nil {
						b.Fatal(s.Err())
					}
					s.Close()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}
