package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/vfs"
)

// FS is a file system in memory. New makes one.
type FS struct {
	mu       sync.Mutex
	root     *node
	unsynced []*entryOp // changes of folders, in order

	ops           int
	trace         []Op
	before, after func(Op)

	faults        []*armed
	faulted       int
	used, space   int64
	open, maxOpen int
	failed        errseq // writing anything back
	told          uint64 // of that by SyncAll
	ignoreSync    bool
	ignoreSyncDir bool

	clock func() time.Time // of the times of files; nil for the system's
}

var _ vfs.FS = (*FS)(nil)

// New returns an empty file system without limits or faults.
func New() *FS {
	return &FS{root: newFolder(0o700, time.Now()), space: -1, maxOpen: -1}
}

// OpenFile implements vfs.FS.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	n, err := f.openNode(name, flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &file{fs: f, n: n, name: name, told: n.failed.sample(), writable: flag&(vfs.ReadWrite|syscall.O_WRONLY) != 0}, nil
}

// openNode finds or makes the file and counts a handle of it.
func (f *FS) openNode(name string, flag int, perm fs.FileMode) (*node, error) {
	n, op, err := f.openExisting(name, flag)
	if err != nil || op == nil {
		return n, err
	}
	err = f.mutate(op, func() error {
		// The world may have changed in between.
		if n, err = f.find(name, flag); err != nil {
			return err
		}
		if opensChanging(n, flag) {
			if n, err = f.create(op, n, perm); err != nil {
				return err
			}
		}
		f.hold(n)
		return nil
	})
	return n, err
}

// openExisting opens the file if that changes nothing, and else returns the
// operation that it takes.
func (f *FS) openExisting(name string, flag int) (*node, *Op, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name, flag)
	switch {
	case err != nil:
		return nil, nil, err
	case n == nil:
		return nil, &Op{Kind: OpCreate, Name: name}, nil
	case opensChanging(n, flag):
		return nil, &Op{Kind: OpTruncate, Name: name}, nil
	}
	if err := f.look(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, nil, err
	}
	f.hold(n)
	return n, nil, nil
}

// opensChanging tells whether to open n, nil for a file that is not there,
// changes something.
func opensChanging(n *node, flag int) bool {
	return n == nil || flag&vfs.Truncate != 0 && n.cur.size > 0
}

// hold counts a handle.
func (f *FS) hold(n *node) {
	n.opens++
	f.open++
}

// find returns the file to open, or nil if it is to be created.
func (f *FS) find(name string, flag int) (*node, error) {
	n, err := f.lookup(name)
	switch {
	case err == nil && flag&(vfs.Create|vfs.Exclusive) == vfs.Create|vfs.Exclusive:
		return nil, syscall.EEXIST
	case err == nil && n.isDir():
		return nil, vfs.ErrNotRegular
	case errors.Is(err, fs.ErrNotExist) && flag&vfs.Create != 0:
		if _, _, err := f.parent(name); err != nil {
			return nil, err
		}
		return nil, f.descriptor()
	case err != nil:
		return nil, err
	}
	return n, f.descriptor()
}

// create makes the file, or empties n.
func (f *FS) create(op *Op, n *node, perm fs.FileMode) (*node, error) {
	fault := f.reach(op)
	if fault != nil {
		return nil, fault.Err
	}
	if n != nil {
		f.used -= n.cur.size
		n.truncate(op.N, 0)
		n.modTime = f.now()
		return n, nil
	}
	dir, base, err := f.parent(op.Name)
	if err != nil {
		return nil, err
	}
	n = &node{mode: perm.Perm(), modTime: f.now()}
	f.link(&entryOp{seq: op.N, dir: dir, sets: [2]entrySet{{base, n}}})
	return n, nil
}

// Mkdir implements vfs.FS.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	op := &Op{Kind: OpMkdir, Name: name}
	return pathError("mkdirat", name, f.mutate(op, func() error {
		if name == "." {
			return syscall.EEXIST
		}
		dir, base, err := f.parent(name)
		if err != nil {
			return err
		}
		if dir.entries[base] != nil {
			return syscall.EEXIST
		}
		if fault := f.reach(op); fault != nil {
			return fault.Err
		}
		f.link(&entryOp{seq: op.N, dir: dir, sets: [2]entrySet{{base, newFolder(perm, time.Now())}}})
		return nil
	}))
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	op := &Op{Kind: OpRemove, Name: name}
	return pathError("unlinkat", name, f.mutate(op, func() error {
		dir, base, err := f.parent(name)
		if err != nil {
			return err
		}
		n := dir.entries[base]
		if n == nil {
			return syscall.ENOENT
		}
		if len(n.entries) > 0 {
			return syscall.ENOTEMPTY
		}
		if fault := f.reach(op); fault != nil {
			return fault.Err
		}
		f.link(&entryOp{seq: op.N, dir: dir, sets: [2]entrySet{{base, nil}}})
		return nil
	}))
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldName, newName string) error {
	op := &Op{Kind: OpRename, Name: oldName, To: newName}
	err := f.mutate(op, func() error { return f.rename(op) })
	if err != nil {
		return &os.LinkError{Op: "renameat", Old: oldName, New: newName, Err: err}
	}
	return nil
}

func (f *FS) rename(op *Op) error {
	from, oldBase, err := f.parent(op.Name)
	if err != nil {
		return err
	}
	to, newBase, err := f.parent(op.To)
	if err != nil {
		return err
	}
	n, old := from.entries[oldBase], to.entries[newBase]
	switch {
	case n == nil:
		return syscall.ENOENT
	case old != nil && old.isDir():
		return syscall.EEXIST // as os.Root has it
	case n.isDir() && strings.HasPrefix(op.To+"/", op.Name+"/"):
		return syscall.EINVAL
	case old == n:
		return nil
	case old != nil && n.isDir():
		return syscall.ENOTDIR
	}
	if fault := f.reach(op); fault != nil {
		return fault.Err
	}
	if from == to {
		f.link(&entryOp{seq: op.N, dir: to, sets: [2]entrySet{{newBase, n}, {oldBase, nil}}})
		return nil
	}
	added := &entryOp{seq: op.N, dir: to, sets: [2]entrySet{{newBase, n}}}
	removed := &entryOp{seq: op.N, dir: from, sets: [2]entrySet{{oldBase, nil}}}
	if n.isDir() {
		added.with, removed.with = removed, added
	} else {
		removed.after = added
	}
	f.link(added)
	f.link(removed)
	return nil
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.folder(name)
	if err == nil {
		err = f.look(Op{Kind: OpReadDir, Name: name})
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	list := make([]fs.DirEntry, 0, len(n.entries))
	for _, base := range n.names() {
		list = append(list, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return list, nil
}

// folder finds a folder to be opened. The caller holds mu.
func (f *FS) folder(name string) (*node, error) {
	n, err := f.lookup(name)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, syscall.ENOTDIR
	}
	return n, f.descriptor()
}

// Stat implements vfs.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lookup(name)
	if err == nil {
		err = f.look(Op{Kind: OpStat, Name: name})
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lstatat", Path: name, Err: err}
	}
	return n.info(path.Base(name)), nil
}

// SyncDir implements vfs.FS, with a descriptor that it opens. When it fails, the
// names that it should have made durable never will be, unless it fails with
// EMFILE or ENFILE: then it could not even open the folder, and nothing was
// tried.
func (f *FS) SyncDir(name string) error {
	op := &Op{Kind: OpSyncDir, Name: name}
	return pathError("fsync", name, f.mutate(op, func() error {
		dir, err := f.folder(name)
		if err != nil {
			return err
		}
		told := dir.failed.sample()
		fault := f.reach(op)
		switch {
		case fault != nil && (errors.Is(fault.Err, syscall.EMFILE) || errors.Is(fault.Err, syscall.ENFILE)):
			return fault.Err
		case fault != nil:
			f.failEntries(dir)
		case !f.ignoreSyncDir:
			f.syncEntries(dir)
		}
		f.compact()
		return f.outcome(fault, &dir.failed, &told)
	}))
}

// outcome returns what a sync tells the descriptor that is at told: the fault
// that it has met, or a write-back that has failed. The caller holds mu.
func (f *FS) outcome(fault *Fault, failed *errseq, told *uint64) error {
	before := failed.report(told)
	switch {
	case fault != nil:
		return fault.Err
	case before:
		return syscall.EIO
	}
	return nil
}

// SyncAll implements vfs.FS, always with the same descriptor. When it meets a
// fault, what it should have made durable never will be, and who syncs a file or
// folder of which that is so is told.
func (f *FS) SyncAll() error {
	op := &Op{Kind: OpSyncAll}
	return pathError("syncfs", ".", f.mutate(op, func() error {
		fault := f.reach(op)
		for _, o := range f.unsynced {
			if fault != nil {
				f.failEntries(o.dir)
			} else if !f.ignoreSyncDir {
				f.syncEntries(o.dir)
			}
		}
		f.compact()
		f.root.visit(func(n *node) {
			switch {
			case n.isDir():
			case fault != nil:
				f.fail(n)
			case !f.ignoreSync:
				n.sync()
			}
		})
		return f.outcome(fault, &f.failed, &f.told)
	}))
}

// Lock implements vfs.FS. The lock is one within this FS: an image of it has
// none.
func (f *FS) Lock(name string) (io.Closer, error) {
	n, err := f.openNode(name, vfs.ReadWrite|vfs.Create, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: err}
	}
	h := &file{fs: f, n: n, name: name}
	f.mu.Lock()
	locked := n.locked
	n.locked, h.locks = true, !locked
	f.mu.Unlock()
	if locked {
		h.Close()
		return nil, vfs.ErrLocked
	}
	return h, nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// fileInfo is the description of a node at one moment.
type fileInfo struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
	sys     *syscall.Stat_t // Ino and Nlink, and nothing else
}

var inodes atomic.Uint64

func (n *node) info(name string) fileInfo {
	if n.inode == 0 {
		n.inode = inodes.Add(1)
	}
	sys := &syscall.Stat_t{Ino: n.inode}
	sys.Nlink += 2 // of a folder
	if !n.isDir() {
		sys.Nlink = 0
		for range n.links {
			sys.Nlink++ // its type is the architecture's
		}
	}
	return fileInfo{name, n.cur.size, n.mode, n.modTime, sys}
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.modTime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return i.sys }
