package commitlog

import (
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/partition"
)

// Partition is one of a log's partitions, to be checked on the disk as far as it is
// synced: see scrub.Partition.
type Partition struct {
	l *Log
	p *partition.Partition
}

// Partitions returns the log's partitions, oldest first.
func (l *Log) Partitions() []Partition {
	parts := l.parts.All()
	all := make([]Partition, len(parts))
	for i, p := range parts {
		all[i] = Partition{l, p}
	}
	return all
}

// Gone reports whether it is not one of the log's any more.
func (s Partition) Gone() bool { return s.l.Deleted() || s.l.parts.Gone(s.p) }

// Topic returns the topic's name.
func (s Partition) Topic() string { return s.l.name }

// Base returns its first offset.
func (s Partition) Base() int64 { return s.p.Base }

// End returns the offset after its last byte.
func (s Partition) End() int64 { return s.p.End.Load() }

// Size returns how many bytes of it are synced.
func (s Partition) Size() int64 {
	return min(s.l.synced.Load(), s.p.End.Load()) - s.p.Base
}

// File returns its file.
func (s Partition) File() *files.File { return s.p.File }

// Past returns the position behind what is set aside at a position, or that.
func (s Partition) Past(pos int64) int64 { return s.l.parts.PastDamage(s.p.Base+pos) - s.p.Base }

// Damaged has it scanned because no batch is at a position where one must be, and what
// is damaged set aside. before is how often that was done already.
func (s Partition) Damaged(pos int64, before int) error {
	if err := s.l.parts.EnsureIndex(s.p); err != nil {
		return err
	}
	return s.l.parts.Examine(s.p.Base+pos, before)
}
