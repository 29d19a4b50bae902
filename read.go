package logd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/logd-dev/logd/internal/link"
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
	// if there is one. Default: DefaultReadMaxBytes; Unlimited: no limit but
	// ClientConfig's MaxReplySize.
	MaxBytes int64
	// Wait is how long to wait at the end of the log for a batch to come. A read
	// that waits has its connection for itself, and holds up no other call. Default:
	// not at all.
	Wait time.Duration
}

// validate returns an error that names the field, its value and the allowed range
// if there is no such read.
func (o *ReadOptions) validate() error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("ReadOptions.%s is %v: want 0 (the default) or more%s", field, value, want)
	}
	switch {
	case o.Messages < 0:
		return bad("Messages", o.Messages, "")
	case o.MaxBytes < Unlimited:
		return bad("MaxBytes", o.MaxBytes, ", or Unlimited (-1)")
	case o.Wait < 0:
		return bad("Wait", o.Wait, "")
	}
	return nil
}

// Read returns the batches from the offset on, where a batch must start. At
// the end of the log it returns none, after Wait. The error is ErrNoTopic if there
// is no such topic, and ErrNoBatch if no batch starts at the offset, be it removed,
// never been or beyond the end; it takes one more request to tell which. Both are
// ErrNotFound, and so is the error if that request fails.
//
// All batches are checked. Those before one that can't be taken, because it is
// damaged or the connection was lost in it, are returned without it. If it is
// the first, the server is asked to check it and to set aside what is damaged:
// then the error is ErrCorrupt and ErrNotFound, and [TopicInfo.DamagedAt] tells
// where what is stored goes on. It is what was met, ErrCorrupt or ErrBadAnswer, if the
// server can't do that.
func (c *Client) Read(ctx context.Context, topic string, offset int64, opts ReadOptions) (*Result, error) {
	in, err := c.read(ctx, protocol.Read, topic, offset, opts, false)
	if e, ok := err.(*OpError); ok && e.Err == ErrNotFound {
		e.Err = c.whichNotFound(ctx, topic)
	}
	if err != nil {
		return nil, err
	}
	return newResult(in), nil
}

// whichNotFound returns the error of a read that found nothing, as far as the
// server tells.
func (c *Client) whichNotFound(ctx context.Context, topic string) error {
	switch _, err := c.Info(ctx, topic); {
	case err == nil:
		return ErrNoBatch
	case errors.Is(err, ErrNoTopic):
		return ErrNoTopic
	}
	return ErrNotFound
}

// Tail is Read from the oldest offset that the topic still has and that is not
// damaged. The Result names it.
func (c *Client) Tail(ctx context.Context, topic string, opts ReadOptions) (*Result, error) {
	in, err := c.read(ctx, protocol.Tail, topic, 0, opts, false)
	if err != nil {
		return nil, err
	}
	return newResult(in), nil
}

// read is Read or Tail, as the command says, and does not look why nothing was found.
// With fresh it sees all that was stored before.
func (c *Client) read(ctx context.Context, command protocol.Command, topic string, offset int64, opts ReadOptions, fresh bool) (*link.Batches, error) {
	op := "read"
	if command == protocol.Tail {
		op = "tail"
	}
	if err := checkTopic(topic); err != nil {
		return nil, &OpError{Op: op, Topic: topic, Err: err}
	}
	if offset < 0 && command == protocol.Read {
		return nil, &OpError{Op: op, Topic: topic, Err: ErrNoBatch}
	}
	if err := opts.validate(); err != nil {
		return nil, &OpError{Op: op, Topic: topic, Err: err}
	}
	setDefault(&opts.Messages, DefaultReadMessages)
	setDefault(&opts.MaxBytes, DefaultReadMaxBytes)
	req := protocol.Request{
		Command:  command,
		Topic:    []byte(topic),
		Offset:   offset,
		Messages: opts.Messages,
		MaxBytes: max(opts.MaxBytes, 0),
		// A wait of no time still makes the end of the log an answer of its
		// own, apart from all that is not found.
		Waits: true,
		Wait:  opts.Wait,
		Fresh: fresh,
	}
	for past := int64(-1); ; {
		in, err := c.readOnce(ctx, op, topic, &req)
		failed, _ := err.(*OpError)
		if failed == nil {
			return in, err
		}
		bad, _ := failed.Err.(*link.DamageError)
		if bad == nil || ctx.Err() != nil {
			return nil, err
		}
		in, err = c.readVerified(ctx, op, topic, &req, failed, bad)
		if command == protocol.Tail && errors.Is(err, ErrNotFound) && bad.Offset > past {
			past = bad.Offset // what is set aside is not the oldest any more
			continue
		}
		return in, err
	}
}

func (c *Client) readOnce(ctx context.Context, op, topic string, req *protocol.Request) (*link.Batches, error) {
	call := c.pool.Home().ReadCall(topic, req)
	err := c.do(ctx, op, topic, call)
	switch {
	case err == nil:
		in := call.TakeBatches()
		call.Release()
		return in, nil
	case req.Command == protocol.Tail:
		return nil, noTopic(err)
	}
	return nil, err
}

// readVerified asks once more for batches of which the first can't be taken, as
// the read that has failed says, and has the server check them.
func (c *Client) readVerified(ctx context.Context, op, topic string, req *protocol.Request, failed *OpError, bad *link.DamageError) (*link.Batches, error) {
	again := *req
	again.Command, again.Offset, again.Wait, again.Verify = protocol.Read, bad.Offset, 0, true
	in, err := c.readOnce(ctx, op, topic, &again)
	e, ok := err.(*OpError)
	switch {
	case !ok:
		return in, err
	case errors.Is(err, ErrInvalidRequest): // it is of the 0.3 line
		return nil, failed
	case errors.Is(err, ErrNotFound):
		met := bad.Err
		switch {
		case errors.Is(met, ErrBadAnswer):
			met = fmt.Errorf("%w at offset %d (%w)", ErrCorrupt, bad.Offset, met)
		case !errors.Is(met, ErrCorrupt): // the connection was lost, which would be worth another try
			met = fmt.Errorf("%w at offset %d (%v)", ErrCorrupt, bad.Offset, met)
		}
		e.Err = &link.DamageError{Offset: bad.Offset, Err: fmt.Errorf("%w; asked to check it, the server says: %w", met, e.Err)}
	}
	return nil, err
}

// Seek returns the offset of the first batch stored at or after the time, by
// the server's clock, or the offset that the next batch will get if there is
// none. The error is ErrNoTopic if there is no such topic. In a cluster, Seek sees every
// batch that was stored before.
func (c *Client) Seek(ctx context.Context, topic string, at time.Time) (offset int64, err error) {
	const op = "seek"
	if err := checkTopic(topic); err != nil {
		return 0, &OpError{Op: op, Topic: topic, Err: err}
	}
	fresh, err := c.inCluster(ctx)
	if err != nil {
		return 0, err
	}
	call := c.pool.Home().Call(link.AnswerOffset, &protocol.Request{
		Command: protocol.Seek, Topic: []byte(topic), Millis: max(millisUp(at), 0), Fresh: fresh,
	})
	if err := c.do(ctx, op, topic, call); err != nil {
		return 0, noTopic(err)
	}
	offset = call.Offset
	call.Release()
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
