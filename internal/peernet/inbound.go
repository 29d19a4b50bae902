package peernet

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/socket"
)

// inbound is a connection that another has dialed.
type inbound struct {
	t      *Transport
	nc     net.Conn
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	frames atomic.Uint64 // that have arrived on a control connection
	from   uint64        // the member that it is of, once it is taken; the Transport's mu guards it

	in     input
	reader *peer.Reader
}

// end ends the connection.
func (c *inbound) end() {
	c.cancel()
	c.nc.Close()
}

// expel ends a connection of a member that is to be none, with a reason.
func (c *inbound) expel(reason string) {
	c.nc.SetWriteDeadline(time.Now().Add(handshake))
	c.nc.Write(peer.AppendRefusal(nil, reason))
	c.end()
}

// input is the side of a connection that reads, with a deadline for each read if there
// is a timeout.
type input struct {
	nc       net.Conn
	timeout  time.Duration
	deadline socket.Deadline
}

func newInput(nc net.Conn) input {
	return input{nc: nc, deadline: socket.Deadline{Set: nc.SetReadDeadline}}
}

func (in *input) Read(p []byte) (int, error) {
	if in.timeout > 0 {
		in.deadline.By(time.Now().Add(in.timeout), in.timeout/32)
	}
	return in.nc.Read(p)
}

// forEver has reads wait until something arrives.
func (in *input) forEver() {
	in.timeout = 0
	in.deadline.Forget()
	in.nc.SetReadDeadline(time.Time{})
}

// member is a member that dials this one. The Transport's mu guards it, but for what
// is left of its limits.
type member struct {
	number   uint64 // of its start; 0 until it has said one
	position uint64 // the highest that was heard
	conns    [peer.ForFetch + 1]*inbound

	examined int           // control connections that may be a second start's
	decided  chan struct{} // closed when there is none
	refused  int           // how many were one's

	control, data *semaphore.Weighted
}

func newMember() *member {
	return &member{control: semaphore.NewWeighted(controlBytes), data: semaphore.NewWeighted(dataBytes)}
}

// accept takes connections until the listener is closed.
func (t *Transport) accept(l net.Listener) {
	var p pause
	for {
		nc, err := l.Accept()
		if t.ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return
		}
		if err != nil {
			t.log.Warn("no connection of a member is accepted", "err", err)
			timer := time.NewTimer(p.next())
			select {
			case <-timer.C:
			case <-t.ctx.Done():
				timer.Stop()
			}
			continue
		}
		p = 0
		c := &inbound{t: t, nc: nc, ended: make(chan struct{}), in: newInput(nc)}
		c.ctx, c.cancel = context.WithCancel(t.ctx)
		c.reader = peer.NewReader(&c.in)
		t.mu.Lock()
		if len(t.conns) == maxConns || t.ctx.Err() != nil {
			t.mu.Unlock()
			c.end()
			continue
		}
		t.conns[c] = struct{}{}
		t.wg.Go(c.serve)
		t.mu.Unlock()
	}
}

// serve does what the first line asks for.
func (c *inbound) serve() {
	t := c.t
	defer func() {
		c.end()
		t.mu.Lock()
		delete(t.conns, c)
		t.mu.Unlock()
		close(c.ended)
	}()
	c.nc.SetDeadline(time.Now().Add(handshake))
	r, err := c.reader.Request()
	if e, ok := errors.AsType[*peer.VersionError](err); ok {
		c.refuse(e.Reason())
		return
	}
	switch r := r.(type) {
	case *peer.Join:
		answer(c, r.Cluster, t.o.Join, r)
		return
	case *peer.Replace:
		answer(c, r.Cluster, t.o.Replace, r)
		return
	case *peer.Hello:
		err = c.hello(r)
	default:
		if err == nil || errors.Is(err, peer.ErrInvalid) || errors.Is(err, peer.ErrTooLong) {
			c.refuse(peer.Invalid)
			return
		}
	}
	if err != nil && c.ctx.Err() == nil {
		t.log.Debug("connection of a member ended", "remote", c.nc.RemoteAddr(), "err", err)
	}
}

// refuse answers with a reason, and ends the connection so that it arrives.
func (c *inbound) refuse(reason string) error {
	level := slog.LevelDebug
	if c.t.worthSaying(reason) {
		level = slog.LevelWarn
	}
	c.t.log.Log(c.ctx, level, "connection refused", "remote", c.nc.RemoteAddr(), "reason", reason)
	c.nc.SetWriteDeadline(time.Now().Add(handshake))
	if _, err := c.nc.Write(peer.AppendRefusal(nil, reason)); err != nil {
		return err
	}
	socket.Linger(c.nc)
	return nil
}

// sayEvery is how often the same reason is logged: who is refused comes again and again.
const sayEvery = 30 * time.Second

// worthSaying reports whether a reason was not logged for a while.
func (t *Transport) worthSaying(reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.said[reason]) < sayEvery || len(t.said) > 100 {
		return false
	}
	t.said[reason] = time.Now()
	return true
}

// answer has f answer a request, after which the connection ends.
func answer[R peer.Request](c *inbound, cluster peer.ID, f func(R) []byte, r R) {
	switch {
	case cluster != c.t.o.Cluster:
		c.refuse(peer.WrongCluster)
	case f == nil:
		c.refuse(peer.NotLeader)
	default:
		answer := f(r)
		c.nc.SetWriteDeadline(time.Now().Add(handshake))
		if _, err := c.nc.Write(answer); err == nil {
			socket.Linger(c.nc)
		}
	}
}

var (
	errMembers = errors.New("peernet: too many members have dialed")
	errRefused = errors.New("peernet: another start of the member was refused")
	errGone    = errors.New("peernet: ended while another connection was looked at")
)

// hello serves a connection of a member.
func (c *inbound) hello(h *peer.Hello) error {
	t := c.t
	if h.Cluster != t.o.Cluster || h.To != t.o.ID {
		return c.refuse(peer.WrongCluster)
	}
	if t.o.Admit != nil {
		if reason := t.o.Admit(h.From); reason != "" {
			return c.refuse(reason)
		}
	}
	t.mu.Lock()
	m := t.members[h.From]
	if m == nil && len(t.members) < peer.MaxMembers {
		m = newMember()
		t.members[h.From] = m
	}
	if m == nil {
		t.mu.Unlock()
		return errMembers
	}
	if h.Use == peer.Control {
		if m.examined++; m.examined == 1 {
			m.decided = make(chan struct{})
		}
		t.mu.Unlock()
		start, err := c.start()
		reason := ""
		t.mu.Lock()
		if err == nil {
			reason, err = c.begin(h.From, m, start)
		}
		if reason != "" {
			m.refused++
		}
		if m.examined--; m.examined == 0 {
			close(m.decided)
		}
		t.mu.Unlock()
		if err != nil {
			return err
		}
		if reason != "" {
			return c.refuse(reason)
		}
		defer t.leave(m, h.Use, c)
		return c.control(h.From, m)
	}
	// Who dials this has had its control connection taken, but that may yet be refused.
	// If one is, nobody knows whose this is.
	for refused := m.refused; m.examined > 0; {
		decided := m.decided
		t.mu.Unlock()
		select {
		case <-decided:
		case <-c.ctx.Done():
		}
		t.mu.Lock()
		if m.refused != refused || c.ctx.Err() != nil {
			t.mu.Unlock()
			return errRefused
		}
	}
	m.take(h.Use, c)
	t.mu.Unlock()
	defer t.leave(m, h.Use, c)
	if _, err := c.nc.Write([]byte("OK\r\n")); err != nil {
		return err
	}
	if h.Use == peer.Data {
		return c.data(h.From, m)
	}
	return c.fetches()
}

// start takes a control connection, up to its first frame.
func (c *inbound) start() (s peer.Start, err error) {
	if _, err := c.nc.Write([]byte("OK\r\n")); err != nil {
		return s, err
	}
	f, err := c.reader.Next(peer.Control, 0)
	switch {
	case err != nil:
		return s, err
	case f.Kind != peer.KindStart:
		return s, peer.ErrInvalid
	}
	return peer.ParseStart(f.Message)
}

// take makes a connection the member's one of its use, in place of any other.
func (m *member) take(use peer.Use, c *inbound) {
	if old := m.conns[use]; old != nil {
		old.end()
	}
	m.conns[use] = c
}

// leave is called when a connection has ended.
func (t *Transport) leave(m *member, use peer.Use, c *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.conns[use] != c {
		return
	}
	m.conns[use] = nil
	if data := m.conns[peer.Data]; use == peer.Control && data != nil {
		data.end() // who sends on it is not known any more
	}
}

// begin makes a connection the control connection of a member, unless it is refused.
// Caller holds mu, which is let go of meanwhile.
func (c *inbound) begin(from uint64, m *member, s peer.Start) (reason string, err error) {
	t := c.t
	grace := max(2*t.o.Tick, 100*time.Millisecond)
	for drained := false; ; drained = true {
		if s.Position < m.position {
			return peer.GoneBack, nil
		}
		old := m.conns[peer.Control]
		if old == nil || s.Number == m.number {
			m.number, m.position = s.Number, s.Position
			m.take(peer.Control, c)
			c.from = from
			t.node.Met(from, s.Number, s.Version)
			return "", nil
		}
		// Another start has a connection. If its process has died, it ends as soon as
		// what had arrived is read. If its host was restarted it says nothing more, and
		// ends after the silence. Else that one lives.
		frames := old.frames.Load()
		t.mu.Unlock()
		timer := time.NewTimer(grace)
		select {
		case <-old.ended:
		case <-timer.C:
		case <-c.ctx.Done():
			err = errGone
		}
		timer.Stop()
		said := old.frames.Load() > frames
		t.mu.Lock()
		switch {
		case err != nil:
			return "", err
		case m.conns[peer.Control] == old && said && drained:
			return peer.InUse, nil
		}
	}
}

// heard notes the position of a member.
func (t *Transport) heard(m *member, position uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.position = max(m.position, position)
}
