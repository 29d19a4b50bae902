package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/vfs"
)

// Reader reads the entries of an index file in order, one block in memory
// at a time, and compares them with a scan of the partition. It takes as much
// of the file as Index.open does: blocks behind the newest are left from before
// a truncation. A nil Reader has no entries.
type Reader struct {
	Name string
	f    vfs.File // nil if there is no file
	end  int64    // position that the entries lie before
	left int      // blocks
	slot int

	block   []byte
	d       blockDecoder
	first   int64 // position of the newest block's first entry
	e       Entry // the next entry, if some
	some    bool
	last    Entry // the entry before e, or the last one
	any     bool  // last is one
	problem string
}

// OpenReader opens the index file of a partition of a topic with the id. end is
// the position that entries lie before. If the file does not fit, Verdict says
// why.
func OpenReader(fsys vfs.FS, name string, id journal.ID, base, end int64) *Reader {
	ix := &Reader{Name: name, end: end, first: -1}
	f, err := fsys.OpenFile(name, vfs.ReadOnly, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return ix
	}
	if err != nil {
		ix.problem = err.Error()
		return ix
	}
	ix.f = f
	st, err := f.Stat()
	head := make([]byte, HeaderLen)
	if err == nil {
		err = vfs.ReadFull(f, head, 0)
	}
	switch want := (&Index{id: id, base: base}).header(); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		ix.problem = "the file ends in its header"
	case err != nil:
		ix.problem = err.Error()
	case string(head[:8]) == magic && binary.LittleEndian.Uint32(head[8:]) > Version:
		ix.problem = fmt.Sprintf("version %d, which a newer logd wrote", binary.LittleEndian.Uint32(head[8:]))
	case string(head) != string(want):
		ix.problem = "its header is damaged or another partition's"
	}
	if ix.problem == "" {
		ix.left = int((st.Size() - HeaderLen) / blockLen)
		ix.next()
	}
	return ix
}

// Close closes the file.
func (ix *Reader) Close() {
	if ix != nil && ix.f != nil {
		ix.f.Close()
	}
}

// next moves e to the next entry.
func (ix *Reader) next() {
	if ix.some {
		ix.last, ix.any = ix.e, true
	}
	ix.some = false
	if !ix.d.next() && !(ix.d.err == nil && ix.nextBlock()) {
		if ix.d.err != nil && ix.problem == "" {
			ix.problem = ix.d.err.Error()
		}
		return
	}
	ix.e = ix.d.e
	if ix.any && (ix.e.Pos <= ix.last.Pos || ix.e.Messages < ix.last.Messages ||
		ix.e.Batches < ix.last.Batches || ix.e.Millis < ix.last.Millis) {
		ix.problem = fmt.Sprintf("block %d does not follow the one before", ix.slot-1)
		return
	}
	ix.some = ix.e.Pos < ix.end
}

// nextBlock reads the next block, to its first entry.
func (ix *Reader) nextBlock() bool {
	if ix.left == 0 {
		return false
	}
	ix.left--
	if ix.block == nil {
		ix.block = make([]byte, blockLen)
	}
	err := vfs.ReadFull(ix.f, ix.block, blockPos(ix.slot))
	if err == nil {
		ix.d, err = openBlock(ix.block)
	}
	if err != nil || !ix.d.next() {
		ix.problem = fmt.Sprintf("block %d does not check", ix.slot)
		return false
	}
	if ix.d.e.Pos >= ix.end || ix.d.e.Pos <= ix.first {
		ix.left, ix.d.left = 0, 0
		return false
	}
	ix.first = ix.d.e.Pos
	ix.slot++
	return true
}

// Visit compares with a batch at pos and what the partition holds before it.
func (ix *Reader) Visit(pos int64, sum *journal.Totals) {
	if ix == nil || !ix.some || ix.problem != "" || ix.e.Pos > pos {
		return
	}
	switch {
	case ix.e.Pos < pos:
		ix.problem = fmt.Sprintf("it has an entry for position %d, where no batch begins", ix.e.Pos)
	case ix.e.Messages != sum.Messages || ix.e.Batches != sum.Batches:
		ix.problem = fmt.Sprintf("it counts %d batches with %d messages before position %d, there are %d with %d",
			ix.e.Batches, ix.e.Messages, pos, sum.Batches, sum.Messages)
	default:
		ix.next()
	}
}

// Has reports whether there is an entry for a position: where a scan begins that
// trusts the index. Positions must grow from call to call.
func (ix *Reader) Has(pos int64) bool {
	for ix.some && ix.problem == "" && ix.e.Pos < pos {
		ix.next()
	}
	return ix.some && ix.problem == "" && ix.e.Pos == pos
}

// Verdict returns what is wrong with the index after all batches were visited.
func (ix *Reader) Verdict() string {
	if ix.problem == "" && ix.some {
		return fmt.Sprintf("it has an entry for position %d, where no batch begins", ix.e.Pos)
	}
	return ix.problem
}

// TimeAt returns when the batch at pos was appended. Positions must grow from
// call to call. Where the index has no entry near before pos it was never
// written that far, and the time is zero.
func (ix *Reader) TimeAt(pos int64) time.Time {
	for ix.some && ix.problem == "" && ix.e.Pos <= pos {
		ix.next()
	}
	if !ix.any || (!ix.some && pos-ix.last.Pos >= Interval) {
		return time.Time{}
	}
	return time.UnixMilli(ix.last.Millis).UTC()
}
