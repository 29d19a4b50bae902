package fetch

import (
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// watch is what a Fetcher knows of which topic it reads. It asks for the id at the
// start, unless it is lazy, over each new connection, where nothing was found, and
// otherwise at most every FollowWait; and what it has read before the answer comes is
// delivered after it.
type watch struct {
	wanted bool
	id     string // "" while it is not known

	lazy    bool      // nothing depends on what the id was at the start
	asked   time.Time // when the server was asked last
	conn    int64     // and over which connection the read before it came; 0 for none
	read    int64     // over which connection the last read came
	unknown bool      // the server does not tell ids
}

// due reports whether to ask for the topic's id.
func (w *watch) due() bool {
	if w.lazy && w.conn == 0 {
		w.asked, w.conn = time.Now(), w.read
	}
	return w.wanted && !w.unknown && (w.conn == 0 || w.conn != w.read || time.Since(w.asked) >= FollowWait)
}

// look asks which topic the name is of, if that is due after this read.
func (f *Fetcher) look(in *link.Batches) (*Gap, error) {
	f.topic.read = in.Connection
	if !f.topic.due() {
		return nil, nil
	}
	info, err := f.src.Info(f.ctx, false)
	if err == nil && f.topic.id != "" && info.ID != f.topic.id && f.src.Cluster() {
		// Another topic has the name, or has had it, and that server does not know yet.
		info, err = f.src.Info(f.ctx, true)
		if err == nil && info.ID == f.topic.id {
			err = protocol.ErrNotLeader
		}
	}
	switch {
	case isAny(err, protocol.ErrInvalidProtocol, protocol.ErrInvalidRequest):
		f.topic.unknown = true // it does not know INFO
		return nil, nil
	case err != nil:
		return nil, err
	}
	return f.seen(info), nil
}

// seen compares a topic with the one that is read.
func (f *Fetcher) seen(info *protocol.TopicInfo) *Gap {
	w := &f.topic
	w.asked, w.conn = time.Now(), w.read
	switch {
	case info.ID == "":
		w.unknown = true
	case w.wanted && w.id == "":
		w.id = info.ID
	case w.wanted && w.id != info.ID:
		return &Gap{Offset: max(f.offset, 0), Oldest: info.Oldest, Replaced: true, Topic: info.ID}
	}
	return nil
}
