package server

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// answers are what is answered to the errors of a store, each with its reason and
// HTTP status. The first that fits counts. nil is a fault of the server.
var answers = [...]struct {
	err    error
	answer *protocol.Error
}{
	{topic.ErrInDoubt, nil},                  // whatever its cause
	{topic.ErrDeleted, protocol.ErrNotFound}, // also of a topic that is read only
	{topic.ErrEnd, protocol.ErrNotFound},
	{topic.ErrNotFound, protocol.ErrNotFound},
	{topic.ErrReadOnly, protocol.ErrReadOnly},
	{topic.ErrBusy, protocol.ErrBusy},
	{topic.ErrMaxTopics, protocol.ErrMaxTopics},
	{topic.ErrNotAllowed, protocol.ErrTopicNotAllowed},
	{topic.ErrName, protocol.ErrInvalidRequest},
	{topic.ErrClosed, protocol.ErrShuttingDown},
	{topic.ErrCodec, protocol.ErrUnsupportedCodec},
	{topic.ErrConflict, protocol.ErrSequenceConflict},
	{topic.ErrInvalid, protocol.ErrInvalidRequest},
	{positions.ErrNotFound, protocol.ErrNotFound},
	{positions.ErrLimit, protocol.ErrMaxPositions},
}

// answerTo returns the protocol's answer to an error, or nil if it has none.
func answerTo(err error) *protocol.Error {
	if perr, ok := err.(*protocol.Error); ok {
		return perr
	}
	if e, ok := errors.AsType[*topic.OutOfOrderError](err); ok {
		return protocol.OutOfOrder(e.Next)
	}
	if e, ok := errors.AsType[*positions.VersionError](err); ok {
		return protocol.VersionConflict(e.Present)
	}
	if e, ok := errors.AsType[*positions.HeldError](err); ok {
		return protocol.Held(e.Left)
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a.answer
		}
	}
	if e, ok := errors.AsType[*topic.NotLeaderError](err); ok {
		return protocol.NotLeader(e.Addr)
	}
	return nil
}

// answerTo returns the answer to a request that failed. If the protocol has none,
// the error is logged.
func (c *caller) answerTo(err error, op string, name []byte) *protocol.Error {
	if perr := answerTo(err); perr != nil {
		if errors.Is(err, topic.ErrInvalid) {
			c.srv.log.Info("request refused", "op", op, "topic", string(name), "remote", c.from(), "err", err)
		}
		return perr
	}
	if c.ctx.Err() != nil {
		return protocol.ErrShuttingDown
	}
	c.srv.log.Error("request failed", "op", op, "topic", string(name), "remote", c.from(), "err", err)
	return protocol.ErrInternal
}

// inWords says the commonest cause of a topic that is read only in words.
func inWords(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
}
