package layout

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

// ErrStarted is a work directory that a server has begun to use meanwhile.
var ErrStarted = errors.New("storage: a server has begun to use the work directory")

// Lock is a lock on a work directory, against servers of all versions.
type Lock struct {
	fs   vfs.FS
	held []io.Closer
	old  bool // the file of an older version is among them
}

// LockDir locks a work directory. The error wraps vfs.ErrLocked if somebody
// has it, be it an older version.
func LockDir(fsys vfs.FS) (*Lock, error) {
	l := &Lock{fs: fsys}
	old, err := isLockFile(fsys, OldLockName)
	if err == nil {
		err = l.take(LockName)
	}
	if err == nil && old {
		err = l.take(OldLockName)
		l.old = true
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock work directory: %w", err), l.Close())
	}
	return l, nil
}

// LockToRead locks the work directory without making a lock file. Where there
// is none, no server uses the directory; one that begins to is noticed at the
// end.
func LockToRead(fsys vfs.FS) (unlock func() error, err error) {
	l := &Lock{fs: fsys}
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

func (l *Lock) take(name string) error {
	c, err := l.fs.Lock(name)
	if err == nil {
		l.held = append(l.held, c)
	}
	return err
}

// Announce writes the server's address into the lock file, for whoever finds the
// directory in use.
func (l *Lock) Announce(addr string) error {
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
	f, err := fsys.OpenFile(LockName, os.O_RDONLY, 0)
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

// RemoveOld removes the lock file of an older version, which is in the way of
// a topic. Its lock is kept: a server that has opened the file before is refused
// still. A file with something in it is not a lock file, and stays.
func (l *Lock) RemoveOld() error {
	if !l.old {
		return nil
	}
	if st, err := l.fs.Stat(OldLockName); err != nil || st.Size() > 0 {
		return err
	}
	return l.fs.Remove(OldLockName)
}

// Close releases the lock.
func (l *Lock) Close() error {
	var errs []error
	for _, c := range l.held {
		errs = append(errs, c.Close())
	}
	l.held = nil
	return errors.Join(errs...)
}
