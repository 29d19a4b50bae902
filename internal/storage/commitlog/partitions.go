package commitlog

import "github.com/logd-dev/logd/internal/storage/files"

// Partition is one of a log's partitions, to be checked on the disk as far as it is
// synced: see scrub.Partition.
type Partition struct {
	l *Log
	p *partition
}

// Partitions returns the log's partitions, oldest first.
func (l *Log) Partitions() []Partition {
	parts := l.partitions()
	all := make([]Partition, len(parts))
	for i, p := range parts {
		all[i] = Partition{l, p}
	}
	return all
}

// Gone reports whether it is not one of the log's any more.
func (s Partition) Gone() bool { return s.l.Deleted() || s.l.lost(s.p) }

// Topic returns the topic's name.
func (s Partition) Topic() string { return s.l.name }

// Base returns its first offset.
func (s Partition) Base() int64 { return s.p.base }

// End returns the offset after its last byte.
func (s Partition) End() int64 { return s.p.end.Load() }

// Size returns how many bytes of it are synced.
func (s Partition) Size() int64 {
	return min(s.l.synced.Load(), s.p.end.Load()) - s.p.base
}

// File returns its file.
func (s Partition) File() *files.File { return s.p.file }

// Past returns the position behind what is set aside at a position, or that.
func (s Partition) Past(pos int64) int64 { return s.l.pastDamage(s.p.base+pos) - s.p.base }

// Damaged has it scanned because no batch is at a position where one must be, and what
// is damaged set aside. before is how often that was done already.
func (s Partition) Damaged(pos int64, before int) error {
	if err := s.l.ensureIndex(s.p); err != nil {
		return err
	}
	return s.l.examine(s.p.base+pos, before)
}
