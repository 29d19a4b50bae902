// Package link is the connection of a client to its servers: it is made when it
// is first used and made anew when it was lost, and many callers share it. Link
// knows requests and answers, but not what they are for: what an answer means,
// and what is told to the user, is for package logd.
//
// A [Call] is one request and its answer. [Link.Do] sends it and waits; a
// [Pending] is an append that is sent without waiting. Requests leave in the
// order in which they are given, as many in one write as there are, and the
// server answers them in that order.
//
// # Goroutines
//
// A connection has two: the writer takes all calls that wait in its queue, the
// reader gives each answer to the oldest call that was sent. A caller who has the
// connection for itself does both without them (direct.go). While there is no
// connection and somebody waits for one, one goroutine tries the addresses, in
// rounds with pauses between them (connect.go).
//
// # Locks
//
// They are taken in this order: Pool.mu, Link.mu, conn.mu, and then that of [Servers]
// or of the callbacks (serial.go), of which nobody who holds one takes another. A Link
// that belongs to another one, for reads (part.go) or for a read that waits
// (waiting.go), is locked by nobody who holds the Link.mu of the other one.
//
// None is held while something is read, written or dialed, nor over the callbacks of
// [Options], nor over a send to a channel that could wait: wake, turn and a call's done
// have room for what is sent there. A look at a socket under conn.mu does not wait. Of
// what Options.Dial has made, only deadlines are set under conn.mu.
//
// A Call belongs to its caller, to be looked at and written without a lock, until
// it is given to a connection, and then again when it is over. In between, its
// answer is written by whoever has the role of the reader, and its state is
// guarded by the conn.mu of that connection.
package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// made is how many connections there have been, of all Links: reads may go from one
// Link to another, and what is known of a connection must not be taken for another's.
var made atomic.Int64

// Link is one connection that is made when need be, or two if there are reads
// beside other calls, and one more for each read that waits beside other calls. All
// methods are safe for concurrent use.
//
// A context that ends during a call ends the call at once; only an append
// whose batch is just being written waits for the end of that, for at most a
// second. The connection goes on: the answer to a request that was sent is
// read and thrown away when it comes. The connection of a read that waits is dropped
// instead.
type Link struct {
	opts    Options
	servers *Servers
	alone   bool            // it has one caller at a time: a read that waits holds up nobody
	pinned  bool            // it is to the one server of opts.Addrs alone, of those that are known
	life    context.Context // ends with Close; the parent of connecting
	stop    context.CancelFunc
	wg      sync.WaitGroup // connections, and connecting

	calls callPool

	conn  atomic.Pointer[conn] // nil or ended if there is none
	reads atomic.Pointer[Link] // has the connection for reads, if they have their own

	waitsApart atomic.Bool // reads that wait have connections of their own

	mu         sync.Mutex
	closed     bool
	connecting *effort   // nil if nobody is at it
	addr       int       // which of the addresses is tried first
	failures   int       // in a row, since the last answer that was no error
	notBefore  time.Time // when the next round may begin
	lastErr    error     // why the last round failed
	left       []*conn   // were left to a read that waits
	waiting    []*Link   // those for reads that wait
	rested     []*Link   // those of them that have no read, the one that was used last at the end
}

// New returns a Link that connects when it is first used.
func New(o Options) *Link { return newLink(o, newServers(o.Addrs)) }

func newLink(o Options, servers *Servers) *Link {
	l := &Link{opts: o, servers: servers}
	l.life, l.stop = context.WithCancel(context.Background())
	return l
}

// addrs returns the addresses that the Link tries, which must not be changed.
func (l *Link) addrs() []string {
	if l.pinned {
		return l.opts.Addrs
	}
	return l.servers.all()
}

// drop ends the connection, if there is one, for a caller who asks another server.
func (l *Link) drop() {
	if cn := l.conn.Load(); cn != nil {
		cn.end(errDropped)
	}
}

// errDropped ends a connection whose only caller asks another server.
var errDropped = errors.New("another server is asked")

// Close ends the connection and all calls under way, whose error is ErrClosed,
// and waits for the Link's goroutines. Only the first call does anything.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	waiting, left := l.waiting, l.left
	l.mu.Unlock()
	l.stop()
	if cn := l.conn.Load(); cn != nil {
		cn.end(ErrClosed)
	}
	if reads := l.reads.Load(); reads != nil {
		reads.Close()
	}
	for _, cn := range left {
		cn.end(ErrClosed)
	}
	for _, r := range waiting {
		r.Close()
	}
	l.wg.Wait()
}

// AfterClose has f called in a goroutine of its own when the Link is closed,
// unless stop was called before. Stop reports whether it came in time.
func (l *Link) AfterClose(f func()) (stop func() bool) { return context.AfterFunc(l.life, f) }

// Addr returns the address that the Link is connected to, "" if it is not.
func (l *Link) Addr() string {
	if cn := l.conn.Load(); cn != nil && cn.live() {
		return cn.addr
	}
	return ""
}

// Connected reports whether there is a connection, as far as that can be told
// without asking the server.
func (l *Link) Connected() bool {
	cn := l.conn.Load()
	if cn == nil {
		return false
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.ended == nil && cn.role == roleFree {
		cn.look()
	}
	return cn.ended == nil
}

// send gives the call to a connection, by one of its ways to enqueue. Its error
// means that the call was not sent.
func (l *Link) send(ctx context.Context, cl *Call, enqueue func(*conn, *Call) bool) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// A connection may end between its making and its first call, but trying
	// on is of no use if it happens again and again.
	unasked := 0
	for range 3 + len(l.addrs()) {
		if cl.kind == AnswerBatches {
			if reads := l.reads.Load(); reads != nil {
				return reads.send(ctx, cl, enqueue)
			}
		}
		cn := l.conn.Load()
		if cn == nil || !cn.live() {
			var err error
			if cn, err = l.connection(ctx); err != nil {
				return nil, err
			}
		}
		err := l.admit(ctx, cn, cl)
		switch {
		case err == nil && l.enqueue(cn, cl, enqueue):
			return cn, nil
		case l.apart(cl):
			return nil, errApart
		case err == errUnasked && !cn.live():
			if unasked++; unasked >= len(l.addrs()) {
				return nil, cn.whyUnasked()
			}
		case err != nil && err != errUnasked:
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: it ends before it can be used", ErrConnectionLost)
}

// Do sends the call and waits until it is over. If it returns nil the call has
// its answer and is the caller's, to be released; otherwise the call is gone.
func (l *Link) Do(ctx context.Context, cl *Call) *Failure {
	f, mine := l.attempt(ctx, cl)
	if f != nil && mine {
		cl.Release()
	}
	return f
}

// attempt is Do, and leaves a call that has failed to its caller, if mine is true.
func (l *Link) attempt(ctx context.Context, cl *Call) (f *Failure, mine bool) {
	for try := 1; ; try++ {
		if l.apart(cl) {
			return l.attemptApart(ctx, cl)
		}
		again, f, mine := l.try(ctx, cl, try)
		if !again {
			return f, mine
		}
	}
}

// try is attempt, once. With again the call is ready to be sent anew: a read that was
// lost to another one, or for which the server is to be greeted.
func (l *Link) try(ctx context.Context, cl *Call, try int) (again bool, failure *Failure, mine bool) {
	const maxLost = 10
	kind := cl.kind
	cn, err := l.send(ctx, cl, (*conn).enqueueDirect)
	if err == errApart {
		return true, nil, true
	}
	if err != nil {
		return false, &Failure{Err: err, Outcome: outcomeFor(kind, true), Undone: true}, true
	}
	cn.readDirect(ctx, cl)
	select {
	case <-cl.done:
	case <-ctx.Done():
		if over, outcome := cn.abandon(cl, ctx.Err()); !over {
			return false, &Failure{Addr: cn.addr, Err: ctx.Err(), Outcome: outcome}, false
		}
	}
	if errors.Is(cl.err, errAbandoned) && ctx.Err() != nil {
		cl.err = ctx.Err() // which is what has ended the connection
	}
	if cl.err != nil {
		if try < maxLost && (cl.lostToAnother() || cn.greetAnew(cl)) {
			cl.again()
			return true, nil, true
		}
		return false, cl.failure(cn.addr), true
	}
	cl.Addr, cl.Connection = cn.addr, cn.number
	return false, nil, true
}
