package server

import (
	"context"
	"errors"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// Follower makes requests about one topic, one after another, for somebody without a
// connection here who waits for what comes. It counts as one connection, and as one that
// waits over HTTP, from Follow until Close. It never sees another topic of that name. It
// is for one goroutine.
type Follower struct {
	x   *exchange
	log topic.Log
}

// Follow returns a follower of a topic for who has shown that, and takes batches in these
// codecs; or why there is none. It is to be closed.
func (s *Server) Follow(remote string, shown Shown, codecs batch.Codecs, name []byte) (*Follower, *protocol.Error) {
	x := &exchange{caller: s.newCaller(Address(remote)), woken: make(chan struct{}, 1), follows: true}
	x.show(shown)
	x.codecs = codecs
	if s.counters.httpWaiting.Add(1) > int64(s.limits.Load().MaxHTTPWaits) {
		s.counters.httpWaiting.Add(-1)
		x.stand()
		return nil, protocol.ErrBusy
	}
	if perr := s.enter(x); perr != nil {
		s.counters.httpWaiting.Add(-1)
		x.stand()
		return nil, perr
	}
	f := &Follower{x: x}
	found, err := x.lookup(x.ctx, protocol.Read, name)
	if err != nil {
		f.Close()
		if err == protocol.ErrUnauthorized {
			x.denied(&protocol.Request{Command: protocol.Read, Topic: name})
		}
		perr := x.answerTo(err, protocol.Read.String(), name)
		s.counters.requests[protocol.Read].Add(1)
		s.counters.failed(protocol.Read, perr)
		return nil, perr
	}
	f.log, x.only = found.log, found.log
	return f, nil
}

// Close ends it. What it has found stays good.
func (f *Follower) Close() {
	s := f.x.srv
	f.x.stand()
	s.leave(f.x)
	s.group.Done()
	s.counters.httpWaiting.Add(-1)
}

// Deleted reports whether the topic was deleted.
func (f *Follower) Deleted() bool { return f.log.Deleted() }

// Do answers one request as Server.DoWhole does. One about a topic is refused with ErrNotFound
// once the topic is deleted, whether there is another of its name or not.
func (f *Follower) Do(ctx context.Context, request []byte, to Responder) (err error) {
	x := f.x
	x.claim, x.req, x.perr = claim{}, protocol.Request{}, nil
	defer func() {
		if r := recover(); r != nil {
			x.srv.logPanic(x.from(), r)
			err = errors.New("server: panic")
		}
	}()
	if perr := x.receiveWhole(ctx, request); perr != nil {
		to.Error(perr)
		return nil
	}
	for o := x.dispatch(&x.req, x.perr, to); o == waits; {
		o = x.wait(ctx, to)
	}
	return nil
}
