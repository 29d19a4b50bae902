package commitlog

import (
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// Holder is asked before partitions are removed: it holds them until
// [Log.Released].
type Holder interface {
	// Hold is told of each partition that is to be removed, again and again
	// until it is released or gone: what it was told before a restart it is
	// told again after it. It must not block.
	Hold(h Held)
	// Gone is told of each partition that was removed without being released,
	// because there was no room or its topic was deleted. It must not block.
	Gone(h Held)
}

// Held is a partition that is to be removed.
type Held struct {
	Topic     string
	File      string // name within the work directory
	Base, End int64  // its first offset, and the offset after its last
}

// Released is Release for who removes partitions by AdvanceOldest: it returns the
// offset up to which they may go.
func (l *Log) Released(base int64) (oldest int64, err error) {
	if err := l.markHooked(base); err != nil {
		return 0, err
	}
	oldest, _ = l.released()
	return oldest, nil
}

// Hold has the Holder told of the partitions before offset, and of those that were due
// before. It returns the offset up to which they may go already, and those that wait.
func (l *Log) Hold(offset int64) (oldest int64, held []Held, err error) {
	if err := l.setDue(offset); err != nil {
		return 0, nil, err
	}
	// None is released meanwhile: what the holder is told of is there.
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return 0, nil, topic.ErrDeleted
	}
	oldest, held = l.released()
	for _, h := range held {
		l.store.Holder.Hold(h)
	}
	return oldest, held, nil
}

// markHooked notes that a partition that is held need not be any more.
func (l *Log) markHooked(base int64) error {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return topic.ErrNotFound
	}
	known := l.journal.Held()
	due, hooked := known.Due, known.Hooked[base]
	held := slices.ContainsFunc(l.parts.All(), func(p *partition.Partition) bool { return p.Base == base && base < due })
	switch {
	case !held:
		return topic.ErrNotFound
	case hooked:
		return nil
	}
	// The oldest goes at once. On a full disk that can't be written down first: a
	// crash in between runs its hook again.
	if err := l.record(journal.Hooked, base); err != nil && !(files.NoRoom(err) && base == l.parts.Begin()) {
		return err
	} else if err != nil {
		l.journal.Remember(journal.Hooked, base)
	}
	return nil
}

// removeHeld has the partitions before offset held, and those that were due
// before, and removes the oldest ones that were released.
func (l *Log) removeHeld(offset int64) error {
	oldest, held, err := l.Hold(offset)
	if err != nil {
		return err
	}
	if err := l.AdvanceOldest(oldest); err != nil || len(held) == 0 || l.store.KeepFree.Load() == 0 {
		return err
	}
	return l.removeByForce(held)
}

// setDue notes durably that the partitions before offset are to be removed.
// Settings that change later do not take that back: a hook may have been run
// on the strength of it.
func (l *Log) setDue(offset int64) error {
	if l.journal.Held().Due >= offset || offset == l.parts.Begin() {
		return nil
	}
	// On a full disk it is noted until the next start, at which retention notes
	// it again: else no hook would run, and nothing make room.
	if err := l.record(journal.Due, offset); err != nil && !files.NoRoom(err) {
		return err
	} else if err != nil {
		l.journal.Remember(journal.Due, offset)
	}
	return nil
}

// released returns up to where the oldest partitions are released, and the due
// partitions that are not.
func (l *Log) released() (oldest int64, held []Held) {
	h := l.journal.Held()
	parts := l.parts.All()
	oldest = parts[0].Base
	for i, p := range parts[:len(parts)-1] {
		next := parts[i+1].Base // behind the end, if bytes are missing there
		switch {
		case next > h.Due:
			return oldest, held
		case !h.Hooked[p.Base]:
			held = append(held, Held{Topic: l.name, File: p.File.Name(), Base: p.Base, End: p.End.Load()})
		case len(held) == 0:
			oldest = next
		}
	}
	return oldest, held
}

// removeByForce removes partitions that are held, the oldest first, while the
// disk has less room than is to be kept.
func (l *Log) removeByForce(held []Held) error {
	s, keep := l.store, l.store.KeepFree.Load()
	// A file that somebody still reads, its hook for one, gives its room back
	// later: it counts from its removal on.
	var before, removed int64
	for i, h := range held {
		free, err := s.FS.Free()
		if err != nil {
			return fmt.Errorf("free space of the work directory: %w", err)
		}
		if i == 0 {
			before = free
		}
		if max(free, before+removed) >= keep {
			return nil
		}
		parts := l.parts.All()
		at := partition.Find(parts, h.Base)
		if at < 0 || at+1 == len(parts) || parts[at].Base != h.Base {
			continue // gone meanwhile
		}
		next := parts[at+1].Base
		if err := l.AdvanceOldest(next); err != nil {
			return err
		}
		if l.parts.Begin() < next {
			return nil // it may not go yet
		}
		removed += h.End - h.Base
		s.Logger.Error("partition was removed although its delete hook has not succeeded: the disk is short of space",
			"topic", l.name, "file", h.File, "free", free, "keep-free", keep)
		s.Forced.Add(1)
		s.Holder.Gone(h)
	}
	return nil
}
