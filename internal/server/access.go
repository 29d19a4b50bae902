package server

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// access is a caller's way to the store and its hooks, and the only one: nothing
// else in this package has them. What a caller may have is decided in lookup.
type access struct {
	*doors
	held held
	only topic.Log // if not nil, the one log that there is for the caller
	who
}

// doors are what all callers of a server share.
type doors struct {
	store       topic.Store
	deleteHooks topic.Hooks
	cluster     topic.Cluster
	positions   Positions // nil: none are kept

	topicSettings TopicSettings // nil: there are none
	auth          *Auth         // nil: everybody may do everything
	limits        *atomic.Pointer[Limits]
	recalls       atomic.Uint64 // by Recall
}

// held is the log that a caller has looked up last, since callers tend to keep to
// one.
type held struct {
	topic   []byte
	log     topic.Log // nil if there is none
	recalls uint64    // when it was looked up
}

// found is what a request is about. What the request has no use for is nil.
type found struct {
	log     topic.Log
	broken  *topic.Info // of a topic that is there and can't be opened
	catalog topic.Catalog
	hooks   topic.Hooks
	cluster topic.Cluster

	positions     Positions
	topicSettings TopicSettings
}

// lookup returns what a request of the command is about, if the caller has a right to
// it. Every request comes by here before anything is done for it, one that has waited
// a second time. So this is where rights are asked for.
func (a *access) lookup(ctx context.Context, cmd protocol.Command, name []byte) (f found, err error) {
	if !a.may(cmd, name) {
		return f, protocol.ErrUnauthorized
	}
	switch cmd {
	case protocol.Cluster, protocol.Groups, protocol.Transfer, protocol.Drain, protocol.Leave, protocol.Replace:
		f.cluster = a.cluster
	case protocol.Set:
		f.cluster, f.catalog, f.topicSettings = a.cluster, a.store, a.topicSettings
	case protocol.Batch, protocol.Read, protocol.Tail, protocol.Seek, protocol.Times, protocol.Trim, protocol.Retention:
		f.log, err = a.log(ctx, name, cmd == protocol.Batch)
	case protocol.Create:
		f.log, err = a.log(ctx, name, true)
	case protocol.Info:
		if f.log, err = a.log(ctx, name, false); err != nil {
			if broken, ok := a.store.BrokenInfo(string(name)); ok {
				f.broken, err = &broken, nil
			}
		}
	case protocol.Topics, protocol.Delete, protocol.Stats:
		f.catalog = a.store
	case protocol.Hooks, protocol.Hook:
		f.hooks = a.deleteHooks
	case protocol.Hello:
		f.cluster = a.cluster
	case protocol.Position, protocol.Positions:
		f.positions = a.positions
	case protocol.Config, protocol.Help, protocol.Ping, protocol.Close, protocol.Auth:
	default:
		err = protocol.ErrUnauthorized // nobody has decided who may
	}
	return f, err
}

// log returns the log of a topic: the one that is held, or another that is held
// from now on.
func (a *access) log(ctx context.Context, name []byte, create bool) (log topic.Log, err error) {
	if !a.recalled() && string(a.held.topic) == string(name) {
		return a.held.log, nil
	}
	a.held.log = nil
	recalls := a.recalls.Load() // before the look-up, which may be older than the next
	switch {
	case !create:
		log, err = a.store.Log(name)
	case a.mayCreate(name):
		log, err = a.store.Create(ctx, name)
	default:
		log, err = a.existing(ctx, name)
	}
	if err == nil && a.only != nil && log != a.only {
		err = topic.ErrDeleted // the one that it was
	}
	if err != nil {
		return nil, err
	}
	a.held = held{append(a.held.topic[:0], name...), log, recalls}
	return log, nil
}

// existing returns the log of a topic that must not be made.
func (a *access) existing(ctx context.Context, name []byte) (topic.Log, error) {
	log, err := a.store.Log(name)
	if errors.Is(err, topic.ErrNotFound) {
		// Who leads may have been replaced, and not know it yet.
		if err = a.fresh(ctx, name); err == nil {
			log, err = a.store.Log(name)
		}
		if errors.Is(err, topic.ErrNotFound) {
			err = protocol.ErrUnauthorized
		}
	}
	return log, err
}

// recalled reports whether the log that is held has to be given back, which is
// to say looked up anew before it is used: its topic was deleted, or there was a
// Recall.
func (a *access) recalled() bool {
	return a.held.log == nil || a.held.recalls != a.recalls.Load() || a.held.log.Deleted()
}

// Recall has all callers give back the logs that they hold, and be judged anew: the
// next request of each, and a read that waits at once, looks its log up anew. It is for when a
// look-up may come to another answer than before. Deleted topics need none: a log
// tells that by itself.
func (s *Server) Recall() {
	s.doors.recalls.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.members {
		m.Wake()
	}
}
