package storage

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/logd-dev/logd/internal/vfs"
)

// fileCache bounds the descriptors that a store keeps open. Every partition,
// index and journal file is a cachedFile in it, opened when somebody acquires it and
// closed, least recently used first, when more than limit are open and nobody
// uses it. One descriptor serves all its users: they read and write at
// explicit positions.
//
// Files in use are never closed under their users, so the number of open
// files can pass the limit by the number of files in use at once.
type fileCache struct {
	fs    vfs.FS
	perm  fs.FileMode
	limit int
	most  int // files in use from which on what waits to be synced is not to wait; 0 for any number
	// closeFailed is told of errors of closing a file that nobody waits for.
	closeFailed func(name string, err error)

	mu     sync.Mutex
	closed bool // files are no longer opened
	opened int
	idle   list.List // of *cachedFile: open and not in use; front is the most recently used
}

// cachedFile is one file by name. Its zero value but for cache and name is
// ready: closed and unused.
type cachedFile struct {
	cache  *fileCache
	name   string
	folder *folder // that the name is in; nil for one that stays

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

func (c *fileCache) file(name string) *cachedFile { return &cachedFile{cache: c, name: name} }

// access is what a user of a file is going to do with it.
type access uint8

const (
	toRead   access = iota
	toWrite         // the file must be there
	toCreate        // the file is made if it is not there
)

// acquire opens the file if need be and returns it. The caller releases it.
func (cf *cachedFile) acquire(a access) (vfs.File, error) {
	if f, err := cf.use(a); f != nil || err != nil {
		return f, err
	}
	cf.opening.Lock()
	defer cf.opening.Unlock()
	if f, err := cf.use(a); f != nil || err != nil {
		return f, err
	}
	c := cf.cache
	c.evict(c.limit - 1)
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
func (cf *cachedFile) open(a access) (f vfs.File, readOnly bool, err error) {
	if cf.folder != nil {
		if err := cf.folder.enter(); err != nil {
			return nil, false, err
		}
		defer cf.folder.leave()
	}
	flag := vfs.ReadWrite
	if a == toCreate {
		flag |= vfs.Create
	}
	f, err = cf.cache.fs.OpenFile(cf.name, flag, cf.cache.perm)
	if a == toRead && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		f, err = cf.cache.fs.OpenFile(cf.name, vfs.ReadOnly, 0)
		return f, true, err
	}
	return f, false, err
}

// use counts another user of an open file and returns it, or nil if it is
// not open.
func (cf *cachedFile) use(a access) (vfs.File, error) {
	c := cf.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if cf.f == nil {
		return nil, nil
	}
	if cf.readOnly && a != toRead {
		return nil, &fs.PathError{Op: "write", Path: cf.name, Err: syscall.EROFS}
	}
	if cf.elem != nil {
		c.idle.Remove(cf.elem)
		cf.elem = nil
	}
	cf.users++
	return cf.f, nil
}

// release gives the file back.
func (cf *cachedFile) release() {
	c := cf.cache
	c.mu.Lock()
	cf.users--
	if cf.users > 0 {
		c.mu.Unlock()
		return
	}
	if cf.users < 0 {
		c.mu.Unlock()
		panic("storage: file released more often than acquired: " + cf.name)
	}
	if !cf.removed && c.opened <= c.limit {
		cf.elem = c.idle.PushFront(cf)
		c.mu.Unlock()
		return
	}
	f := cf.take()
	c.mu.Unlock()
	c.close(cf.name, f)
}

// remove takes the file's name away. Its bytes go when the last user has
// released it.
func (cf *cachedFile) remove() error {
	cf.drop()
	if cf.folder != nil {
		if cf.folder.enter() != nil {
			return nil // it is gone with its folder
		}
		defer cf.folder.leave()
	}
	c := cf.cache
	if err := c.fs.Remove(cf.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// drop closes the file as soon as nobody uses it.
func (cf *cachedFile) drop() {
	c := cf.cache
	c.mu.Lock()
	cf.removed = true
	var f vfs.File
	if cf.elem != nil {
		f = cf.take()
	}
	c.mu.Unlock()
	if f != nil {
		c.close(cf.name, f)
	}
}

// take detaches the open file for closing. Caller holds cache.mu.
func (cf *cachedFile) take() vfs.File {
	if cf.elem != nil {
		cf.cache.idle.Remove(cf.elem)
		cf.elem = nil
	}
	f := cf.f
	cf.f = nil
	cf.cache.opened--
	return f
}

// evict closes idle files until at most n are open or none is idle, and
// returns how many it closed.
func (c *fileCache) evict(n int) (closed int) {
	for {
		c.mu.Lock()
		back := c.idle.Back()
		if c.opened <= max(n, 0) || back == nil {
			c.mu.Unlock()
			return closed
		}
		cf := back.Value.(*cachedFile)
		f := cf.take()
		c.mu.Unlock()
		c.close(cf.name, f)
		closed++
	}
}

func (c *fileCache) close(name string, f vfs.File) {
	if err := f.Close(); err != nil && c.closeFailed != nil {
		c.closeFailed(name, err)
	}
}

// crowded reports whether as many files are in use as may be.
func (c *fileCache) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most > 0 && c.opened-c.idle.Len() >= c.most
}

// count returns how many files are open.
func (c *fileCache) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

// closeAll closes what is idle and opens nothing any more. The error names what
// is still in use: a mistake of the program.
func (c *fileCache) closeAll() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.evict(0)
	if n := c.count(); n != 0 {
		return fmt.Errorf("storage: %d files still in use at close", n)
	}
	return nil
}

// replaced is called after the file's name has been given to another file: the
// next user opens that one. Nobody may be using the file.
func (cf *cachedFile) replaced() {
	c := cf.cache
	c.mu.Lock()
	if cf.f == nil {
		c.mu.Unlock()
		return
	}
	f := cf.take()
	c.mu.Unlock()
	c.close(cf.name, f)
}
