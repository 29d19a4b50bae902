package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
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
	now = now || !s.deleted.Keeps()
	l, err := s.Log([]byte(topic))
	if err != nil {
		return s.deleteBroken(topic, id, now)
	}
	if !strings.EqualFold(id, hexID(l.id)) {
		return ErrNotFound
	}
	kept, err := l.delete(ctx, now)
	if err != nil {
		return err
	}
	s.log.Info("topic deleted", "topic", topic, "id", hexID(l.id), "kept", kept.String())
	s.deleted.Discard(kept)
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
	kept, gone, err := s.deleted.Take(topic, has, now)
	if gone {
		s.mu.Lock()
		delete(s.broken, topic)
		s.mu.Unlock()
	}
	if err != nil {
		return &Error{Op: "delete", Topic: topic, File: topic, Offset: -1, Err: err}
	}
	s.log.Info("topic deleted", "topic", topic, "id", hexID(has), "kept", kept.String())
	s.deleted.Discard(kept)
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
func (l *Log) delete(ctx context.Context, now bool) (kept deleted.Kept, err error) {
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
		kept, gone, err = l.store.deleted.Take(l.dir(), l.id, now)
		return gone
	})
	if err != nil {
		err = &Error{Op: "delete", Topic: l.name, File: l.dir(), Offset: -1, Err: err}
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
	why := &Error{Op: "use", Topic: l.name, Offset: -1, Err: ErrDeleted}
	told = readOnly(why)
	if err != nil {
		told = inDoubt(err)
		l.syncFailed.Store(&Error{Op: "delete", Topic: l.name, Offset: -1, Err: err})
	} else {
		l.syncFailed.Store(why)
	}
	l.failed.Store(why)
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
	delete(s.new, l)
	if s.ids[l.id] == l {
		delete(s.ids, l.id)
	}
}

// letGo closes the files of a log that was deleted, but for those that somebody
// reads. Caller holds writer and leads the sync group.
func (l *Log) letGo() {
	l.unpinIf(func(*partition) bool { return true })
	for _, p := range append(l.partitions(), l.condemned...) {
		p.file.Drop()
		p.index().File.Drop()
	}
	l.journal.File.Drop()
}

// leastFree is the room below which a disk counts as full: nobody waits for a
// deleted topic's time then.
const leastFree = 1 << 20

// isFull reports whether the disk is short of room: appends are refused for
// want of it, or there is less than is to be kept free.
func (s *Store) isFull() bool {
	for _, l := range s.All() {
		if e := l.lastRefusal.Load(); e != nil && files.NoRoom(e) {
			return true
		}
	}
	free, err := s.fs.Free()
	return err == nil && free < max(leastFree, s.o.KeepFree)
}
