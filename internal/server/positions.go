package server

import (
	"context"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/protocol"
)

// Positions are where consumers of topics are. Package keeper has the one there is.
type Positions interface {
	Get(ctx context.Context, topic, consumer string, fresh bool) (positions.Status, error)
	List(topic, afterTopic, afterConsumer string, limit int, counted bool, shown func(topic, consumer string) bool) ([]positions.Status, error)
	Change(ctx context.Context, c positions.Change) (version int64, err error)
}

// mayPosition reports whether the caller may have done what a POSITION asks for.
func (a *access) mayPosition(req *protocol.Request) bool {
	if a.auth == nil {
		return true
	}
	a.judge()
	if a.id == nil {
		return false
	}
	r := req.Position
	if !r.Set && r.Hold == 0 && !r.Let && !r.Forget {
		return a.seesPosition(string(req.Topic), string(req.Consumer))
	}
	return a.id.MayPosition(req.Topic, req.Consumer) && (!r.Force || a.has(req.Topic, admin))
}

// seesPosition reports whether the caller may know where a consumer is.
func (a *access) seesPosition(topic, consumer string) bool {
	if a.auth == nil || Monitors(a.id) {
		return true
	}
	name := []byte(topic)
	return a.has(name, read) || a.id != nil && a.id.MayPosition(name, []byte(consumer))
}

// position answers POSITION.
func (c *caller) position(of Positions, req *protocol.Request, to Responder) error {
	switch {
	case !c.mayPosition(req):
		return protocol.ErrUnauthorized
	case of == nil || c.srv.settings.Load().Positions == 0 || batch.Own(req.Topic):
		return protocol.ErrInvalidRequest
	}
	r := req.Position
	ch := positions.Change{
		Topic: string(req.Topic), At: r.At, Versioned: r.Versioned, Version: r.Version,
		TTL: r.TTL, Hold: r.Hold, As: r.As, By: c.name(), Note: r.Note, Force: r.Force,
	}
	ch.ID, ch.Consumer = r.ID, string(req.Consumer)
	switch {
	case r.Forget:
		ch.What = positions.Forget
	case r.Set && r.Let: // it is let go of with what it is set to
		ch.What, ch.Lets = positions.Set, true
	case r.Set:
		ch.What = positions.Set
	case r.Let:
		ch.What = positions.Let
	case r.Hold > 0:
		ch.What = positions.Take
	default:
		s, err := of.Get(c.ctx, ch.Topic, ch.Consumer, req.Fresh)
		if err == nil {
			to.Body(protocol.AppendPosition(nil, positionInfo(&s)))
		}
		return err
	}
	version, err := of.Change(c.ctx, ch)
	switch {
	case err != nil:
		return err
	case r.Forget:
		to.OK()
	default:
		to.Offset(version, 0)
	}
	return nil
}

// name returns who the caller is, as far as that is known, as a word of the protocol.
func (c *caller) name() string {
	if c.auth == nil || c.id == nil {
		return ""
	}
	name := []byte(c.id.Name())
	for i := range name {
		if !protocol.ValidConsumer(name[i : i+1]) {
			name[i] = '_'
		}
	}
	return string(name[:min(len(name), protocol.MaxConsumer)])
}

// listPositions answers POSITIONS.
func (c *caller) listPositions(of Positions, req *protocol.Request, to Responder) error {
	if of == nil || c.srv.settings.Load().Positions == 0 {
		return protocol.ErrInvalidRequest
	}
	r := req.Positions
	limit := protocol.MaxPositions
	if r.Limit > 0 {
		limit = int(r.Limit)
	}
	all, err := of.List(string(req.Topic), r.AfterTopic, r.AfterConsumer, limit, true, c.seesPosition)
	if err != nil {
		return err
	}
	var b []byte
	for i := range all {
		b = protocol.AppendPosition(b, positionInfo(&all[i]))
	}
	to.Body(b)
	return nil
}

func positionInfo(s *positions.Status) *protocol.PositionInfo {
	i := &protocol.PositionInfo{
		Topic: s.Topic, Consumer: s.Consumer, At: s.At, Version: s.Version, State: protocol.PositionState(s.State),
		LagBytes: s.LagBytes, LagMessages: s.LagMessages, LagMS: -1, LostBytes: s.LostBytes, Updated: s.Updated,
		By: s.By, Holder: s.Holder, HoldMS: -1, TTL: -1, Note: s.Note,
	}
	if s.Lag >= 0 {
		i.LagMS = s.Lag.Milliseconds()
	}
	if s.Holder != "" {
		i.HoldMS = s.HoldLeft.Milliseconds()
	}
	if s.TTL > 0 {
		i.TTL = s.TTL.Milliseconds()
	}
	return i
}

// public returns the names without those of the server's own topics.
func public(topics []string) []string { return slices.DeleteFunc(topics, batch.Own[string]) }
