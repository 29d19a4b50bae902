// Package index reads and writes the index of a partition: <base>.idx, which maps
// positions in the partition to cumulative messages and batches and to append
// times.
//
// It is sparse. There is an entry for the first batch, for the first batch at
// least [Interval] bytes after the last entry, for the first batch of every
// millisecond, and for a batch that follows damage. It is a cache of what a scan of
// the partition tells, but for the times, and is made anew whenever it does not
// fit.
//
// Layout, little endian (docs/format.md):
//
//	header, 48 bytes                    block, 4,096 bytes, any number
//	 0  8  magic "logd-idx"              0  4  CRC-32 (IEEE) of the rest of the block
//	 8  4  version, 1                    4  2  entries in this block, at least 1
//	12  4  reserved, 0                   6  2  bytes used, from the block's start
//	16 16  topic id                      8 32  first entry: four int64
//	32  8  base offset                  40  …  the other entries, each as four
//	40  4  reserved, 0                         uvarints, less the entry before
//	44  4  CRC-32 of bytes 0 to 43          …  zeros
//
// An entry is (position, messages, batches, milliseconds): the state before
// the batch that begins at position, and when that batch was appended.
//
// An [Index] is what a log uses while it is open: one writer adds entries and any
// number of readers search without a lock. A [Reader] walks through a file and
// compares it with a scan. [Index.Rebuild] makes an index anew by a scan of its
// partition, with the times that the old one has.
package index

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/vfs"
)

// The sizes of what is in a file, and how often there is an entry.
const (
	magic       = "logd-idx"
	Version     = 1
	HeaderLen   = 48
	blockLen    = 4096
	blockHeader = 40
	Interval    = 4096
)

// ErrUnfit is an index that does not fit its partition, for whatever reason.
var ErrUnfit = errors.New("storage: unfit index")

// Entry is the state of a partition before the batch at Pos.
type Entry struct {
	Pos      int64 // in the partition
	Messages int64 // in the partition before Pos
	Batches  int64
	Millis   int64 // when the batch at Pos was appended, since 1970 UTC; never decreases
}

// Index is the in-memory side of a partition's index. One writer
// adds entries; any number of readers search at the
// same time without a lock.
type Index struct {
	File *files.File
	id   journal.ID
	base int64

	view atomic.Pointer[view]

	// unwritten stands for the entries since the last one of view that the file could
	// not take: it is the first of them, with the time of the last.
	unwritten atomic.Pointer[Entry]

	// The writer's own.
	enc   []byte // the block being filled, as it will stand in the file
	Last  Entry  // the newest
	Force bool   // the next batch gets an entry: it follows damage

	// Unsynced is why the file could not be synced. Another sync would tell
	// nothing.
	Unsynced error

	// Stale tells that the file has entries after those in memory. They must be
	// gone, durably, before batches are appended at their positions: a crash
	// would leave them to be taken for entries of those batches.
	Stale bool
}

// view is what readers see. It is immutable but for n and the entries
// from n on, which the writer fills before it advances n.
type view struct {
	blocks  []Entry // first entry of each block in the file, by slot
	entries []Entry // the entries of the block that is not in the file yet
	n       atomic.Int64
}

// New returns an index without entries, of the partition at base of the topic
// with the id.
func New(file *files.File, id journal.ID, base int64) *Index {
	ix := &Index{File: file, id: id, base: base}
	ix.view.Store(&view{})
	return ix
}

// Wants reports whether the batch at pos, appended at millis, gets an entry.
func (ix *Index) Wants(pos, millis int64) bool {
	if ix.Force || ix.Empty() {
		return true
	}
	return pos-ix.Last.Pos >= Interval || millis != ix.Last.Millis
}

// Add appends an entry. Only the writer calls it, with growing positions. When
// the file can't take a full block the entry is left out, and the next one
// tries again. One entry then stands for all that were left out, with a time
// that is too late: who seeks one of theirs is given too much.
func (ix *Index) Add(e Entry) error {
	if unwritten := ix.unwritten.Load(); unwritten != nil {
		if err := ix.place(*unwritten); err != nil {
			more := *unwritten
			more.Millis = e.Millis
			ix.unwritten.Store(&more)
			return err
		}
		ix.unwritten.Store(nil)
	}
	err := ix.place(e)
	if err != nil {
		ix.unwritten.Store(&e)
	}
	return err
}

// place is add without a second chance.
func (ix *Index) place(e Entry) error {
	if len(ix.enc) > 0 {
		var d [4 * binary.MaxVarintLen64]byte
		b := binary.AppendUvarint(d[:0], uint64(e.Pos-ix.Last.Pos))
		b = binary.AppendUvarint(b, uint64(e.Messages-ix.Last.Messages))
		b = binary.AppendUvarint(b, uint64(e.Batches-ix.Last.Batches))
		b = binary.AppendUvarint(b, uint64(e.Millis-ix.Last.Millis))
		if len(ix.enc)+len(b) <= blockLen {
			ix.enc = append(ix.enc, b...)
		} else if err := ix.seal(); err != nil {
			return err
		}
	}
	if len(ix.enc) == 0 {
		ix.enc = append(ix.enc, make([]byte, blockHeader)...)
		putEntry(ix.enc[8:], e)
	}
	ix.Last, ix.Force = e, false

	v := ix.view.Load()
	n := v.n.Load()
	if int(n) == len(v.entries) {
		grown := &view{blocks: v.blocks, entries: make([]Entry, max(4, 2*len(v.entries)))}
		copy(grown.entries, v.entries)
		grown.n.Store(n)
		ix.view.Store(grown)
		v = grown
	}
	v.entries[n] = e
	v.n.Store(n + 1)
	return nil
}

// seal writes the full block to the file and begins a new one.
func (ix *Index) seal() error {
	if err := ix.Flush(); err != nil {
		return err
	}
	v := ix.view.Load()
	ix.view.Store(&view{blocks: append(v.blocks, v.entries[0]), entries: make([]Entry, len(v.entries))})
	ix.enc = ix.enc[:0]
	return nil
}

// Flush writes the block that is being filled, so that its times survive the
// process. It stays open for more. Only the writer calls it.
func (ix *Index) Flush() error {
	v := ix.view.Load()
	count := int(v.n.Load())
	if count == 0 {
		return nil
	}
	f, err := ix.File.Acquire(files.ToCreate)
	if err != nil {
		return err
	}
	defer ix.File.Release()
	slot := len(v.blocks)
	if slot == 0 {
		if _, err := f.WriteAt(ix.header(), 0); err != nil {
			return err
		}
	}
	block := make([]byte, blockLen)
	used := copy(block, ix.enc)
	sealBlock(block, count, used)
	_, err = f.WriteAt(block, blockPos(slot))
	return err
}

// Settle makes the file hold what is in memory and no more, durably. Only the
// writer calls it.
func (ix *Index) Settle() error {
	if ix.Unsynced != nil {
		return ix.Unsynced
	}
	if err := ix.Flush(); err != nil {
		return err
	}
	f, err := ix.File.Acquire(files.ToWrite)
	if errors.Is(err, fs.ErrNotExist) {
		ix.Stale = false
		return nil
	}
	if err != nil {
		return err
	}
	defer ix.File.Release()
	v := ix.view.Load()
	size := blockPos(len(v.blocks))
	if v.n.Load() > 0 {
		size += blockLen
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		ix.Unsynced = err
		return err
	}
	ix.Stale = false
	return nil
}

func (ix *Index) header() []byte {
	h := make([]byte, 0, HeaderLen)
	h = append(h, magic...)
	h = binary.LittleEndian.AppendUint32(h, Version)
	h = binary.LittleEndian.AppendUint32(h, 0)
	h = append(h, ix.id[:]...)
	h = binary.LittleEndian.AppendUint64(h, uint64(ix.base))
	h = binary.LittleEndian.AppendUint32(h, 0)
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}

// Search returns the last entry for which before is true and the first for
// which it is not; before must be true for a prefix of the entries. An entry
// with pos -1 stands for none.
func (ix *Index) Search(before func(*Entry) bool) (floor, next Entry, err error) {
	unwritten := ix.unwritten.Load() // first: it goes when view has it
	floor, next, err = ix.searchView(before)
	if err == nil && unwritten != nil && next.Pos < 0 {
		if before(unwritten) {
			return *unwritten, next, nil
		}
		return floor, *unwritten, nil
	}
	return floor, next, err
}

func (ix *Index) searchView(before func(*Entry) bool) (floor, next Entry, err error) {
	floor.Pos, next.Pos = -1, -1
	v := ix.view.Load()
	entries := v.entries[:v.n.Load()]
	if len(entries) > 0 && (len(v.blocks) == 0 || before(&entries[0])) {
		floor, next = split(entries, before)
		return floor, next, nil
	}
	if len(entries) > 0 {
		next = entries[0]
	}
	// The last block whose first entry is before.
	i := countBefore(v.blocks, before)
	if i < len(v.blocks) {
		next = v.blocks[i]
	}
	if i == 0 {
		return floor, next, nil
	}
	err = ix.readBlock(i-1, func(e *Entry) bool {
		if !before(e) {
			next = *e
			return false
		}
		floor = *e
		return true
	})
	return floor, next, err
}

// First returns the first entry; one with pos -1 stands for none. It is not at
// position 0 where damage is.
func (ix *Index) First() (Entry, error) {
	_, first, err := ix.Search(func(*Entry) bool { return false })
	return first, err
}

// countBefore returns how many entries before is true for.
func countBefore(entries []Entry, before func(*Entry) bool) int {
	return sort.Search(len(entries), func(i int) bool { return !before(&entries[i]) })
}

func split(entries []Entry, before func(*Entry) bool) (floor, next Entry) {
	floor.Pos, next.Pos = -1, -1
	i := countBefore(entries, before)
	if i > 0 {
		floor = entries[i-1]
	}
	if i < len(entries) {
		next = entries[i]
	}
	return floor, next
}

// Truncate drops the entries at and after pos. Only the writer calls it, while
// no reader looks for positions that far.
func (ix *Index) Truncate(pos int64) error {
	if unwritten := ix.unwritten.Load(); unwritten != nil && unwritten.Pos >= pos {
		ix.unwritten.Store(nil)
	}
	v := ix.view.Load()
	entries := slices.Clone(v.entries[:v.n.Load()])
	if len(v.blocks) > 0 && (len(entries) == 0 || entries[0].Pos >= pos) {
		return ix.load(pos)
	}
	ix.view.Store(&view{blocks: v.blocks})
	ix.enc = nil
	ix.Last = Entry{}
	for _, e := range entries {
		if e.Pos >= pos {
			break
		}
		if err := ix.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// reset drops all entries from memory.
func (ix *Index) reset() {
	ix.view.Store(&view{})
	ix.unwritten.Store(nil)
	ix.enc = nil
	ix.Last, ix.Force, ix.Stale = Entry{}, false, false
}

// Covers reports whether the newest entry is at or after pos.
func (ix *Index) Covers(pos int64) bool { return !ix.Empty() && ix.Last.Pos >= pos }

// Empty reports whether there are no entries.
func (ix *Index) Empty() bool {
	v := ix.view.Load()
	return len(v.blocks) == 0 && v.n.Load() == 0
}

// After returns the entries after pos.
func (ix *Index) After(pos int64) ([]Entry, error) {
	var after []Entry
	v := ix.view.Load()
	for slot := range v.blocks {
		if slot+1 < len(v.blocks) && v.blocks[slot+1].Pos <= pos {
			continue
		}
		err := ix.readBlock(slot, func(e *Entry) bool {
			if e.Pos > pos {
				after = append(after, *e)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	for _, e := range v.entries[:v.n.Load()] {
		if e.Pos > pos {
			after = append(after, e)
		}
	}
	return after, nil
}

// Changes calls visit, until it returns false, for the entries at or after pos
// whose time is not that of the entry before, which for the first of them is
// millis. Blocks in which the time does not change are not read.
func (ix *Index) Changes(pos, millis int64, visit func(*Entry) bool) error {
	unwritten := ix.unwritten.Load() // first: it goes when view has it
	v := ix.view.Load()
	entries := v.entries[:v.n.Load()]
	last := int64(-1)
	see := func(e *Entry) bool {
		last = e.Pos
		if e.Pos < pos || e.Millis == millis {
			return true
		}
		millis = e.Millis
		return visit(e)
	}
	begin := max(countBefore(v.blocks, func(e *Entry) bool { return e.Pos <= pos })-1, 0)
	for slot := begin; slot < len(v.blocks); slot++ {
		following := entries
		if slot+1 < len(v.blocks) {
			following = v.blocks[slot+1:]
		}
		if v.blocks[slot].Millis == millis && len(following) > 0 && following[0].Millis == millis {
			continue
		}
		more := true
		err := ix.readBlock(slot, func(e *Entry) bool {
			more = see(e)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	for i := range entries {
		if !see(&entries[i]) {
			return nil
		}
	}
	if unwritten != nil && unwritten.Pos > last {
		see(unwritten)
	}
	return nil
}

var blocks = sync.Pool{New: func() any { return new([blockLen]byte) }}

// readBlock calls visit for the entries of a block in the file until it
// returns false.
func (ix *Index) readBlock(slot int, visit func(*Entry) bool) error {
	f, err := ix.File.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer ix.File.Release()
	block := blocks.Get().(*[blockLen]byte)
	defer blocks.Put(block)
	if err := vfs.ReadFull(f, block[:], blockPos(slot)); err != nil {
		return err
	}
	d, err := openBlock(block[:])
	if err != nil {
		return err
	}
	for d.next() {
		if !visit(&d.e) {
			break
		}
	}
	return d.err
}

// BlockCount returns how many full blocks are in the file.
func (ix *Index) BlockCount() int { return len(ix.view.Load().blocks) }
