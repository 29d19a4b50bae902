package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// LookInterval is how often a log is looked at that nobody syncs.
const LookInterval = 10 * time.Second

// folderStamp is how a topic's folder looked when all of its files were in
// place. While it looks the same nobody has removed or replaced any.
type folderStamp struct {
	inode    uint64
	modified time.Time
}

// inPlace looks whether the names of the log's files lead to what the log writes
// and reads: at the partitions that are not synced, and, if the folder has changed
// or all is true, at every one. If not, the log has failed. Only the leader of
// the sync group calls it.
func (l *Log) inPlace(all bool) error {
	if l.Deleted() {
		return nil
	}
	st, err := l.store.FS.Stat(l.dir())
	if err != nil {
		return l.displaced(l.dir(), err)
	}
	inode, _ := inodeOf(st)
	now := folderStamp{inode, st.ModTime()}
	all = all || now != l.stamp
	synced := l.synced.Load()
	for _, p := range l.parts.All() {
		if all || p.End.Load() > synced {
			if err := l.partitionInPlace(p, all); err != nil {
				return err
			}
		}
	}
	if all {
		if _, err := l.store.FS.Stat(l.journal.File.Name()); err != nil {
			return l.displaced(l.journal.File.Name(), err)
		}
		l.stamp = now
	}
	return nil
}

// partitionInPlace looks at one partition: through its descriptor, if that is open,
// and by its name if byName is true.
func (l *Log) partitionInPlace(p *partition.Partition, byName bool) error {
	size := p.End.Load() - p.Base
	gone := func(err error) error {
		if p.Base < l.parts.Begin() {
			return nil // removed by retention meanwhile
		}
		return l.displaced(p.File.Name(), err)
	}
	var open, named fs.FileInfo
	f, err := p.File.Use(files.ToRead)
	if f != nil {
		open, err = f.Stat()
		p.File.Release()
	}
	if err == nil && byName {
		named, err = l.store.FS.Stat(p.File.Name())
	}
	if err != nil {
		return gone(err)
	}
	for _, st := range []fs.FileInfo{open, named} {
		if st != nil && st.Size() < size {
			return gone(fmt.Errorf("it has %d bytes, and had %d", st.Size(), size))
		}
	}
	if open == nil {
		return nil
	}
	inode, links := inodeOf(open)
	if links == 0 {
		return gone(errors.New("no name leads to it"))
	}
	if named != nil {
		if other, _ := inodeOf(named); other != inode {
			return gone(errors.New("its name leads to another file"))
		}
	}
	return nil
}

// displaced fails the log for the sake of a file that is not in place. A file that
// can't be looked at, for want of something, is another matter.
func (l *Log) displaced(file string, why error) error {
	if files.Transient(why) || errors.Is(why, topic.ErrClosed) {
		return nil
	}
	return l.fail("look at", file, -1, fmt.Errorf("%w: %w", layout.ErrDisplaced, why))
}

// Look has a log that is not synced meanwhile looked at.
func (l *Log) Look() {
	if l.failed.Load() != nil || !l.syncing.Lead() {
		return
	}
	l.syncing.Done(l.inPlace(true))
}

// inodeOf returns the number of a file and how many names it has.
func inodeOf(st fs.FileInfo) (inode, links uint64) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino, uint64(sys.Nlink)
	}
	return 0, 1
}
