package link

import (
	"errors"
	"log/slog"
	"net"
	"slices"

	"github.com/logd-dev/logd/internal/protocol"
)

// A server that does not lead says so, and where the leader is if it knows: then
// the Link's next connection is made to that address. If the server does not
// know, the Link pauses, and goes to the next of its addresses.
//
// The connection is left when nothing else is under way on it: what is would be
// lost, and an append in doubt.

// elsewhere reports whether the answer to the call says that another server is to
// be asked, and there is one.
func (cn *conn) elsewhere(cl *Call) bool {
	return errors.Is(cl.err, protocol.ErrNotLeader) && (cn.away(cl.leader) != "" || len(cn.opts.Addrs) > 1)
}

// away returns the address that a server has named, and "" if it is none or does
// not lead away from this connection's server.
func (cn *conn) away(addr string) string {
	if addr == cn.addr {
		return ""
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return ""
	}
	return addr
}

// redirect makes the next round begin elsewhere, because of the reason for which
// the connection has ended. It is not put off unless nobody knows the leader, or the
// connection was itself made because of what another server said: servers that
// name each other are not to be asked in a tight loop.
func (l *Link) redirect(cn *conn, reason error) {
	leader := cn.away(cn.leader)
	if leader == "" || cn.redirected {
		l.failed(reason)
	}
	if leader == "" {
		l.nextAddr()
		return
	}
	l.opts.Logger.Debug("the server names the leader", slog.String("remote", cn.addr), slog.String("leader", leader))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leader = leader
	if which := slices.Index(l.opts.Addrs, leader); which >= 0 {
		l.addr = which
	}
}

// takeLeader returns the address that redirect has left for this round, "" for
// none.
func (l *Link) takeLeader() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trying, l.leader = l.leader, ""
	return l.trying
}
