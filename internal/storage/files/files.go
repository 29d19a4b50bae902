// Package files keeps descriptors open for those who use files again and again,
// and no more of them than a process may have.
//
// A [Cache] opens a [File] when somebody acquires it, and closes it when others
// need the descriptor and nobody uses the file. A [Folder] tells when the names
// in it mean nothing any more.
//
// All methods are safe for concurrent use. Locks are taken in this order:
// the one that is held while a File is opened, Folder, Cache. Who uses a file
// that is open takes none: its users are an atomic count, and the lock of the
// Cache is for opening and closing.
package files

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// ErrClosed is a cache that was closed.
var ErrClosed = topic.ErrClosed

// Cache bounds the descriptors that a store keeps open. Every partition,
// index and journal file is a File in it, opened when somebody acquires it and
// closed when more than Limit are open and nobody uses it: first those that were
// not used for the longest time, about. One descriptor serves all its users: they
// read and write at explicit positions.
//
// Files in use are never closed under their users, so the number of open
// files can pass Limit by the number of files in use at once.
type Cache struct {
	FS    vfs.FS
	Perm  fs.FileMode // of files that are made
	Limit int         // files kept open
	Most  int         // files in use from which on what waits to be synced is not to wait; 0 for any number
	// CloseFailed is told of errors of closing a file that nobody waits for.
	CloseFailed func(name string, err error)

	closed atomic.Bool  // files are no longer opened
	opened atomic.Int64 // changes under mu
	inUse  atomic.Int64 // of them

	mu   sync.Mutex
	open list.List // of *File: in the order of opening, but those that were used since they were last looked at go to the front
}

// File is one file by name. [Cache.File] makes it.
type File struct {
	cache  *Cache
	name   string  // in Cache.FS, or in folder
	folder *Folder // that the name is in; nil for one that stays

	// opening is held while the file is being opened, so that one open(2)
	// serves all who wait. Lock order: opening, then cache.mu.
	opening sync.Mutex

	// uses is 0 if the file is not open, and otherwise one more than it has users.
	// From 0, and from 1 back to 0, it goes under cache.mu alone.
	uses    atomic.Int64
	used    atomic.Bool // since it was looked at as one to close
	removed atomic.Bool // close as soon as unused
	gone    atomic.Bool // by Discard: its name may be another file's

	// These do not change while the file has users.
	f        vfs.File
	readOnly bool          // f can only be read
	elem     *list.Element // in cache.open; guarded by cache.mu
}

// File returns a file by its name. It is not opened yet.
func (c *Cache) File(name string) *File { return &File{cache: c, name: name} }

// FileIn returns a file by its name in a folder. It is not opened yet.
func (c *Cache) FileIn(folder *Folder, name string) *File {
	return &File{cache: c, name: name, folder: folder}
}

// Name returns the file's name in Cache.FS. One in a folder has another when that
// is moved: who uses it to find the file has entered the folder.
func (cf *File) Name() string {
	if cf.folder == nil {
		return cf.name
	}
	return cf.folder.Path() + "/" + cf.name
}

// Access is what a user of a file is going to do with it.
type Access uint8

const (
	ToRead   Access = iota
	ToWrite         // the file must be there
	ToCreate        // the file is made if it is not there
)

// Acquire opens the file if need be and returns it. The caller releases it.
func (cf *File) Acquire(a Access) (vfs.File, error) {
	if f, err := cf.Use(a); f != nil || err != nil {
		return f, err
	}
	cf.opening.Lock()
	defer cf.opening.Unlock()
	if f, err := cf.Use(a); f != nil || err != nil {
		return f, err
	}
	c := cf.cache
	c.Evict(c.Limit - 1)
	f, readOnly, err := cf.open(a)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cf.f, cf.readOnly = f, readOnly
	cf.elem = c.open.PushFront(cf)
	c.opened.Add(1)
	c.inUse.Add(1)
	cf.uses.Store(2)
	return f, nil
}

// open opens for reading and writing, so that all kinds of users can share
// the descriptor; on a file system that allows no writing, readers get one
// that only reads.
func (cf *File) open(a Access) (f vfs.File, readOnly bool, err error) {
	if cf.folder != nil {
		if err := cf.folder.Enter(); err != nil {
			return nil, false, err
		}
		defer cf.folder.Leave()
	}
	if cf.gone.Load() {
		return nil, false, &fs.PathError{Op: "open", Path: cf.Name(), Err: fs.ErrNotExist}
	}
	flag := vfs.ReadWrite
	if a == ToCreate {
		flag |= vfs.Create
	}
	f, err = cf.cache.FS.OpenFile(cf.Name(), flag, cf.cache.Perm)
	if a == ToRead && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		f, err = cf.cache.FS.OpenFile(cf.Name(), vfs.ReadOnly, 0)
		return f, true, err
	}
	return f, false, err
}

// Use counts another user of an open file and returns it, or nil if it is
// not open.
func (cf *File) Use(a Access) (vfs.File, error) {
	c := cf.cache
	if c.closed.Load() {
		return nil, ErrClosed
	}
	for {
		n := cf.uses.Load()
		if n == 0 {
			return nil, nil
		}
		if cf.uses.CompareAndSwap(n, n+1) {
			if n == 1 {
				c.inUse.Add(1)
			}
			break
		}
	}
	if !cf.used.Load() {
		cf.used.Store(true)
	}
	if cf.readOnly && a != ToRead {
		cf.Release()
		return nil, &fs.PathError{Op: "write", Path: cf.Name(), Err: syscall.EROFS}
	}
	return cf.f, nil
}

// Release gives the file back.
func (cf *File) Release() {
	c := cf.cache
	switch n := cf.uses.Add(-1); {
	case n > 1:
		return
	case n < 1:
		panic("storage: file released more often than acquired: " + cf.Name())
	}
	c.inUse.Add(-1)
	if cf.removed.Load() || c.opened.Load() > int64(c.Limit) {
		cf.closeUnused()
	}
}

// Discard is Remove of a file whose name may be given to another one: it is not opened
// or removed by its name any more, but by another Discard.
func (cf *File) Discard() error {
	cf.gone.Store(true)
	return cf.remove()
}

// Remove takes the file's name away. Its bytes go when the last user has
// released it.
func (cf *File) Remove() error {
	if cf.gone.Load() {
		return nil
	}
	return cf.remove()
}

func (cf *File) remove() error {
	cf.Drop()
	if cf.folder != nil {
		if cf.folder.Enter() != nil {
			return nil // it is gone with its folder
		}
		defer cf.folder.Leave()
	}
	c := cf.cache
	if err := c.FS.Remove(cf.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Drop closes the file as soon as nobody uses it.
func (cf *File) Drop() {
	cf.removed.Store(true) // before it is looked whether there are users: the last of them looks at it after
	cf.closeUnused()
}

// closeUnused closes the file if it is open and nobody uses it, and reports
// whether that was so.
func (cf *File) closeUnused() bool {
	c := cf.cache
	c.mu.Lock()
	f := cf.take()
	c.mu.Unlock()
	if f == nil {
		return false
	}
	c.close(cf.Name(), f)
	return true
}

// take detaches the open file for closing, if it is open and nobody uses it.
// Caller holds cache.mu.
func (cf *File) take() vfs.File {
	if !cf.uses.CompareAndSwap(1, 0) {
		return nil
	}
	c, f := cf.cache, cf.f
	c.open.Remove(cf.elem)
	c.opened.Add(-1)
	cf.f, cf.elem = nil, nil
	return f
}

// Evict closes files that nobody uses until at most n are open or all are used,
// and returns how many it closed.
func (c *Cache) Evict(n int) (closed int) {
	for {
		c.mu.Lock()
		name, f := c.takeOldest(int64(max(n, 0)))
		c.mu.Unlock()
		if f == nil {
			return closed
		}
		c.close(name, f)
		closed++
	}
}

// takeOldest detaches an unused file if more than n are open: one that was not
// used since it was passed over here, if there is one. Caller holds mu.
func (c *Cache) takeOldest(n int64) (name string, f vfs.File) {
	for left := 2 * c.open.Len(); left > 0; left-- {
		if c.opened.Load() <= n || c.inUse.Load() >= c.opened.Load() {
			return "", nil
		}
		cf := c.open.Back().Value.(*File)
		if !cf.used.Swap(false) {
			if f := cf.take(); f != nil {
				return cf.Name(), f
			}
		}
		c.open.MoveToFront(cf.elem)
	}
	return "", nil
}

func (c *Cache) close(name string, f vfs.File) {
	if err := f.Close(); err != nil && c.CloseFailed != nil {
		c.CloseFailed(name, err)
	}
}

// Crowded reports whether as many files are in use as may be.
func (c *Cache) Crowded() bool { return c.Most > 0 && c.inUse.Load() >= int64(c.Most) }

// Count returns how many files are open.
func (c *Cache) Count() int { return int(c.opened.Load()) }

// Close closes what is idle and opens nothing any more. The error names what
// is still in use: a mistake of the program.
func (c *Cache) Close() error {
	c.closed.Store(true)
	c.Evict(0)
	if n := c.Count(); n != 0 {
		return fmt.Errorf("storage: %d files still in use at close", n)
	}
	return nil
}

// Replaced is called after the file's name has been given to another file: the
// next user opens that one. Nobody may be using the file.
func (cf *File) Replaced() {
	if !cf.closeUnused() && cf.uses.Load() > 0 {
		panic("storage: file replaced while it is used: " + cf.Name())
	}
}

// Held returns the open file to one who has acquired it and not released it yet:
// it stays the same meanwhile.
func (cf *File) Held() vfs.File { return cf.f }
