package storage

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/files"
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

// abandon takes a topic away of which nothing was ever stored, when its first
// append was refused. Whoever has the log gets ErrDeleted from it. The caller
// leads the commit queue.
func (l *Log) abandon() {
	s := l.store
	s.creating.Lock()
	defer s.creating.Unlock()
	l.trimming.Lock()
	defer l.trimming.Unlock()
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.next.Load() > 0 || l.failed.Load() != nil {
		return
	}
	gone := &Error{Op: "use", Topic: l.name, Offset: -1, Err: ErrDeleted}
	l.folder.Take(func() bool { return true })
	l.syncFailed.Store(gone)
	l.failed.Store(gone)
	s.forget(l)
	l.letGo()
	s.unmake(l.name)
	l.watchers.wake()
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
	l, err := openLog(s, name)
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
