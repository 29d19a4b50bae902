package progress

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/logd-dev/logd"
)

// Errors of both kinds. Test for them with errors.Is.
var (
	// ErrNotStarted: a message is said to be done that is not started, or that is
	// done already.
	ErrNotStarted = errors.New("message is not started")
	// ErrFull: too many messages are started and not done.
	ErrFull = errors.New("too many messages are started and not done")
)

// DefaultMaxStarted is the default of how many messages may be started and not
// done.
const DefaultMaxStarted = 1 << 20

// tracker knows which messages are started and not done.
type tracker struct {
	begun bool
	base  logd.Position // the position while nothing is started
	topic string        // id of the topic that all this is of; "" if it is not known

	// The messages from the oldest that is not done to the newest that is
	// started, in order. Some of those between may be done.
	messages []startedMessage
	first    int // in messages
	open     int // how many of messages are not done

	newest logd.ID // ever since restart; of no meaning without any
	any    bool
	next   int64 // the offset after newest's batch if newest is its last, else 0
}

type startedMessage struct {
	id   logd.ID
	done bool
}

// begin sets the position to begin with, once.
func (t *tracker) begin(at logd.Position) {
	if !t.begun {
		t.begun, t.base = true, at
	}
}

// restart forgets what is started and not done.
func (t *tracker) restart() {
	*t = tracker{begun: true, base: t.position(), topic: t.topic, messages: t.messages[:0]}
}

// ofTopic notes which topic the positions are of. Those of another mean nothing
// in it.
func (t *tracker) ofTopic(id string) {
	if t.topic != "" && t.topic != id {
		*t = tracker{begun: true}
	}
	t.topic = id
}

// position returns where the oldest message is that is not done.
func (t *tracker) position() logd.Position {
	switch {
	case t.first < len(t.messages):
		return logd.At(t.messages[t.first].id)
	case t.next > 0:
		return logd.AtOffset(t.next)
	case t.any:
		return logd.After(t.newest)
	}
	return t.base
}

func (t *tracker) start(id logd.ID, limit int64) error {
	switch limit {
	case 0:
		limit = DefaultMaxStarted
	case logd.Unlimited:
		limit = math.MaxInt64
	}
	if t.any && t.newest.Compare(id) >= 0 {
		return fmt.Errorf("message %v is started after %v: one Progress is for one Scanner at a time", id, t.newest)
	}
	if int64(t.open) >= limit {
		return fmt.Errorf("%w: %d, from %v on", ErrFull, t.open, t.messages[t.first].id)
	}
	if len(t.messages) == cap(t.messages) && t.open <= len(t.messages)/2 {
		t.compact()
	}
	t.messages = append(t.messages, startedMessage{id: id})
	t.open++
	t.newest, t.any, t.next = id, true, 0
	return nil
}

// compact drops the messages that are done. It costs no more than Done of them
// did.
func (t *tracker) compact() {
	kept := t.messages[:0]
	for _, m := range t.messages[t.first:] {
		if !m.done {
			kept = append(kept, m)
		}
	}
	t.messages, t.first = kept, 0
}

func (t *tracker) batchEnd(id logd.ID, next int64) {
	if t.any && t.newest == id {
		t.next = next
	}
}

func (t *tracker) done(id logd.ID, err error) error {
	started := t.messages[t.first:]
	i, found := slices.BinarySearchFunc(started, id, func(m startedMessage, id logd.ID) int { return m.id.Compare(id) })
	if !found || started[i].done {
		return fmt.Errorf("%w: %v", ErrNotStarted, id)
	}
	if err != nil {
		return nil
	}
	started[i].done = true
	t.open--
	for t.first < len(t.messages) && t.messages[t.first].done {
		t.first++
	}
	if t.first == len(t.messages) {
		t.messages, t.first = t.messages[:0], 0
	}
	return nil
}
