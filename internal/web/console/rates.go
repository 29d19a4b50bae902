package console

import (
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// rates are how fast topics are written, from what pages have seen of them: between two
// visits. Nothing is looked at for their sake.
type rates struct {
	mu sync.Mutex
	of map[string]*sample
}

// sample is what a topic was like when a page was shown last, and its rate up to then.
type sample struct {
	at                     time.Time
	id                     string
	oldest, next, messages int64
	rate                   float64 // messages a second
	known                  bool
}

// Samples are taken so far apart at least, and good for so long.
const (
	sampleEvery = 2 * time.Second
	sampleAge   = time.Minute
)

// look returns how many messages a second a topic got lately, or false if that is not
// known yet.
func (r *rates) look(name string, in *protocol.TopicInfo, now time.Time) (float64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = make(map[string]*sample)
	}
	s := r.of[name]
	if s == nil {
		s = new(sample)
		r.of[name] = s
	}
	passed := now.Sub(s.at)
	if passed < sampleEvery && s.id == in.ID {
		return s.rate, s.known
	}
	s.rate, s.known = s.between(in, passed)
	s.at, s.id, s.oldest, s.next, s.messages = now, in.ID, in.Oldest, in.Next, in.Messages
	return s.rate, s.known
}

// between returns the rate from the sample up to what the topic is like now.
func (s *sample) between(in *protocol.TopicInfo, passed time.Duration) (float64, bool) {
	if s.at.IsZero() || passed > sampleAge || s.id != in.ID || in.Next < s.next {
		return 0, false
	}
	more := float64(in.Messages - s.messages)
	if in.Oldest != s.oldest {
		// Some were removed, so that those which came can't be told by the number there
		// is: they are taken to be as long as the others.
		more = 0
		if length := in.Next - in.Oldest; length > 0 {
			more = float64(in.Next-s.next) * float64(in.Messages) / float64(length)
		}
	}
	return max(more, 0) / passed.Seconds(), true
}

// forget gives back what is too old to be of use.
func (r *rates) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.of {
		if now.Sub(s.at) > sampleAge {
			delete(r.of, name)
		}
	}
}
