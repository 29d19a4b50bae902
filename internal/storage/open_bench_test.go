package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
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
			dir := b.TempDir()
			o := Options{FS: osFS(b, dir)}
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
				journals := make(map[string][]byte)
				for i := range topics {
					name := filepath.Join(dir, layout.JournalFile(fmt.Sprintf("topic%d", i)))
					journal, err := os.ReadFile(name)
					must(b, err)
					journals[name] = journal
				}
				must(b, s.Close())
				for name, journal := range journals { // which do not say that it was closed
					must(b, os.WriteFile(name, journal, 0o600))
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
