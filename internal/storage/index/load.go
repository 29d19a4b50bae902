package index

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/vfs"
)

// open reads the index file of a partition of the given size and keeps the
// entries up to trusted. It returns the last of them, from which a scan begins, the
// first, and what the dropped ones knew of times. An index that is not there or
// does not fit is empty.
func (ix *Index) open(size, trusted int64) (t times, last, first Entry) {
	err := ix.load(size)
	if err == nil {
		t.hints, err = ix.After(trusted)
	}
	if err == nil {
		err = ix.Truncate(trusted + 1)
	}
	if err == nil {
		first, err = ix.First()
	}
	if err == nil {
		last, _, err = ix.Search(func(*Entry) bool { return true })
	}
	if err != nil || last.Pos < 0 {
		ix.reset()
		ix.Stale = !errors.Is(err, fs.ErrNotExist)
		return times{known: -1}, Entry{}, Entry{}
	}
	t.known = last.Pos
	if n := len(t.hints); n > 0 {
		t.known = t.hints[n-1].Pos
	}
	return t, last, first
}

// Cut takes away, durably, the entries at and after pos of the index's file. In
// memory there are none then. The caller is the only user of the index.
func (ix *Index) Cut(pos int64) error {
	ix.open(pos, pos)
	if ix.Stale {
		if err := ix.Settle(); err != nil {
			return err
		}
	}
	ix.reset()
	return nil
}

// load reads the index file: the entries up to the first block that does not
// check, as far as they lie before end. All of them but those of the last
// block stay in the file alone. It returns ErrUnfit if there is not even a
// header that fits; an index without entries is fine.
//
// Whatever the file holds after the entries that were taken is overwritten by
// later ones.
func (ix *Index) load(end int64) error {
	f, err := ix.File.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer ix.File.Release()
	size, err := ix.checkHeader(f)
	if err != nil {
		return err
	}
	ix.Stale = true // until all of it was taken
	firsts, newest, err := readBlocks(f, int((size-HeaderLen)/blockLen), end)
	if err != nil {
		return err
	}
	whole := blockPos(len(firsts)) == size
	// The newest block goes back into memory, to be filled further.
	ix.view.Store(&view{blocks: firsts[:max(len(firsts)-1, 0)]})
	ix.enc = nil
	ix.Last = Entry{}
	if newest == nil {
		ix.Stale = !whole
		return nil
	}
	d, err := openBlock(newest)
	if err != nil {
		return err
	}
	for d.next() && d.e.Pos < end {
		if err := ix.Add(d.e); err != nil {
			return err
		}
	}
	ix.Stale = !whole || d.e.Pos >= end || d.err != nil
	return d.err
}

// checkHeader returns the size of the index's file if its header is the index's.
func (ix *Index) checkHeader(f vfs.File) (size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Size() < HeaderLen {
		return 0, fmt.Errorf("%w: %d bytes", ErrUnfit, st.Size())
	}
	head := make([]byte, HeaderLen)
	if err := vfs.ReadFull(f, head, 0); err != nil {
		return 0, err
	}
	if string(head) != string(ix.header()) {
		return 0, fmt.Errorf("%w: header of another index or version", ErrUnfit)
	}
	return st.Size(), nil
}

// readBlocks reads that many blocks, up to the first that does not check, does not
// follow the one before, or begins at end or after it. It returns the first entry
// of each, and the newest one.
func readBlocks(f vfs.File, slots int, end int64) (firsts []Entry, newest []byte, err error) {
	const chunk = 64
	buf := make([]byte, min(slots, chunk)*blockLen)
	prev := Entry{Pos: -1}
	for slot := 0; slot < slots; slot += chunk {
		n := min(chunk, slots-slot)
		if err := vfs.ReadFull(f, buf[:n*blockLen], blockPos(slot)); err != nil {
			return nil, nil, err
		}
		for i := range n {
			block := buf[i*blockLen : (i+1)*blockLen]
			d, err := openBlock(block)
			if err != nil || !d.next() {
				return firsts, newest, nil
			}
			if d.e.Pos >= end || d.e.Pos <= prev.Pos || (prev.Pos < 0 && (d.e.Messages != 0 || d.e.Batches != 0)) {
				return firsts, newest, nil
			}
			prev = d.e
			firsts = append(firsts, d.e)
			newest = append(newest[:0], block...)
		}
	}
	return firsts, newest, nil
}
