package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// A topic that is replicated is made before it is known that it will be: another one
// may still have its name. Until that is decided its folder is in .new, and nobody finds it by
// its name. When it gets the name its folder is moved, under whoever reads and writes
// the log: their descriptors stay, and names of files are made of the folder's each time
// they are used, while files.Folder keeps it where it is.

// ErrNamed is a log that has its name already.
var ErrNamed = errors.New("storage: the topic has its name")

// ByID returns the open log that has the id, with its name or without, or nil.
func (s *Store) ByID(id [16]byte) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ids[id]
}

// CreateAs makes a topic that does not have its name yet, and returns its log, which
// begins at base. It is as old as millis says. Store.Log does not find it before
// TakeName, and another topic may have the name. If there is an open log with the id, named
// or not, that is returned.
//
// The topic is durable when a SyncTogether with its log has returned nil. The errors
// to test for are ErrTopicName and ErrReadOnly.
func (s *Store) CreateAs(name string, id [16]byte, base, millis int64) (*Log, error) {
	dir := layout.NewFolder(name, id)
	if !batch.ValidTopic(name) {
		return nil, fmt.Errorf("%w: %q", ErrTopicName, name)
	}
	s.creating.Lock()
	defer s.creating.Unlock()
	if l := s.ByID(id); l != nil {
		return l, nil
	}
	l, err := s.createNew(dir, id, base, millis)
	if files.NoDescriptor(err) {
		s.interval.makeRoom()
		l, err = s.createNew(dir, id, base, millis)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.keep(l)
	return l, nil
}

// createNew makes the folder and the first partition of a topic that does not have its
// name, or opens what is there. Caller holds creating.
func (s *Store) createNew(dir string, id journal.ID, base, millis int64) (*Log, error) {
	wrap := func(file string, err error) error {
		return commitlog.ReadOnly(&Error{Op: "create", Topic: layout.TopicOf(dir), File: file, Offset: base, Err: err})
	}
	if err := s.makeNew(path.Dir(dir)); err != nil {
		return nil, wrap(path.Dir(dir), err)
	}
	rootSeen := s.syncs.RootFailures()
	err := s.fs.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		l, oerr := s.openFolder(dir)
		switch {
		case l != nil:
			l.NameMade(0) // since when its name is there is not known
			return l, nil
		case oerr != nil:
			return nil, commitlog.ReadOnly(oerr)
		}
		err = s.fs.Mkdir(dir, 0o700) // it was half made, or deleted
	}
	if err != nil {
		return nil, wrap(dir, err)
	}
	l, file, err := commitlog.Create(&s.shared, dir, id, base, millis, rootSeen)
	if err != nil {
		s.files.Evict(0) // what is open of it is nobody's
		if uerr := unmakeNew(s.fs, dir); uerr != nil {
			s.log.Warn("what is left of a topic that could not be made is not removed; the next start does it", "folder", dir, "err", uerr)
		}
		return nil, wrap(file, err)
	}
	return l, nil
}

// makeNew makes the folder that those of topics without names are in, durably: New, or one
// in it.
func (s *Store) makeNew(dir string) error {
	if dir != layout.New {
		if err := s.makeNew(layout.New); err != nil {
			return err
		}
	}
	err := s.fs.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil // it was synced then, or by the start
	}
	if err == nil {
		if err = s.syncs.SyncRoot(path.Dir(dir)); err != nil {
			// Or the next try would find it, and take it for durable.
			return errors.Join(err, s.fs.Remove(dir))
		}
	}
	return err
}

// unmakeNew removes the folder of a topic without its name that is half made: see
// diagnose.HalfMade. It removes no bytes of batches.
func unmakeNew(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if _, ok := layout.Base(e.Name()); ok {
			if st, err := e.Info(); err != nil || st.Size() > 0 {
				return &fs.PathError{Op: "remove", Path: name, Err: errors.Join(fs.ErrExist, err)}
			}
		}
		if err := fsys.Remove(name); err != nil {
			return err
		}
	}
	if err := fsys.Remove(dir); err != nil {
		return err
	}
	commitlog.LeaveNew(fsys, dir)
	return nil
}

// openNew opens the topics that do not have their names yet.
func (s *Store) openNew(ctx context.Context) error {
	dir, err := s.listNew(layout.New)
	for _, d := range dir {
		folder := path.Join(layout.New, d.Name())
		if !d.IsDir() || !layout.IsNewID(d.Name()) {
			err = errors.Join(err, s.openNewIn(ctx, folder, d))
			continue
		}
		in, lerr := s.listNew(folder)
		err = errors.Join(err, lerr)
		for _, d := range in {
			err = errors.Join(err, s.openNewIn(ctx, path.Join(folder, d.Name()), d))
		}
		s.fs.Remove(folder) // if nothing is in it
	}
	return err
}

// listNew lists the folder New, or one in it.
func (s *Store) listNew(name string) ([]fs.DirEntry, error) {
	dir, err := s.fs.ReadDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = s.fs.SyncDir(name) // see openLogs
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", name, err)
	}
	return dir, nil
}

// openNewIn opens what is in the folder New, or in one in it.
func (s *Store) openNewIn(ctx context.Context, folder string, d fs.DirEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id, ok := layout.NewID(folder)
	if !ok || !d.IsDir() {
		s.log.Warn("what is in the folder of new topics is no topic; left alone", "folder", folder)
		return nil
	}
	if l := s.ByID(id); l != nil {
		s.log.Warn("a topic that has its name stands among new topics, too; left alone", "topic", l.Name(), "folder", folder)
		return nil
	}
	l, err := s.openFolder(folder)
	if err != nil {
		s.log.Error("new topic can't be opened", "folder", folder, "err", err)
	}
	if l != nil {
		s.mu.Lock()
		s.keep(l)
		s.mu.Unlock()
	}
	return nil
}

// TakeName gives a log its name: Store.Log finds it from then on. When it returns nil
// the log is durable as it is, under its name. Who reads and writes the log is not
// disturbed. The error is fs.ErrExist if another topic has the name. A log that has its
// name keeps it.
func (s *Store) TakeName(l *Log) error {
	s.creating.Lock()
	defer s.creating.Unlock()
	return l.TakeName(func() error { return s.freeName(l.Name()) }, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.new, l)
		s.logs[l.Name()] = l
	})
}

// freeName returns nil if no topic has the name, and nothing else is there. Caller
// holds creating.
func (s *Store) freeName(name string) error {
	taken := &fs.PathError{Op: "name", Path: name, Err: fs.ErrExist}
	switch other, err := s.known(name); {
	case errors.Is(err, ErrClosed):
		return err
	case other != nil || err != nil:
		return taken
	}
	if _, err := s.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if left, err := s.deleted.FinishLeft(name); left || err != nil {
		return err
	}
	if found, err := diagnose.ContentsOf(s.fs, name); err != nil || found != diagnose.HalfMade {
		return errors.Join(taken, err)
	}
	return unmake(s.fs, name)
}

// DropNew takes a log away that does not have its name: its files are removed if it has
// no batch, and otherwise become those of a deleted topic. When it returns nil no
// crash brings it back. The error is ErrNamed if it has its name.
func (s *Store) DropNew(l *Log) error {
	s.creating.Lock()
	defer s.creating.Unlock()
	if l.Named() {
		return ErrNamed
	}
	kept, err := l.Delete(context.Background(), l.Next() == l.Begin())
	if err != nil {
		return err
	}
	s.log.Info("new topic dropped", "topic", l.Name(), "id", layout.HexID(l.ID()), "kept", kept.String())
	s.deleted.Discard(kept)
	return nil
}
