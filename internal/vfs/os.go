package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// OS is the file system below one folder of the operating system's. Names are
// resolved by os.Root: no name and no symbolic link leads outside.
type OS struct {
	root *os.Root
	// dir is the folder, open for Free and SyncAll: the descriptor through which
	// syncfs reports what failed since its last call, if it tells that at all.
	dir   *os.File
	tells bool
}

// OpenOS opens the folder dir, making it with the given mode, and its parents
// with 0755, where it does not exist. A folder that it makes is durable on
// return. The caller closes the OS.
func OpenOS(dir string, perm fs.FileMode) (*OS, error) {
	if err := makeFolder(filepath.Clean(dir), perm); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &OS{root: root, dir: d, tells: syncfsTells(d)}, nil
}

// makeFolder makes a folder where there is none, and its parents likewise. Each
// name that it makes is synced.
func makeFolder(dir string, perm fs.FileMode) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeFolder(parent, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

// Close releases the folder. Open files stay open.
func (o *OS) Close() error {
	return errors.Join(o.root.Close(), o.dir.Close())
}

// OpenFile implements FS.
func (o *OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := o.open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

// open looks before it opens: a FIFO would keep it waiting, and a symbolic link
// may lead to the file of another name.
func (o *OS) open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	exclusive := flag&Exclusive != 0 // then whatever is there is in the way
	if st, err := o.root.Lstat(name); err == nil && !st.Mode().IsRegular() && !exclusive {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	return o.root.OpenFile(name, flag, perm)
}

// Mkdir implements FS.
func (o *OS) Mkdir(name string, perm fs.FileMode) error { return o.root.Mkdir(name, perm) }

// Remove implements FS.
func (o *OS) Remove(name string) error { return o.root.Remove(name) }

// Rename implements FS.
func (o *OS) Rename(oldName, newName string) error { return o.root.Rename(oldName, newName) }

// ReadDir implements FS.
func (o *OS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(o.root.FS(), name) }

// Stat implements FS.
func (o *OS) Stat(name string) (fs.FileInfo, error) { return o.root.Lstat(name) }

// SyncDir implements FS.
func (o *OS) SyncDir(name string) error {
	d, err := o.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncAll implements FS by syncfs(2), which syncs the whole file system: what
// others have written there, too.
func (o *OS) SyncAll() error {
	if !o.tells {
		return errors.ErrUnsupported
	}
	for {
		err := syncfs(int(o.dir.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: "syncfs", Path: o.dir.Name(), Err: err}
		}
	}
}

// Lock implements FS with flock(2): the lock goes with the process, however it
// ends.
func (o *OS) Lock(name string) (io.Closer, error) {
	f, err := o.open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("flock %s: %w", name, err)
	}
	return heldLock{f}, nil
}

// heldLock is a file with a lock. To close the file does not release it while a
// process that is being started has a copy of the descriptor.
type heldLock struct{ *os.File }

func (l heldLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

func syncPath(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// osFile adds to an os.File the system calls that it does not have.
type osFile struct {
	*os.File

	// mu is held for reading around system calls on the bare descriptor, which
	// os.File does not guard, and for writing by Close: a descriptor that is
	// closed during the call may by then be another file's.
	mu     sync.RWMutex
	closed bool
}

// Close implements File.
func (f *osFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.File.Close()
}

// Fd implements File. Regular files are never in non-blocking mode, so asking
// for the descriptor changes nothing.
func (f *osFile) Fd() (uintptr, bool) { return f.File.Fd(), true }

// Sync implements File by fdatasync(2), which also makes a changed length
// durable.
func (f *osFile) Sync() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: fs.ErrClosed}
	}
	for {
		err := fdatasync(int(f.File.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// Allocate implements File.
func (f *osFile) Allocate(size int64) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: fs.ErrClosed}
	}
	for {
		err := allocate(int(f.File.Fd()), size)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

// WriteOut implements File.
func (f *osFile) WriteOut(off, n int64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if !f.closed && n > 0 {
		writeOut(int(f.File.Fd()), off, n)
	}
}

// maxIovecs is the number of buffers that pwritev(2) takes on Linux.
const maxIovecs = 1024

// WritevAt implements File by pwritev(2). It does not use os.File's WriteAt,
// which says that nothing was written where a part was before an error.
func (f *osFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return 0, &fs.PathError{Op: "pwritev", Path: f.Name(), Err: fs.ErrClosed}
	}
	var done int64
	for first, skip := 0, 0; first < len(bufs); {
		run := bufs[first:min(first+maxIovecs, len(bufs))]
		var n int
		var err error
		if skip > 0 || len(run) == 1 { // skip: inside a buffer, after a short write
			n, err = unix.Pwrite(int(f.File.Fd()), run[0][skip:], off+done)
		} else {
			n, err = pwritev(int(f.File.Fd()), run, off+done)
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, &fs.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		done += int64(n)
		for n += skip; first < len(bufs) && n >= len(bufs[first]); first++ {
			n -= len(bufs[first])
		}
		skip = n
		if n > 0 && first == len(bufs) {
			return done, io.ErrShortWrite
		}
	}
	return done, nil
}

// Free implements FS. It is the room that a process without privileges has
// (statfs(2), f_bavail).
func (o *OS) Free() (int64, error) {
	st, err := o.statfs()
	if err != nil {
		return 0, err
	}
	return int64(st.Bavail) * blockSize(&st), nil
}

// Size returns how many bytes the file system has (statfs(2), f_blocks).
func (o *OS) Size() (int64, error) {
	st, err := o.statfs()
	if err != nil {
		return 0, err
	}
	return int64(st.Blocks) * blockSize(&st), nil
}

func (o *OS) statfs() (st unix.Statfs_t, err error) {
	if err := unix.Fstatfs(int(o.dir.Fd()), &st); err != nil {
		return st, &fs.PathError{Op: "fstatfs", Path: o.dir.Name(), Err: err}
	}
	return st, nil
}
