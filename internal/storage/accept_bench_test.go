package storage

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// BenchmarkAccept looks into a mebibyte whether a reader knows the codecs in it, and it
// does but for one that is gone.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{100, 1000, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openStore(b, Options{FS: osFS(b, b.TempDir()), FlushInterval: -1, Partitions: -1})
			l := mustCreate(b, s, "t")
			mustAppend(b, l, packedOf("t", batch.Zstd, 1, []byte("x")))
			from := l.Next()
			r := packedOf("t", batch.S2, 1, bytes.Repeat([]byte("x"), size))
			for l.Next() < from+1<<20 {
				mustAppend(b, l, r)
			}
			b.ReportAllocs()
			for b.Loop() {
				v, err := l.Read(from, 1<<20, 1<<20)
				if err == nil {
					err = topic.Accept(v, batch.S2)
				}
				if err != nil {
					b.Fatal(err)
				}
				v.Close()
			}
		})
	}
}
