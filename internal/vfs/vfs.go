// Package vfs is the seam between storage and the file system: what storage
// asks of files and folders, and nothing more. [OS] is the real thing;
// package vfstest has one that forgets what was not synced and fails on
// demand.
//
// Names are slash-separated paths relative to the file system's root folder.
// They never reach outside it. Methods of an [FS] and of a [File] are safe
// for concurrent use; overlapping writes are the caller's to avoid.
//
// Flush and sync are two things here: a write is flushed (handed to the
// operating system, so that it survives the process) when it returns, and is
// synced (on stable storage, so that it survives a power cut) when a later
// Sync of the file has returned nil. Creating, renaming and removing names
// are synced by SyncDir of the folder alone.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Flags for OpenFile, as in package os.
const (
	ReadOnly  = os.O_RDONLY
	ReadWrite = os.O_RDWR
	Create    = os.O_CREATE
	Exclusive = os.O_EXCL
	Truncate  = os.O_TRUNC
)

// ErrNotRegular is returned by OpenFile for what is there and is no regular file.
var ErrNotRegular = errors.New("not a regular file")

// ErrLocked is returned by Lock when another process holds the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// FS is a folder and all below it.
type FS interface {
	// OpenFile opens a regular file. The flags are those of this package. The
	// error is ErrNotRegular for anything else: folders, symbolic links, pipes.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Mkdir makes a folder. The error is fs.ErrExist if the name is taken.
	Mkdir(name string, perm fs.FileMode) error
	// Remove removes a file or an empty folder. Files that are open stay
	// readable through their handle.
	Remove(name string) error
	// Rename gives a file a new name, replacing what had it, atomically.
	Rename(oldName, newName string) error
	// ReadDir lists a folder, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a name without following a symbolic link.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a folder durable.
	SyncDir(name string) error
	// SyncAll makes everything durable at once that is on the same device as the
	// folder itself: the bytes and lengths of all files, and all names. What could
	// not be written since the last call is told once, to one of the callers. The
	// Sync of each file still tells of that file. The error is
	// errors.ErrUnsupported where all this can't be relied on.
	SyncAll() error
	// Lock creates the file if need be and takes an exclusive lock on it for
	// as long as the process lives or until the lock is closed. It does not
	// wait: the error is ErrLocked if somebody else has it.
	Lock(name string) (io.Closer, error)
	// Free returns how many bytes there is room for.
	Free() (int64, error)
}

// File is an open regular file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// WritevAt writes the buffers one after another, from off on, with as few
	// system calls as it can, and returns how many bytes were written. It
	// returns an error when that is less than all.
	WritevAt(bufs [][]byte, off int64) (int64, error)
	// Truncate sets the file's length.
	Truncate(size int64) error
	// Allocate makes the file at least so long, with room on the disk for all of
	// it: to write there meets no full disk.
	Allocate(size int64) error
	// Sync makes the file's bytes and length durable. After an error nothing
	// is known of what was written since the last Sync that succeeded, and a
	// later success says nothing about it: what could not be written is told once
	// to each File of it that was open then.
	Sync() error
	// WriteOut has the system begin to write n bytes from off on to the disk, so that
	// a Sync has less to do. It is a hint: nothing is durable by it, and an error is
	// told by the next Sync.
	WriteOut(off, n int64)
	// Stat describes the file.
	Stat() (fs.FileInfo, error)
	// Fd returns the descriptor, for system calls that read the file at given
	// positions, and whether there is one. It is good until Close.
	Fd() (fd uintptr, ok bool)
}
