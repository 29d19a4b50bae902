package storage

import (
	"context"
	"crypto/sha256"
	"strings"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
)

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
	if !strings.EqualFold(id, layout.HexID(l.ID())) {
		return ErrNotFound
	}
	kept, err := l.Delete(ctx, now)
	if err != nil {
		return err
	}
	s.log.Info("topic deleted", "topic", topic, "id", layout.HexID(l.ID()), "kept", kept.String())
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
	if !strings.EqualFold(id, layout.HexID(has)) {
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
	s.log.Info("topic deleted", "topic", topic, "id", layout.HexID(has), "kept", kept.String())
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
	in := Info{ID: layout.HexID(s.brokenID(topic)), ReadOnly: why}
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

// forget takes a log from the store.
func (s *Store) forget(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[l.Name()] == l {
		delete(s.logs, l.Name())
	}
	delete(s.new, l)
	if s.ids[l.ID()] == l {
		delete(s.ids, l.ID())
	}
}

// leastFree is the room below which a disk counts as full: nobody waits for a
// deleted topic's time then.
const leastFree = 1 << 20

// isFull reports whether the disk is short of room: appends are refused for
// want of it, or there is less than is to be kept free.
func (s *Store) isFull() bool {
	for _, l := range s.All() {
		if l.LacksRoom() {
			return true
		}
	}
	free, err := s.fs.Free()
	return err == nil && free < max(leastFree, s.shared.KeepFree.Load())
}
