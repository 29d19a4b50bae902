package diagnose

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Contents is what a folder in the work directory holds.
type Contents uint8

const (
	// Topic has partitions, or a journal that knows of some.
	Topic Contents = iota
	// HalfMade has nothing but what a creation leaves that was interrupted before
	// the first partition was there, or, if the topic does not have its name yet,
	// before the journal was.
	HalfMade
	// Foreign has other things. It is left alone.
	Foreign
)

// ContentsOf looks into a folder in the work directory. The error is layout.ErrLinked
// for a symbolic link.
func ContentsOf(fsys vfs.FS, name string) (Contents, error) {
	st, err := fsys.Stat(name)
	switch {
	case err != nil:
		return Topic, err
	case st.Mode()&fs.ModeSymlink != 0:
		return Topic, layout.ErrLinked
	case !st.IsDir():
		return Topic, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a folder")}
	}
	dir, err := fsys.ReadDir(name)
	if err != nil {
		return Topic, err
	}
	found := HalfMade
	for _, d := range dir {
		switch _, isPartition := layout.Base(d.Name()); {
		case layout.IsNew(name) && d.Type().IsRegular() && strings.HasSuffix(d.Name(), ".idx"):
		case layout.IsNew(name) && isPartition && isEmpty(d):
		case isPartition || d.Name() == layout.Journal+".damaged":
			return Topic, nil
		case d.Name() == layout.Journal+".new" && d.Type().IsRegular():
		case d.Name() == layout.Journal:
			b, err := journal.Read(fsys, name)
			if err != nil || !journal.IsBlank(b) || layout.IsNew(name) && isStarted(b) {
				return Topic, err
			}
		default:
			found = Foreign
		}
	}
	return found, nil
}

// isStarted reports whether a journal says whose it is.
func isStarted(b []byte) bool {
	s, _, _ := journal.Decode(b)
	return s.ID != (journal.ID{})
}

func isEmpty(d fs.DirEntry) bool {
	st, err := d.Info()
	return err == nil && st.Mode().IsRegular() && st.Size() == 0
}
