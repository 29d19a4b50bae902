package link

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/tlsconn"
)

const (
	// maxGather and maxGatherBytes bound how many requests leave in one write,
	// and so what WriteTimeout is for. A batch that is larger leaves alone.
	maxGather      = 256
	maxGatherBytes = 1 << 20
	// lastWords is how long a connection that takes no more requests is read
	// for answers that the server had already sent.
	lastWords = time.Second
	// cancelGrace is how long a cancelled append, whose batch is just being
	// written, waits for that to end.
	cancelGrace = time.Second
)

// conn is one connection and its two goroutines. The writer takes the calls
// that wait in queue, all at once, so that what callers enqueue while it is
// writing leaves in one write. The reader matches answers to the calls in
// sent, in order. A caller who has the connection for itself does both without
// them, see direct.go.
//
// A conn takes calls until it has ended. Every call that it took is over, or
// was given to it, when run returns.
type conn struct {
	nc      net.Conn
	addr    string
	number  int64 // see Link.Connection
	opts    *Options
	servers *Servers
	alone   bool   // see Link.alone
	greeted bool   // the server has answered HELLO
	proved  func() // called once, at the first answer of a server that serves
	reader  replyReader
	gone    chan struct{} // closed by the Link, after run and all that follows it
	closing sync.WaitGroup

	wake chan struct{} // wakes the writer; holds one
	turn chan struct{} // gives the reader its role back; holds one

	quiet func() socketState // how the socket is; nil where that can't be asked

	mu       sync.Mutex
	purpose  purpose       // what it is for
	reads    int           // how many were taken and are not over
	others   int           // calls, likewise
	waits    int           // those of the reads that wait
	left     bool          // it ends with the read that waits
	queue    Queue[Call]   // not yet written
	sent     Queue[Call]   // being written or written, and not yet answered
	ended    error         // why no more calls are taken; nil for as long as they are
	closed   bool          // the server announced that it answers no more
	cutOff   bool          // nc is closed, or being closed by closing
	sleeping bool          // the writer waits for wake
	armed    bool          // the reader's deadline is set
	silent   time.Duration // how long the server may be silent until then
	lastUsed time.Time     // when something was last sent or awaited

	role       role
	direct     *Call           // the call whose caller has the role, nil if it is nobody's or the goroutine's
	directDone <-chan struct{} // of the context of that caller while it reads; nil if it never ends
	readErr    error           // what a caller met while it read
	lastWaited bool            // the call that was answered last had waited set

	limitAsked bool          // CONFIG was sent for limit
	limited    chan struct{} // closed when limit is known, or never will be
	limit      atomic.Int64  // the server's MaxBatchSize, or unlimited; 0 if it is not known

	proven atomic.Bool // proved was called; set by whoever has the role of the reader

	// Of whoever has the role of the reader.
	watched   <-chan struct{} // of a context that is watched
	stopWatch func() bool

	// The writer's own.
	gathered []*Call
	bufs     net.Buffers
	rest     net.Buffers // what WriteTo has left of bufs; a field so as not to escape
}

func newConn(nc dialed, l *Link, proved func()) *conn {
	cn := &conn{
		nc: nc.Conn, addr: nc.addr, greeted: nc.greeted, opts: &l.opts, servers: l.servers, number: made.Add(1), alone: l.alone, proved: proved, gone: make(chan struct{}), limited: make(chan struct{}), lastUsed: time.Now(),
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), quiet: socketOf(nc.Conn),
	}
	cn.reader = replyReader{br: bufio.NewReaderSize(armingReader{cn}, readChunk), opts: &l.opts}
	return cn
}

// run serves the connection until it ends and returns why.
func (cn *conn) run() error {
	var writer sync.WaitGroup
	writer.Go(cn.write)
	err := cn.read()
	cn.unwatch()
	cn.end(err)
	if isAlert(err) {
		cn.mu.Lock()
		cn.ended = err // also if a write had failed before: this is why
		cn.mu.Unlock()
	}
	cn.closing.Wait()
	writer.Wait()
	return cn.failRest()
}

// enqueue takes the call, or reports false if the connection has ended, or must
// not have such a call: then the call was not touched and may go to another
// connection.
func (cn *conn) enqueue(cl *Call) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.enqueueLocked(cl)
}

// enqueueLocked is enqueue by a caller who holds mu.
func (cn *conn) enqueueLocked(cl *Call) bool {
	if cn.ended == nil && cn.idle() {
		cn.endLocked(errIdle)
	}
	if cn.ended != nil || cn.refuses(cl) {
		return false
	}
	cl.step(queued)
	cn.queue.Push(cl)
	cn.count(cl, 1)
	cn.wakeLocked()
	cn.wakeReader()
	return true
}

// errIdle ends a connection that rested for too long.
var errIdle = errors.New("idle for longer than IdleTimeout")

// idle reports whether the connection rested too long to be trusted. Caller
// holds mu.
func (cn *conn) idle() bool {
	return cn.opts.IdleTimeout >= 0 && cn.queue.Len() == 0 && cn.sent.Len() == 0 &&
		time.Since(cn.lastUsed) > cn.opts.IdleTimeout
}

// wakeLocked wakes the writer if it sleeps. Caller holds mu.
func (cn *conn) wakeLocked() {
	if cn.sleeping {
		cn.sleeping = false
		cn.wake <- struct{}{}
	}
}

// end makes the connection take no more calls and cuts it off. Only the first
// reason counts.
func (cn *conn) end(reason error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.endLocked(reason)
}

func (cn *conn) endLocked(reason error) {
	if cn.ended == nil {
		cn.ended = reason
		cn.wakeLocked()
	}
	cn.wakeReader()
	if !cn.cutOff {
		cn.cutOff = true
		cn.closing.Go(func() { cn.nc.Close() }) // which may wait, whatever Options.Dial has made
	}
}

// endWriting makes the connection take no more calls and gives the reader
// until lastWords to take in the answers that are already here: a server may
// refuse a request, close, and so fail a write before it is read.
func (cn *conn) endWriting(reason error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.ended == nil {
		cn.ended = reason
		cn.wakeLocked() // who writes may be another than the goroutine that ends the connection
		cn.armed = true
		cn.nc.SetReadDeadline(time.Now().Add(lastWords))
		cn.wakeReader()
	}
}

// live reports whether the connection takes calls.
func (cn *conn) live() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.ended == nil
}

// write is the writer goroutine.
func (cn *conn) write() {
	for cn.gather() {
		cn.rest = cn.bufs
		n, err := cn.writeRest()
		if err != nil {
			cn.endWriting(err)
		}
		cn.wrote(n)
	}
}

// writeRest writes what rest holds.
func (cn *conn) writeRest() (int64, error) {
	if t, ok := cn.nc.(*tlsconn.Conn); ok {
		return t.WriteBuffers(&cn.rest)
	}
	return cn.rest.WriteTo(cn.nc)
}

// gather waits for calls and takes as many of them as one write may have. It
// reports false once the connection has ended.
func (cn *conn) gather() bool {
	cn.mu.Lock()
	for cn.ended == nil && (cn.queue.Len() == 0 || cn.role == roleWriting) {
		cn.sleeping = true
		cn.mu.Unlock()
		<-cn.wake
		cn.mu.Lock()
	}
	defer cn.mu.Unlock()
	if cn.ended != nil {
		return false
	}
	cn.lastUsed = time.Now()
	cn.gathered, cn.bufs = cn.gathered[:0], cn.bufs[:0]
	size := 0
	for cn.queue.Len() > 0 && len(cn.gathered) < maxGather {
		cl := cn.queue.Peek()
		if size += len(cl.out); size > maxGatherBytes && len(cn.gathered) > 0 {
			break
		}
		cl.step(writing)
		cn.queue.Pop()
		cn.sent.Push(cl)
		cn.gathered = append(cn.gathered, cl)
		cn.bufs = append(cn.bufs, cl.out)
	}
	// Under mu, so that an abandoned call can only bring it forward.
	cn.nc.SetWriteDeadline(deadline(cn.opts.WriteTimeout))
	return true
}

// wrote notes that n bytes of the gathered calls were written.
func (cn *conn) wrote(n int64) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	for _, cl := range cn.gathered {
		n -= int64(len(cl.out))
		if cl.state == callWriting {
			cl.unsent = n < 0
		}
		cl.step(written)
	}
	clear(cn.gathered)
	clear(cn.bufs)
	// The reader has been waiting without a deadline if nothing was awaited.
	if cn.ended == nil && !cn.armed && cn.sent.Len() > 0 {
		cn.arm()
	}
}

// abandon is called by the caller of cl, whose context has ended because of cause.
// It reports that the call is over if it is its caller's again: it was over
// already, or was not sent because of cause. Otherwise the call stays with the
// connection, which throws its answer away when that comes, and the caller may
// touch nothing but out, which is not used any more. Outcome is what is known of
// the batch then.
func (cn *conn) abandon(cl *Call, cause error) (isOver bool, outcome Outcome) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cl.kind == answerAppend && (cl.state == callWriting || cl.state == callAnswered) {
		// The batch is its caller's, and must not change while it is written.
		cl.interest = wantsWritten
		cn.nc.SetWriteDeadline(cn.graceDeadline())
		cn.mu.Unlock()
		<-cl.done
		cn.mu.Lock()
		if cl.state == callOver {
			return true, 0
		}
	}
	switch cl.state {
	case callOver:
		<-cl.done
		return true, 0
	case callQueued:
		cn.queue.Remove(cl)
		cn.count(cl, -1)
		cl.step(withdrawn)
		cl.unsent, cl.err = true, cause
		if cn.left {
			cn.endLocked(errLeft)
		}
		return true, 0
	}
	cl.interest = orphaned
	outcome = outcomeFor(cl.kind, cl.unsent)
	if cl.wait > 0 && cn.sent.Len() == 1 && cn.queue.Len() == 0 {
		// Nobody else loses anything, and whoever comes next need not wait for
		// the end of a read that nobody wants.
		cn.endLocked(errAbandoned)
	}
	return false, outcome
}

// errAbandoned ends a connection on which nothing is left but a waiting read, or
// the rest of an answer, whose caller is gone.
var errAbandoned = errors.New("a call was cancelled while its answer was awaited")

// graceDeadline returns until when a cancelled append waits for its batch to
// be written.
func (cn *conn) graceDeadline() time.Time {
	if cn.opts.WriteTimeout >= 0 {
		return deadline(min(cancelGrace, cn.opts.WriteTimeout))
	}
	return deadline(cancelGrace)
}

// finish ends a call, at once or when the writer has let go of it. Caller
// holds mu and has taken the call out of its queue.
func (cn *conn) finish(cl *Call) {
	cn.count(cl, -1)
	if cl.asks {
		close(cn.limited)
	}
	cl.step(answered)
}

// read is the reader: it returns why there are no more answers.
func (cn *conn) read() error {
	for {
		if err := cn.readAnswer(); err != nil {
			return err
		}
		if cn.release() {
			if err := cn.awaitTurn(); err != nil {
				return err
			}
		}
	}
}

// readAnswer reads one answer and ends its call. It is for whoever has the role
// of the reader.
func (cn *conn) readAnswer() error {
	line, err := cn.reader.line()
	cn.mu.Lock()
	cl := cn.sent.Peek()
	cn.mu.Unlock()
	// A call that is peeked at is the reader's until finish: others only look at
	// what mu guards.
	switch {
	case err != nil && cl != nil && errors.Is(err, ErrBadAnswer):
		cl.err = err
	case err != nil:
		return cn.silence(err)
	case cl == nil:
		return cn.unasked(line)
	default:
		err = cn.reader.answer(line, cl)
	}
	if err == errServerCloses && cn.stays(cl) {
		err = nil
	}
	if cl.err == protocol.ErrBusy && cl.kind != answerAppend && !cn.proven.Load() {
		// The server takes no more connections, and said so before it had read the
		// request: it is as if it had hung up.
		cl.err, cl.refused = nil, false
		return protocol.ErrBusy
	}
	_, damaged := err.(*DamageError)
	if (err == nil || damaged) && cl.err != protocol.ErrBusy && !cn.proven.Load() {
		cn.proven.Store(true)
		cn.proved()
	}
	if cl.config && err == nil {
		cn.learn(cl)
	}
	if err != nil && cl.err == nil && !cl.cut {
		return cn.silence(err) // the answer is torn: failRest ends the call
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if err == errServerCloses {
		cn.closed = true
		err = fmt.Errorf("%w after answering: %w", err, cl.err)
	}
	if err == nil && cn.left {
		err = errLeft
	}
	if err != nil {
		cn.endLocked(err) // before the caller learns of it, and calls again
	}
	cn.sent.Pop()
	cn.lastWaited = cl.waited
	cn.finish(cl)
	return err
}

// silence says what a deadline that passed means.
func (cn *conn) silence(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		cn.mu.Lock()
		defer cn.mu.Unlock()
		return fmt.Errorf("the server was silent for %v: %w", cn.silent, os.ErrDeadlineExceeded)
	}
	return err
}

// unasked returns the error for a line that answers nothing. A server that
// takes no more connections says why before it closes.
func (cn *conn) unasked(line []byte) error {
	cl := &Call{}
	if cn.reader.answer(line, cl); cl.refused {
		return cl.err
	}
	return fmt.Errorf("%w: %q answers no request", ErrBadAnswer, line)
}

// lost returns the error of a call that has no answer because the connection has
// ended. Caller holds mu.
func (cn *conn) lost() error {
	switch cn.ended {
	case ErrClosed:
		return ErrClosed
	case io.EOF:
		return fmt.Errorf("%w: closed by the server", ErrConnectionLost)
	}
	if cn.refusedTLS() {
		return fmt.Errorf("%w: %s: %w", ErrConnect, cn.addr, cn.ended)
	}
	return fmt.Errorf("%w: %w", ErrConnectionLost, cn.ended)
}

// refusedTLS reports whether the server has refused the client by an alert: of a
// certificate that TLS 1.3 lacks, a client hears when it reads first. The server has seen
// no request then. Caller holds mu.
func (cn *conn) refusedTLS() bool { return !cn.proven.Load() && isAlert(cn.ended) }

// failRest ends all calls that are left. Nothing else uses them: reader and
// writer are gone.
func (cn *conn) failRest() error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cause := cn.lost()
	for cn.sent.Len() > 0 {
		cl := cn.sent.Pop()
		cl.refused = cn.closed
		cl.unsent = cl.unsent || cn.refusedTLS()
		cl.err = cause
		if bad, ok := cl.torn.(*DamageError); ok && cause != ErrClosed {
			cl.err = &DamageError{bad.Offset, cause}
		}
		cn.finish(cl)
	}
	for cn.queue.Len() > 0 {
		cl := cn.queue.Pop()
		cl.unsent = true
		cl.err = cause
		cn.finish(cl)
	}
	return cause
}

// armingReader reads from the connection, each time with a new deadline if an
// answer is awaited.
type armingReader struct{ cn *conn }

func (r armingReader) Read(p []byte) (int, error) {
	cn := r.cn
	cn.mu.Lock()
	switch {
	case cn.ended != nil || cn.interrupted(): // keep the deadline of endWriting or interrupt
	case cn.sent.Len() > 0:
		cn.arm()
	case cn.armed:
		cn.armed = false
		cn.lastUsed = time.Now()
		cn.nc.SetReadDeadline(time.Time{})
	}
	cn.mu.Unlock()
	return cn.nc.Read(p)
}

// arm sets the reader's deadline for the first awaited answer. Caller holds mu.
func (cn *conn) arm() {
	cn.armed = true
	cn.lastUsed = time.Now()
	limit, cl := cn.opts.ReadTimeout, cn.sent.Peek()
	if p := cn.servers.Patience(); p > 0 && cl.repeats && (limit < 0 || p < limit) {
		limit = p // another server is asked then
	}
	if limit < 0 {
		return
	}
	cn.silent = limit
	cn.nc.SetReadDeadline(cn.lastUsed.Add(limit + cl.wait))
}
