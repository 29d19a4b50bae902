package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
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

// The index of a partition, <base>.idx, maps positions in the partition to
// cumulative messages and batches and to append times, sparsely: there is an
// entry for the first batch, for the first batch at least indexInterval bytes
// after the last entry, for the first batch of every millisecond, and for a
// batch that follows damage. It is a
// cache of what a scan of the partition tells, but for the times, and is
// rebuilt whenever it does not fit.
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
const (
	indexMagic       = "logd-idx"
	indexVersion     = 1
	indexHeaderLen   = 48
	indexBlockLen    = 4096
	indexBlockHeader = 40
	indexInterval    = 4096
)

// errIndex is an index that does not fit its partition, for whatever reason.
var errIndex = errors.New("storage: unfit index")

// entry is the state of a partition before the batch at pos.
type entry struct {
	pos      int64 // in the partition
	messages int64 // in the partition before pos
	batches  int64
	millis   int64 // when the batch at pos was appended, since 1970 UTC; never decreases
}

// index is the in-memory side of a partition's index. One writer (the holder
// of the log's writer lock) adds entries; any number of readers search at the
// same time without a lock.
type index struct {
	file *files.File
	id   journal.ID
	base int64

	view atomic.Pointer[indexView]

	// left stands for the entries since the last one of view that the file could
	// not take: it is the first of them, with the time of the last.
	left atomic.Pointer[entry]

	// The writer's own.
	enc   []byte // the block being filled, as it will stand in the file
	last  entry
	force bool // the next batch gets an entry: it follows damage

	// unsynced is why the file could not be synced. Another sync would tell
	// nothing.
	unsynced error

	// stale tells that the file has entries after those in memory. They must be
	// gone, durably, before batches are appended at their positions: a crash
	// would leave them to be taken for entries of those batches.
	stale bool
}

// indexView is what readers see. It is immutable but for n and the entries
// from n on, which the writer fills before it advances n.
type indexView struct {
	blocks  []entry // first entry of each block in the file, by slot
	entries []entry // the entries of the block that is not in the file yet
	n       atomic.Int64
}

func newIndex(file *files.File, id journal.ID, base int64) *index {
	ix := &index{file: file, id: id, base: base}
	ix.view.Store(&indexView{})
	return ix
}

// wants reports whether the batch at pos, appended at millis, gets an entry.
func (ix *index) wants(pos, millis int64) bool {
	if ix.force || ix.empty() {
		return true
	}
	return pos-ix.last.pos >= indexInterval || millis != ix.last.millis
}

// add appends an entry. Only the writer calls it, with growing positions. When
// the file can't take a full block the entry is left out, and the next one
// tries again. One entry then stands for all that were left out, with a time
// that is too late: who seeks one of theirs is given too much.
func (ix *index) add(e entry) error {
	if left := ix.left.Load(); left != nil {
		if err := ix.place(*left); err != nil {
			more := *left
			more.millis = e.millis
			ix.left.Store(&more)
			return err
		}
		ix.left.Store(nil)
	}
	err := ix.place(e)
	if err != nil {
		ix.left.Store(&e)
	}
	return err
}

// place is add without a second chance.
func (ix *index) place(e entry) error {
	if len(ix.enc) > 0 {
		var d [4 * binary.MaxVarintLen64]byte
		b := binary.AppendUvarint(d[:0], uint64(e.pos-ix.last.pos))
		b = binary.AppendUvarint(b, uint64(e.messages-ix.last.messages))
		b = binary.AppendUvarint(b, uint64(e.batches-ix.last.batches))
		b = binary.AppendUvarint(b, uint64(e.millis-ix.last.millis))
		if len(ix.enc)+len(b) <= indexBlockLen {
			ix.enc = append(ix.enc, b...)
		} else if err := ix.seal(); err != nil {
			return err
		}
	}
	if len(ix.enc) == 0 {
		ix.enc = append(ix.enc, make([]byte, indexBlockHeader)...)
		putEntry(ix.enc[8:], e)
	}
	ix.last, ix.force = e, false

	v := ix.view.Load()
	n := v.n.Load()
	if int(n) == len(v.entries) {
		grown := &indexView{blocks: v.blocks, entries: make([]entry, max(4, 2*len(v.entries)))}
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
func (ix *index) seal() error {
	if err := ix.flush(); err != nil {
		return err
	}
	v := ix.view.Load()
	ix.view.Store(&indexView{blocks: append(v.blocks, v.entries[0]), entries: make([]entry, len(v.entries))})
	ix.enc = ix.enc[:0]
	return nil
}

// flush writes the block that is being filled, so that its times survive the
// process. It stays open for more. Only the writer calls it.
func (ix *index) flush() error {
	v := ix.view.Load()
	count := int(v.n.Load())
	if count == 0 {
		return nil
	}
	f, err := ix.file.Acquire(files.ToCreate)
	if err != nil {
		return err
	}
	defer ix.file.Release()
	slot := len(v.blocks)
	if slot == 0 {
		if _, err := f.WriteAt(ix.header(), 0); err != nil {
			return err
		}
	}
	block := make([]byte, indexBlockLen)
	used := copy(block, ix.enc)
	sealBlock(block, count, used)
	_, err = f.WriteAt(block, blockPos(slot))
	return err
}

// settle makes the file hold what is in memory and no more, durably. Only the
// writer calls it.
func (ix *index) settle() error {
	if ix.unsynced != nil {
		return ix.unsynced
	}
	if err := ix.flush(); err != nil {
		return err
	}
	f, err := ix.file.Acquire(files.ToWrite)
	if errors.Is(err, fs.ErrNotExist) {
		ix.stale = false
		return nil
	}
	if err != nil {
		return err
	}
	defer ix.file.Release()
	v := ix.view.Load()
	size := blockPos(len(v.blocks))
	if v.n.Load() > 0 {
		size += indexBlockLen
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		ix.unsynced = err
		return err
	}
	ix.stale = false
	return nil
}

func sealBlock(block []byte, count, used int) {
	binary.LittleEndian.PutUint16(block[4:], uint16(count))
	binary.LittleEndian.PutUint16(block[6:], uint16(used))
	binary.LittleEndian.PutUint32(block, crc32.ChecksumIEEE(block[4:]))
}

func (ix *index) header() []byte {
	h := make([]byte, 0, indexHeaderLen)
	h = append(h, indexMagic...)
	h = binary.LittleEndian.AppendUint32(h, indexVersion)
	h = binary.LittleEndian.AppendUint32(h, 0)
	h = append(h, ix.id[:]...)
	h = binary.LittleEndian.AppendUint64(h, uint64(ix.base))
	h = binary.LittleEndian.AppendUint32(h, 0)
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}

// search returns the last entry for which before is true and the first for
// which it is not; before must be true for a prefix of the entries. An entry
// with pos -1 stands for none.
func (ix *index) search(before func(*entry) bool) (floor, next entry, err error) {
	left := ix.left.Load() // first: it goes when view has it
	floor, next, err = ix.searchView(before)
	if err == nil && left != nil && next.pos < 0 {
		if before(left) {
			return *left, next, nil
		}
		return floor, *left, nil
	}
	return floor, next, err
}

func (ix *index) searchView(before func(*entry) bool) (floor, next entry, err error) {
	floor.pos, next.pos = -1, -1
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
	err = ix.readBlock(i-1, func(e *entry) bool {
		if !before(e) {
			next = *e
			return false
		}
		floor = *e
		return true
	})
	return floor, next, err
}

// first returns the first entry; one with pos -1 stands for none. It is not at
// position 0 where damage is.
func (ix *index) first() (entry, error) {
	_, first, err := ix.search(func(*entry) bool { return false })
	return first, err
}

// countBefore returns how many entries before is true for.
func countBefore(entries []entry, before func(*entry) bool) int {
	return sort.Search(len(entries), func(i int) bool { return !before(&entries[i]) })
}

func split(entries []entry, before func(*entry) bool) (floor, next entry) {
	floor.pos, next.pos = -1, -1
	i := countBefore(entries, before)
	if i > 0 {
		floor = entries[i-1]
	}
	if i < len(entries) {
		next = entries[i]
	}
	return floor, next
}

// blockDecoder walks the entries of one block.
type blockDecoder struct {
	rest []byte
	left int
	some bool
	e    entry
	err  error
}

// openBlock checks a block's checksum and lengths.
func openBlock(block []byte) (blockDecoder, error) {
	if len(block) != indexBlockLen || binary.LittleEndian.Uint32(block) != crc32.ChecksumIEEE(block[4:]) {
		return blockDecoder{}, fmt.Errorf("%w: block checksum", errIndex)
	}
	count := int(binary.LittleEndian.Uint16(block[4:]))
	used := int(binary.LittleEndian.Uint16(block[6:]))
	if count < 1 || used < indexBlockHeader || used > indexBlockLen {
		return blockDecoder{}, fmt.Errorf("%w: block of %d entries in %d bytes", errIndex, count, used)
	}
	return blockDecoder{rest: block[8:used], left: count}, nil
}

func (d *blockDecoder) next() bool {
	if d.left == 0 || d.err != nil {
		return false
	}
	d.left--
	if !d.some {
		d.some = true
		d.e = getEntry(d.rest)
		d.rest = d.rest[32:]
		if d.e.pos < 0 || d.e.messages < 0 || d.e.batches < 0 {
			d.err = fmt.Errorf("%w: negative entry", errIndex)
			return false
		}
		return true
	}
	e := d.e
	e.pos += d.delta()
	e.messages += d.delta()
	e.batches += d.delta()
	e.millis += d.delta()
	if d.err != nil {
		return false
	}
	if e.pos <= d.e.pos || e.messages < d.e.messages || e.batches < d.e.batches || e.millis < d.e.millis {
		d.err = fmt.Errorf("%w: entries out of order", errIndex)
		return false
	}
	d.e = e
	return true
}

func (d *blockDecoder) delta() int64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.err = fmt.Errorf("%w: entry cut short", errIndex)
		d.rest = nil
		return 0
	}
	d.rest = d.rest[size:]
	return int64(n)
}

// load reads the index file: the entries up to the first block that does not
// check, as far as they lie before end. All of them but those of the last
// block stay in the file alone. It returns errIndex if there is not even a
// header that fits; an index without entries is fine.
//
// Whatever the file holds after the entries that were taken is overwritten by
// later ones.
func (ix *index) load(end int64) error {
	f, err := ix.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer ix.file.Release()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() < indexHeaderLen {
		return fmt.Errorf("%w: %d bytes", errIndex, st.Size())
	}
	head := make([]byte, indexHeaderLen)
	if err := vfs.ReadFull(f, head, 0); err != nil {
		return err
	}
	if string(head) != string(ix.header()) {
		return fmt.Errorf("%w: header of another index or version", errIndex)
	}
	slots := int((st.Size() - indexHeaderLen) / indexBlockLen)
	ix.stale = true // until all of it was taken
	v := &indexView{}
	const chunk = 64
	buf := make([]byte, min(slots, chunk)*indexBlockLen)
	var lastBlock []byte // the newest block with an entry before end
	prev := entry{pos: -1}
read:
	for slot := 0; slot < slots; slot += chunk {
		n := min(chunk, slots-slot)
		if err := vfs.ReadFull(f, buf[:n*indexBlockLen], blockPos(slot)); err != nil {
			return err
		}
		for i := range n {
			block := buf[i*indexBlockLen : (i+1)*indexBlockLen]
			d, err := openBlock(block)
			if err != nil || !d.next() {
				break read
			}
			if d.e.pos >= end || d.e.pos <= prev.pos || (prev.pos < 0 && (d.e.messages != 0 || d.e.batches != 0)) {
				break read
			}
			prev = d.e
			v.blocks = append(v.blocks, d.e)
			lastBlock = append(lastBlock[:0], block...)
		}
	}
	// The newest block goes back into memory, to be filled further.
	whole := blockPos(len(v.blocks)) == st.Size()
	if len(v.blocks) > 0 {
		v.blocks = v.blocks[:len(v.blocks)-1]
	}
	ix.view.Store(v)
	ix.enc = nil
	ix.last = entry{}
	if lastBlock == nil {
		ix.stale = !whole
		return nil
	}
	d, err := openBlock(lastBlock)
	if err != nil {
		return err
	}
	for d.next() && d.e.pos < end {
		if err := ix.add(d.e); err != nil {
			return err
		}
	}
	ix.stale = !whole || d.e.pos >= end || d.err != nil
	return d.err
}

// truncate drops the entries at and after pos. Only the writer calls it, while
// no reader looks for positions that far.
func (ix *index) truncate(pos int64) error {
	if left := ix.left.Load(); left != nil && left.pos >= pos {
		ix.left.Store(nil)
	}
	v := ix.view.Load()
	entries := slices.Clone(v.entries[:v.n.Load()])
	if len(v.blocks) > 0 && (len(entries) == 0 || entries[0].pos >= pos) {
		return ix.load(pos)
	}
	ix.view.Store(&indexView{blocks: v.blocks})
	ix.enc = nil
	ix.last = entry{}
	for _, e := range entries {
		if e.pos >= pos {
			break
		}
		if err := ix.add(e); err != nil {
			return err
		}
	}
	return nil
}

func blockPos(slot int) int64 { return indexHeaderLen + int64(slot)*indexBlockLen }

func putEntry(b []byte, e entry) {
	binary.LittleEndian.PutUint64(b, uint64(e.pos))
	binary.LittleEndian.PutUint64(b[8:], uint64(e.messages))
	binary.LittleEndian.PutUint64(b[16:], uint64(e.batches))
	binary.LittleEndian.PutUint64(b[24:], uint64(e.millis))
}

func getEntry(b []byte) entry {
	return entry{
		pos:      int64(binary.LittleEndian.Uint64(b)),
		messages: int64(binary.LittleEndian.Uint64(b[8:])),
		batches:  int64(binary.LittleEndian.Uint64(b[16:])),
		millis:   int64(binary.LittleEndian.Uint64(b[24:])),
	}
}

// reset drops all entries from memory.
func (ix *index) reset() {
	ix.view.Store(&indexView{})
	ix.left.Store(nil)
	ix.enc = nil
	ix.last, ix.force, ix.stale = entry{}, false, false
}

// covers reports whether the newest entry is at or after pos.
func (ix *index) covers(pos int64) bool { return !ix.empty() && ix.last.pos >= pos }

func (ix *index) empty() bool {
	v := ix.view.Load()
	return len(v.blocks) == 0 && v.n.Load() == 0
}

// after returns the entries after pos.
func (ix *index) after(pos int64) ([]entry, error) {
	var after []entry
	v := ix.view.Load()
	for slot := range v.blocks {
		if slot+1 < len(v.blocks) && v.blocks[slot+1].pos <= pos {
			continue
		}
		err := ix.readBlock(slot, func(e *entry) bool {
			if e.pos > pos {
				after = append(after, *e)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	for _, e := range v.entries[:v.n.Load()] {
		if e.pos > pos {
			after = append(after, e)
		}
	}
	return after, nil
}

// changes calls visit, until it returns false, for the entries at or after pos
// whose time is not that of the entry before, which for the first of them is
// millis. Blocks in which the time does not change are not read.
func (ix *index) changes(pos, millis int64, visit func(*entry) bool) error {
	left := ix.left.Load() // first: it goes when view has it
	v := ix.view.Load()
	entries := v.entries[:v.n.Load()]
	last := int64(-1)
	see := func(e *entry) bool {
		last = e.pos
		if e.pos < pos || e.millis == millis {
			return true
		}
		millis = e.millis
		return visit(e)
	}
	begin := max(countBefore(v.blocks, func(e *entry) bool { return e.pos <= pos })-1, 0)
	for slot := begin; slot < len(v.blocks); slot++ {
		following := entries
		if slot+1 < len(v.blocks) {
			following = v.blocks[slot+1:]
		}
		if v.blocks[slot].millis == millis && len(following) > 0 && following[0].millis == millis {
			continue
		}
		more := true
		err := ix.readBlock(slot, func(e *entry) bool {
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
	if left != nil && left.pos > last {
		see(left)
	}
	return nil
}

var indexBlocks = sync.Pool{New: func() any { return new([indexBlockLen]byte) }}

// readBlock calls visit for the entries of a block in the file until it
// returns false.
func (ix *index) readBlock(slot int, visit func(*entry) bool) error {
	f, err := ix.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer ix.file.Release()
	block := indexBlocks.Get().(*[indexBlockLen]byte)
	defer indexBlocks.Put(block)
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
