// Package deleted has what becomes of deleted topics: their folders are taken out
// of sight at once, kept in .deleted for a while, and removed then.
//
// [Topics.Take] is the deletion: when it has returned nil, no crash brings the
// topic back. It renames the folder. Where that can't be, on a full disk or at a
// mount point, it marks the topic's journal instead, which takes no room, and
// removes the files where they are; the next start finishes that
// ([Topics.Finish]). Whoever calls Take keeps everybody else from the folder's
// names meanwhile, and calls [Topics.Discard] afterwards. [Topics.Empty] removes
// the folders whose time has come.
//
// All methods are safe for concurrent use, but for two that take one topic away.
package deleted

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/syncs"
	"github.com/logd-dev/logd/internal/vfs"
)

// Topics takes the folders of deleted topics away, and knows of those in .deleted. The time of those that were
// deleted since the start is not read from their names: it goes on evenly,
// whatever is done to the machine's clock.
type Topics struct {
	FS     vfs.FS
	Now    func() time.Time
	Logger *slog.Logger
	Files  *files.Cache // whose open files keep room
	Syncs  *syncs.Queue
	After  time.Duration // how long files are kept; 0 or negative for not at all
	Full   func() bool   // reports whether the disk is short of room: then they are not

	mu      sync.Mutex           // held while folders are removed
	emptied bool                 // there are none
	seen    map[string]time.Time // when their time began, by name

	// moving are those that a power cut may bring back where they were: nothing
	// of them may be removed.
	movingMu sync.Mutex
	moving   map[string]bool // by path
}

// move notes that a folder is being moved, or that it is moved for good.
func (d *Topics) move(folder string, done bool) {
	d.movingMu.Lock()
	defer d.movingMu.Unlock()
	if done {
		delete(d.moving, folder)
		return
	}
	if d.moving == nil {
		d.moving = make(map[string]bool)
	}
	d.moving[folder] = true
}

func (d *Topics) isMoving(folder string) bool {
	d.movingMu.Lock()
	defer d.movingMu.Unlock()
	return d.moving[folder]
}

// see notes when the time of a folder began. Caller holds mu.
func (d *Topics) see(name string, at time.Time) {
	if d.seen == nil {
		d.seen = make(map[string]time.Time)
	}
	d.seen[name] = at
}

// Discard removes the files of a topic that was taken just now, unless they are
// kept, whose time begins. It may take long: nobody need be kept out any more.
func (d *Topics) Discard(kept Kept) {
	if kept.topic == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.emptied = false
	d.see(path.Base(kept.path()), d.Now())
	if !kept.now {
		return
	}
	d.Files.Evict(0) // open files would keep the room
	st, err := d.FS.Stat(kept.path())
	if err == nil {
		err = d.removeTree(kept.path(), st.IsDir())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Logger.Error("files of a deleted topic can't be removed; it is tried again", "topic", kept.topic, "folder", kept.path(), "err", err)
		return
	}
	delete(d.seen, path.Base(kept.path()))
}

// Empty removes the folders in .deleted whose time has come, and all of them if
// the disk is full. It is called again and again.
func (d *Topics) Empty() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.emptied {
		return
	}
	entries, err := d.FS.ReadDir(Dir)
	if err != nil {
		if d.emptied = errors.Is(err, fs.ErrNotExist); !d.emptied {
			d.Logger.Error("deleted topics can't be listed; it is tried again", "folder", Dir, "err", err)
		}
		return
	}
	now := d.Now()
	full := len(entries) > 0 && d.Full()
	d.emptied = true
	synced := false
	for _, e := range entries {
		name, ok := parseKept(e.Name())
		link := e.Type()&fs.ModeSymlink != 0 // a topic's folder that was one
		if !ok || !e.IsDir() && !link {
			continue // not ours
		}
		if d.seen[e.Name()].IsZero() {
			// Deleted before this start: as old as its name says, if that can be.
			at := name.at
			if at.After(now) {
				at = now
			}
			d.see(e.Name(), at)
		}
		folder := path.Join(Dir, e.Name())
		due := !d.isMoving(folder) && (name.now || full || now.Sub(d.seen[e.Name()]) >= d.After)
		if !due {
			d.emptied = false
			continue
		}
		if !synced {
			// A kill may have left one that is not moved for good.
			err, synced = errors.Join(d.syncDir(Dir), d.syncDir(".")), true
		}
		if err == nil {
			err = d.removeTree(folder, e.IsDir())
		}
		if err != nil {
			d.emptied = false
			d.Logger.Error("files of a deleted topic can't be removed; it is tried again", "topic", name.topic, "folder", folder, "err", err)
			continue
		}
		delete(d.seen, e.Name())
		d.Logger.Info("files of a deleted topic removed", "topic", name.topic, "folder", folder)
	}
}

// Keeps reports whether the files of a topic that is deleted now are to be kept. To
// find out what room there is may take long: it is asked before anybody is kept out.
func (d *Topics) Keeps() bool { return d.After > 0 && !d.Full() }

// Take takes a topic's folder out of the sight of this store and the next,
// and reports whether it did. If it did and returns an error, a power cut may
// bring the folder back. It returns where the files are, nowhere if they are
// removed already. If now is set they are not kept: see Keeps.
//
// The folder is renamed, so that a crash leaves it whole or gone. That takes
// room for a name, and a folder that is no mount point; else the topic is
// marked in its journal, which takes no room, and removed where it is.
func (d *Topics) Take(dir string, id journal.ID, now bool) (kept Kept, gone bool, err error) {
	kept = Kept{topic: layout.TopicOf(dir), at: d.Now(), now: now, id: id}
	err = d.moveTo(dir, &kept)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist): // somebody has removed it
		err = errors.Join(d.syncDir(Dir), d.syncDir(path.Dir(dir)))
		if err == nil {
			d.move(kept.path(), true)
		}
		return kept, true, err
	case files.NoRoom(err), errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.EBUSY):
		if err := Mark(d.FS, dir); err != nil {
			return kept, false, err
		}
		topic := kept.topic
		kept.topic = ""
		d.Files.Evict(0) // open files would keep the room
		if err := d.Finish(dir); err != nil {
			d.Logger.Error("topic is deleted, but its files can't be removed; it is tried again at the next start", "topic", topic, "err", err)
		}
		return kept, true, nil
	}
	return kept, false, err
}

// moveTo renames the topic's folder.
func (d *Topics) moveTo(dir string, kept *Kept) error {
	switch err := d.FS.Mkdir(Dir, 0o700); {
	case err == nil:
		// Else a crash could lose what is to be kept.
		if err := d.syncDir("."); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	for {
		d.move(kept.path(), false)
		err := d.FS.Rename(dir, kept.path())
		if err != nil {
			d.move(kept.path(), true)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// It was deleted before and put back; and the clock has gone back, or what
		// was to be removed was not.
		if kept.now {
			if err := d.removeTree(kept.path(), true); err != nil {
				return err
			}
		}
		kept.at = kept.at.Add(time.Millisecond)
	}
}

// syncDir makes the names in a folder durable. It takes a descriptor.
func (d *Topics) syncDir(name string) error {
	sync := func() error { return d.FS.SyncDir(name) }
	if name == "." || name == layout.New || layout.IsNew(name) {
		sync = func() error { return d.Syncs.SyncRoot(name) }
	}
	err := sync()
	if files.NoDescriptor(err) && d.Files.Evict(0) > 0 {
		err = sync()
	}
	return err
}

// Mark marks a topic as deleted where it is, durably. A folder without a
// journal can't be marked: a crash during its removal leaves a part of it.
func Mark(fsys vfs.FS, dir string) error {
	f, err := fsys.OpenFile(layout.JournalFile(dir), vfs.ReadWrite, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{journal.DeletedMark}, journal.MarkAt)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		// The topic stays.
		_, back := f.WriteAt([]byte{journal.WholeMark}, journal.MarkAt)
		return errors.Join(err, back, f.Sync(), f.Close())
	}
	return f.Close()
}

// Finish removes what is left of a topic that is marked as deleted, the
// mark last.
func (d *Topics) Finish(dir string) error {
	entries, err := d.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == layout.Journal {
			continue
		}
		if err := d.removeTree(path.Join(dir, e.Name()), e.IsDir()); err != nil {
			return err
		}
	}
	if err := d.syncDir(dir); err != nil {
		return err
	}
	if err := d.FS.Remove(layout.JournalFile(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A mount point stays, empty.
	if err := d.FS.Remove(dir); err != nil && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return d.syncDir(path.Dir(dir))
}

// FinishLeft removes what a deletion that could not be finished has left under
// the name, and reports whether there was something. A folder whose removals
// may not be durable is never used again: they would come back in it.
func (d *Topics) FinishLeft(dir string) (bool, error) {
	b, err := journal.Read(d.FS, dir)
	if err != nil || !journal.IsDeleted(b) {
		return false, nil
	}
	return true, d.Finish(dir)
}

// removeTree removes a file, or a folder and all in it. What is not there is no
// error.
func (d *Topics) removeTree(name string, isFolder bool) error {
	if isFolder {
		entries, err := d.FS.ReadDir(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if err := d.removeTree(path.Join(name, e.Name()), e.IsDir()); err != nil {
				return err
			}
		}
	}
	if err := d.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
