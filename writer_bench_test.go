package logd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/testkit"
)

// logSink is a server that takes every batch and takes no memory for it.
func logSink(t testing.TB) ClientConfig { return listenOnce(t, swallow) }

func swallow(nc net.Conn) {
	br := bufio.NewReaderSize(nc, 256<<10)
	bw := bufio.NewWriter(nc)
	body := []byte("Host: x\r\nTimeout: 15s\r\nIdleTimeout: 30s\r\nMaxBatchSize: " + strconv.Itoa(DefaultMaxBatchSize) + "\r\nProducers: 262144\r\n")
	offset := int64(0)
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return
		}
		if string(line) == "CONFIG\r\n" {
			bw.Write(protocol.AppendBody(nil, body))
		} else {
			h, err := batch.ParseHeader(line[:len(line)-2])
			if err != nil {
				return
			}
			if _, err := br.Discard(int(h.Size)); err != nil {
				return
			}
			bw.Write(protocol.AppendOffset(bw.AvailableBuffer(), offset, 1))
			offset += int64(h.Len()) + h.Size
		}
		if br.Buffered() == 0 {
			if bw.Flush() != nil {
				return
			}
		}
	}
}

func sinkWriter(t testing.TB, cfg WriterConfig) *Writer {
	t.Helper()
	c := dialSink(t, logSink(t))
	w, err := NewWriter(t.Context(), c, "t", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestWriterDoesNotAllocate(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for _, off := range []bool{false, true} {
		doesNotAllocate(t, sinkWriter(t, WriterConfig{NoSequence: off}))
	}
}

func doesNotAllocate(t *testing.T, w *Writer) {
	message := make([]byte, 100)
	var done int
	back := func(r WriteResult) {
		if r.Err != nil {
			t.Error(r.Err)
		}
		done++
	}
	for _, tt := range []struct {
		name string
		f    func() error
	}{
		{"Write", func() error { _, err := w.Write(message); return err }},
		{"WriteFunc", func() error { return w.WriteFunc(t.Context(), message, back) }},
	} {
		run := func() {
			for range 1000 {
				if err := tt.f(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 200 { // until every slot has its memory
			run()
		}
		if n := testing.AllocsPerRun(100, run); n > 1 {
			t.Errorf("1000 calls of %s allocate %v times", tt.name, n)
		}
	}
}

// BenchmarkWriter compares messages that go through a Writer with the same
// messages in full batches that are appended, with as many in flight: encoded
// as they are appended, and encoded beforehand, which nobody can do. Plain is without
// numbers, and Batch a batch for each message.
func BenchmarkWriter(b *testing.B) {
	for _, size := range []int{100, 1024} {
		message := make([]byte, size)
		for _, bb := range []struct {
			name string
			cfg  WriterConfig
		}{
			{"Write", WriterConfig{}}, {"Write/plain", WriterConfig{NoSequence: true}},
			{"Batch", WriterConfig{BatchMessages: 1}}, {"Batch/plain", WriterConfig{BatchMessages: 1, NoSequence: true}},
		} {
			b.Run(fmt.Sprintf("%dB/%s", size, bb.name), func(b *testing.B) {
				w := sinkWriter(b, bb.cfg)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := w.Write(message); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
		b.Run(fmt.Sprintf("%dB/WriteParallel", size), func(b *testing.B) {
			w := sinkWriter(b, WriterConfig{})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := w.Write(message); err != nil {
						b.Error(err)
						return
					}
				}
			})
			if err := w.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
		for _, encoded := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/Append/encoded=%v", size, encoded), func(b *testing.B) {
				benchmarkRawAppend(b, message, encoded)
			})
		}
	}
}

// benchmarkRawAppend appends full batches, DefaultInFlight at a time. One
// iteration is one message.
func benchmarkRawAppend(b *testing.B, message []byte, encoded bool) {
	c := dialSink(b, logSink(b))
	var batches [DefaultInFlight]Batch
	var pending [DefaultInFlight]Pending
	for i := range batches {
		for batches[i].Fits("t", len(message), DefaultMaxBatchSize) {
			batches[i].Add(message)
		}
	}
	full := batches[0].Messages()
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	begun, left := 0, full
	for b.Loop() {
		i := begun % len(batches)
		if left == full {
			if begun >= len(batches) {
				if _, err := pending[i].Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if !encoded {
				batches[i].Reset()
			}
		}
		if !encoded {
			batches[i].Add(message)
		}
		if left--; left > 0 {
			continue
		}
		if err := c.StartAppend(b.Context(), "t", &batches[i], &pending[i]); err != nil {
			b.Fatal(err)
		}
		begun++
		left = full
	}
	for i := range min(begun, len(batches)) {
		if _, err := pending[i].Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

var _ io.WriteCloser = (*Writer)(nil)
