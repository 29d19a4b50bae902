package storage

import (
	"errors"
	"sync"
	"time"
)

// shortage reports whether err is that room on the disk or descriptors were
// missing. That passes: it is never a state of a topic.
func shortage(err error) bool {
	return noRoom(err) || noDescriptor(err)
}

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
	case !shortage(err):
		return l, err
	}
	l, err = openLog(s, topic)
	switch {
	case errors.Is(err, ErrDeleted):
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.broken, topic)
		return nil, ErrNotFound
	case err != nil:
		s.files.evict(0) // the files of this attempt are nobody's
		if !shortage(err) {
			s.noteBroken(topic, err)
			return nil, err
		}
		return nil, readOnly(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	delete(s.broken, topic)
	s.logs[topic] = l
	s.log.Info("topic is served: there is what was missing to open it", "topic", topic)
	return l, nil
}

// lacking returns the topics that can't be opened for want of room or
// descriptors.
func (s *Store) lacking() (names []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, err := range s.broken {
		if shortage(err) {
			names = append(names, name)
		}
	}
	return names
}

// reopening puts right what a shortage has left, as soon as it is over: topics
// that could not be opened, and folders that could not be removed.
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
	if !r.store.unmakeAll() || len(r.store.lacking()) > 0 {
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
