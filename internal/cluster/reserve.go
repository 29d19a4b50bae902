package cluster

import (
	"errors"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/vfs"
)

// reserveFile holds the room.
const reserveFile = grouplog.Dir + "/reserve"

// reservePiece is how much of it is given at once.
const reservePiece = 1 << 20

// reserve is room that is held for when the disk is full, by a file that is cut shorter
// then: a member can still vote, note what is committed, and carry out a TRIM or a DELETE,
// which makes room. It is the disk's, but for short.
//
// INVARIANT: as long as a part of it is given away no bytes of topics are written: they
// would take what was given.
type reserve struct {
	fs    vfs.FS
	size  int64       // how much is to be held where there is room for it
	whole int64       // how much is to be held again when some was given away
	held  int64       // how much is
	short atomic.Bool // some was given away
}

// openReserve holds so much room, or what is there of it and half of what is free: a small
// disk is not to be full because of that. With an error there is a reserve all the same,
// of what there was.
func openReserve(fsys vfs.FS, size int64) (*reserve, error) {
	r := &reserve{fs: fsys, size: size}
	if size == 0 {
		return r, nil
	}
	if st, err := fsys.Stat(reserveFile); err == nil {
		r.held = min(st.Size(), size)
	}
	free, err := fsys.Free()
	if err == nil {
		err = r.resize(min(size, r.held+free/2))
	}
	r.whole = r.held
	return r, err
}

// give makes a piece of the reserve free, and reports whether there was one.
func (r *reserve) give() bool {
	if r.held == 0 || r.resize(max(r.held-reservePiece, 0)) != nil {
		return false
	}
	r.short.Store(true)
	return true
}

// fill holds again what was given away, and all of the reserve where there was no room for
// that at the start, if so much is free and as much again.
func (r *reserve) fill(free int64) {
	if r.held < r.size && free >= 2*(r.size-r.held) && r.resize(r.size) == nil {
		r.whole = r.held
	}
	if r.short.Load() && (r.held >= r.whole || free >= 2*(r.whole-r.held) && r.resize(r.whole) == nil) {
		r.short.Store(false)
	}
}

// resize makes the file so long. It need not be durable: what a power cut leaves is held
// after the start.
func (r *reserve) resize(size int64) error {
	f, err := r.fs.OpenFile(reserveFile, vfs.ReadWrite|vfs.Create, 0o600)
	if err != nil {
		return err
	}
	if size < r.held {
		err = f.Truncate(size)
	} else {
		err = f.Allocate(size)
	}
	if err == nil {
		r.held = size
	}
	return errors.Join(err, f.Close())
}
