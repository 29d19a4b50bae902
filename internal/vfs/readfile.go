package vfs

import (
	"errors"
	"fmt"
)

// ErrNoFile is a name that is not that of a regular file of a sensible size.
var ErrNoFile = errors.New("not a file, or too long")

// ReadFile returns all of a regular file. If it has more than the most bytes that
// it may have, or is another kind of file, the error is ErrNoFile, and nothing was
// read.
func ReadFile(fsys FS, name string, most int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > most {
		return nil, fmt.Errorf("%s: %w", name, ErrNoFile)
	}
	b := make([]byte, st.Size())
	return b, ReadFull(f, b, 0)
}
