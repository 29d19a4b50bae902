package logd

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// StatePuller remembers what became of a topic's messages, for the next
// Scanner to begin where the last one has left off. A message may be delivered
// again, after a failure or a crash, but none is left out.
//
// A Scanner calls Get once, when it is made, and Start before it delivers a
// message. Whoever works on the message calls Complete: in any order, from any
// goroutine, at the same time as Start.
type StatePuller interface {
	// Get returns the position of the oldest message that is not completed, or
	// the zero Position if nothing is known. All that was started and not
	// completed counts as never started, since it will be delivered again.
	Get() (Position, error)
	// Start notes that the message is about to be delivered. An error ends the
	// Scanner.
	Start(id ID) error
	// Complete notes that the message is done with, if err is nil, so that it
	// need not be delivered again. Otherwise the message has failed: it stays
	// the one to go back to until it is completed after all.
	Complete(id ID, err error) error
}

// BatchEnder is a StatePuller that wants to know where the next batch begins.
// It can then remember that offset instead of a message of the last batch,
// which retention may remove although nothing that is wanted is in it.
type BatchEnder interface {
	StatePuller
	// EndBatch is called after Start of the last message of a batch, with the
	// offset that follows the batch.
	EndBatch(id ID, next int64) error
}

// Errors of states.
var (
	// ErrNotStarted: a message was completed that is not started, or that is
	// completed already.
	ErrNotStarted = errors.New("message is not started")
	// ErrStateFull: too many messages are started and not completed.
	ErrStateFull = errors.New("too many messages are started and not completed")
)

// DefaultMaxStarted is the default of how many messages may be started and not
// completed in a state.
const DefaultMaxStarted = 1 << 20

// MemoryState is a StatePuller for as long as the program runs. The zero
// MemoryState knows nothing and is ready for use.
//
// It takes 24 bytes for every message that is started and not completed, and
// at most three times that while they change; what is completed takes none.
// Start of one message too many is ErrStateFull.
type MemoryState struct {
	// MaxStarted is how many messages may be started and not completed.
	// Default: DefaultMaxStarted. It must not change after the first use.
	MaxStarted int64
	// Begin is what Get returns at first. Default: the zero Position. It must
	// not change after the first use.
	Begin Position

	mu       sync.Mutex
	progress progress
}

// Get implements StatePuller.
func (s *MemoryState) Get() (Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.begin(s.Begin)
	s.progress.restart()
	return s.progress.position(), nil
}

// TopicID implements TopicState.
func (s *MemoryState) TopicID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress.topic
}

// SetTopicID implements TopicState.
func (s *MemoryState) SetTopicID(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.begin(s.Begin)
	s.progress.ofTopic(id)
	return nil
}

// Position returns what Get would, and changes nothing.
func (s *MemoryState) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.begin(s.Begin)
	return s.progress.position()
}

// Start implements StatePuller.
func (s *MemoryState) Start(id ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.begin(s.Begin)
	return s.progress.start(id, s.MaxStarted)
}

// EndBatch implements BatchEnder.
func (s *MemoryState) EndBatch(id ID, next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.endBatch(id, next)
	return nil
}

// Complete implements StatePuller.
func (s *MemoryState) Complete(id ID, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress.complete(id, err)
}

// progress knows which messages are started and not completed.
type progress struct {
	begun bool
	base  Position // the position while nothing is started
	topic string   // id of the topic that all this is of; "" if it is not known

	// The messages from the oldest that is not completed to the newest that is
	// started, in order. Some of those between may be completed.
	messages []startedMessage
	first    int // in messages
	open     int // how many of messages are not completed

	newest ID // ever since restart; of no meaning without any
	any    bool
	next   int64 // the offset after newest's batch if newest is its last, else 0
}

type startedMessage struct {
	id        ID
	completed bool
}

// begin sets the position to begin with, once.
func (p *progress) begin(at Position) {
	if !p.begun {
		p.begun, p.base = true, at
	}
}

// restart forgets what is started and not completed.
func (p *progress) restart() {
	*p = progress{begun: true, base: p.position(), topic: p.topic, messages: p.messages[:0]}
}

// ofTopic notes which topic the positions are of. Those of another mean nothing
// in it.
func (p *progress) ofTopic(id string) {
	if p.topic != "" && p.topic != id {
		*p = progress{begun: true}
	}
	p.topic = id
}

// position returns where the oldest message is that is not completed.
func (p *progress) position() Position {
	switch {
	case p.first < len(p.messages):
		return At(p.messages[p.first].id)
	case p.next > 0:
		return AtOffset(p.next)
	case p.any:
		return After(p.newest)
	}
	return p.base
}

func (p *progress) start(id ID, limit int64) error {
	if limit <= 0 {
		limit = DefaultMaxStarted
	}
	if p.any && p.newest.Compare(id) >= 0 {
		return fmt.Errorf("message %v is started after %v: a state is for one Scanner at a time", id, p.newest)
	}
	if int64(p.open) >= limit {
		return fmt.Errorf("%w: %d, from %v on", ErrStateFull, p.open, p.messages[p.first].id)
	}
	if len(p.messages) == cap(p.messages) && p.open <= len(p.messages)/2 {
		p.compact()
	}
	p.messages = append(p.messages, startedMessage{id: id})
	p.open++
	p.newest, p.any, p.next = id, true, 0
	return nil
}

// compact drops the completed messages. It costs no more than completing them
// did.
func (p *progress) compact() {
	kept := p.messages[:0]
	for _, m := range p.messages[p.first:] {
		if !m.completed {
			kept = append(kept, m)
		}
	}
	p.messages, p.first = kept, 0
}

func (p *progress) endBatch(id ID, next int64) {
	if p.any && p.newest == id {
		p.next = next
	}
}

func (p *progress) complete(id ID, err error) error {
	started := p.messages[p.first:]
	i, found := slices.BinarySearchFunc(started, id, func(m startedMessage, id ID) int { return m.id.Compare(id) })
	if !found || started[i].completed {
		return fmt.Errorf("%w: %v", ErrNotStarted, id)
	}
	if err != nil {
		return nil
	}
	started[i].completed = true
	p.open--
	for p.first < len(p.messages) && p.messages[p.first].completed {
		p.first++
	}
	if p.first == len(p.messages) {
		p.messages, p.first = p.messages[:0], 0
	}
	return nil
}
