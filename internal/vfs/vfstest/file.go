package vfstest

import (
	"io"
	"io/fs"
	"path"
	"syscall"
)

// file is a handle. It implements vfs.File.
type file struct {
	fs       *FS
	n        *node
	name     string // by which it was opened
	writable bool

	// Under fs.mu.
	locks  bool   // holds the node's lock
	told   uint64 // of the node's errors
	closed bool
}

func (h *file) error(op string, err error) error {
	return pathError(op, h.name, err)
}

// ReadAt implements io.ReaderAt.
func (h *file) ReadAt(p []byte, off int64) (int, error) {
	f := h.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case off < 0:
		return 0, h.error("readat", syscall.EINVAL)
	case len(p) == 0:
		return 0, nil
	case h.closed:
		return 0, h.error("read", fs.ErrClosed)
	}
	if fault := f.fault(&Op{Kind: OpRead, Name: h.name, Off: off, Len: int64(len(p))}); fault != nil {
		p = p[:max(0, min(fault.Written, int64(len(p))-1))]
		return h.n.cur.readAt(p, off), h.error("read", fault.Err)
	}
	n := h.n.cur.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (h *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := h.write([][]byte{p}, off)
	return int(n), h.error("write", err)
}

// WritevAt implements vfs.File.
func (h *file) WritevAt(bufs [][]byte, off int64) (int64, error) {
	n, err := h.write(bufs, off)
	return n, h.error("pwritev", err)
}

func (h *file) write(bufs [][]byte, off int64) (int64, error) {
	f := h.fs
	op := &Op{Kind: OpWrite, Name: h.name, Off: off}
	for _, b := range bufs {
		op.Len += int64(len(b))
	}
	if op.Len == 0 {
		return 0, nil
	}
	err := f.mutate(op, func() error {
		switch {
		case off < 0:
			return syscall.EINVAL
		case h.closed:
			return fs.ErrClosed
		case !h.writable:
			return syscall.EBADF
		case op.Len > maxFileSize-off:
			return syscall.EFBIG
		}
		op.Done = op.Len
		var err error
		if fault := f.reach(op); fault != nil {
			op.Done, err = max(0, min(fault.Written, op.Len-1)), fault.Err
		}
		if room := f.room(h.n, off); op.Done > room {
			op.Done, err = room, syscall.ENOSPC
		}
		if op.Done > 0 {
			f.used += max(0, off+op.Done-h.n.cur.size)
			h.n.write(op.N, bufs, op.Done, off)
			h.n.modTime = f.now()
		}
		return err
	})
	return op.Done, err
}

// room returns how many bytes can be written to n from off on. The caller
// holds mu.
func (f *FS) room(n *node, off int64) int64 {
	if f.space < 0 {
		return maxFileSize
	}
	return max(0, n.cur.size+max(0, f.space-f.used)-off)
}

// Truncate implements vfs.File.
func (h *file) Truncate(size int64) error {
	f := h.fs
	op := &Op{Kind: OpTruncate, Name: h.name, Len: size}
	return h.error("truncate", f.mutate(op, func() error {
		switch {
		case h.closed:
			return fs.ErrClosed
		case size < 0, !h.writable:
			return syscall.EINVAL
		case size > maxFileSize:
			return syscall.EFBIG
		}
		if fault := f.reach(op); fault != nil {
			return fault.Err
		}
		if size > h.n.cur.size && size > f.room(h.n, 0) {
			return syscall.ENOSPC
		}
		f.used += size - h.n.cur.size
		h.n.truncate(op.N, size)
		h.n.modTime = f.now()
		return nil
	}))
}

// Sync implements vfs.File. When it meets a fault, what it should have made
// durable never will be, and other handles are told of it, too.
func (h *file) Sync() error {
	f := h.fs
	op := &Op{Kind: OpSync, Name: h.name}
	return h.error("fdatasync", f.mutate(op, func() error {
		if h.closed {
			return fs.ErrClosed
		}
		fault := f.reach(op)
		if fault != nil {
			f.fail(h.n)
		} else if !f.ignoreSync {
			h.n.sync()
		}
		return f.outcome(fault, &h.n.failed, &h.told)
	}))
}

// Allocate implements vfs.File: space is counted by length.
func (h *file) Allocate(size int64) error {
	st, err := h.Stat()
	if err != nil || st.Size() >= size {
		return err
	}
	return h.Truncate(size)
}

// WriteOut implements vfs.File: what was not synced may be on the disk or not in any case.
func (h *file) WriteOut(off, n int64) {}

// Stat implements vfs.File.
func (h *file) Stat() (fs.FileInfo, error) {
	f := h.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.closed {
		return nil, h.error("stat", fs.ErrClosed)
	}
	if err := f.look(Op{Kind: OpStat, Name: h.name}); err != nil {
		return nil, h.error("stat", err)
	}
	return h.n.info(path.Base(h.name)), nil
}

// Fd implements vfs.File: there is no descriptor.
func (h *file) Fd() (uintptr, bool) { return 0, false }

// Close implements io.Closer.
func (h *file) Close() error {
	f := h.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.closed {
		return h.error("close", fs.ErrClosed)
	}
	h.closed = true
	if h.locks {
		h.n.locked = false
	}
	h.n.opens--
	f.open--
	if h.n.opens == 0 {
		h.n.failed = errseq{} // the kernel may forget the file, and what nobody was told
	}
	f.reclaim(h.n)
	return nil
}
