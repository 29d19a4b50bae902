package deliver

import (
	"slices"
	"time"
)

// Waiting returns how many messages are taken and neither stored nor a hole, how many of
// them only memory has, and a number that grows with each batch that is settled.
func (d *Delivery) Waiting() (messages, inMemory, progress int64) {
	for _, l := range d.allLanes() {
		all, memory := l.waiting()
		messages += all
		inMemory += memory
	}
	return messages, inMemory, d.stored.Load()
}

// LaneState is what is known of a lane.
type LaneState struct {
	Topic string
	State string // ok, retrying, refused
	Why   string
	Since time.Time

	Batches, Resent, Doubled int64 // that were stored; sent again; perhaps stored twice
	Messages                 int64 // that wait
	Oldest                   time.Time
}

// Lanes returns what is known of each lane, by topic.
func (d *Delivery) Lanes() []LaneState {
	var all []LaneState
	for _, l := range d.allLanes() {
		all = append(all, l.snapshot())
	}
	slices.SortFunc(all, func(a, b LaneState) int {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	})
	return all
}

// Sizes are those of the state folder.
type Sizes struct {
	Spool, SpoolBound, Ledger, DeadMessages int64
}

// Sizes returns what the state folder has.
func (d *Delivery) Sizes() (s Sizes) {
	if d.ledger == nil {
		return s
	}
	s.Spool, s.SpoolBound = d.spool.Bytes()
	s.Ledger = d.ledger.Bytes()
	d.mu.Lock()
	s.DeadMessages = d.deadN
	d.mu.Unlock()
	return s
}

// TopicOf returns the topic of all lines of a file that is being read; empty if it is not.
func (d *Delivery) TopicOf(source int64) string {
	d.mu.Lock()
	s := d.sources[source]
	d.mu.Unlock()
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topic
}

// Oldest returns for how long the oldest message to a topic waits, 0 if none does.
func (d *Delivery) Oldest(topic string) time.Duration {
	d.mu.Lock()
	l := d.lanes[topic]
	d.mu.Unlock()
	if l == nil {
		return 0
	}
	if at := l.snapshot().Oldest; !at.IsZero() {
		return time.Since(at)
	}
	return 0
}
