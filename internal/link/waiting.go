package link

import (
	"context"
	"errors"
	"slices"
)

// A read that waits for a batch to come would hold up what is behind it on its
// connection, so it is alone there. It takes the Link's connection if nothing else
// is under way on it: a program that does one thing after another needs no more
// than one. If another call comes meanwhile, the connection is left to the read,
// ends with it, and the Link makes another one. From then on, every read that waits
// borrows a Link for itself, with a connection of its own.

// errApart is why a read that waits was not sent: other calls are under way.
var errApart = errors.New("a read that waits must be alone on its connection")

// errLeft ends a connection that was left to a read that waited.
var errLeft = errors.New("a read that waited had it for itself, and is over")

// apart reports whether the call needs a Link for itself.
func (l *Link) apart(cl *Call) bool {
	return cl.wait > 0 && !l.alone && (l.waitsApart.Load() || l.reads.Load() != nil)
}

// leave reports whether the connection has a read that waits, and if so has it end
// with that.
func (cn *conn) leave() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.left = cn.waits > 0
	return cn.left
}

// maxRested is how many Links for reads that wait are kept while there are no such
// reads, with their connections for as long as the server keeps those.
const maxRested = 4

// attemptApart is attempt for a read that waits, over a Link for itself.
func (l *Link) attemptApart(ctx context.Context, cl *Call) (f *Failure, mine bool) {
	r, err := l.borrow()
	if err != nil {
		return &Failure{Err: err}, true
	}
	defer l.giveBack(r)
	return r.attempt(ctx, cl)
}

// borrow returns a Link for one read that waits.
func (l *Link) borrow() (*Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if n := len(l.rested); n > 0 {
		r := l.rested[n-1]
		l.rested = l.rested[:n-1]
		return r, nil
	}
	r := l.another()
	r.alone = true
	l.waiting = append(l.waiting, r)
	return r, nil
}

// giveBack takes a Link back that was borrowed.
func (l *Link) giveBack(r *Link) {
	l.mu.Lock()
	keep := l.closed || len(l.rested) < maxRested // after Close it is closed there
	if keep {
		l.rested = append(l.rested, r)
	} else {
		l.waiting = slices.DeleteFunc(l.waiting, func(w *Link) bool { return w == r })
	}
	l.mu.Unlock()
	if !keep {
		r.Close()
	}
}

// another returns a Link of the same options that goes first to the server that l
// has now. Caller holds mu.
func (l *Link) another() *Link {
	r := newLink(l.opts, l.servers)
	r.addr, r.pinned = l.addr, l.pinned
	return r
}
