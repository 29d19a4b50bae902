// Package copies is the topics of a member as it has them: its copies of their logs.
// They are found by group and number, made to fit what the log of their group says, and
// given to the other members.
//
// INVARIANT: what is given to another member is below the readable end, and so committed,
// and that something was trimmed is said only where the group's log says it ([Set.Trimmed]):
// what is missing here, or was never here, is not given, and not said to be gone.
//
// There is no goroutine. The methods of [Set] may be called concurrently: one lock guards
// what it knows, and is not held while files are worked on. The files of a topic are changed
// by one at a time, which is for the caller to see to: in a member that is its disk, and in
// a group that takes over a table whoever catches up.
package copies

import (
	"bytes"
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"syscall"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/storage"
)

// Set is the copies of a member. New makes it.
type Set struct {
	store  *storage.Store
	logger *slog.Logger

	mu   sync.RWMutex
	of   map[Key]*storage.Log
	gen  uint64             // another one when of has changed
	from map[entry.ID]int64 // the oldest offset, as the log of the group says it
}

// Key is by what a topic is called in the log of its group.
type Key struct {
	Group  int
	Number uint32
}

// Copy is a topic and its files.
type Copy struct {
	Key
	Log *storage.Log
}

// New returns a set of copies in a store. It has none.
func New(store *storage.Store, logger *slog.Logger) *Set {
	return &Set{store: store, logger: logger, of: make(map[Key]*storage.Log), from: make(map[entry.ID]int64)}
}

// Get returns the files of a topic, or nil.
func (s *Set) Get(group int, number uint32) *storage.Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.of[Key{group, number}]
}

// Put has files be found as those of a topic; nil for none.
func (s *Set) Put(group int, number uint32, l *storage.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := Key{group, number}
	old := s.of[k]
	if old == l {
		return
	}
	s.gen++
	if old != nil {
		delete(s.from, old.ID())
		delete(s.of, k)
	}
	if l != nil {
		s.of[k] = l
	}
}

// Trimmed notes from where on a topic is stored, as its group's log says it.
func (s *Set) Trimmed(id entry.ID, oldest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from[id] = oldest
}

// Oldest returns what Trimmed was told last.
func (s *Set) Oldest(id entry.ID) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.from[id]
}

// Generation returns another number whenever copies have come or gone.
func (s *Set) Generation() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.gen
}

// All returns all copies, by group and number: what follows from the order in which
// they are looked at is the same in two runs.
func (s *Set) All() []Copy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Copy, 0, len(s.of))
	for k, l := range s.of {
		all = append(all, Copy{k, l})
	}
	slices.SortFunc(all, func(a, b Copy) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Number, b.Number))
	})
	return all
}

// Stored returns the logs that the store has, by name and id, also those that are
// nobody's copies.
func (s *Set) Stored() []*storage.Log {
	logs := s.store.All()
	slices.SortFunc(logs, func(a, b *storage.Log) int {
		x, y := a.ID(), b.ID()
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), bytes.Compare(x[:], y[:]))
	})
	return logs
}

// Damage returns what is set aside of a topic and not trimmed. What is before the oldest
// offset may be in a partition that goes on behind it.
func (s *Set) Damage(l *storage.Log) (ranges []storage.Range) {
	all := *l.Damaged()
	if len(all) == 0 {
		return nil
	}
	oldest := s.Oldest(l.ID())
	for _, r := range all {
		if r.To > oldest {
			r.From = max(r.From, l.Begin())
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// Sync syncs topics, calls further meanwhile, if there is one, and returns an error, or nil,
// for each topic. Those that were deleted meanwhile are of no interest.
func (s *Set) Sync(logs []*storage.Log, further func() error) []error {
	errs, _ := s.store.SyncTogether(logs, further)
	for i, err := range errs {
		if err != nil && logs[i].Deleted() {
			errs[i] = nil
		}
	}
	return errs
}

// NoRoom reports whether an error is that of a full disk.
func NoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
