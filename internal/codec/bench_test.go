package codec

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// lines is the data of a batch, and its messages.
type lines struct {
	data     []byte
	messages int64
}

// batches returns lines as the data of batches of up to size bytes: those of the files
// in the folder that LOGD_BENCH_LOGS names, or some that are made.
func batches(b *testing.B, size int64) (all []lines) {
	var builder batch.Builder
	add := func(line []byte) {
		if builder.Size()+batch.MessageLen(len(line)) > size {
			all = append(all, lines{bytes.Clone(builder.Data()), builder.Messages()})
			builder.Reset()
		}
		builder.Add(line)
	}
	folder := os.Getenv("LOGD_BENCH_LOGS")
	if folder == "" {
		for i := range 20000 {
			add(fmt.Appendf(nil, "2026-11-29T16:%02d:%02d.%03dZ level=INFO msg=\"request served\" path=/api/v1/orders/%d status=200", i/60%60, i%60, i%1000, i*7919%10007))
		}
		return all
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(names) == 0 {
		b.Fatalf("no logs in %s: %v", folder, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		sc := bufio.NewScanner(bytes.NewReader(text))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			add(sc.Bytes())
		}
	}
	return all
}

// BenchmarkLogs packs, checks and unpacks batches of log lines, and tells how much is
// left of them.
func BenchmarkLogs(b *testing.B) {
	check := NewChecker(time.Minute)
	for _, size := range []int64{16 << 10, 64 << 10, 256 << 10} {
		all := batches(b, size)
		var total int64
		for _, l := range all {
			total += int64(len(l.data))
		}
		for _, c := range []struct {
			name string
			*Codec
		}{{"s2", NewS2()}, {"zstd-fastest", NewZstd(Fastest)}, {"zstd-default", NewZstd(Default)}} {
			packed := make([][]byte, len(all))
			left := 0
			for i, l := range all {
				packed[i] = c.Encode(nil, l.data)
				left += len(packed[i])
			}
			each := func(what string, f func(i int)) {
				b.Run(strings.Join([]string{fmt.Sprint(size>>10, "KiB"), c.name, what}, "/"), func(b *testing.B) {
					b.SetBytes(total)
					for b.Loop() {
						for i := range all {
							f(i)
						}
					}
					b.ReportMetric(float64(total)/float64(left), "ratio")
				})
			}
			var buf []byte
			each("pack", func(i int) { buf = c.Encode(buf[:0], all[i].data) })
			each("check", func(i int) {
				if _, err := check.Check(c.Name(), packed[i], all[i].messages, 1<<20); err != nil {
					b.Fatal(err)
				}
			})
			each("unpack", func(i int) { buf, _ = c.Decode(buf[:0], packed[i], 1<<20) })
		}
	}
}
