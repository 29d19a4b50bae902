package logd

import (
	"context"
	"math"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// Defaults of [ReadOptions].
const (
	DefaultReadMessages = 10000
	DefaultReadMaxBytes = 1 << 20
)

// ReadOptions says how much to read, and whether to wait for it. The zero
// value of every field is its documented default.
type ReadOptions struct {
	// Messages is how many messages are enough: batches are read until they
	// have so many. Servers set a limit, 50,000 by default. Default:
	// DefaultReadMessages.
	Messages int64
	// MaxBytes is how many bytes are enough. Whatever it is, one batch is read
	// if there is one. Default: DefaultReadMaxBytes; negative: no limit but
	// ClientConfig's MaxReplySize.
	MaxBytes int64
	// Wait is how long to wait at the end of the log for a batch to come. All
	// that is sent on the Client meanwhile is answered after it. Default: not
	// at all.
	Wait time.Duration
}

// Read returns the batches from the offset on, where a batch must start. At
// the end of the log it returns none, after Wait. The error is ErrNotFound if
// no batch starts there, be it deleted, never been or beyond the end, or if
// there is no such topic; [Client.Info] tells which.
//
// All batches are checked. Those before a corrupt one are returned without it;
// if it is the first, the error is ErrCorrupt.
func (c *Client) Read(ctx context.Context, topic string, offset int64, opts ReadOptions) (*Result, error) {
	return c.read(ctx, "read", topic, offset, protocol.Read, opts)
}

// Tail is Read from the oldest offset that the topic still has. The Result
// names it.
func (c *Client) Tail(ctx context.Context, topic string, opts ReadOptions) (*Result, error) {
	return c.read(ctx, "tail", topic, -1, protocol.Tail, opts)
}

func (c *Client) read(ctx context.Context, op, topic string, offset int64, command protocol.Command, opts ReadOptions) (*Result, error) {
	if err := checkTopic(topic); err != nil {
		return nil, &OpError{Op: op, Topic: topic, Err: err}
	}
	if offset < 0 && command == protocol.Read {
		return nil, &OpError{Op: op, Topic: topic, Err: ErrNotFound}
	}
	setDefault(&opts.Messages, DefaultReadMessages)
	setDefault(&opts.MaxBytes, DefaultReadMaxBytes)
	req := protocol.Request{
		Command:  command,
		Topic:    []byte(topic),
		Offset:   offset,
		Messages: max(opts.Messages, 0),
		MaxBytes: max(opts.MaxBytes, 0),
		// A wait of no time still makes the end of the log an answer of its
		// own, apart from all that is not found.
		Waits: true,
		Wait:  max(opts.Wait, 0),
	}
	cl := c.calls.request(answerBatches, &req)
	cl.topic, cl.from, cl.messages, cl.wait = topic, offset, req.Messages, req.Wait
	cl.result = newResult()
	if err := c.do(ctx, op, topic, cl); err != nil {
		return nil, err
	}
	defer cl.release()
	if err := cl.result.verify(); err != nil {
		return nil, &OpError{Op: op, Topic: topic, Addr: cl.addr, Err: err}
	}
	res := cl.result
	cl.result = nil
	return res, nil
}

// Seek returns the offset of the first batch stored at or after the time, by
// the server's clock, or the offset that the next batch will get if there is
// none.
func (c *Client) Seek(ctx context.Context, topic string, at time.Time) (offset int64, err error) {
	const op = "seek"
	if err := checkTopic(topic); err != nil {
		return 0, &OpError{Op: op, Topic: topic, Err: err}
	}
	cl := c.calls.request(answerOffset, &protocol.Request{
		Command: protocol.Seek, Topic: []byte(topic), Millis: max(millisUp(at), 0),
	})
	if err := c.do(ctx, op, topic, cl); err != nil {
		return 0, err
	}
	offset = cl.offset
	cl.release()
	return offset, nil
}

// millisUp rounds a time up to whole milliseconds, so that nothing stored
// before it is found.
func millisUp(at time.Time) int64 {
	millis := at.UnixMilli()
	if at.Nanosecond()%int(time.Millisecond) != 0 && millis < math.MaxInt64 {
		millis++
	}
	return millis
}
