package storage

import (
	"time"

	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/topic"
)

// Limits are the settings that an open store can be told anew. They mean what they
// mean in Options, but that Retention.Partitions is 0 for all.
type Limits struct {
	MaxTopics     int
	AllowedTopics []string
	Retention     topic.Limits
	KeepFree      int64
	// Own are the settings of single topics; the zero value for none.
	Own Own
}

// Own are the settings of single topics, in place of those of the store: of a store that is
// not Managed.
type Own struct {
	// Of returns what counts for a topic; nil: what counts for all. It is asked once for
	// each topic, and must not block.
	Of func(topic string) Kept
	// LeastAge is the least Retention.Age that Of may return, but for 0; 0 if it returns
	// no other.
	LeastAge time.Duration
}

// creation is what says which topics may be made.
type creation struct {
	most    int             // 0 for no limit
	allowed map[string]bool // nil for any
}

// SetLimits has the store keep to other limits from here on: with the next append, new
// partition and look of retention. It does not block.
// Retention looks at all topics soon after it, whatever the time. Topics that there
// are stay.
func (s *Store) SetLimits(l Limits) {
	s.setLimits(l)
	s.retention.wake(nil)
}

func (s *Store) setLimits(l Limits) {
	c := &creation{most: l.MaxTopics}
	if l.AllowedTopics != nil {
		c.allowed = make(map[string]bool)
		for _, t := range l.AllowedTopics {
			c.allowed[t] = true
		}
	}
	s.creation.Store(c)
	r := &commitlog.Rules{All: Kept{Retention: l.Retention, PartitionSize: s.o.PartitionSize}, LeastAge: l.Retention.Age}
	if l.Own.Of != nil {
		r.Of = l.Own.Of
		if age := l.Own.LeastAge; age > 0 && (r.LeastAge == 0 || age < r.LeastAge) {
			r.LeastAge = age
		}
	}
	s.shared.Rules.Store(r)
	s.shared.KeepFree.Store(l.KeepFree)
}
