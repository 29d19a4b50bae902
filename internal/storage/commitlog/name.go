package commitlog

import (
	"context"
	"path"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// Named reports whether the log has its name: whether its folder is called so. Until
// then the folder is among those of new topics, see layout.New.
func (l *Log) Named() bool { return !layout.IsNew(l.dir()) }

// TakeName moves the folder of a log that does not have its name to its name, durably,
// under whoever reads and writes it. free sees to it that nothing is called so, and
// named is called when the log has its name. A log that has it keeps it.
func (l *Log) TakeName(free func() error, named func()) error {
	// All who use names in its folder are kept out: what removes and cuts off, syncs,
	// writers, and who opens files.
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if err := l.syncing.Claim(context.Background()); err != nil {
		return err
	}
	defer l.syncing.Done(nil)
	if l.Deleted() {
		return topic.ErrDeleted
	}
	if l.Named() && !l.member.RootDirty.Load() {
		return nil
	}
	if err := l.sync(); err != nil || l.Named() {
		return err
	}
	if err := free(); err != nil {
		return err
	}
	queue, from := l.store.Syncs, l.dir()
	rootSeen := queue.RootFailures()
	if err := l.moveToName(named); err != nil {
		err = &Error{Op: "name", Topic: l.name, File: l.dir(), Offset: -1, Err: err}
		if files.Transient(err) {
			err = ReadOnly(err)
		}
		return err
	}
	l.member.Parent = "."
	l.NameMade(rootSeen)
	err := l.syncRoot()
	if err == nil {
		err = queue.SyncRoot(path.Dir(from))
	}
	if err != nil {
		return ReadOnly(err) // RootDirty: it is tried again, with the next sync if not before
	}
	l.member.RootDirty.Store(false)
	LeaveNew(l.store.FS, from)
	return nil
}

// LeaveNew removes the folder that was the one of a topic with a long name alone, after the
// topic's has gone from it. A start removes what is left of such.
func LeaveNew(fsys vfs.FS, dir string) {
	if in := path.Dir(dir); in != layout.New && layout.IsNew(in) {
		fsys.Remove(in)
	}
}

// moveToName moves the folder of a log.
func (l *Log) moveToName(named func()) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.folder.Move(l.name, func() error { return l.store.FS.Rename(l.dir(), l.name) }); err != nil {
		return err
	}
	named()
	return nil
}
