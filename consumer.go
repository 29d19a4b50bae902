package logd

import (
	"context"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// ConsumerPosition is where a named consumer of a topic is, as the server keeps it. See
// package progress for a Progress that is kept so.
type ConsumerPosition struct {
	Topic, Consumer string
	At              ID    // the first message that is not done
	Version         int64 // another one each time that it is set
	// State is "ok", "gone" if the message at the position was removed, "ahead" of what
	// the server has, or "stale" if it was not saved for long.
	State       string
	LagBytes    int64         // stored from the position on
	LagMessages int64         // as many messages are there; -1 if it can't be told exactly
	Lag         time.Duration // age of the message at the position, 0 at the end; -1 if it is not known
	LostBytes   int64         // that were removed before they were done
	Updated     time.Time     // when it was saved
	By          string        // the identity that has saved it; empty if it is not known
	Holder      string        // who holds it; empty if nobody does
	HoldLeft    time.Duration // for how long yet
	TTL         time.Duration // not saved for so long it is stale; 0: the server's setting
	Note        string
}

// AnyVersion has a position set whatever version it has. It is for hands: a program that
// sets it so takes back what others have done.
const AnyVersion = -1

// PositionChange is what SetPosition sets.
type PositionChange struct {
	// At is the first message that is not done. Whether there is one is not looked at.
	At ID
	// Version is the one that the position has: if it has another one, the error is
	// ErrVersionConflict. 0: there must be no position yet. AnyVersion: any will do.
	Version int64
	// TopicID is the topic's: see TopicInfo.ID. If the topic has another one, the error is
	// ErrNotFound. Default: it is not looked at.
	TopicID string
	// TTL is how long it may go without being saved before it is stale. Default: as the
	// server's setting says.
	TTL time.Duration
	// As is who holds the position; others get ErrHeld. Hold is for how long from now on,
	// 1s to 5m. Default: it is held by As as long as it was.
	As   string
	Hold time.Duration
	// Note is kept with the position: 1 to 64 of A-Z a-z 0-9 . _ -.
	Note string
	// Force goes past the hold of another one.
	Force bool
}

// VersionConflictError tells which version a position has. It is ErrVersionConflict to
// errors.Is.
type VersionConflictError struct {
	Version int64 // 0: there is no position
}

// Error returns the answer's text.
func (e *VersionConflictError) Error() string {
	return "version conflict: the position has version " + strconv.FormatInt(e.Version, 10)
}

// Is reports whether target is ErrVersionConflict.
func (e *VersionConflictError) Is(target error) bool { return target == ErrVersionConflict }

// HeldError tells for how long another one still holds a position. It is ErrHeld to
// errors.Is.
type HeldError struct {
	Left time.Duration
}

// Error returns the answer's text.
func (e *HeldError) Error() string { return "another one holds the position for " + e.Left.String() }

// Is reports whether target is ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// refusal returns the error of an answer with a number behind its reason, or nil.
func refusal(reason string) error {
	if next, ok := protocol.ParseOutOfOrder(reason); ok {
		return &OutOfOrderError{Next: next}
	}
	if version, ok := protocol.ParseVersionConflict(reason); ok {
		return &VersionConflictError{Version: version}
	}
	if left, ok := protocol.ParseHeld(reason); ok {
		return &HeldError{Left: left}
	}
	return nil
}

// positionsTopic is where the server keeps positions: who leads it is asked.
const positionsTopic = "__positions"

// Position returns where a consumer of a topic is. The error is ErrNotFound if it has no
// position, or there is no such topic. In a cluster it sees what was set before, at any member.
func (c *Client) Position(ctx context.Context, topic, consumer string) (ConsumerPosition, error) {
	fresh, err := c.inCluster(ctx)
	if err != nil {
		return ConsumerPosition{}, err
	}
	req := &protocol.Request{Command: protocol.Position, Topic: []byte(topic), Consumer: []byte(consumer), Fresh: fresh}
	all, err := c.positions(ctx, "position", req)
	if err != nil {
		return ConsumerPosition{}, err
	}
	if len(all) != 1 {
		return ConsumerPosition{}, &OpError{Op: "position", Topic: topic, Err: ErrBadAnswer}
	}
	return all[0], nil
}

// Positions returns where the consumers of a topic are, or of all topics if topic is
// empty, by the names of topics and consumers. In a cluster it is what one member knows.
func (c *Client) Positions(ctx context.Context, topic string) (all []ConsumerPosition, err error) {
	page := &protocol.PositionsRequest{Limit: protocol.MaxPositions}
	for {
		req := &protocol.Request{Command: protocol.Positions, Topic: []byte(topic), Positions: page}
		some, err := c.positions(ctx, "positions", req)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < protocol.MaxPositions {
			return all, nil
		}
		last := &some[len(some)-1]
		page.AfterTopic, page.AfterConsumer = last.Topic, last.Consumer
	}
}

func (c *Client) positions(ctx context.Context, op string, req *protocol.Request) (all []ConsumerPosition, err error) {
	if err := checkConsumer(req); err != nil {
		return nil, &OpError{Op: op, Topic: string(req.Topic), Err: err}
	}
	err = c.body(ctx, op, req, c.cfg.MaxReplySize, func(body []byte) error {
		some, err := protocol.ParsePositions(body)
		for i := range some {
			all = append(all, consumerPosition(&some[i]))
		}
		return err
	})
	return all, err
}

func consumerPosition(i *protocol.PositionInfo) ConsumerPosition {
	millis := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	p := ConsumerPosition{
		Topic: i.Topic, Consumer: i.Consumer, At: ID(i.At), Version: i.Version, State: string(i.State),
		LagBytes: i.LagBytes, LagMessages: i.LagMessages, Lag: -1, LostBytes: i.LostBytes, Updated: i.Updated, By: i.By,
		Holder: i.Holder, HoldLeft: millis(max(i.HoldMS, 0)), TTL: millis(max(i.TTL, 0)), Note: i.Note,
	}
	if i.LagMS >= 0 {
		p.Lag = millis(i.LagMS)
	}
	return p
}

// SetPosition sets where a consumer of a topic is, and returns the version that the
// position has then. When it returns nil that is as durable as an acknowledged batch.
// Errors to test for: ErrVersionConflict, ErrHeld, ErrMaxPositions, ErrNotFound if there is no
// such topic. If the error is ErrConnectionLost, or ctx ends, it may be set or not.
func (c *Client) SetPosition(ctx context.Context, topic, consumer string, to PositionChange) (version int64, err error) {
	r := &protocol.PositionRequest{
		Set: true, At: batch.Place(to.At), Versioned: to.Version != AnyVersion, Version: to.Version, ID: to.TopicID,
		TTL: to.TTL, As: to.As, Hold: to.Hold, Note: to.Note, Force: to.Force,
	}
	return c.changePosition(ctx, topic, consumer, r, link.AnswerOffset)
}

// HoldPosition has a position held by who is named as for a while, 1s to 5m: others can't
// set it meanwhile, and get ErrHeld. Whoever holds it goes on holding it by this, and stops with a hold of 0.
// The error is ErrNotFound if there is no such position.
func (c *Client) HoldPosition(ctx context.Context, topic, consumer, as string, hold time.Duration) (version int64, err error) {
	r := &protocol.PositionRequest{As: as, Hold: hold, Let: hold == 0}
	return c.changePosition(ctx, topic, consumer, r, link.AnswerOffset)
}

// ForgetPosition removes a position, if it has the version; with AnyVersion in any case.
// It is no error if there is none.
func (c *Client) ForgetPosition(ctx context.Context, topic, consumer string, version int64, force bool) error {
	r := &protocol.PositionRequest{Forget: true, Versioned: version != AnyVersion, Version: version, Force: force}
	_, err := c.changePosition(ctx, topic, consumer, r, link.AnswerOK)
	return err
}

func (c *Client) changePosition(ctx context.Context, topic, consumer string, r *protocol.PositionRequest, kind link.AnswerKind) (version int64, err error) {
	const op = "position"
	req := &protocol.Request{Command: protocol.Position, Topic: []byte(topic), Consumer: []byte(consumer), Position: r}
	if err := checkConsumer(req); err != nil {
		return 0, &OpError{Op: op, Topic: topic, Err: err}
	}
	call := c.pool.Home().Call(kind, req)
	if f := c.pool.Do(ctx, positionsTopic, call); f != nil {
		e := failed(op, topic, f)
		e.Outcome = OutcomeNone
		return 0, e
	}
	version = call.Offset
	call.Release()
	return version, nil
}

// checkConsumer refuses what the server would not take as a request.
func checkConsumer(req *protocol.Request) error {
	if req.Command == protocol.Positions && len(req.Topic) == 0 {
		return nil
	}
	if err := checkTopic(string(req.Topic)); err != nil {
		return err
	}
	line := protocol.AppendRequest(nil, req)
	if len(line)-2 > protocol.MaxLine || protocol.ParseRequest(line[:len(line)-2], new(protocol.Request)) != nil {
		return ErrInvalidRequest
	}
	return nil
}
