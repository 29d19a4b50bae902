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

// refuses reports whether a call of the kind must not be under way here, together
// with what is. Caller holds mu.
func (cn *conn) refuses(kind AnswerKind) bool {
	if kind == AnswerBatches {
		return cn.purpose == forOthers || cn.others > 0
	}
	return cn.purpose == forReads || cn.reads > 0
}

// count counts a call that was taken, or with -1 one that is over. Caller holds
// mu.
func (cn *conn) count(kind AnswerKind, n int) {
	if kind == AnswerBatches {
		cn.reads += n
	} else {
		cn.others += n
	}
}

// mixed reports whether the connection takes calls, but not of the kind.
func (cn *conn) mixed(kind AnswerKind) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.ended == nil && cn.refuses(kind)
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
// can't be given because reads and other calls meet there, they are parted.
func (l *Link) enqueue(cn *conn, cl *Call, enqueue func(*conn, *Call) bool) bool {
	if enqueue(cn, cl) {
		return true
	}
	if cn.mixed(cl.kind) {
		l.part(cn)
	}
	return false
}

// part makes the Link have another connection for reads. cn becomes the one or
// the other.
func (l *Link) part(cn *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.reads.Load() != nil || l.conn.Load() != cn {
		return
	}
	reads := l.Sibling()
	reads.addr, reads.made = l.addr, l.made
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
