package storage

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkOpen opens a work directory of 1,000 topics, closed cleanly or left
// by a process that was killed.
func BenchmarkOpen(b *testing.B) {
	const topics = 1000
	fill := func(b *testing.B, s *Store) {
		for i := range topics {
			name := fmt.Sprintf("topic%d", i)
			mustAppend(b, mustCreate(b, s, name), batchOf(name, "message"))
		}
	}
	for _, clean := range []bool{true, false} {
		b.Run(fmt.Sprintf("clean=%v", clean), func(b *testing.B) {
			o := Options{FS: osFS(b, b.TempDir())}
			s, err := Open(context.Background(), o)
			if err != nil {
				b.Fatal(err)
			}
			fill(b, s)
			end := func() {
				if clean {
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
					return
				}
				kill(s)
				for _, l := range s.All() {
					for _, f := range l.Inside().Pinned() {
						f.Release()
					}
				}
				if err := s.files.Close(); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				b.StopTimer()
				end()
				b.StartTimer()
				if s, err = Open(context.Background(), o); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				fill(b, s)
				b.StartTimer()
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
