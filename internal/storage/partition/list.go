// Package partition is the partitions of a log: their files with the indexes, what they
// hold, and how they are read. A [List] is what a log has; it looks batches up by offset,
// time and ordinal, sets aside what it finds damaged, and makes indexes anew. What is
// appended, recovered, removed, cut off and put back is the log's matter (package
// commitlog), which changes the List as it does so.
//
// # Concurrency
//
// Readers take no lock that a writer holds. A [Partition] is added, removed and changed by
// whoever holds the log's locks; what readers see of it is atomic. Locks: List.Writer,
// then Partition.Loading, then those of the journal and of package files.
package partition

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Partition is one file of a log.
type Partition struct {
	Base int64
	File *files.File
	End  atomic.Int64 // offset after its last byte; grows in the head alone

	// ix is the index. Another one takes its place when it, or the partition, is
	// found damaged; who uses the old one meanwhile may get an error from it.
	ix atomic.Pointer[index.Index]

	// Sum is what a complete partition holds; nil while that is not known.
	Sum atomic.Pointer[journal.Totals]

	// Loading is held while the index is read or rebuilt; Ready tells that it
	// was.
	Loading sync.Mutex
	Ready   atomic.Bool

	// Counted is what a head holds, counted since the writer looked last.
	Counted atomic.Pointer[journal.Totals]

	Pinned bool // by the log, see its pin

	doubted atomic.Pointer[doubt] // by retention; nil if it was not
}

// Index returns the partition's index.
func (p *Partition) Index() *index.Index { return p.ix.Load() }

// List is the partitions of a log, oldest first. There is always one; the last one is the
// head. The fields up to the first blank line are set before the first call.
type List struct {
	Topic   string
	Folder  *files.Folder
	Files   *files.Cache
	FS      vfs.FS
	Logger  *slog.Logger
	Clock   clock.Clock
	Journal *journal.Journal
	Writer  *sync.Mutex  // held by whoever changes the log
	Dirty   *atomic.Bool // there is something in the journal that is to be synced

	ID      journal.ID
	Created int64 // when the topic was, or its folder of the 0.3 layout first opened, ms
	// Unchecked is the offset before which the partitions may never have been whole; -1: all
	// are. See journal.Adopted.
	Unchecked int64

	// Guarded by Writer: what the head holds, and the time of the newest batch, ms.
	HeadSum    journal.Totals
	LastMillis int64

	stamp folderStamp // for InPlace; the leader of the log's syncs has it

	all atomic.Pointer[[]*Partition]
}

// New returns a partition that is not one of the list's.
func (l *List) New(base, end int64) *Partition {
	p := &Partition{Base: base, File: l.FileOf(layout.Partition("", base))}
	p.ix.Store(l.newIndex(p))
	p.End.Store(end)
	return p
}

func (l *List) newIndex(p *Partition) *index.Index {
	return index.New(l.FileOf(layout.Index("", p.Base)), l.ID, p.Base)
}

// FileOf returns a file in the topic's folder.
func (l *List) FileOf(name string) *files.File { return l.Files.FileIn(l.Folder, name) }

// All returns the partitions. The slice is not changed.
func (l *List) All() []*Partition { return *l.all.Load() }

// Set makes other partitions the list's. The slice is the list's then.
func (l *List) Set(parts []*Partition) { l.all.Store(&parts) }

// Add adds a head.
func (l *List) Add(p *Partition) { l.Set(append(slices.Clip(l.All()), p)) }

// Head returns the newest partition.
func (l *List) Head() *Partition {
	parts := l.All()
	return parts[len(parts)-1]
}

// Begin returns where the oldest partition begins.
func (l *List) Begin() int64 { return l.All()[0].Base }

// Gone reports whether a partition is not one of the list's any more.
func (l *List) Gone(p *Partition) bool { return !slices.Contains(l.All(), p) }

// Find returns the index of the partition that offset falls into, or
// -1.
func Find(parts []*Partition, offset int64) int {
	i, found := slices.BinarySearchFunc(parts, offset, func(p *Partition, offset int64) int {
		return int(min(max(p.Base-offset, -1), 1))
	})
	if found {
		return i
	}
	return i - 1
}

// CompleteBefore returns how many of the partitions end at or before offset. The
// last is not among them.
func CompleteBefore(parts []*Partition, offset int64) int {
	k := 0
	for k < len(parts)-1 && parts[k].End.Load() <= offset && parts[k+1].Base <= offset {
		k++
	}
	return k
}

// SegmentEnd returns the offset up to which the partition's batches follow one
// another without damage from offset on; offset itself if it lies in damage.
func (l *List) SegmentEnd(p *Partition, offset int64) int64 {
	return layout.Clear(*l.Journal.Damaged(), offset, p.End.Load())
}

// PastDamage returns the offset behind the damage that offset lies in, or
// offset itself.
func (l *List) PastDamage(offset int64) int64 { return layout.Past(*l.Journal.Damaged(), offset) }
