package storage

import "github.com/logd-dev/logd/internal/topic"

// Limits are the settings that an open store can be told anew. They mean what they
// mean in Options, but that Retention.Partitions is 0 for all.
type Limits struct {
	MaxTopics     int
	AllowedTopics []string
	Retention     topic.Limits
	KeepFree      int64
}

// creation is what says which topics may be made.
type creation struct {
	most    int             // 0 for no limit
	allowed map[string]bool // nil for any
}

// SetLimits has the store keep to other limits from here on. It does not block.
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
	s.shared.Limits.Store(&l.Retention)
	s.shared.KeepFree.Store(l.KeepFree)
}
