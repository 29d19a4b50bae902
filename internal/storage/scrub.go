package storage

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
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
	slices.SortFunc(logs, func(a, b *Log) int { return strings.Compare(a.name, b.name) })
	return func(yield func(scrub.Partition) bool) {
		for _, l := range logs {
			for _, p := range l.partitions() {
				if !yield(toScrub{l, p}) {
					return
				}
			}
		}
	}
}

// toScrub is a partition as a scrub.Partition: it is checked as far as it is
// synced.
type toScrub struct {
	l *Log
	p *partition
}

// Gone implements scrub.Partition.
func (s toScrub) Gone() bool { return s.l.Deleted() || s.l.lost(s.p) }

// Topic implements scrub.Partition.
func (s toScrub) Topic() string { return s.l.name }

// Base implements scrub.Partition.
func (s toScrub) Base() int64 { return s.p.base }

// Size implements scrub.Partition.
func (s toScrub) Size() int64 {
	return min(s.l.synced.Load(), s.p.end.Load()) - s.p.base
}

// File implements scrub.Partition.
func (s toScrub) File() *files.File { return s.p.file }

// Past implements scrub.Partition.
func (s toScrub) Past(pos int64) int64 { return s.l.pastDamage(s.p.base+pos) - s.p.base }

// Damaged implements scrub.Partition.
func (s toScrub) Damaged(pos int64, before int) error {
	if err := s.l.ensureIndex(s.p); err != nil {
		return err
	}
	return s.l.examine(s.p.base+pos, before)
}
