package link

import "context"

// Pending is an append under way, begun by [Link.Start] or [Link.TryStart]. The
// zero Pending is ready for use, and can be used again when its append is over. It
// is for one goroutine.
type Pending struct {
	cl    Call
	cn    *conn
	over  bool          // done of cl has given its value
	ended chan struct{} // see Done
}

// Start sends the finished batch and returns without waiting for the answer, which
// p will tell. It waits only for a connection, and for what it must know of the
// server. The batch's bytes belong to the Link until p is over.
//
// If it returns a Failure the batch was not sent, and p is free.
func (l *Link) Start(ctx context.Context, out []byte, p *Pending) *Failure {
	p.begin(out)
	cn, err := l.send(ctx, &p.cl, (*conn).enqueue)
	if err != nil {
		return p.refuse(err)
	}
	p.cn = cn
	return nil
}

// TryStart is Start, but does not wait. It reports false if there is no connection
// to send the batch on, or none whose server is known to take it: then p is free.
// If only is not 0, no connection counts but the one with that number.
// Numbered tells that the batch has a number, so that it can be sent again.
func (l *Link) TryStart(out []byte, p *Pending, only int64, numbered bool) bool {
	p.begin(out)
	p.cl.repeats = numbered
	if cn := l.conn.Load(); cn != nil && (only == 0 || cn.number == only) {
		known, err := cn.admits(int64(len(out)))
		if err != nil { // as if the server had said so
			p.cn, p.cl.err, p.cl.refused = cn, err, true
			p.cl.done <- struct{}{}
			return true
		}
		if known && l.enqueue(cn, &p.cl, (*conn).enqueue) {
			p.cn = cn
			return true
		}
	}
	p.refuse(ErrConnectionLost)
	return false
}

// begin makes p ready for another append.
func (p *Pending) begin(out []byte) {
	switch {
	case p.cl.done == nil:
		p.cl.done = make(chan struct{}, 1)
	case !p.Ready():
		panic("logd: StartAppend with a Pending that is under way")
	}
	p.cl.reset(answerAppend)
	p.cl.out = out
	p.cn, p.over, p.ended = nil, false, nil
}

// Refuse makes p tell of an append that was not begun, because of err.
func (p *Pending) Refuse(err error) *Failure {
	p.begin(nil)
	return p.refuse(err)
}

func (p *Pending) refuse(err error) *Failure {
	p.over = true
	p.cl.err, p.cl.unsent = err, true
	return p.failure(err, NotStored)
}

// Abandon gives up waiting, because of cause, and returns what Wait would, as
// far as it is known now. The batch's bytes are the caller's again. p may not
// be used after that.
func (p *Pending) Abandon(cause error) (offset int64, failure *Failure) {
	if p.Ready() {
		return p.Wait(context.Background())
	}
	over, outcome := p.cn.abandon(&p.cl, cause)
	if !over {
		return 0, p.failure(cause, outcome)
	}
	p.over = true
	return p.Wait(context.Background())
}

// Wait waits until the append is over and returns the batch's offset. It may be
// called again, for the same result. It panics if no append was ever begun.
//
// If ctx ends before, Wait returns a Failure that says so, whose outcome is
// Unknown, and the append is still under way.
func (p *Pending) Wait(ctx context.Context) (offset int64, failure *Failure) {
	if p.cl.done == nil {
		panic("logd: Wait for a Pending that was never started")
	}
	if !p.over {
		select {
		case <-p.cl.done:
			p.over = true
		case <-ctx.Done():
			return 0, p.failure(ctx.Err(), Unknown)
		}
	}
	if p.cl.err != nil {
		return 0, p.failure(p.cl.err, p.cl.outcome())
	}
	return p.cl.Offset, nil
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

// Done returns a channel that is closed when the append is over. It panics if no
// append was ever begun.
func (p *Pending) Done() <-chan struct{} {
	if p.cl.done == nil {
		panic("logd: Done of a Pending that was never started")
	}
	if p.ended != nil {
		return p.ended
	}
	p.ended = make(chan struct{})
	if p.Ready() {
		close(p.ended)
		return p.ended
	}
	p.cn.mu.Lock()
	defer p.cn.mu.Unlock()
	if p.cl.state == callOver {
		close(p.ended)
	} else {
		p.cl.ended = p.ended
	}
	return p.ended
}

// Answered returns a channel that gets one value when the append is over. Whoever
// takes the value says so with Taken.
func (p *Pending) Answered() <-chan struct{} { return p.cl.done }

// Taken notes that the value of Answered was taken.
func (p *Pending) Taken() { p.over = true }

func (p *Pending) failure(err error, o Outcome) *Failure {
	f := &Failure{}
	if p.over { // else the call is the connection's
		f = p.cl.failure("")
	}
	if p.cn != nil {
		f.Addr = p.cn.addr
	}
	f.Err, f.Outcome = err, o
	return f
}
