package server

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// exchange is one request and its answer, of a client without a connection here.
type exchange struct {
	caller
	req       protocol.Request
	wire      []byte // of a BATCH
	head      int    // length of its line, with the end
	canonical bool
	perr      error // what ParseRequest said

	woken    chan struct{} // cap 1
	draining atomic.Bool
}

// Do answers one request that came by another way than a connection of the
// protocol: over HTTP. What is in request is to be one whole request and nothing
// else; the end of its line may be missing. It returns when the answer is given to
// the responder, or, with an error, when there is none that anybody can give. A
// read that waits ends when ctx does. While it is answered, a request counts as a
// connection. Who makes it has shown what shown is.
func (s *Server) Do(ctx context.Context, remote string, shown Shown, request []byte, to Responder) (err error) {
	x := &exchange{caller: s.newCaller(Address(remote)), woken: make(chan struct{}, 1)}
	x.show(shown)
	perr := x.parse(request)
	if perr == nil {
		perr = s.enter(x)
	}
	if perr != nil {
		to.Error(perr)
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			s.logPanic(x.from(), r)
			err = errors.New("server: panic")
		}
		s.leave(x)
		s.group.Done()
	}()
	s.counters.bytesIn.Add(int64(len(request)))
	if x.req.Command == protocol.Batch {
		return x.batch(to)
	}
	for o := x.dispatch(&x.req, x.perr, to); o == waits; {
		o = x.wait(ctx, to)
	}
	return nil
}

// Ping answers a PING by the way that all requests go, and returns an error if the
// answer is not OK. Unlike Do it counts as no connection, so that it is answered also if
// there are as many as there may be. It does not touch the disk.
func (s *Server) Ping() error {
	s.accepting() // which every new connection waits for
	c, req, answer := s.newCaller(nil), protocol.Request{}, pong{protocol.ErrInternal}
	perr := protocol.ParseRequest([]byte("PING"), &req)
	c.dispatch(&req, perr, &answer)
	if answer.err != nil {
		return answer.err
	}
	return nil
}

// pong is the answer to a PING.
type pong struct{ err *protocol.Error }

func (p *pong) OK()                       { p.err = nil }
func (p *pong) Error(err *protocol.Error) { p.err = err }
func (p *pong) Offset(_, _ int64)         {}
func (p *pong) Body([]byte)               {}
func (p *pong) Batches(v topic.View)      { v.Close() }

// MaxRequest bounds what one request has in bytes.
func (s *Server) MaxRequest() int64 {
	return s.settings.Load().MaxBatchSize + int64(protocol.MaxLine) + int64(len("\r\n"))
}

// Sent counts bytes of answers that a responder has sent.
func (s *Server) Sent(n int) { s.counters.out.Bytes.Add(int64(n)) }

// parse checks that b is one whole request and nothing else.
func (x *exchange) parse(b []byte) *protocol.Error {
	line := b
	x.wire, x.head = b, len(b)
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		x.head = i + 1
		line, x.canonical = bytes.CutSuffix(b[:i], []byte("\r"))
	}
	if len(line) > protocol.MaxLine {
		return protocol.ErrInvalidProtocol
	}
	x.perr = protocol.ParseRequest(line, &x.req)
	if x.req.Command == protocol.Auth {
		x.perr = protocol.ErrInvalidRequest // it is about a connection
		clear(line)
	}
	want := int64(x.head)
	if x.req.Command == protocol.Batch {
		if x.srv.tooLarge(&x.req.Batch, x.perr) {
			return protocol.ErrTooLarge
		}
		want += max(x.req.Batch.Size, 0)
	}
	switch {
	case want == int64(len(b)):
		return nil
	case x.perr == protocol.ErrInvalidProtocol:
		return protocol.ErrInvalidProtocol
	}
	return protocol.ErrInvalidRequest
}

// batch answers a BATCH.
func (x *exchange) batch(to Responder) error {
	x.srv.counters.requests[protocol.Batch].Add(1)
	if err, _ := x.refusal(&x.req, x.perr); err != nil {
		x.refuse(to, protocol.Batch, err)
		return nil
	}
	x.add(&x.req, x.wire, x.head, x.canonical)
	return x.commit(to)
}

// wait waits until a read can go on, or has it end, and returns what it has come
// to then.
func (x *exchange) wait(ctx context.Context, to Responder) outcome {
	select {
	case <-x.woken:
	default:
	}
	if x.draining.Load() || x.ctx.Err() != nil {
		return x.giveUp(to)
	}
	if !x.watch(x) {
		return x.resume(to)
	}
	err := x.awaitWake(ctx)
	x.unwatch(x)
	switch {
	case err == protocol.ErrBusy:
		return x.refuseRequest(&x.reading.req, err, to)
	case err != nil:
		return x.giveUp(to)
	}
	return x.resume(to)
}

func (x *exchange) awaitWake(ctx context.Context) error {
	counters := &x.srv.counters
	// Each takes a connection of those that health and metrics come by, too.
	defer counters.httpWaiting.Add(-1)
	if counters.httpWaiting.Add(1) > int64(x.srv.limits.Load().MaxHTTPWaits) {
		return protocol.ErrBusy
	}
	counters.waiting.Add(1)
	defer counters.waiting.Add(-1)
	return awaitWake(x.ctx, ctx.Done(), x.woken, x.reading.until)
}

// Wake ends a wait for a log, or the next one.
func (x *exchange) Wake() {
	select {
	case x.woken <- struct{}{}:
	default:
	}
}

func (x *exchange) drain() {
	x.draining.Store(true)
	x.Wake()
}

// cut does nothing that the end of the server's context does not.
func (x *exchange) cut() {}

// Address is where a request came from, IP:PORT.
type Address string

// String returns the address.
func (a Address) String() string { return string(a) }
