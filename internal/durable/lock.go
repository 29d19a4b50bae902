package durable

import (
	"errors"
	"fmt"
	"os"
)

// ErrLocked tells that a file is another one's own.
var ErrLocked = errors.New("file is locked by another process, or twice by this one")

// OpenLocked opens the file of the path for reading and writing and makes it this
// opening's own, until [CloseLocked] or the end of the process. It does not wait:
// the error is ErrLocked if another process has the file, or another opening of
// this one. Where there is no flock, nothing is locked.
//
// The file may be replaced until it is locked. OpenLocked returns the one that has
// the path after that.
func OpenLocked(path string) (*os.File, error) {
	for range 100 {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		if err := Lock(f); err != nil {
			f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("%w: it is being replaced again and again", ErrLocked)
}

// Lock makes the file this opening's own, as OpenLocked does.
func Lock(f *os.File) error {
	if err := lock(f); err != nil {
		return fmt.Errorf("%w (%w)", ErrLocked, err)
	}
	return nil
}

// CloseLocked releases the lock and closes the file. To close the file is not
// enough while a process that is being started has a copy of the descriptor.
func CloseLocked(f *os.File) error {
	err := unlock(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
