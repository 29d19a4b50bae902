package server

import (
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// Refused is one error answer.
type Refused struct {
	Time     time.Time
	Identity string // empty for nobody
	Command  protocol.Command
	Topic    string // that it was about, if it can be one; else empty
	Reason   string
}

// maxRefusals is how many error answers are remembered.
const maxRefusals = 1000

// refusals are the newest error answers.
type refusals struct {
	mu   sync.Mutex
	list []Refused // a ring, once it is full
	next int
	name string // of the last one's topic: most are about the same
}

// add notes an error answer about a topic, if that is one's name.
func (r *refusals) add(f Refused, topic []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if batch.ValidTopic(topic) {
		if r.name != string(topic) {
			r.name = string(topic)
		}
		f.Topic = r.name
	}
	if len(r.list) < maxRefusals {
		r.list = append(r.list, f)
		return
	}
	r.list[r.next] = f
	r.next = (r.next + 1) % maxRefusals
}

// remember notes an error answer. The reasons are few, so that it holds nothing of what a
// client has chosen but the name of a topic.
func (c *caller) remember(cmd protocol.Command, topic []byte, err *protocol.Error) {
	c.srv.refused.add(Refused{Time: time.Now(), Identity: nameOf(c.id), Command: cmd, Reason: err.Reason}, topic)
}

// Refusals returns the newest error answers, the newest first. Topics that they name need
// not exist: a client has chosen the names.
func (s *Server) Refusals() []Refused {
	s.refused.mu.Lock()
	defer s.refused.mu.Unlock()
	list := append(slices.Clone(s.refused.list[s.refused.next:]), s.refused.list[:s.refused.next]...)
	slices.Reverse(list)
	return list
}
