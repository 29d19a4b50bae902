package console_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/logd-dev/logd/internal/config"
)

// BenchmarkTopics is the list of 1,000 topics.
func BenchmarkTopics(b *testing.B) {
	s := start(b, func(c *config.Config) { c.FlushBatches = 0 })
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 250 {
				s.write(fmt.Sprintf("team-%d.service-%d.events", i, j), "hello")
			}
		})
	}
	wg.Wait()
	b.ReportAllocs()
	for b.Loop() {
		_, text := s.do("GET", "/", "")
		b.SetBytes(int64(len(text)))
	}
}
