package storage

import (
	"errors"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/files"
)

// reopenInterval is how often topics are tried again that could not be opened
// for want of room or descriptors, beside when somebody asks for them.
const reopenInterval = time.Second

// reopen tries again to open a topic that could not be opened for want of room
// or descriptors. The error is ErrReadOnly, with the cause, as long as that is
// so.
func (s *Store) reopen(topic string) (*Log, error) {
	s.creating.Lock()
	defer s.creating.Unlock()
	l, err := s.known(topic)
	switch {
	case l == nil && err == nil:
		return nil, ErrNotFound
	case !files.Shortage(err):
		return l, err
	}
	l, err = commitlog.Open(&s.shared, topic)
	switch {
	case errors.Is(err, ErrDeleted):
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.broken, topic)
		return nil, ErrNotFound
	case err != nil:
		s.files.Evict(0) // the files of this attempt are nobody's
		if !files.Shortage(err) {
			s.noteBroken(topic, err)
			return nil, err
		}
		return nil, commitlog.ReadOnly(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	delete(s.broken, topic)
	s.keep(l)
	s.log.Info("topic is served: there is what was missing to open it", "topic", topic)
	return l, nil
}

// lacking returns the topics that can't be opened for want of room or
// descriptors.
func (s *Store) lacking() (names []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, err := range s.broken {
		if files.Shortage(err) {
			names = append(names, name)
		}
	}
	return names
}

// nameless returns the topics whose batches wait, in doubt, for their names to be
// synced.
func (s *Store) nameless() (logs []*Log) {
	for _, l := range s.All() {
		if l.SyncsFirst() && l.WantsNames() {
			logs = append(logs, l)
		}
	}
	return logs
}

// syncNameless syncs them, and reports whether there are descriptors for that.
func (s *Store) syncNameless() bool {
	for _, l := range s.nameless() {
		if files.NoDescriptor(l.SyncAll()) {
			return false // nor for the others
		}
	}
	return true
}

// reopening puts right what a shortage has left, as soon as it is over: topics
// that could not be opened, folders that could not be removed, and names that
// could not be synced.
type reopening struct {
	store *Store
	timer Timer

	passing sync.Mutex // held during a pass; before Store.creating
	stopped bool       // guarded by passing
}

func startReopening(s *Store) *reopening {
	r := &reopening{store: s}
	r.passing.Lock()
	defer r.passing.Unlock()
	r.timer = s.o.Clock.AfterFunc(reopenInterval, r.pass)
	if len(s.lacking()) == 0 {
		r.timer.Stop()
	}
	return r
}

// arm asks for a pass.
func (r *reopening) arm() { r.timer.Reset(reopenInterval) }

func (r *reopening) pass() {
	r.passing.Lock()
	defer r.passing.Unlock()
	if r.stopped {
		return
	}
	for _, topic := range r.store.lacking() {
		r.store.reopen(topic) // what fails is still in Broken
	}
	named, unmade := r.store.syncNameless(), r.store.unmakeAll()
	if !named || !unmade || len(r.store.lacking()) > 0 {
		r.arm()
	}
}

// stop ends the passes and waits for one that is under way.
func (r *reopening) stop() {
	r.passing.Lock()
	defer r.passing.Unlock()
	r.stopped = true
	r.timer.Stop()
}
