package logd

import (
	"errors"
	"time"
)

// TopicProgress is a Progress that remembers which topic its positions are of,
// by its TopicInfo.ID. They mean nothing in another topic that got the name
// after the first was deleted: a Scanner ends with ErrTopicReplaced then, and
// leaves the Progress as it is, or goes on if its OnGone agrees.
type TopicProgress interface {
	Progress
	// TopicID returns the id, and "" while none is known.
	TopicID() string
	// SetTopicID notes which topic is read from now on. If another one is known
	// it forgets all but that: of messages that are started and not done, Done
	// then returns an error.
	SetTopicID(id string) error
}

// topicWatch is what a fetcher knows of which topic it reads. It asks for the
// id at the start if there is a Progress, over each new connection, where nothing
// was found, and otherwise at most every followWait; and what it has read before the answer
// comes is delivered after it.
type topicWatch struct {
	wanted bool   // by a Progress, or because the Scanner follows
	id     string // "" while it is not known

	lazy    bool      // nothing depends on what the id was at the start
	asked   time.Time // when the server was asked last
	conn    int64     // and over which connection the read before it came; 0 for none
	read    int64     // over which connection the last read came
	unknown bool      // the server does not tell ids
}

// due reports whether to ask for the topic's id.
func (w *topicWatch) due() bool {
	if w.lazy && w.conn == 0 {
		w.asked, w.conn = time.Now(), w.read
	}
	return w.wanted && !w.unknown && (w.conn == 0 || w.conn != w.read || time.Since(w.asked) >= followWait)
}

// look asks which topic the name is of, if that is due after this read.
func (f *fetcher) look(result *Result) (*GoneError, error) {
	f.topic.read = result.connection
	if !f.topic.due() {
		return nil, nil
	}
	info, err := f.client.info(f.ctx, f.s.topic, false) // of the server that was read from
	if err == nil && f.topic.id != "" && info.ID != f.topic.id && f.client.pool.Servers().Cluster() {
		// Another topic has the name, or has had it, and that server does not know yet.
		info, err = f.client.Info(f.ctx, f.s.topic)
		if err == nil && info.ID == f.topic.id {
			err = &OpError{Op: "read", Topic: f.s.topic, Err: ErrNotLeader}
		}
	}
	switch {
	case errors.Is(err, ErrInvalidProtocol), errors.Is(err, ErrInvalidRequest):
		f.topic.unknown = true // it does not know INFO
		return nil, nil
	case err != nil:
		return nil, err
	}
	return f.seen(&info), nil
}

// seen compares a topic with the one that is read.
func (f *fetcher) seen(info *TopicInfo) *GoneError {
	w := &f.topic
	w.asked, w.conn = time.Now(), w.read
	switch {
	case info.ID == "":
		w.unknown = true
	case w.wanted && w.id == "":
		w.id = info.ID
	case w.wanted && w.id != info.ID:
		return &GoneError{Offset: max(f.offset, 0), Oldest: info.Oldest, Replaced: true, topicID: info.ID}
	}
	return nil
}

// ofTopic has the Progress know which topic the messages that come are of.
func (s *Scanner) ofTopic(id string) error {
	if p, ok := s.cfg.Progress.(TopicProgress); ok && id != "" && p.TopicID() != id {
		return p.SetTopicID(id)
	}
	return nil
}
