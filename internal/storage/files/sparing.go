package files

import (
	"io/fs"

	"github.com/logd-dev/logd/internal/vfs"
)

// sparing is a file system for a process that has fewer descriptors than its
// settings suppose: where one is missing, those that are open and idle are
// closed, and the operation is tried once more. Not only files take descriptors:
// a name in a folder is used by opening the folder.
type sparing struct {
	vfs.FS
	cache *Cache
}

// Spare makes fsys the cache's file system and returns it as others should use
// it, so that they are given the cache's descriptors when they have none.
func (c *Cache) Spare(fsys vfs.FS) vfs.FS {
	c.FS = &sparing{fsys, c}
	return c.FS
}

// again reports whether an operation that ended with err is to be tried again.
func (s *sparing) again(err error) bool { return NoDescriptor(err) && s.cache.Evict(0) > 0 }

// OpenFile implements vfs.FS.
func (s *sparing) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if s.again(err) {
		return s.FS.OpenFile(name, flag, perm)
	}
	return f, err
}

// Mkdir implements vfs.FS.
func (s *sparing) Mkdir(name string, perm fs.FileMode) error {
	err := s.FS.Mkdir(name, perm)
	if s.again(err) {
		return s.FS.Mkdir(name, perm)
	}
	return err
}

// Remove implements vfs.FS.
func (s *sparing) Remove(name string) error {
	err := s.FS.Remove(name)
	if s.again(err) {
		return s.FS.Remove(name)
	}
	return err
}

// Rename implements vfs.FS.
func (s *sparing) Rename(oldName, newName string) error {
	err := s.FS.Rename(oldName, newName)
	if s.again(err) {
		return s.FS.Rename(oldName, newName)
	}
	return err
}

// ReadDir implements vfs.FS.
func (s *sparing) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := s.FS.ReadDir(name)
	if s.again(err) {
		return s.FS.ReadDir(name)
	}
	return dir, err
}

// Stat implements vfs.FS.
func (s *sparing) Stat(name string) (fs.FileInfo, error) {
	st, err := s.FS.Stat(name)
	if s.again(err) {
		return s.FS.Stat(name)
	}
	return st, err
}

// SyncDir implements vfs.FS. A folder that could not be opened was not synced,
// and no error of it was told.
func (s *sparing) SyncDir(name string) error {
	err := s.FS.SyncDir(name)
	if s.again(err) {
		return s.FS.SyncDir(name)
	}
	return err
}

// Free implements vfs.FS.
func (s *sparing) Free() (int64, error) {
	n, err := s.FS.Free()
	if s.again(err) {
		return s.FS.Free()
	}
	return n, err
}
