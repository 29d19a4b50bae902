package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/topic"
)

// folderStamp is how a topic's folder looked when all of its files were in
// place. While it looks the same nobody has removed or replaced any.
type folderStamp struct {
	inode    uint64
	modified time.Time
}

// InPlace looks whether the names of the log's files lead to what the log writes
// and reads: at the partitions that are not synced, which is up to an offset, and, if the
// folder has changed or all is true, at every one. If not, it returns the name of the
// file or folder, and why. Only one who leads the log's syncs calls it. One that can't be looked at, for want of something, is another
// matter.
func (l *List) InPlace(synced int64, all bool) (file string, why error) {
	st, err := l.FS.Stat(l.Folder.Path())
	if displaced(err) {
		return l.Folder.Path(), err
	} else if err != nil {
		return "", nil
	}
	inode, _ := inodeOf(st)
	now := folderStamp{inode, st.ModTime()}
	all = all || now != l.stamp
	for _, p := range l.All() {
		if !all && p.End.Load() <= synced {
			continue
		}
		if err := l.partitionInPlace(p, all); displaced(err) && p.Base >= l.Begin() { // else it was removed by retention meanwhile
			return p.File.Name(), err
		}
	}
	if !all {
		return "", nil
	}
	if _, err := l.FS.Stat(l.Journal.File.Name()); displaced(err) {
		return l.Journal.File.Name(), err
	} else if err == nil {
		l.stamp = now
	}
	return "", nil
}

// displaced reports whether an error tells of a file that is not in place.
func displaced(err error) bool {
	return err != nil && !files.Transient(err) && !errors.Is(err, topic.ErrClosed)
}

// partitionInPlace looks at one partition: through its descriptor, if that is open,
// and by its name if byName is true.
func (l *List) partitionInPlace(p *Partition, byName bool) error {
	size := p.End.Load() - p.Base
	var open, named fs.FileInfo
	f, err := p.File.Use(files.ToRead)
	if f != nil {
		open, err = f.Stat()
		p.File.Release()
	}
	if err == nil && byName {
		named, err = l.FS.Stat(p.File.Name())
	}
	if err != nil {
		return err
	}
	for _, st := range []fs.FileInfo{open, named} {
		if st != nil && st.Size() < size {
			return fmt.Errorf("it has %d bytes, and had %d", st.Size(), size)
		}
	}
	if open == nil {
		return nil
	}
	inode, links := inodeOf(open)
	if links == 0 {
		return errors.New("no name leads to it")
	}
	if named != nil {
		if other, _ := inodeOf(named); other != inode {
			return errors.New("its name leads to another file")
		}
	}
	return nil
}

// inodeOf returns the number of a file and how many names it has.
func inodeOf(st fs.FileInfo) (inode, links uint64) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino, uint64(sys.Nlink)
	}
	return 0, 1
}
