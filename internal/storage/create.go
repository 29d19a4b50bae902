package storage

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// unmake removes what a creation has left that came to nothing, the partition
// first: without one the rest is no topic. It removes no file with bytes of
// batches in it, and no folder with anything else.
func unmake(fsys vfs.FS, topic string) error {
	first := layout.Partition(topic, 0)
	if st, err := fsys.Stat(first); err == nil && st.Size() > 0 {
		return &fs.PathError{Op: "remove", Path: first, Err: fs.ErrExist}
	}
	var short error
	for _, name := range []string{first, layout.JournalFile(topic) + ".new", layout.JournalFile(topic)} {
		err := fsys.Remove(name)
		if files.NoDescriptor(err) {
			short = err // it takes one to remove a file, and none for an empty folder
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := fsys.Remove(topic); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, short)
	}
	return nil
}

// unmake removes what a creation has left that came to nothing, now or as soon
// as it can be. Caller holds creating.
func (s *Store) unmake(topic string) {
	s.files.Evict(0) // what is open of it is nobody's
	err := unmake(s.fs, topic)
	switch {
	case err == nil, errors.Is(err, syscall.ENOTEMPTY) && !files.NoDescriptor(err), errors.Is(err, syscall.EBUSY):
		delete(s.halfMade, topic) // what stays is not ours, or a mount point
	default:
		if !s.halfMade[topic] {
			s.log.Warn("what is left of a topic that could not be made is not removed yet; it is tried again, and is no topic", "topic", topic, "err", err)
		}
		s.halfMade[topic] = true
		s.reopening.arm()
	}
}

// unmakeAll is unmake for all of which something is left, and reports whether
// nothing is.
func (s *Store) unmakeAll() bool {
	s.creating.Lock()
	defer s.creating.Unlock()
	for topic := range s.halfMade {
		if l, _ := s.known(topic); l != nil {
			delete(s.halfMade, topic) // made since
			continue
		}
		s.unmake(topic)
	}
	return len(s.halfMade) == 0
}

// openFolder opens the topic that a folder in the work directory is, and returns
// nil if it is none.
func (s *Store) openFolder(name string) (*Log, error) {
	switch found, err := diagnose.ContentsOf(s.fs, name); {
	case err != nil:
		return nil, &Error{Op: "open", Topic: layout.TopicOf(name), File: name, Offset: -1, Err: err}
	case found == diagnose.Foreign:
		s.log.Warn("folder in the work directory is no topic: it has neither partitions nor a journal; left alone", "folder", name)
		return nil, nil
	case found == diagnose.HalfMade:
		undo := unmake
		if layout.IsNew(name) {
			undo = unmakeNew
		}
		if err := undo(s.fs, name); err != nil {
			s.log.Warn("what the creation of a topic has left that was interrupted is not removed; it is no topic", "folder", name, "err", err)
		}
		return nil, nil
	}
	l, err := commitlog.Open(&s.shared, name)
	if errors.Is(err, ErrDeleted) {
		return nil, nil
	}
	return l, err
}

// noteBroken notes why a topic can't be opened.
func (s *Store) noteBroken(topic string, err error) {
	s.mu.Lock()
	s.broken[topic] = err
	s.mu.Unlock()
	if files.Shortage(err) {
		s.log.Error("topic can't be opened yet; it is tried again, and the others are served", "topic", topic, "err", err)
		return
	}
	s.log.Error("topic can't be opened; the others are served", "topic", topic, "err", err)
}

// createLog makes the folder and first partition of a new topic. If that fails
// it takes them away again. Caller holds creating.
func (s *Store) createLog(name string) (*Log, error) {
	wrap := func(file string, err error) error {
		return commitlog.ReadOnly(&Error{Op: "create", Topic: name, File: file, Offset: 0, Err: err})
	}
	rootSeen := s.syncs.RootFailures()
	switch err := s.fs.Mkdir(name, 0o700); {
	case errors.Is(err, fs.ErrExist):
		if left, err := s.deleted.FinishLeft(name); err != nil {
			return nil, wrap(name, err)
		} else if left {
			return s.createLog(name)
		}
		rootSeen = 0 // since when its name is there is not known
		// What somebody has put there since the start is not overwritten. What a
		// creation has left is used again.
		switch found, err := diagnose.ContentsOf(s.fs, name); {
		case errors.Is(err, layout.ErrLinked):
			return nil, &Error{Op: "create", Topic: name, File: name, Offset: -1, Err: err}
		case err != nil:
			return nil, wrap("", err)
		case found == diagnose.Topic:
			l, err := commitlog.Open(&s.shared, name)
			switch {
			case err == nil:
				l.NameMade(rootSeen)
			case errors.Is(err, ErrDeleted):
				return s.createLog(name) // it is gone now
			case files.Shortage(err):
				err = commitlog.ReadOnly(err)
			}
			return l, err
		}
		if err := s.fs.Remove(layout.JournalFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, wrap(layout.JournalFile(name), err)
		}
	case err != nil:
		return nil, wrap("", err)
	}
	l, file, err := commitlog.Create(&s.shared, name, journal.NewID(), 0, s.o.Clock.Now().UnixMilli(), rootSeen)
	if err != nil {
		s.unmake(name)
		return nil, wrap(file, err)
	}
	delete(s.halfMade, name)
	return l, nil
}
