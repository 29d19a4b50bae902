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
}

func (r *refusals) add(f Refused) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
	f := Refused{Time: time.Now(), Identity: nameOf(c.id), Command: cmd, Reason: err.Reason}
	if batch.ValidTopic(topic) {
		f.Topic = string(topic)
	}
	c.srv.refused.add(f)
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
