package zstd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// slow is a connection whose writes take as long as on a line of so many bytes a second.
type slow struct {
	net.Conn
	rate float64
	free *time.Time // when the line is free again
}

func (c slow) Write(p []byte) (int, error) {
	now := time.Now()
	if c.free.Before(now) {
		*c.free = now
	}
	*c.free = c.free.Add(time.Duration(float64(len(p)) / c.rate * float64(time.Second)))
	if wait := c.free.Sub(now); wait > 2*time.Millisecond {
		time.Sleep(wait)
	}
	return c.Conn.Write(p)
}

// logLines returns the lines of the files in the folder that LOGD_BENCH_LOGS names, or
// some that are made.
func logLines(b *testing.B) (lines [][]byte, size int64) {
	folder := os.Getenv("LOGD_BENCH_LOGS")
	if folder == "" {
		for i := range 20000 {
			lines = append(lines, []byte(line(i)))
		}
	} else {
		names, _ := filepath.Glob(filepath.Join(folder, "*.log"))
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				b.Fatal(err)
			}
			sc := bufio.NewScanner(bytes.NewReader(text))
			sc.Buffer(nil, 1<<20)
			for sc.Scan() {
				lines = append(lines, slices.Clone(sc.Bytes()))
			}
		}
	}
	for _, l := range lines {
		size += int64(len(l))
	}
	return lines, size
}

// BenchmarkWriter sends log lines to a server and waits until they are stored, on
// loopback and on a line of 100 Mbit/s.
func BenchmarkWriter(b *testing.B) {
	lines, size := logLines(b)
	for _, wire := range []struct {
		name string
		rate float64
	}{{"loopback", 0}, {"100Mbit", 12.5e6}} {
		for _, batch := range []int64{16 << 10, 64 << 10, 256 << 10} {
			for _, codec := range []string{"", "s2", "zstd"} {
				b.Run(fmt.Sprintf("%s/%dKiB/%s", wire.name, batch>>10, codec), func(b *testing.B) {
					server := logdtest.Start(b, logdtest.BatchSize(1<<20))
					cfg := server.ClientConfig()
					if wire.rate > 0 {
						dial := cfg.Dial
						if dial == nil {
							dial = new(net.Dialer).DialContext
						}
						var free time.Time
						cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
							nc, err := dial(ctx, network, addr)
							return slow{nc, wire.rate, &free}, err
						}
					}
					c, err := logd.NewClient(cfg)
					if err != nil {
						b.Fatal(err)
					}
					defer c.Close()
					b.SetBytes(size)
					for b.Loop() {
						w, err := logd.NewWriter(b.Context(), c, "t", logd.WriterConfig{Codec: codec, BatchBytes: batch, BatchAge: logd.Unlimited})
						if err != nil {
							b.Fatal(err)
						}
						for _, l := range lines {
							w.Write(l)
						}
						if err := w.Close(); err != nil {
							b.Fatal(err)
						}
					}
					if in, err := c.Info(b.Context(), "t"); err == nil {
						b.ReportMetric(float64(size)*float64(in.Messages)/float64(len(lines))/float64(in.Bytes), "ratio")
					}
				})
			}
		}
	}
}
