package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// indexReader reads the entries of an index file in order, one block in memory
// at a time, and compares them with a scan of the partition. It takes as much
// of the file as index.load does: blocks behind the newest are left from before
// a truncation. A nil indexReader has no entries.
type indexReader struct {
	name string
	f    vfs.File // nil if there is no file
	end  int64    // position that the entries lie before
	left int      // blocks
	slot int

	block   []byte
	d       blockDecoder
	first   int64 // position of the newest block's first entry
	e       entry // the next entry, if some
	some    bool
	last    entry // the entry before e, or the last one
	any     bool  // last is one
	problem string
}

// openIndex opens the index of a partition for comparison.
func (v *surveyor) openIndex(s *survey, p *surveyed, limit int64) *indexReader {
	return openIndexReader(v.fs, layout.Index(s.topic, p.base), s.state.ID, p.base, limit)
}

func openIndexReader(fsys vfs.FS, name string, id journal.ID, base, end int64) *indexReader {
	ix := &indexReader{name: name, end: end, first: -1}
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
	head := make([]byte, indexHeaderLen)
	if err == nil {
		err = vfs.ReadFull(f, head, 0)
	}
	switch want := (&index{id: id, base: base}).header(); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		ix.problem = "the file ends in its header"
	case err != nil:
		ix.problem = err.Error()
	case string(head[:8]) == indexMagic && binary.LittleEndian.Uint32(head[8:]) > indexVersion:
		ix.problem = fmt.Sprintf("version %d, which a newer logd wrote", binary.LittleEndian.Uint32(head[8:]))
	case string(head) != string(want):
		ix.problem = "its header is damaged or another partition's"
	}
	if ix.problem == "" {
		ix.left = int((st.Size() - indexHeaderLen) / indexBlockLen)
		ix.next()
	}
	return ix
}

func (ix *indexReader) close() {
	if ix != nil && ix.f != nil {
		ix.f.Close()
	}
}

// next moves e to the next entry.
func (ix *indexReader) next() {
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
	if ix.any && (ix.e.pos <= ix.last.pos || ix.e.messages < ix.last.messages ||
		ix.e.batches < ix.last.batches || ix.e.millis < ix.last.millis) {
		ix.problem = fmt.Sprintf("block %d does not follow the one before", ix.slot-1)
		return
	}
	ix.some = ix.e.pos < ix.end
}

// nextBlock reads the next block, to its first entry.
func (ix *indexReader) nextBlock() bool {
	if ix.left == 0 {
		return false
	}
	ix.left--
	if ix.block == nil {
		ix.block = make([]byte, indexBlockLen)
	}
	err := vfs.ReadFull(ix.f, ix.block, blockPos(ix.slot))
	if err == nil {
		ix.d, err = openBlock(ix.block)
	}
	if err != nil || !ix.d.next() {
		ix.problem = fmt.Sprintf("block %d does not check", ix.slot)
		return false
	}
	if ix.d.e.pos >= ix.end || ix.d.e.pos <= ix.first {
		ix.left, ix.d.left = 0, 0
		return false
	}
	ix.first = ix.d.e.pos
	ix.slot++
	return true
}

// visit compares with a batch at pos and what the partition holds before it.
func (ix *indexReader) visit(pos int64, sum *journal.Totals) {
	if ix == nil || !ix.some || ix.problem != "" || ix.e.pos > pos {
		return
	}
	switch {
	case ix.e.pos < pos:
		ix.problem = fmt.Sprintf("it has an entry for position %d, where no batch begins", ix.e.pos)
	case ix.e.messages != sum.Messages || ix.e.batches != sum.Batches:
		ix.problem = fmt.Sprintf("it counts %d batches with %d messages before position %d, there are %d with %d",
			ix.e.batches, ix.e.messages, pos, sum.Batches, sum.Messages)
	default:
		ix.next()
	}
}

// verdict returns what is wrong with the index after all batches were visited.
func (ix *indexReader) verdict() string {
	if ix.problem == "" && ix.some {
		return fmt.Sprintf("it has an entry for position %d, where no batch begins", ix.e.pos)
	}
	return ix.problem
}
