package partition

import (
	"sync/atomic"

	"github.com/logd-dev/logd/internal/storage/files"
)

// OnDisk is one of a list's partitions, to be checked on the disk as far as it is
// synced: see scrub.Partition.
type OnDisk struct {
	l      *List
	p      *Partition
	synced *atomic.Int64
}

// OnDisk returns the partitions, oldest first, of a log that is synced up to an offset.
func (l *List) OnDisk(synced *atomic.Int64) []OnDisk {
	parts := l.All()
	all := make([]OnDisk, len(parts))
	for i, p := range parts {
		all[i] = OnDisk{l, p, synced}
	}
	return all
}

// Gone reports whether it is not one of the log's any more.
func (d OnDisk) Gone() bool { return d.l.Folder.IsGone() || d.l.Gone(d.p) }

// Topic returns the topic's name.
func (d OnDisk) Topic() string { return d.l.Topic }

// Base returns its first offset.
func (d OnDisk) Base() int64 { return d.p.Base }

// End returns the offset after its last byte.
func (d OnDisk) End() int64 { return d.p.End.Load() }

// Size returns how many bytes of it are synced.
func (d OnDisk) Size() int64 {
	return min(d.synced.Load(), d.p.End.Load()) - d.p.Base
}

// File returns its file.
func (d OnDisk) File() *files.File { return d.p.File }

// Past returns the position behind what is set aside at a position, or that.
func (d OnDisk) Past(pos int64) int64 { return d.l.PastDamage(d.p.Base+pos) - d.p.Base }

// Damaged has it scanned because no batch is at a position where one must be, and what
// is damaged set aside. before is how often that was done already.
func (d OnDisk) Damaged(pos int64, before int) error {
	if err := d.l.EnsureIndex(d.p); err != nil {
		return err
	}
	return d.l.Examine(d.p.Base+pos, before)
}
