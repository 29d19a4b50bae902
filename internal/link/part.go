package link

import "errors"

// A batch that is damaged on the server's disk arrives as it is. If its size is
// what is wrong, the answer can't be told from those that follow it on the
// connection, and the connection has to end. So that this costs nobody else an
// answer, an append above all, reads are never under way on a connection
// together with other calls: a Link on which they meet has one connection for
// reads from then on, and another one for all else. One of several reads that
// loses its connection to another's damage is sent again.

// purpose is what a connection is for.
type purpose uint8

const (
	forAll    purpose = iota // but not for reads and other calls at the same time
	forReads                 // for reads alone
	forOthers                // for all but reads
)

// refuses reports whether the call must not be under way here, together with what
// is. Caller holds mu.
func (cn *conn) refuses(cl *Call) bool {
	if !cn.alone && (cn.waits > 0 || cl.wait > 0 && cn.reads+cn.others > 0) {
		return true
	}
	if cl.kind == AnswerBatches {
		return cn.purpose == forOthers || cn.others > 0
	}
	return cn.purpose == forReads || cn.reads > 0
}

// count counts a call that was taken, or with -1 one that is over. Caller holds
// mu.
func (cn *conn) count(cl *Call, n int) {
	if cl.kind == AnswerBatches {
		cn.reads += n
	} else {
		cn.others += n
	}
	if cl.wait > 0 {
		cn.waits += n
	}
}

// mixed reports whether the connection takes calls, but not this one.
func (cn *conn) mixed(cl *Call) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.ended == nil && cn.refuses(cl)
}

// dedicate gives the connection to reads, if some are under way, and else to all
// but reads. It reports which.
func (cn *conn) dedicate() purpose {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.purpose = forOthers
	if cn.reads > 0 {
		cn.purpose = forReads
	}
	return cn.purpose
}

// enqueue gives the call to the connection by one of its ways to enqueue. If it
// can't be given because of what else is under way there, they are parted.
func (l *Link) enqueue(cn *conn, cl *Call, enqueue func(*conn, *Call) bool) bool {
	if enqueue(cn, cl) {
		return true
	}
	switch {
	case !cn.mixed(cl):
	case cl.wait > 0 && !l.alone:
		l.waitsApart.Store(true)
	default:
		l.part(cn)
	}
	return false
}

// part makes the Link have another connection for reads. cn becomes the one or
// the other. If cn has a read that waits it is left to that instead.
func (l *Link) part(cn *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.reads.Load() != nil || l.conn.Load() != cn {
		return
	}
	if !l.alone && cn.leave() {
		l.waitsApart.Store(true)
		l.left = append(l.left, cn)
		l.conn.Store(nil)
		return
	}
	reads := l.another()
	if cn.dedicate() == forReads {
		reads.conn.Store(cn)
		l.conn.Store(nil)
	}
	l.reads.Store(reads)
}

// lostToAnother reports whether the read lost its connection to what was damaged
// in the answer to another one: then it can be sent again.
func (cl *Call) lostToAnother() bool {
	if cl.kind != AnswerBatches || !errors.Is(cl.err, ErrConnectionLost) {
		return false
	}
	if _, own := cl.err.(*DamageError); own {
		return false
	}
	_, damaged := errors.AsType[*DamageError](cl.err)
	return damaged
}
