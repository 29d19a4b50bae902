package logd

import (
	"context"

	"github.com/logd-dev/logd/internal/link"
)

// AppendMessage stores one message at the end of the topic, in a batch of its own,
// and returns its ID: see [Client.Append]. A program that writes many messages is
// much faster with a [Writer], which puts many into each batch.
func (c *Client) AppendMessage(ctx context.Context, topic string, body []byte) (ID, error) {
	var b Batch
	delta := b.Add(body)
	offset, err := c.Append(ctx, topic, &b)
	if err != nil {
		return ID{}, err
	}
	return ID{offset, delta}, nil
}

// Append stores the batch at the end of the topic, which is made if need be,
// and returns the batch's offset when the server has answered. How durable the
// batch is then is the server's setting.
//
// A batch that is longer than the server's MaxBatchSize is not sent: the error is
// ErrTooLarge. The Client asks for the limit once for each connection.
//
// In a cluster the batch is sent again, if need be to another member, for as long as it is
// certainly not stored: see [Client].
//
// Of a non-nil error exactly one of [IsNotStored] and [IsUnknown] is true. The
// batch is the caller's again in any case; it is not changed.
func (c *Client) Append(ctx context.Context, topic string, b *Batch) (offset int64, err error) {
	const op = "append"
	out, err := b.finish(topic)
	if err != nil {
		return 0, &OpError{Op: op, Topic: topic, Err: err, Outcome: OutcomeNotStored}
	}
	call := c.pool.Home().AppendCall(out)
	if err := c.do(ctx, op, topic, call); err != nil {
		return 0, err
	}
	offset = call.Offset
	call.Release()
	return offset, nil
}

// Pending is an append under way, begun by [Client.StartAppend] or
// [Client.AppendAsync]. The zero Pending is ready for use, and can be used again
// when its append is over. It is for one goroutine.
type Pending struct {
	link  link.Pending
	topic string
	pool  *link.Pool
	via   *link.Link // over which it was sent
}

// StartAppend begins to append the batch to the topic and returns without
// waiting for the answer, which p will tell. Batches are stored in the order
// in which StartAppend was called, as long as the connection is the same.
// StartAppend waits only if a connection has to be made, or has not yet learnt
// how large a batch the server takes; once StartAppend has returned, ctx has no
// meaning for the append.
//
// StartAppend sends nothing again. If the server does not lead the topic, the next append
// goes to the one that does.
//
// The batch belongs to the Client until p is over. How many appends are under
// way is limited by nothing but the caller's Pendings and Batches.
//
// An error means that the append did not begin: the batch is not stored, and
// p is free.
func (c *Client) StartAppend(ctx context.Context, topic string, b *Batch, p *Pending) error {
	p.topic, p.pool, p.via = topic, c.pool, c.pool.Home()
	var f *link.Failure
	if out, err := b.finish(topic); err != nil {
		f = p.link.Refuse(err)
	} else {
		p.via, f = c.pool.Start(ctx, topic, out, &p.link)
	}
	if f != nil {
		return p.failed(f)
	}
	return nil
}

// AppendAsync is StartAppend with a Pending of its own. If the append does not
// begin, the Pending is over at once, and its Wait returns why.
func (c *Client) AppendAsync(ctx context.Context, topic string, b *Batch) *Pending {
	p := new(Pending)
	c.StartAppend(ctx, topic, b, p) // p tells of the error, too
	return p
}

// Wait waits until the append is over and returns what [Client.Append] would.
// It may be called again, for the same result. It panics if no append was ever
// begun.
//
// If ctx ends before, Wait returns an error that says so, which is IsUnknown,
// and the append is still under way.
func (p *Pending) Wait(ctx context.Context) (offset int64, err error) {
	offset, f := p.link.Wait(ctx)
	if f != nil {
		return 0, p.failed(f)
	}
	return offset, nil
}

// Ready reports whether the append is over, so that Wait returns at once.
func (p *Pending) Ready() bool { return p.link.Ready() }

// Done returns a channel that is closed when the append is over, for a select. Of a
// Pending that is used again it returns another one. It panics if no append was
// ever begun.
func (p *Pending) Done() <-chan struct{} { return p.link.Done() }

// failed returns the error of the append, from which the next one learns where to go.
func (p *Pending) failed(f *link.Failure) *OpError {
	if p.pool != nil {
		p.pool.Failed(p.topic, p.via, f)
	}
	return failed("append", p.topic, f)
}
