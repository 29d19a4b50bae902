package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// conn is one connection. All but Wake and drain is its goroutine's own.
type conn struct {
	srv  *Server
	nc   net.Conn
	ctx  context.Context
	in   input
	out  output
	read deadline

	// single tells that there is one request and its bytes are in the buffer:
	// the connection is not to be read from (HTTP). gone is closed when its client
	// has gone away.
	single bool
	gone   <-chan struct{}

	// started is when the request that is arriving was begun; zero when none is.
	started time.Time

	turn int // bytes moved since others had theirs

	// A batch that is arriving is typed, since its line ended with a bare LF, or
	// can't become a whole one, since a line in it did.
	typed, broken bool

	hint string // for a person: what the last answer, an error, says besides

	req     protocol.Request
	run     run
	replies []reply
	extents []batch.Extent // of the run and of replies

	// The log that was used last, since connections tend to keep to one.
	topic []byte
	log   topic.Log

	woken      chan struct{} // cap 1
	draining   atomic.Bool
	drainUntil time.Time
}

// run is batches for one topic that stand one after another in memory and are
// valid, but not appended yet.
type run struct {
	topic   []byte // aliases data
	data    []byte
	extents int // the first of its extents in conn.extents
	file    int // where data ends in the input buffer; -1 if it is not there
}

// reply is the answer to a run of BATCH requests, given once the batches may
// be acknowledged; with err alone, to one request.
type reply struct {
	topic    []byte // aliases the input buffer, which is not filled before settle
	data     []byte // likewise, if not memory of its own
	log      topic.Log
	appended topic.Appended
	from, to int // its extents
	command  protocol.Command
	err      *protocol.Error
	doubt    error // ErrInDoubt, with its cause
}

// errHangUp ends a connection after the pending answers are sent.
var errHangUp = errors.New("server: connection is to be closed")

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, ctx: s.ctx, woken: make(chan struct{}, 1)}
	c.read.set = nc.SetReadDeadline
	c.out.write.set = nc.SetWriteDeadline
	// Only a bare TCP connection is used by its descriptor: what wraps one, as
	// TLS does, has bytes of its own to add.
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			c.useDescriptor(raw)
		}
	}
	return c
}

// turnBytes is how much a connection moves before it lets others have a turn.
// One that never has to wait would be interrupted after 10 ms: on few cores all
// others wait for it that long.
const turnBytes = 512 << 10

// moved counts bytes of the connection's turn, and ends it.
func (c *conn) moved(n int) {
	if c.turn += n; c.turn >= turnBytes {
		c.turn = 0
		runtime.Gosched()
	}
}

func (c *conn) useDescriptor(raw syscall.RawConn) {
	c.in.raw, c.out.raw = raw, raw
	c.in.readFn, c.out.sendFn, c.out.fileFn = c.readReady, c.sendReady, c.fileReady
}

func (c *conn) remote() string {
	if a := c.nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

func (c *conn) releaseBuffers() {
	if c.in.buf != nil {
		putBuffer(c.in.buf)
		c.in.buf = nil
	}
}

// idle gives back what is of use to a busy connection only. Nothing is left to
// settle.
func (c *conn) idle() {
	if cap(c.replies) > keepReplies {
		c.replies = nil
	}
	if cap(c.extents) > keepExtents {
		c.extents = nil
	}
}

// Wake ends a wait for a log to grow, or the next one.
func (c *conn) Wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
	c.nc.SetReadDeadline(aLongTimeAgo)
}

// drain asks the connection to answer what has arrived and to close.
func (c *conn) drain() {
	c.draining.Store(true)
	c.Wake()
}

// serve answers requests until the connection ends.
func (c *conn) serve() {
	err := c.requests()
	switch {
	case errors.Is(err, errHangUp):
		err = c.settle()
		if err != nil && !errors.Is(err, topic.ErrInDoubt) {
			return
		}
		if err == nil && c.hint != "" {
			p := bytes.TrimSuffix(c.out.pending, []byte("\r\n"))
			c.out.pending = fmt.Appendf(p, ": %s\r\n", c.hint)
		}
		if c.flush(false) == nil {
			linger(c.nc)
		}
	case errors.Is(err, topic.ErrInDoubt):
		c.srv.log.Debug("connection is closed without an answer", "remote", c.remote(), "err", err)
		if c.flush(false) == nil {
			linger(c.nc)
		}
	case errors.Is(err, io.EOF):
	default:
		c.srv.log.Debug("connection ended", "remote", c.remote(), "err", err)
	}
}

// settleReplies bounds the answers that wait for settle: one takes many times
// the memory of the shortest BATCH that is refused.
const settleReplies = 256

// keepReplies and keepExtents bound what an idle connection keeps of the space
// for answers to come.
const (
	keepReplies = 8
	keepExtents = 64
)

// requests answers request after request and returns why it can't go on.
func (c *conn) requests() error {
	for {
		if err := c.next(); err != errMore {
			if err != nil {
				return err
			}
			if len(c.replies) >= settleReplies {
				if err := c.settle(); err != nil {
					return err
				}
			}
			if len(c.out.pending) >= sendPending {
				if err := c.flush(false); err != nil {
					return err
				}
			}
			continue
		}
		// All that has arrived is dealt with; a topic in req would keep a
		// buffer that is given back.
		c.req = protocol.Request{}
		if err := c.settle(); err != nil {
			return err
		}
		if err := c.flush(false); err != nil {
			return err
		}
		if err := c.await(); err != nil {
			return err
		}
	}
}

// errMore tells that the next request has not arrived whole.
var errMore = errors.New("server: incomplete request")

// next deals with the next request if it is there. Its answer, and the work of
// a BATCH, may be left for settle.
func (c *conn) next() error {
	line, end, ok, err := c.in.line()
	if err != nil {
		return c.hangUp(protocol.ErrInvalidProtocol)
	}
	if !ok {
		return errMore
	}
	if c.draining.Load() && !c.drainUntil.IsZero() && time.Now().After(c.drainUntil) {
		return c.hangUp(protocol.ErrShuttingDown)
	}
	perr := protocol.ParseRequest(line, &c.req)
	if c.req.Command == protocol.Batch {
		return c.batch(len(line)+end, end == len("\r\n"), perr)
	}
	if err := c.settle(); err != nil {
		return err
	}
	c.in.consume(len(line) + end)
	c.started = time.Time{}
	c.srv.counters.requests[c.req.Command].Add(1)
	if perr != nil {
		if perr == protocol.ErrInvalidProtocol && !c.single {
			c.hint = protocol.Hint(line)
		}
		return c.refuse(c.req.Command, perr)
	}
	return c.handle(&c.req)
}

// typedPause is how long a person's batch that can't become a whole one is waited
// for.
const typedPause = time.Second

// notCRLF tells a person what is wrong with the lines of a batch.
const notCRLF = "in a batch each line ends with CR LF, and each body too: nc -C, telnet and printf '...\\r\\n' send that"

// await waits for more bytes.
func (c *conn) await() error {
	typed, broken := c.typed, c.broken
	c.typed, c.broken = false, false
	for {
		now := time.Now()
		timeout := c.srv.o.IdleTimeout
		want := now.Add(timeout)
		if len(c.in.unread()) > 0 || !c.started.IsZero() {
			if c.started.IsZero() {
				c.started = now
			}
			timeout = c.srv.o.Timeout
			want = c.started.Add(timeout)
			if pause := now.Add(typedPause); broken && pause.Before(want) {
				timeout, want = typedPause, pause
			}
		}
		if c.draining.Load() {
			// What was sent before the client could know is still answered.
			const grace = 100 * time.Millisecond
			if c.drainUntil.IsZero() {
				c.drainUntil = now.Add(grace)
				c.read.forget()
			}
			timeout, want = grace, c.drainUntil
		}
		c.read.by(want, timeout/32)
		if c.draining.Load() && c.drainUntil.IsZero() {
			continue // drain has set its deadline before ours
		}
		err := c.fill()
		if !isTimeout(err) {
			return err
		}
		now = time.Now()
		switch {
		case !now.Before(want):
			if c.draining.Load() && len(c.in.unread()) > 0 {
				return c.hangUp(protocol.ErrShuttingDown)
			}
			if typed || broken {
				c.hint = notCRLF
				return c.hangUp(protocol.ErrInvalidProtocol)
			}
			return err
		default:
			c.read.forget() // a wake-up for a wait that is over, or drain
		}
	}
}

// batch deals with a BATCH whose line takes head bytes: it is checked and put
// into the run.
func (c *conn) batch(head int, canonical bool, perr error) error {
	h := &c.req.Batch
	count := func() {
		c.srv.counters.requests[protocol.Batch].Add(1)
		c.started = time.Time{}
	}
	switch {
	case h.Size < 0:
		count()
		c.fail(protocol.Batch, protocol.ErrInvalidRequest)
		return errHangUp
	case c.srv.tooLarge(h, perr):
		count()
		c.fail(protocol.Batch, protocol.ErrTooLarge)
		return errHangUp
	case perr != nil || reservedTopic(h.Topic):
		c.srv.counters.requests[protocol.Batch].Add(1) // its time goes on until the data is dropped
		c.fail(protocol.Batch, protocol.ErrInvalidRequest)
		c.in.consume(head)
		return c.discard(h.Size)
	}
	p := c.in.unread()
	total := head + int(h.Size)
	if len(p) < total {
		c.typed, c.broken = !canonical, batch.BareLF(p[head:])
		return errMore
	}
	count()
	data := p[head:total]
	if c.req.Unsummed {
		h.CRC = batch.Checksum(data)
		if c.srv.tooLarge(h, nil) { // which the line alone did not tell
			c.fail(protocol.Batch, protocol.ErrTooLarge)
			return errHangUp
		}
		canonical = false
	}
	switch err := batch.Check(h, data); err {
	case nil:
	case batch.ErrChecksum:
		c.fail(protocol.Batch, protocol.ErrChecksumMismatch)
		c.in.consume(total)
		return nil
	default:
		c.fail(protocol.Batch, protocol.ErrInvalidRequest)
		c.in.consume(total)
		return nil
	}
	x := batch.Extent{Len: int64(total), Messages: h.Messages}
	if !canonical {
		// A person typed it: what is stored is the canonical form, with the
		// checksum and CR LF.
		c.appendRun()
		wire := append(batch.AppendHeader(nil, h), data...)
		x.Len = int64(len(wire))
		c.run = run{topic: h.Topic, data: wire, extents: len(c.extents), file: -1}
		c.extents = append(c.extents, x)
		c.in.consume(total)
		c.appendRun()
		return nil
	}
	if c.run.data != nil && c.run.file == c.in.r && string(c.run.topic) == string(h.Topic) {
		c.run.data = c.run.data[:len(c.run.data)+total]
	} else {
		c.appendRun()
		c.run = run{topic: h.Topic, data: p[:total], extents: len(c.extents)}
	}
	c.extents = append(c.extents, x)
	c.in.consume(total)
	c.run.file = c.in.r
	return nil
}

// tooLarge reports whether a batch is larger than is allowed, in its canonical
// form. Of an envelope that is wrong, for which perr is not nil, the size alone
// counts.
func (s *Server) tooLarge(h *batch.Header, perr error) bool {
	limit := s.o.MaxBatchSize
	return h.Size >= limit || perr == nil && h.Size > limit-int64(h.Len())
}

// reservedTopic reports whether only the server itself writes to the topic.
func reservedTopic(name []byte) bool { return len(name) >= 2 && name[0] == '_' && name[1] == '_' }

// discard reads n bytes and drops them.
func (c *conn) discard(n int64) error {
	for {
		have := min(n, int64(len(c.in.unread())))
		c.in.consume(int(have))
		if n -= have; n == 0 {
			c.started = time.Time{}
			return nil
		}
		if c.started.IsZero() {
			c.started = time.Now()
		}
		if err := c.settle(); err != nil {
			return err
		}
		if err := c.flush(false); err != nil {
			return err
		}
		if err := c.await(); err != nil {
			return err
		}
	}
}

// appendRun appends the run and leaves its answers to settle.
func (c *conn) appendRun() {
	if c.run.data == nil {
		return
	}
	r := c.run
	c.run = run{}
	rep := reply{topic: r.topic, data: r.data, command: protocol.Batch, from: r.extents, to: len(c.extents)}
	c.append(&rep)
	c.replies = append(c.replies, rep)
}

// maxAnew is how often batches are appended anew because their topic is deleted
// meanwhile. Each time is another deletion, so that only somebody who does nothing
// else gets near it.
const maxAnew = 1000

// append appends the batches of r to their topic, which it makes if need be.
func (c *conn) append(r *reply) {
	var err error
	for range maxAnew {
		if r.log, err = c.lookup(r.topic, true); err != nil {
			break
		}
		r.appended, err = r.log.Append(c.ctx, r.data, c.extents[r.from:r.to])
		if r.appended.Batches > 0 || !errors.Is(err, topic.ErrDeleted) {
			break
		}
		err = protocol.ErrBusy // if that was the last time
	}
	if errors.Is(err, topic.ErrInDoubt) {
		r.doubt = err
	} else if err != nil {
		r.err = c.answer(err, "append to topic", r.topic)
	}
}

// commit waits until what was appended for r may be acknowledged, and returns
// how many batches may. Those whose topic was deleted before that are appended
// anew: their BATCH came after the DELETE then.
func (c *conn) commit(r *reply) int {
	for range maxAnew {
		if r.appended.Batches == 0 {
			return 0
		}
		err := r.log.Commit(c.ctx, r.appended)
		switch {
		case err == nil:
			return r.appended.Batches
		case errors.Is(err, topic.ErrInDoubt):
			r.doubt = err
			return 0
		case !errors.Is(err, topic.ErrDeleted):
			r.err = c.answer(err, "commit to topic", r.topic)
			return 0
		}
		if r.err != nil {
			return 0 // the others were refused: so are these
		}
		r.appended = topic.Appended{}
		c.append(r)
	}
	r.err = protocol.ErrBusy
	return 0
}

// settle waits until what was appended may be acknowledged and makes the
// answers to all requests so far. With ErrInDoubt these are the answers before
// the one that nobody can give, and there must be none after it.
func (c *conn) settle() (err error) {
	c.appendRun()
	if len(c.replies) == 0 {
		return nil
	}
	p := c.out.pending
	for i := range c.replies {
		r := &c.replies[i]
		if r.from == r.to {
			p = c.appendError(p, r.command, r.err)
			continue
		}
		done := c.commit(r)
		offset := r.appended.Offset
		var messages int64
		for _, x := range c.extents[r.from : r.from+done] {
			p = protocol.AppendOffset(p, offset, 1)
			offset += x.Len
			messages += x.Messages
		}
		c.srv.counters.batches.Add(int64(done))
		c.srv.counters.messages.Add(messages)
		if r.doubt != nil {
			err = r.doubt
			break
		}
		for range r.to - r.from - done {
			p = c.appendError(p, r.command, r.err)
		}
	}
	c.out.pending = p
	clear(c.replies)
	c.replies, c.extents = c.replies[:0], c.extents[:0]
	return err
}

// fail queues an error answer to the request at hand.
func (c *conn) fail(cmd protocol.Command, err *protocol.Error) {
	c.appendRun()
	c.replies = append(c.replies, reply{command: cmd, err: err})
}

// hangUp queues an error answer to a request that is not read, and ends the
// connection.
func (c *conn) hangUp(err *protocol.Error) error {
	c.srv.counters.requests[protocol.Unknown].Add(1)
	c.fail(protocol.Unknown, err)
	return errHangUp
}

func (c *conn) appendError(p []byte, cmd protocol.Command, err *protocol.Error) []byte {
	c.srv.counters.failed(cmd, err)
	return protocol.AppendError(p, err)
}

// lookup returns the log of a topic.
func (c *conn) lookup(name []byte, create bool) (topic.Log, error) {
	if c.log != nil && string(c.topic) == string(name) {
		if !c.log.Deleted() {
			return c.log, nil
		}
		c.log = nil
	}
	find := c.srv.store.Log
	if create {
		find = c.srv.store.Create
	}
	log, err := find(name)
	if err != nil {
		return nil, err
	}
	c.topic, c.log = append(c.topic[:0], name...), log
	return log, nil
}
