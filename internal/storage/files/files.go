// Package files keeps descriptors open for those who use files again and again,
// and no more of them than a process may have.
//
// A [Cache] opens a [File] when somebody acquires it, and closes it when others
// need the descriptor and nobody uses the file. A [Folder] tells when the names
// in it mean nothing any more.
//
// All methods are safe for concurrent use. Locks are taken in this order:
// the one that is held while a File is opened, Folder, Cache.
package files

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// ErrClosed is a cache that was closed.
var ErrClosed = topic.ErrClosed

// Cache bounds the descriptors that a store keeps open. Every partition,
// index and journal file is a File in it, opened when somebody acquires it and
// closed, least recently used first, when more than Limit are open and nobody
// uses it. One descriptor serves all its users: they read and write at
// explicit positions.
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

	mu     sync.Mutex
	closed bool // files are no longer opened
	opened int
	idle   list.List // of *File: open and not in use; front is the most recently used
}

// File is one file by name. [Cache.File] makes it.
type File struct {
	cache  *Cache
	Name   string  // in Cache.FS
	Folder *Folder // that the name is in; nil for one that stays

	// opening is held while the file is being opened, so that one open(2)
	// serves all who wait. Lock order: opening, then cache.mu.
	opening sync.Mutex

	// Guarded by cache.mu.
	f       vfs.File
	users   int
	elem    *list.Element // in cache.idle
	removed bool          // close as soon as unused
	// readOnly tells that f can only be read.
	readOnly bool
}

// File returns a file by its name. It is not opened yet.
func (c *Cache) File(name string) *File { return &File{cache: c, Name: name} }

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
	c.opened++
	cf.f = f
	cf.readOnly = readOnly
	cf.users = 1
	return f, nil
}

// open opens for reading and writing, so that all kinds of users can share
// the descriptor; on a file system that allows no writing, readers get one
// that only reads.
func (cf *File) open(a Access) (f vfs.File, readOnly bool, err error) {
	if cf.Folder != nil {
		if err := cf.Folder.Enter(); err != nil {
			return nil, false, err
		}
		defer cf.Folder.Leave()
	}
	flag := vfs.ReadWrite
	if a == ToCreate {
		flag |= vfs.Create
	}
	f, err = cf.cache.FS.OpenFile(cf.Name, flag, cf.cache.Perm)
	if a == ToRead && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		f, err = cf.cache.FS.OpenFile(cf.Name, vfs.ReadOnly, 0)
		return f, true, err
	}
	return f, false, err
}

// Use counts another user of an open file and returns it, or nil if it is
// not open.
func (cf *File) Use(a Access) (vfs.File, error) {
	c := cf.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if cf.f == nil {
		return nil, nil
	}
	if cf.readOnly && a != ToRead {
		return nil, &fs.PathError{Op: "write", Path: cf.Name, Err: syscall.EROFS}
	}
	if cf.elem != nil {
		c.idle.Remove(cf.elem)
		cf.elem = nil
	}
	cf.users++
	return cf.f, nil
}

// Release gives the file back.
func (cf *File) Release() {
	c := cf.cache
	c.mu.Lock()
	cf.users--
	if cf.users > 0 {
		c.mu.Unlock()
		return
	}
	if cf.users < 0 {
		c.mu.Unlock()
		panic("storage: file released more often than acquired: " + cf.Name)
	}
	if !cf.removed && c.opened <= c.Limit {
		cf.elem = c.idle.PushFront(cf)
		c.mu.Unlock()
		return
	}
	f := cf.take()
	c.mu.Unlock()
	c.close(cf.Name, f)
}

// Remove takes the file's name away. Its bytes go when the last user has
// released it.
func (cf *File) Remove() error {
	cf.Drop()
	if cf.Folder != nil {
		if cf.Folder.Enter() != nil {
			return nil // it is gone with its folder
		}
		defer cf.Folder.Leave()
	}
	c := cf.cache
	if err := c.FS.Remove(cf.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Drop closes the file as soon as nobody uses it.
func (cf *File) Drop() {
	c := cf.cache
	c.mu.Lock()
	cf.removed = true
	var f vfs.File
	if cf.elem != nil {
		f = cf.take()
	}
	c.mu.Unlock()
	if f != nil {
		c.close(cf.Name, f)
	}
}

// take detaches the open file for closing. Caller holds cache.mu.
func (cf *File) take() vfs.File {
	if cf.elem != nil {
		cf.cache.idle.Remove(cf.elem)
		cf.elem = nil
	}
	f := cf.f
	cf.f = nil
	cf.cache.opened--
	return f
}

// Evict closes idle files until at most n are open or none is idle, and
// returns how many it closed.
func (c *Cache) Evict(n int) (closed int) {
	for {
		c.mu.Lock()
		back := c.idle.Back()
		if c.opened <= max(n, 0) || back == nil {
			c.mu.Unlock()
			return closed
		}
		cf := back.Value.(*File)
		f := cf.take()
		c.mu.Unlock()
		c.close(cf.Name, f)
		closed++
	}
}

func (c *Cache) close(name string, f vfs.File) {
	if err := f.Close(); err != nil && c.CloseFailed != nil {
		c.CloseFailed(name, err)
	}
}

// Crowded reports whether as many files are in use as may be.
func (c *Cache) Crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Most > 0 && c.opened-c.idle.Len() >= c.Most
}

// Count returns how many files are open.
func (c *Cache) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

// Close closes what is idle and opens nothing any more. The error names what
// is still in use: a mistake of the program.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.Evict(0)
	if n := c.Count(); n != 0 {
		return fmt.Errorf("storage: %d files still in use at close", n)
	}
	return nil
}

// Replaced is called after the file's name has been given to another file: the
// next user opens that one. Nobody may be using the file.
func (cf *File) Replaced() {
	c := cf.cache
	c.mu.Lock()
	if cf.f == nil {
		c.mu.Unlock()
		return
	}
	f := cf.take()
	c.mu.Unlock()
	c.close(cf.Name, f)
}

// Held returns the open file to one who has acquired it and not released it yet:
// it stays the same meanwhile.
func (cf *File) Held() vfs.File { return cf.f }
