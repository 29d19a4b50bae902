package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/logd-dev/logd/internal/vfs"
)

// Whoever uses a work directory holds the lock on its lock file. Older versions
// lock another file, whose name may be a topic's.
const (
	lockName    = ".lock"
	oldLockName = "LOCK"
)

// LockNames are the files in a work directory whose locks its user holds.
var LockNames = []string{lockName, oldLockName}

// Reserved reports whether a name in the work directory is the server's own, or
// the file system's: it is no topic, and nothing to tell anybody of.
func Reserved(name string) bool { return name[0] == '.' || name == "lost+found" }

// workDirLock is a lock on a work directory, against servers of all versions.
type workDirLock struct {
	fs   vfs.FS
	held []io.Closer
	old  bool // the file of an older version is among them
}

// lockWorkDir locks a work directory. The error wraps vfs.ErrLocked if somebody
// has it, be it an older version.
func lockWorkDir(fsys vfs.FS) (*workDirLock, error) {
	l := &workDirLock{fs: fsys}
	old, err := isLockFile(fsys, oldLockName)
	if err == nil {
		err = l.take(lockName)
	}
	if err == nil && old {
		err = l.take(oldLockName)
		l.old = true
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock work directory: %w", err), l.Close())
	}
	return l, nil
}

// lockToRead locks the work directory without making a lock file. Where there
// is none, no server uses the directory; one that begins to is noticed at the
// end.
func lockToRead(fsys vfs.FS) (unlock func() error, err error) {
	l := &workDirLock{fs: fsys}
	var absent []string
	for _, name := range LockNames {
		there, err := isLockFile(fsys, name)
		if err == nil && there {
			err = l.take(name)
		}
		if err != nil && !errors.Is(err, syscall.EROFS) { // then nobody writes here
			return nil, errors.Join(fmt.Errorf("lock work directory: %w", err), l.Close())
		}
		if !there {
			absent = append(absent, name)
		}
	}
	return func() error {
		for _, name := range absent {
			if there, err := isLockFile(fsys, name); err == nil && there {
				return errors.Join(ErrStarted, l.Close())
			}
		}
		return l.Close()
	}, nil
}

// isLockFile reports whether there is a file of that name. A folder is none.
func isLockFile(fsys vfs.FS, name string) (bool, error) {
	st, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Mode().IsRegular(), err
}

func (l *workDirLock) take(name string) error {
	c, err := l.fs.Lock(name)
	if err == nil {
		l.held = append(l.held, c)
	}
	return err
}

// announce writes the server's address into the lock file, for whoever finds the
// directory in use.
func (l *workDirLock) announce(addr string) error {
	f, ok := l.held[0].(interface {
		io.WriterAt
		Truncate(size int64) error
	})
	if !ok {
		return nil
	}
	text := "host " + addr + "\n"
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// ServerOf returns the address of the server that has the work directory open, as
// it stands in the lock file; "" if it does not say. It may be that of an earlier
// server.
func ServerOf(fsys vfs.FS) string {
	f, err := fsys.OpenFile(lockName, os.O_RDONLY, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	addr, ok := strings.CutPrefix(line, "host ")
	if !ok {
		return ""
	}
	return addr
}

// removeOld removes the lock file of an older version, which is in the way of
// a topic. Its lock is kept: a server that has opened the file before is refused
// still. A file with something in it is not a lock file, and stays.
func (l *workDirLock) removeOld() error {
	if !l.old {
		return nil
	}
	if st, err := l.fs.Stat(oldLockName); err != nil || st.Size() > 0 {
		return err
	}
	return l.fs.Remove(oldLockName)
}

// Close releases the lock.
func (l *workDirLock) Close() error {
	var errs []error
	for _, c := range l.held {
		errs = append(errs, c.Close())
	}
	l.held = nil
	return errors.Join(errs...)
}
