package files

import (
	"testing"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// BenchmarkUse is what a READ and an append pay for a file that is open, by many
// at once: of one file, or each of its own.
func BenchmarkUse(b *testing.B) {
	for _, own := range []bool{false, true} {
		name := "same"
		if own {
			name = "own"
		}
		b.Run(name, func(b *testing.B) {
			disk := vfstest.New()
			c := &Cache{FS: disk, Perm: 0o600, Limit: 1000}
			shared := c.File("shared")
			b.ReportAllocs()
			b.SetParallelism(8)
			var names [1000]byte
			next := make(chan int, len(names))
			for i := range names {
				next <- i
			}
			b.RunParallel(func(pb *testing.PB) {
				f := shared
				if own {
					f = c.File(string(rune('a' + <-next)))
				}
				for pb.Next() {
					if _, err := f.Acquire(ToCreate); err != nil {
						b.Error(err)
						return
					}
					f.Release()
				}
			})
		})
	}
}
