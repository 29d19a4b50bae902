package logd

import "context"

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
// Of a non-nil error exactly one of [IsNotStored] and [IsUnknown] is true. The
// batch is the caller's again in any case; it is not changed.
func (c *Client) Append(ctx context.Context, topic string, b *Batch) (offset int64, err error) {
	const op = "append"
	out, err := b.finish(topic)
	if err != nil {
		return 0, &OpError{Op: op, Topic: topic, Err: err, outcome: notStored}
	}
	cl := c.calls.append(out)
	if err := c.do(ctx, op, topic, cl); err != nil {
		return 0, err
	}
	offset = cl.offset
	cl.release()
	return offset, nil
}

// Pending is an append under way, begun by [Client.StartAppend]. The zero
// Pending is ready for use, and can be used again when its append is over. It
// is for one goroutine.
type Pending struct {
	cl    call
	cn    *conn
	topic string
	over  bool
}

// StartAppend begins to append the batch to the topic and returns without
// waiting for the answer, which p will tell. Batches are stored in the order
// in which StartAppend was called, as long as the connection is the same.
// StartAppend waits only if a connection has to be made, or has not yet learnt
// how large a batch the server takes; once StartAppend has returned, ctx has no
// meaning for the append.
//
// The batch belongs to the Client until p is over. How many appends are under
// way is limited by nothing but the caller's Pendings and Batches.
//
// An error means that the append did not begin: the batch is not stored, and
// p is free.
func (c *Client) StartAppend(ctx context.Context, topic string, b *Batch, p *Pending) error {
	p.begin(topic)
	out, err := b.finish(topic)
	if err == nil {
		p.cl.out = out
		p.cn, err = c.send(ctx, &p.cl, (*conn).enqueue)
	}
	if err != nil {
		p.over = true
		p.cl.err, p.cl.unsent = err, true
		return p.fail(err, notStored)
	}
	return nil
}

// begin makes p ready for another append.
func (p *Pending) begin(topic string) {
	switch {
	case p.cl.done == nil:
		p.cl.done = make(chan signal, 1)
	case !p.Ready():
		panic("logd: StartAppend with a Pending that is under way")
	}
	p.cl.reset(answerAppend)
	p.topic, p.cn, p.over = topic, nil, false
}

// tryAppend begins to append the finished batch, and reports false if there is
// no connection to send it on, or none whose server is known to take it: then p
// is free. It does not wait. The batch's bytes belong to the Client until p is
// over.
func (c *Client) tryAppend(topic string, out []byte, p *Pending) bool {
	p.begin(topic)
	p.cl.out = out
	if cn := c.conn.Load(); cn != nil {
		known, err := cn.admits(int64(len(out)))
		if err != nil { // as if the server had said so
			p.cn, p.cl.err, p.cl.refused = cn, err, true
			p.cl.done <- over
			return true
		}
		if known && c.enqueue(cn, &p.cl, (*conn).enqueue) {
			p.cn = cn
			return true
		}
	}
	p.over, p.cl.unsent, p.cl.err = true, true, ErrConnectionLost
	return false
}

// abandon gives up waiting, because of cause, and returns what Wait would, as
// far as it is known now. The batch's bytes are the caller's again. p may not
// be used after that.
func (p *Pending) abandon(cause error) (offset int64, err error) {
	if p.Ready() {
		return p.Wait(context.Background())
	}
	switch p.cn.forsake(&p.cl) {
	case written:
		return 0, p.fail(cause, unknown)
	case cut:
		return 0, p.fail(cause, notStored)
	}
	if !p.cl.answered {
		p.cl.err = cause
	}
	p.over = true
	return p.Wait(context.Background())
}

// Wait waits until the append is over and returns what [Client.Append] would.
// It may be called again, for the same result. It panics if no append was ever
// begun.
//
// If ctx ends before, Wait returns an error that says so, which is IsUnknown,
// and the append is still under way.
func (p *Pending) Wait(ctx context.Context) (offset int64, err error) {
	if p.cl.done == nil {
		panic("logd: Wait for a Pending that was never started")
	}
	if !p.over {
		select {
		case <-p.cl.done:
			p.over = true
		case <-ctx.Done():
			return 0, p.fail(ctx.Err(), unknown)
		}
	}
	if p.cl.err != nil {
		return 0, p.fail(p.cl.err, p.cl.failure())
	}
	return p.cl.offset, nil
}

// Ready reports whether the append is over, so that Wait returns at once.
func (p *Pending) Ready() bool {
	if !p.over {
		select {
		case <-p.cl.done:
			p.over = true
		default:
		}
	}
	return p.over
}

func (p *Pending) fail(err error, o outcome) error {
	e := &OpError{Op: "append", Topic: p.topic, Err: err, outcome: o}
	if p.cn != nil {
		e.Addr = p.cn.addr
	}
	return e
}
