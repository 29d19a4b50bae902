package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
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
	follows  bool // it is a Follower's, which counts as one that waits all the time
}

// Do answers one request that came by another way than a connection of the
// protocol: over HTTP. What is in request is to be one whole request and nothing
// else; the end of its line may be missing. Over a quota, what follows the line is not
// read before the request may go on. It returns when the answer is given to
// the responder, or, with an error, when there is none that anybody can give. What
// waits ends when ctx does. Until it is answered, a request counts as a
// connection. Who makes it has shown what shown is, and takes batches in these codecs:
// there is no HELLO.
func (s *Server) Do(ctx context.Context, remote string, shown Shown, codecs batch.Codecs, request io.Reader, to Responder) error {
	return s.do(ctx, remote, shown, codecs, to, func(x *exchange) *protocol.Error { return x.receive(ctx, request) })
}

// DoWhole is Do of a request that is whole in memory, which is not written to, and the
// caller's again on return.
func (s *Server) DoWhole(ctx context.Context, remote string, shown Shown, codecs batch.Codecs, request []byte, to Responder) error {
	return s.do(ctx, remote, shown, codecs, to, func(x *exchange) *protocol.Error { return x.receiveWhole(ctx, request) })
}

func (s *Server) do(ctx context.Context, remote string, shown Shown, codecs batch.Codecs, to Responder, receive func(*exchange) *protocol.Error) (err error) {
	x := &exchange{caller: s.newCaller(Address(remote)), woken: make(chan struct{}, 1)}
	x.show(shown)
	defer x.stand()
	x.codecs = codecs
	if perr := s.enter(x); perr != nil {
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
	if perr := receive(x); perr != nil {
		to.Error(perr)
		return nil
	}
	s.counters.bytesIn.Add(int64(len(x.wire)))
	if x.req.Command == protocol.Batch {
		return x.batch(to)
	}
	o := x.dispatch(&x.req, x.perr, to)
	for o == waits {
		o = x.wait(ctx, to)
	}
	if o == doubted {
		return topic.ErrInDoubt
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

// maxRequest bounds what one request has in bytes.
func (s *Server) maxRequest() int64 {
	return s.settings.Load().MaxBatchSize + int64(protocol.MaxLine) + int64(len("\r\n"))
}

// Sent counts bytes of answers that a responder has sent.
func (s *Server) Sent(n int) { s.counters.out.Bytes.Add(int64(n)) }

// SentFiles counts calls of sendfile(2) by which a responder has sent some.
func (s *Server) SentFiles(calls int64) { s.counters.out.Sendfiles.Add(calls) }

// receive reads the request and parses it, once quotas let it.
func (x *exchange) receive(ctx context.Context, r io.Reader) *protocol.Error {
	r = io.LimitReader(r, x.srv.maxRequest()+1)
	var line []byte
	settings := x.srv.settings.Load()
	if x.share != nil || settings.topicWriteRate > 0 || settings.of != nil {
		var err error
		if line, err = readLine(r); err != nil {
			return protocol.ErrInvalidRequest
		}
		r = io.MultiReader(bytes.NewReader(line), r)
		if perr := x.admitted(ctx, settings, line); perr != nil {
			return perr
		}
	}
	b, err := io.ReadAll(r)
	clear(line) // it may be a token
	if err != nil {
		return protocol.ErrInvalidRequest
	}
	return x.parse(b)
}

// receiveWhole is receive of what is there.
func (x *exchange) receiveWhole(ctx context.Context, request []byte) *protocol.Error {
	settings := x.srv.settings.Load()
	if x.share != nil || settings.topicWriteRate > 0 || settings.of != nil {
		if perr := x.admitted(ctx, settings, request); perr != nil {
			return perr
		}
	}
	return x.parse(request)
}

// readLine reads until it has a line with its end, or what is too long for one, or all.
func readLine(r io.Reader) ([]byte, error) {
	b := make([]byte, 0, protocol.MaxLine+len("\r\n"))
	for len(b) < cap(b) && bytes.IndexByte(b, '\n') < 0 {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// admitted returns once quotas let the request be done that begins with b, or why it is
// refused. What is no request, or one that is refused whatever its data is, parse and
// dispatch tell later.
func (x *exchange) admitted(ctx context.Context, settings *settings, b []byte) *protocol.Error {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	perr := protocol.ParseRequest(bytes.TrimSuffix(line, []byte("\r")), &x.req)
	var size, rate int64
	if x.req.Command == protocol.Batch {
		if err, _ := x.refusable(settings, &x.req, perr); err != nil {
			return nil
		}
		size, rate = int64(len(line))+1+x.req.Batch.Size, x.last.of(settings, x.req.Batch.Topic).WriteRate
	}
	if err, _ := x.admit(&x.req, size, rate); err != nil {
		x.srv.counters.requests[x.req.Command].Add(1)
		x.srv.counters.failed(x.req.Command, err)
		return err
	}
	for x.claim.waits && !x.draining.Load() {
		d := x.claim.left()
		if d <= 0 {
			break
		}
		if awaitWake(x.ctx, ctx.Done(), x.woken, time.Now().Add(d)) != nil {
			return protocol.ErrShuttingDown // or the client is gone, and nobody is told
		}
	}
	x.claim.waits = false
	return nil
}

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
		if tooLarge(x.srv.settings.Load().MaxBatchSize, &x.req.Batch, x.perr) {
			return protocol.ErrTooLarge
		}
		want += max(x.req.Batch.Size, 0)
	}
	switch {
	case x.req.Command == protocol.Hello: // which is of a connection
		return protocol.ErrInvalidRequest
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
	if err, _ := x.refusal(x.srv.settings.Load(), &x.req, x.perr); err != nil {
		x.refuse(to, protocol.Batch, x.req.Topic, err)
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
	if !x.follows {
		defer counters.httpWaiting.Add(-1)
		if counters.httpWaiting.Add(1) > int64(x.srv.limits.Load().MaxHTTPWaits) {
			return protocol.ErrBusy
		}
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

// Allows reports whether who has shown that has the right to a request, which makes no topic.
// That of a POSITION without a consumer is the right to one of the topic. Nothing is
// counted or noted: nobody has asked for anything.
func (s *Server) Allows(shown Shown, req *protocol.Request) bool {
	c := s.newCaller(nil)
	c.shown = shown
	switch {
	case !c.may(req.Command, req.Topic):
		return false
	case req.Command != protocol.Position:
		return true
	case len(req.Consumer) == 0:
		return c.auth == nil || c.has(req.Topic, position)
	}
	return c.mayPosition(req)
}

// Elsewhere returns protocol.ErrNotLeader, perhaps with who leads, unless this server is the
// one to change a topic by, which need not exist, or if name is nil the cluster. It does
// not wait, and asks for no rights: see Refusal.
func (s *Server) Elsewhere(name []byte) *protocol.Error {
	if err := s.doors.cluster.Elsewhere(name); err != nil {
		return answerTo(err)
	}
	return nil
}

// Refusal returns why Do would refuse a request with that line whatever follows it: by
// its syntax, its size, or the rights of who has shown that, which may take a BATCH to a
// topic that exists. It returns nil if it would not. One that would be refused counts as
// if it was made.
func (s *Server) Refusal(remote string, shown Shown, line []byte) *protocol.Error {
	c, req := s.newCaller(Address(remote)), protocol.Request{}
	c.shown = shown
	perr := protocol.ParseRequest(line, &req)
	var err *protocol.Error
	if req.Command == protocol.Batch {
		err, _ = c.refusal(s.settings.Load(), &req, perr)
		if err == nil && !c.mayCreate(req.Topic) {
			if _, missing := c.existing(c.ctx, req.Topic); missing == protocol.ErrUnauthorized {
				err = protocol.ErrUnauthorized
				c.denied(&req)
			}
		}
	} else if perr != nil {
		err = protocol.ErrInvalidRequest
	} else if !c.may(req.Command, req.Topic) || req.Command == protocol.Position && !c.mayPosition(&req) {
		err = protocol.ErrUnauthorized
		c.denied(&req)
	}
	if err != nil {
		s.counters.requests[req.Command].Add(1)
		s.counters.failed(req.Command, err)
		c.remember(req.Command, req.Topic, err)
	}
	return err
}
