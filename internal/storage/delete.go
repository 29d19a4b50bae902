package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Deleted reports whether the topic was deleted.
func (l *Log) Deleted() bool { return l.folder.IsGone() }

// hexID returns an id as INFO and Delete have it.
func hexID(id journal.ID) string { return hex.EncodeToString(id[:]) }

// Delete deletes the topic if it has the id, in hexadecimal, and otherwise
// returns ErrNotFound. When it returns nil the topic is gone for good: no crash
// brings it back. After an error that says so it is gone as well, but a power
// cut may bring it back. No hooks are run, and what was held is Gone.
//
// The topic's files are kept for DeleteAfter, unless now is set or the disk is
// full. Appends to the topic that are under way are stored before it is deleted
// or get ErrDeleted. A View stays readable.
//
// Delete waits for writes and syncs of the topic that are under way. ctx bounds
// only that.
func (s *Store) Delete(ctx context.Context, topic, id string, now bool) error {
	l, err := s.Log([]byte(topic))
	if err != nil {
		return s.deleteBroken(topic, id, now)
	}
	if !strings.EqualFold(id, hexID(l.id)) {
		return ErrNotFound
	}
	kept, err := l.delete(ctx, now || s.discards())
	if err != nil {
		return err
	}
	s.log.Info("topic deleted", "topic", topic, "id", hexID(l.id), "kept", kept.String())
	s.discard(kept)
	return nil
}

// deleteBroken is Delete for a topic that could not be opened.
func (s *Store) deleteBroken(topic, id string, now bool) error {
	s.creating.Lock()
	defer s.creating.Unlock()
	s.mu.RLock()
	broken, closed := s.broken[topic] != nil, s.closed
	s.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	if !broken {
		return ErrNotFound
	}
	has := s.brokenID(topic)
	if !strings.EqualFold(id, hexID(has)) {
		return ErrNotFound
	}
	kept, gone, err := s.moveAway(topic, has, now || s.discards())
	if gone {
		s.mu.Lock()
		delete(s.broken, topic)
		s.mu.Unlock()
	}
	if err != nil {
		return &Error{Op: "delete", Topic: topic, File: topic, Offset: -1, Err: err}
	}
	s.log.Info("topic deleted", "topic", topic, "id", hexID(has), "kept", kept.String())
	s.discard(kept)
	return nil
}

// brokenID returns the id of a topic that could not be opened: the journal's,
// and where that can't be read one made of the name. It guards against deleting
// a topic that took the place of the broken one: that has an id of its own.
func (s *Store) brokenID(topic string) journal.ID {
	b, err := journal.Read(s.fs, topic)
	if err == nil {
		if state, _, _ := journal.Decode(b); state.ID != (journal.ID{}) {
			return state.ID
		}
	}
	sum := sha256.Sum256([]byte("can't be opened: " + topic))
	return journal.ID(sum[:16])
}

// BrokenInfo describes a topic that could not be opened as its files look, and
// reports whether there is such a topic.
func (s *Store) BrokenInfo(topic string) (Info, bool) {
	s.mu.RLock()
	why := s.broken[topic]
	s.mu.RUnlock()
	if why == nil {
		return Info{}, false
	}
	in := Info{ID: hexID(s.brokenID(topic)), ReadOnly: why}
	entries, _ := s.fs.ReadDir(topic)
	for _, e := range entries {
		base, ok := layout.Base(e.Name())
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() {
			continue
		}
		if in.Partitions == 0 || base < in.Oldest {
			in.Oldest = base
		}
		in.Next = max(in.Next, base+info.Size())
		in.Bytes += info.Size()
		in.Partitions++
	}
	return in, true
}

// delete takes the log from the store and its folder away. It returns where the
// files are.
func (l *Log) delete(ctx context.Context, now bool) (kept deletedName, err error) {
	// All who change the log or use names in its folder are kept out: retention,
	// syncs, writers, and readers that open files.
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return kept, ErrNotFound
	}
	if err := l.syncing.Claim(ctx); err != nil {
		return kept, err
	}
	var told error // what those who wait for a sync are told
	defer func() { l.syncing.Done(told) }()
	l.writer.Lock()
	defer l.writer.Unlock()
	if e := l.failed.Load(); e != nil && errors.Is(e, ErrClosed) {
		return kept, ErrClosed
	}
	_, held := l.released()

	gone := false
	l.folder.Take(func() bool {
		kept, gone, err = l.store.moveAway(l.name, l.id, now)
		return gone
	})
	if err != nil {
		err = &Error{Op: "delete", Topic: l.name, File: l.name, Offset: -1, Err: err}
		if files.Transient(err) {
			err = readOnly(err)
		}
	}
	if !gone {
		// The sync that waiters want is still to be done, by one of them.
		return kept, err
	}
	// Who waits for a sync is told that the batches are not stored, but not while
	// a power cut may bring them back.
	deleted := &Error{Op: "use", Topic: l.name, Offset: -1, Err: ErrDeleted}
	told = readOnly(deleted)
	if err != nil {
		told = inDoubt(err)
		l.syncFailed.Store(&Error{Op: "delete", Topic: l.name, Offset: -1, Err: err})
	} else {
		l.syncFailed.Store(deleted)
	}
	l.failed.Store(deleted)
	l.store.forget(l)
	l.letGo()
	if h := l.store.o.Holder; h != nil {
		for _, p := range held {
			h.Gone(p)
		}
	}
	l.watchers.wake()
	return kept, err
}

// forget takes a log from the store.
func (s *Store) forget(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[l.name] == l {
		delete(s.logs, l.name)
	}
}

// letGo closes the files of a log that was deleted, but for those that somebody
// reads. Caller holds writer and leads the sync group.
func (l *Log) letGo() {
	l.pinnedMu.Lock()
	for _, p := range l.pinned {
		p.pinned = false
		p.file.Release()
	}
	l.pinned = nil
	l.pinnedMu.Unlock()
	for _, p := range append(l.partitions(), l.condemned...) {
		p.file.Drop()
		p.index().File.Drop()
	}
	l.journal.File.Drop()
}

// deletedFolder holds the folders of deleted topics for a while. No topic can
// have its name.
const deletedFolder = ".deleted"

// moveAway takes a topic's folder out of the sight of this store and the next,
// and reports whether it did. With an error all the same a power cut may bring
// it back. It returns where the files are, nowhere if they are removed already.
//
// The folder is renamed, so that a crash leaves it whole or gone. That takes
// room for a name, and a folder that is no mount point; else the topic is
// marked in its journal, which takes no room, and removed where it is.
func (s *Store) moveAway(topic string, id journal.ID, now bool) (kept deletedName, gone bool, err error) {
	kept = deletedName{topic: topic, at: s.o.Clock.Now(), now: now, id: id}
	err = s.moveTo(&kept)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist): // somebody has removed it
		err = errors.Join(s.syncDir(deletedFolder), s.syncDir("."))
		if err == nil {
			s.deletions.move(kept.path(), true)
		}
		return kept, true, err
	case files.NoRoom(err), errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.EBUSY):
		if err := s.markDeleted(topic); err != nil {
			return kept, false, err
		}
		kept.topic = ""
		s.files.Evict(0) // open files would keep the room
		if err := s.finishDelete(topic); err != nil {
			s.log.Error("topic is deleted, but its files can't be removed; it is tried again at the next start", "topic", topic, "err", err)
		}
		return kept, true, nil
	}
	return kept, false, err
}

// moveTo renames the topic's folder.
func (s *Store) moveTo(kept *deletedName) error {
	switch err := s.fs.Mkdir(deletedFolder, 0o700); {
	case err == nil:
		// Else a crash could lose what is to be kept.
		if err := s.syncDir("."); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	for {
		s.deletions.move(kept.path(), false)
		err := s.fs.Rename(kept.topic, kept.path())
		if err != nil {
			s.deletions.move(kept.path(), true)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// It was deleted before and put back; and the clock has gone back, or what
		// was to be removed was not.
		if kept.now {
			if err := s.removeTree(kept.path(), true); err != nil {
				return err
			}
		}
		kept.at = kept.at.Add(time.Millisecond)
	}
}

// syncDir makes the names in a folder durable. It takes a descriptor.
func (s *Store) syncDir(name string) error {
	sync := func() error { return s.fs.SyncDir(name) }
	if name == "." {
		sync = s.syncs.SyncRoot
	}
	err := sync()
	if files.NoDescriptor(err) && s.files.Evict(0) > 0 {
		err = sync()
	}
	return err
}

// markDeleted marks a topic as deleted where it is, durably. A folder without a
// journal can't be marked: a crash during its removal leaves a part of it.
func (s *Store) markDeleted(topic string) error {
	f, err := s.fs.OpenFile(layout.JournalFile(topic), vfs.ReadWrite, 0)
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

// finishDelete removes what is left of a topic that is marked as deleted, the
// mark last.
func (s *Store) finishDelete(topic string) error {
	entries, err := s.fs.ReadDir(topic)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == layout.Journal {
			continue
		}
		if err := s.removeTree(path.Join(topic, e.Name()), e.IsDir()); err != nil {
			return err
		}
	}
	if err := s.syncDir(topic); err != nil {
		return err
	}
	if err := s.fs.Remove(layout.JournalFile(topic)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A mount point stays, empty.
	if err := s.fs.Remove(topic); err != nil && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return s.syncDir(".")
}

// finishLeft removes what a deletion that could not be finished has left under
// the name, and reports whether there was something. A folder whose removals
// may not be durable is never used again: they would come back in it.
func (s *Store) finishLeft(topic string) (bool, error) {
	b, err := journal.Read(s.fs, topic)
	if err != nil || !journal.IsDeleted(b) {
		return false, nil
	}
	return true, s.finishDelete(topic)
}

// removeTree removes a file, or a folder and all in it. What is not there is no
// error.
func (s *Store) removeTree(name string, isFolder bool) error {
	if isFolder {
		entries, err := s.fs.ReadDir(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if err := s.removeTree(path.Join(name, e.Name()), e.IsDir()); err != nil {
				return err
			}
		}
	}
	if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
