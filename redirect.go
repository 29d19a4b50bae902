package logd

import (
	"errors"
	"log/slog"
	"net"
	"slices"
)

// A server that does not lead says so, and where the leader is if it knows: then
// the Client's next connection is made to that address. If the server does not
// know, the Client pauses, and goes to the next of its addresses.
//
// The connection is left when nothing else is under way on it: what is would be
// lost, and an append in doubt.

// elsewhere reports whether the error of an answer says that another server is to
// be asked, and there is one.
func (cn *conn) elsewhere(err error) bool {
	return errors.Is(err, ErrNotLeader) && (cn.leader(err) != "" || len(cn.cfg.Addrs) > 1)
}

// leader returns the address that the error names, and "" if there is none that
// leads away from this connection's server.
func (cn *conn) leader(err error) string {
	e, ok := errors.AsType[*NotLeaderError](err)
	if !ok || e.Addr == cn.addr {
		return ""
	}
	if _, _, err := net.SplitHostPort(e.Addr); err != nil {
		return ""
	}
	return e.Addr
}

// redirect makes the next round begin elsewhere, because of the reason for which
// the connection ended. It is not put off unless nobody knows the leader, or the
// connection was itself made because of what another server said: servers that
// name each other are not to be asked in a tight loop.
func (c *Client) redirect(cn *conn, reason error) {
	leader := cn.leader(reason)
	if leader == "" || cn.redirected {
		c.failed(reason)
	}
	if leader == "" {
		c.nextAddr()
		return
	}
	c.cfg.Logger.Debug("the server names the leader", slog.String("remote", cn.addr), slog.String("leader", leader))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = leader
	if which := slices.Index(c.cfg.Addrs, leader); which >= 0 {
		c.addr = which
	}
}

// takeLeader returns the address that redirect has left for this round, "" for
// none.
func (c *Client) takeLeader() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trying, c.leader = c.leader, ""
	return c.trying
}
