package server

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/socket"
)

// conn drives the session of one connection, with a goroutine. All but Wake and
// drain is that goroutine's own.
type conn struct {
	session
	accepted net.Conn                            // what was accepted; also for others, to close it and to set its deadlines
	nc       net.Conn                            // accepted, or TLS over it
	tls      *TLS                                // nil: the client is to speak none
	certs    atomic.Pointer[[]*x509.Certificate] // of the client, if it has shown any
	in       input
	sock     socket.Writer
	read     socket.Deadline

	// started is when the request that is arriving was begun; zero when none is.
	started time.Time

	turn int // bytes moved since others had theirs

	until time.Time // what arrives is awaited until then
	ahead action    // what step has said already; goOn: nothing

	lent bool       // the session was, to a gathering, and takeBack was not called since
	busy sync.Mutex // held while the gathering has it

	// stranger is set while the connection is one that has to show who it is, by
	// showBy.
	stranger bool
	showBy   time.Time

	// securing is set until a handshake is done, which a deadline that has passed would
	// end for good.
	securing atomic.Bool

	woken      chan struct{} // cap 1
	draining   atomic.Bool
	drainUntil time.Time
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

func newConn(s *Server, nc net.Conn, t *TLS) *conn {
	c := &conn{accepted: nc, nc: nc, tls: t, woken: make(chan struct{}, 1)}
	c.caller = s.newCaller(nc.RemoteAddr())
	if c.auth != nil {
		c.show(c.auth.peer(nc))
	}
	c.securing.Store(t != nil)
	c.read.Set = nc.SetReadDeadline
	c.sock.Init(nc, s.limits.Load().Timeout, &s.counters.out, c.moved)
	if c.in.raw = c.sock.Raw(); c.in.raw != nil {
		c.in.readFn = c.readReady
	}
	c.in.socket = c.in.raw
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

func (c *conn) releaseBuffers() {
	if c.in.buf != nil {
		if c.auth != nil {
			clear(c.in.unread()) // it may be a token
		}
		putBuffer(c.in.buf)
		c.in.buf = nil
	}
}

// Wake ends a wait for a log, or the next one.
func (c *conn) Wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
	if !c.securing.Load() {
		c.accepted.SetReadDeadline(aLongTimeAgo)
	}
}

// drain asks the connection to answer what has arrived and to close.
func (c *conn) drain() {
	c.draining.Store(true)
	c.Wake()
	c.accepted.SetReadDeadline(aLongTimeAgo) // also of a handshake
}

// cut ends the connection now. It does not wait for the connection's goroutine, as Close
// would: that may lead a gathering, inside of its read, and wait for a disk.
func (c *conn) cut() {
	if halves, ok := c.accepted.(interface {
		CloseRead() error
		CloseWrite() error
	}); ok {
		halves.CloseRead()
		halves.CloseWrite()
	} else {
		c.accepted.Close()
	}
	c.Wake()
}

// serve answers requests until the connection ends.
func (c *conn) serve() {
	if c.tls != nil {
		err := c.secure()
		c.securing.Store(false)
		if err == errTLSRequired {
			socket.Linger(c.nc)
			return
		} else if err != nil {
			c.srv.log.Debug("no TLS", "remote", c.from(), "err", err)
			if !isTimeout(err) {
				socket.Linger(c.accepted) // so that the alert arrives, which says why
			}
			return
		}
		c.secured()
		if !c.sitEarly() {
			c.refusedConnection()
			c.endWith(protocol.ErrBusy, "")
		}
	}
	if err := c.drive(); err != nil {
		if !errors.Is(err, io.EOF) {
			c.srv.log.Debug("connection ended", "remote", c.from(), "err", err)
		}
	} else if c.flush(false) == nil {
		socket.Linger(c.nc)
	}
}

// drive does what the session says, until that is to hang up.
func (c *conn) drive() (err error) {
	for {
		if c.draining.Load() && !c.drainUntil.IsZero() && time.Now().After(c.drainUntil) {
			c.refuseNext()
		}
		do := c.ahead
		if c.ahead = goOn; do == goOn {
			do = c.stepOn()
		}
		switch do {
		case readMore:
			if err = c.flush(false); err == nil {
				err = c.await()
			}
		case flushOut:
			err = c.flush(false)
		case sendView:
			err = c.sendView()
		case commitAll:
			c.commit()
		case waitForLog:
			err = c.wait()
		case pause:
			err = c.pause()
		case holdBack:
			err = c.holdBack()
		case hangUp:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stepOn takes the next step with what is unread.
func (c *conn) stepOn() action {
	n, do := c.step(c.in.unread())
	c.in.consume(n)
	return do
}

// typedPause is how long a person's batch that can't become a whole one is waited
// for.
const typedPause = time.Second

// notCRLF tells a person what is wrong with the lines of a batch.
const notCRLF = "in a batch each line ends with CR LF, and each body too: nc -C, telnet and printf '...\\r\\n' send that"

// await waits for more bytes.
func (c *conn) await() error {
	if c.taken {
		c.taken, c.started = false, time.Time{}
	}
	if c.auth != nil && c.known() {
		return nil // the session ends
	}
	limits := c.srv.limits.Load()
	c.sock.SetTimeout(limits.Timeout)
	typed, broken := c.typed, c.broken
	c.typed, c.broken = false, false
	for {
		now := time.Now()
		timeout := limits.IdleTimeout
		want := now.Add(timeout)
		if c.partial(c.in.unread()) {
			if c.started.IsZero() {
				c.started = now
			}
			timeout = limits.Timeout
			want = c.started.Add(timeout)
			if pause := now.Add(typedPause); broken && pause.Before(want) {
				timeout, want = typedPause, pause
			}
		}
		if c.stranger && c.showBy.Before(want) {
			timeout, want = limits.Timeout, c.showBy
		}
		if c.draining.Load() {
			// What was sent before the client could know is still answered.
			const grace = 100 * time.Millisecond
			if c.drainUntil.IsZero() {
				c.drainUntil = now.Add(grace)
				c.read.Forget()
			}
			timeout, want = grace, c.drainUntil
		}
		c.until = want
		c.read.By(want, timeout/32)
		if c.draining.Load() && c.drainUntil.IsZero() {
			continue // drain has set its deadline before ours
		}
		err := c.fill()
		if !isTimeout(err) {
			return err
		}
		now = time.Now()
		switch {
		case !now.Before(c.until):
			if c.draining.Load() && len(c.in.unread()) > 0 {
				c.endWith(protocol.ErrShuttingDown, "")
				return nil
			}
			if c.stranger && !now.Before(c.showBy) {
				c.endWith(protocol.ErrUnauthorized, "")
				return nil
			}
			if typed || broken {
				c.endWith(protocol.ErrInvalidProtocol, notCRLF)
				return nil
			}
			return err
		default:
			c.read.Forget() // a wake-up for a wait that is over, Recall, or drain
			if c.auth != nil && c.known() {
				return nil
			}
		}
	}
}

// mayAnswer reports whether the connection is one that waits for nothing but requests.
func (c *conn) mayAnswer() bool {
	return c.phase == taking && !c.pending() && !c.stranger && !c.draining.Load()
}

// answerHere takes the next step, inside of a read that has emptied the socket, and reports
// whether the read is to go on waiting: what has arrived is answered, or lent to a
// gathering, which will do so. Else the connection's goroutine has something to do.
func (c *conn) answerHere() (waits bool) {
	in := &c.in
	in.w += in.n
	c.srv.counters.bytesIn.Add(int64(in.n))
	do := c.stepOn()
	if in.r == in.w && do == commitAll {
		if log := c.gatherer(); log != nil {
			c.lent = true
			c.busy.Lock()
			c.srv.gather(c, log)
			return true
		}
		c.commit()
		return c.finish()
	}
	if in.r == in.w && do == readMore && c.phase == taking {
		return c.finish()
	}
	c.ahead = do
	return false
}

// finish sends the answers as far as the socket takes them at once, and reports whether
// there is nothing left to do before the next request. Else what there is comes ahead.
func (c *conn) finish() bool {
	if len(c.out) > 0 {
		if n, err := c.sock.Try(c.out); err == nil && n == len(c.out) {
			c.sent()
		} else {
			c.out = c.out[n:]
		}
	}
	if c.auth != nil {
		c.known()
	}
	if c.phase == taking && len(c.out) == 0 && !c.stranger {
		c.taken, c.started = false, time.Time{}
		c.in.letGo()
		c.idle()
		c.awaitFor(c.srv.limits.Load().IdleTimeout)
		if !c.draining.Load() { // else it has set its deadline before ours
			return true
		}
	}
	c.ahead = flushOut
	return false
}

// awaitFor has what arrives awaited for so long.
func (c *conn) awaitFor(timeout time.Duration) {
	c.until = time.Now().Add(timeout)
	c.read.By(c.until, timeout/32)
}

// wait waits until the session's read can be resumed, or has it end: the client
// is gone, or the server drains.
//
// While it waits it reads from the connection, which is how it learns that the
// client is gone. What arrives is kept for later; when the buffer is full it
// waits without reading.
func (c *conn) wait() error {
	if err := c.flush(false); err != nil {
		return err
	}
	select {
	case <-c.woken:
	default:
	}
	until := c.reading.until
	c.read.Forget()
	c.nc.SetReadDeadline(until)
	if c.draining.Load() || c.ctx.Err() != nil {
		c.stopWaiting()
		return nil
	}
	if !c.watch(c) {
		return nil
	}
	defer c.unwatch(c)
	c.srv.counters.waiting.Add(1)
	defer c.srv.counters.waiting.Add(-1)
	var err error
	switch {
	case !c.in.full(streamBuffer):
		err = c.fill()
	case c.in.socket != nil:
		err = c.awaitHangUp()
	default:
		err = awaitWake(c.ctx, nil, c.woken, until)
	}
	if err != nil && !isTimeout(err) {
		c.stopWaiting()
	}
	return nil
}

// awaitWake waits for a wake-up or until a time. If ctx ends before that, or
// gone is closed, it returns an error.
func awaitWake(ctx context.Context, gone <-chan struct{}, woken <-chan struct{}, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-gone:
		return io.EOF
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
