package link

import (
	"context"
	"io"
	"time"
)

// A caller who waits for its answer, while nothing else is under way, writes
// the request and reads the answer itself. That saves waking two goroutines,
// which takes a fifth of the time of an append that is synced.
//
// For that the reader goroutine gives its role away after it has read the
// answer to such a call, and takes it back when there are other calls or when
// nobody has used the connection for restAfter: it then notices at once if the
// server closes it. A caller who finds the role free looks at the socket first.

const (
	// maxDirect is the length of a request that is surely taken at once by a
	// connection on which nothing is under way.
	maxDirect = 16 << 10
	// restAfter is how long the role of the reader stays free.
	restAfter = 100 * time.Millisecond
)

// socketState is what a look at a socket found on which nothing is awaited.
type socketState uint8

const (
	quiet   socketState = iota // nothing has arrived
	spoken                     // something has
	hungUp                     // the other side has closed it, or it is broken
	expired                    // a read deadline has passed, so it can't be told
)

// look ends the connection if the other side has closed it and nobody has noticed
// yet because nobody reads. Caller holds mu.
func (cn *conn) look() socketState {
	state := cn.quiet()
	if state == expired {
		cn.nc.SetReadDeadline(time.Time{})
		state = cn.quiet()
	}
	if state == hungUp || state == expired {
		cn.endLocked(io.EOF)
	}
	return state
}

// enqueueDirect is enqueue by a caller who waits for the answer, and writes the
// request itself where that is possible: then it has to call readDirect.
func (cn *conn) enqueueDirect(cl *Call) bool {
	cl.waited = true
	cn.mu.Lock()
	if cn.role != roleFree || !cn.sleeping || cn.ended != nil || len(cl.out) > maxDirect || cn.idle() || cn.reader.br.Buffered() > 0 || cn.refuses(cl) {
		cn.mu.Unlock()
		return cn.enqueue(cl)
	}
	if cn.look() != quiet {
		cn.mu.Unlock()
		return cn.enqueue(cl) // and the reader goroutine finds out
	}
	cn.setRole(roleWriting)
	cn.direct = cl
	cl.step(writing)
	cn.sent.Push(cl)
	cn.count(cl, 1)
	cn.nc.SetWriteDeadline(deadline(cn.opts.WriteTimeout))
	cn.mu.Unlock()

	n, err := cn.nc.Write(cl.out)
	if err != nil {
		cn.endWriting(err)
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cl.unsent = n < len(cl.out)
	cl.step(written)
	cn.setRole(roleAwaiting)
	if cn.queue.Len() > 0 {
		cn.wakeLocked()
	}
	return true
}

// readDirect reads the answer to a call of enqueueDirect, if it was written
// there, until it is here or ctx ends.
func (cn *conn) readDirect(ctx context.Context, cl *Call) {
	cn.mu.Lock()
	mine := cn.direct == cl
	cn.mu.Unlock()
	if !mine {
		return
	}
	cn.watch(ctx)
	// Nothing is lost if this is interrupted: the reader goroutine goes on.
	_, err := cn.reader.br.Peek(1)
	if err == nil {
		cn.beginReading()
		err = cn.readAnswer() // cl is its caller's from here on
	} else {
		err = cn.silence(err)
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	switch {
	case !cn.interrupted() || cn.ended != nil:
		cn.readErr = err
	case cn.role == roleHurried && err != nil:
		cn.readErr = errAbandoned
	default:
		cn.armed = false
		cn.nc.SetReadDeadline(time.Time{})
	}
	cn.setRole(roleFree)
	cn.direct, cn.directDone = nil, nil
	if cn.readErr != nil {
		cn.endLocked(cn.readErr)
	}
	if cn.ended != nil || cn.sent.Len() > 0 || cn.queue.Len() > 0 {
		cn.wakeReader()
	}
}

// watch sees to it that the direct call is interrupted when ctx ends. Many
// calls in a row have the same context: it is watched until another one comes.
func (cn *conn) watch(ctx context.Context) {
	done := ctx.Done()
	if done != nil && done != cn.watched {
		cn.unwatch()
		cn.watched = done
		cn.stopWatch = context.AfterFunc(ctx, func() {
			cn.mu.Lock()
			defer cn.mu.Unlock()
			if cn.directDone == done {
				cn.interrupt()
			}
		})
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.directDone = done
	if ctx.Err() != nil {
		cn.interrupt() // it may have ended before directDone was set
	}
}

func (cn *conn) unwatch() {
	if cn.stopWatch != nil {
		cn.stopWatch()
	}
}

// interrupt has the caller who has the role stop reading: at once, or when what has
// begun to arrive had its time. Caller holds mu.
func (cn *conn) interrupt() {
	switch {
	case cn.ended != nil: // which stops the caller, too
	case cn.role == roleAwaiting:
		cn.setRole(roleInterrupted)
		cn.nc.SetReadDeadline(time.Unix(1, 0))
	case cn.role == roleReading:
		cn.setRole(roleHurried)
		cn.nc.SetReadDeadline(deadline(cancelGrace))
	}
}

// beginReading notes that the answer has begun to arrive, although the caller may
// have been interrupted meanwhile.
func (cn *conn) beginReading() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.role == roleAwaiting {
		cn.setRole(roleReading)
		return
	}
	cn.setRole(roleHurried)
	if cn.ended == nil {
		cn.nc.SetReadDeadline(deadline(cancelGrace))
	}
}

// wakeReader gives a free role to the reader goroutine. Caller holds mu.
func (cn *conn) wakeReader() {
	if cn.role == roleFree {
		cn.setRole(roleGoroutine)
		cn.turn <- struct{}{}
	}
}

// release gives the reader's role away, if the call that was answered last is
// of a caller who may take it next time, and nothing is under way. It is for
// the reader goroutine.
func (cn *conn) release() bool {
	if cn.quiet == nil {
		return false
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if !cn.lastWaited || cn.ended != nil || cn.sent.Len() > 0 || cn.queue.Len() > 0 {
		return false
	}
	cn.setRole(roleFree)
	return true
}

// awaitTurn waits until the role of the reader is the reader goroutine's again,
// and returns the error that somebody else met in it.
func (cn *conn) awaitTurn() error {
	rest := time.NewTicker(restAfter)
	defer rest.Stop()
	for {
		select {
		case <-cn.turn:
		case <-rest.C:
			cn.mu.Lock()
			if cn.role != roleFree || time.Since(cn.lastUsed) < restAfter {
				cn.mu.Unlock()
				continue
			}
			cn.setRole(roleGoroutine)
			cn.mu.Unlock()
		}
		cn.mu.Lock()
		defer cn.mu.Unlock()
		return cn.readErr
	}
}
