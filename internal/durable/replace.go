// Package durable replaces files as a whole, so that a crash at any moment
// leaves the old file or the new one, and makes files one process's own. It knows
// nothing of what is in them.
//
// A file that is to take another one's place is written under another name beside
// it first: the file's own, a number that nobody can foresee, and ".tmp". The name
// is taken only if nothing has it. In a folder in which others may write, a name
// that everybody knows could be a link that leads anywhere.
//
// [Replace] does all of it for a file that is written at once. A program that keeps
// the new file open uses [Create], and then [Place] or [PlaceNew], and
// [SyncFolder]. [Clean] removes what crashes have left.
//
// The server's own files are not this package's: they are behind internal/vfs.
package durable

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// File is a file that is written to take the place of another one.
type File interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// System is what [Replace] asks of the operating system, for tests to put another
// in its place: one that fails, or that loses what was not synced.
type System interface {
	// Create makes a file of the mode beside the one of the path, of a name that
	// nothing has: what others have put into the folder is neither followed nor
	// changed.
	Create(path string, mode fs.FileMode) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncFolder puts the names in the folder of the path on stable storage.
	SyncFolder(path string) error
}

// OS is the operating system.
var OS System = system{}

type system struct{}

func (system) Create(path string, mode fs.FileMode) (File, error) {
	f, err := Create(path, mode)
	if err != nil {
		return nil, err // and no File that is not nil and holds a nil
	}
	return f, nil
}
func (system) Rename(from, to string) error { return os.Rename(from, to) }
func (system) Remove(name string) error     { return os.Remove(name) }
func (system) SyncFolder(path string) error { return SyncFolder(path) }

// Replace gives the path a file of the mode with the content in place of what is
// there. With sync, the file and its name are on stable storage when Replace
// returns nil. Without it, a power cut may leave the old file, the new one, or
// one that is empty or cut short.
//
// With an error the old file is in its place; only if that of the folder's sync
// is returned it is the new one, which a power cut may take back.
func Replace(sys System, path string, mode fs.FileMode, content []byte, sync bool) (err error) {
	f, err := sys.Create(path, mode)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			sys.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := sys.Rename(f.Name(), path); err != nil {
		return err
	}
	renamed = true
	if !sync {
		return nil
	}
	return sys.SyncFolder(path)
}

// Create makes a file of the mode to take the place of the one of the path. It is
// the caller's to sync, and to place or remove.
func Create(path string, mode fs.FileMode) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// Place gives a file of Create the path, in place of what is there. Its name is
// not synced.
func Place(f *os.File, path string) error { return os.Rename(f.Name(), path) }

// PlaceNew is Place for a path that nothing has; if something has it the error is
// fs.ErrExist. On a file system without links, what is there is replaced all the
// same.
func PlaceNew(f *os.File, path string) error {
	err := os.Link(f.Name(), path)
	switch {
	case err == nil:
		os.Remove(f.Name()) // what stays of it does no harm
		return nil
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return Place(f, path)
}

// Clean removes what crashes have left of the files that Create made for the
// path. It is for the one user of the path: a file that somebody else is just
// making is removed, too. What cannot be removed stays, and does no harm.
func Clean(path string) {
	folder, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(folder, "."))
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base+".")
		number, ok2 := strings.CutSuffix(rest, ".tmp")
		if _, err := strconv.ParseUint(number, 10, 64); ok && ok2 && err == nil && e.Type().IsRegular() {
			os.Remove(folder + e.Name())
		}
	}
}

// SyncFolder puts the names in the folder of the path on stable storage: what was
// made, renamed and removed there. Where folders cannot be synced it does nothing.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
