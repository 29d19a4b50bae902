package logd

import "errors"

// A batch that is damaged on the server's disk arrives as it is. If its size is
// what is wrong, the answer can't be told from those that follow it on the
// connection, and the connection has to end. So that this costs nobody else an
// answer, an append above all, reads are never under way on a connection
// together with other calls: a Client on which they meet has one connection for
// reads from then on, and another one for all else. One of several reads that
// loses its connection to another's damage is sent again.

// role is what a connection is for.
type role uint8

const (
	forAll    role = iota // but not for reads and other calls at the same time
	forReads              // for reads alone
	forOthers             // for all but reads
)

// refuses reports whether a call of the kind must not be under way here, together
// with what is. Caller holds mu.
func (cn *conn) refuses(kind answerKind) bool {
	if kind == answerBatches {
		return cn.role == forOthers || cn.others > 0
	}
	return cn.role == forReads || cn.reads > 0
}

// count counts a call that was taken, or with -1 one that is over. Caller holds
// mu.
func (cn *conn) count(kind answerKind, n int) {
	if kind == answerBatches {
		cn.reads += n
	} else {
		cn.others += n
	}
}

// mixed reports whether the connection takes calls, but not of the kind.
func (cn *conn) mixed(kind answerKind) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.ended == nil && cn.refuses(kind)
}

// dedicate gives the connection to reads, if some are under way, and else to all
// but reads. It reports which.
func (cn *conn) dedicate() role {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.role = forOthers
	if cn.reads > 0 {
		cn.role = forReads
	}
	return cn.role
}

// enqueue gives the call to the connection by one of its ways to enqueue. If it
// can't be given because reads and other calls meet there, they are parted.
func (c *Client) enqueue(cn *conn, cl *call, enqueue func(*conn, *call) bool) bool {
	if enqueue(cn, cl) {
		return true
	}
	if cn.mixed(cl.kind) {
		c.part(cn)
	}
	return false
}

// part makes the Client have another connection for reads. cn becomes the one or
// the other.
func (c *Client) part(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.reads.Load() != nil || c.conn.Load() != cn {
		return
	}
	reads := c.sibling()
	reads.addr = c.addr
	if cn.dedicate() == forReads {
		reads.conn.Store(cn)
		c.conn.Store(nil)
	}
	c.reads.Store(reads)
}

// lostToAnother reports whether the read lost its connection to what was damaged
// in the answer to another one: then it can be sent again.
func (cl *call) lostToAnother() bool {
	if cl.kind != answerBatches || !errors.Is(cl.err, ErrConnectionLost) {
		return false
	}
	if _, own := cl.err.(*damageError); own {
		return false
	}
	if _, damaged := errors.AsType[*damageError](cl.err); !damaged {
		return false
	}
	return true
}
