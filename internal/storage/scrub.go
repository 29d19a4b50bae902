package storage

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/storage/scrub"
)

// startScrub returns who checks what is stored, nil if nobody does.
func startScrub(s *Store) *scrub.Scrubber {
	if s.o.ScrubRate <= 0 {
		return nil
	}
	sb := &scrub.Scrubber{Partitions: s.toScrub, Rate: s.o.ScrubRate, Logger: s.log, Now: s.o.Clock.Now, After: s.after}
	sb.Start()
	return sb
}

// after returns a channel that is closed when d has gone by on the store's clock,
// unless stop was called before.
func (s *Store) after(d time.Duration) (over <-chan struct{}, stop func() bool) {
	c := make(chan struct{})
	return c, s.o.Clock.AfterFunc(d, func() { close(c) }).Stop
}

// toScrub returns all partitions, topic by topic.
func (s *Store) toScrub() iter.Seq[scrub.Partition] {
	logs := s.All()
	slices.SortFunc(logs, func(a, b *Log) int { return strings.Compare(a.Name(), b.Name()) })
	return func(yield func(scrub.Partition) bool) {
		for _, l := range logs {
			for _, p := range l.Partitions() {
				if !yield(p) {
					return
				}
			}
		}
	}
}
