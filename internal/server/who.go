package server

import (
	"bytes"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// who is what a caller has shown of who it is, and what was decided by that. It was
// decided for good, until there is a Recall: then all of it is decided anew, with what
// rules there are by then.
type who struct {
	shown   Shown
	judged  bool
	at      uint64   // recalls when it was decided
	id      Identity // nil: nobody who may do anything
	share   *share   // of its quotas; nil if it has none
	topic   []byte   // that rights are of
	rights  uint8    // verbs, a bit each; good if decided
	decided bool

	// seated is set once the caller counts as a connection of who it is: in seat, which
	// is nil if those are not counted.
	seated bool
	seat   *share

	// expelled is set when the caller was somebody, and is nobody by newer rules.
	expelled bool
}

// show takes what the caller has shown, in place of all that it had.
func (a *access) show(s Shown) {
	a.stand()
	a.shown, a.judged = s, false
	a.judge()
}

// judge decides who the caller is, if that is not decided.
func (a *access) judge() {
	if a.auth == nil {
		return
	}
	recalls := a.recalls.Load() // before what may be older than the next
	if a.judged && a.at == recalls {
		return
	}
	was := a.id
	again := a.judged
	a.id, a.share = a.auth.identify(a.shown)
	a.judged, a.at, a.decided = true, recalls, false
	a.expelled = a.id == nil && (a.expelled || again && was != nil)
	if a.seated {
		a.move()
	}
}

// has reports whether one of the verbs is allowed for a topic.
func (a *access) has(name []byte, anyOf ...verb) bool {
	if a.id == nil {
		return false
	}
	if !a.decided || !bytes.Equal(a.topic, name) {
		a.topic, a.rights, a.decided = append(a.topic[:0], name...), 0, true
		for _, v := range [...]verb{read, write, create, admin, position} {
			if a.id.May(v.String(), name) {
				a.rights |= 1 << v
			}
		}
	}
	for _, v := range anyOf {
		if a.rights&(1<<v) != 0 {
			return true
		}
	}
	return false
}

// may reports whether the caller may have a command done, about that topic. Only a
// BATCH that would make its topic takes more: see mayCreate.
func (a *access) may(cmd protocol.Command, name []byte) bool {
	if a.auth == nil {
		return true
	}
	a.judge()
	switch cmd {
	case protocol.Ping, protocol.Help, protocol.Hello, protocol.Close, protocol.Auth:
		return true
	case protocol.Config, protocol.Topics, protocol.Positions: // of whose answer each sees its own
		return a.id != nil
	case protocol.Read, protocol.Tail, protocol.Seek, protocol.Times:
		return a.has(name, read)
	case protocol.Info, protocol.Retention:
		return a.has(name, read, admin)
	case protocol.Batch, protocol.Create:
		return a.has(name, write)
	case protocol.Hook, protocol.Delete, protocol.Trim:
		return a.has(name, admin)
	case protocol.Position: // of which consumer, mayPosition says
		return a.has(name, read, position) || Monitors(a.id)
	case protocol.Hooks:
		return a.id != nil && a.id.MayAny(admin.String())
	case protocol.Stats, protocol.Cluster, protocol.Groups:
		return Monitors(a.id)
	case protocol.Transfer, protocol.Drain, protocol.Leave, protocol.Replace:
		return Administers(a.id)
	case protocol.Set:
		return a.maySet(name)
	}
	return false // nobody has decided who may
}

// verbOf returns the verb that a command takes, for who counts.
func verbOf(cmd protocol.Command) verb {
	switch cmd {
	case protocol.Read, protocol.Tail, protocol.Seek, protocol.Times, protocol.Info, protocol.Retention:
		return read
	case protocol.Batch, protocol.Create:
		return write
	case protocol.Position:
		return position
	case protocol.Hooks, protocol.Hook, protocol.Delete, protocol.Trim,
		protocol.Transfer, protocol.Drain, protocol.Leave, protocol.Replace, protocol.Set:
		return admin
	case protocol.Stats, protocol.Cluster, protocol.Groups:
		return monitor
	}
	return anything
}

// mayCreate reports whether the caller, who may write to it, may make the topic.
func (a *access) mayCreate(name []byte) bool { return a.auth == nil || a.has(name, create) }

// administers reports whether the caller has a right to see the hooks of a topic.
func (a *access) administers(topic string) bool {
	return a.auth == nil || a.has([]byte(topic), admin)
}

// visible returns those of the topics that the caller may know of.
func (a *access) visible(topics []string) []string {
	if a.auth == nil || Administers(a.id) {
		return topics
	}
	var seen []string
	for _, name := range topics {
		if a.id.Sees([]byte(name)) {
			seen = append(seen, name)
		}
	}
	return seen
}

// denied notes that the caller was not let do something.
func (c *caller) denied(req *protocol.Request) {
	if c.auth == nil {
		return
	}
	c.auth.denied[verbOf(req.Command)].Add(1)
	c.auth.note(event{what: "denied", id: c.id, remote: c.remote, command: req.Command.String(), topic: req.Topic, reason: whyDenied(c.id)})
}

// whyDenied says why somebody, or nobody, may not do something.
func whyDenied(id Identity) string {
	if id == nil {
		return "it has not shown who it is"
	}
	return "no rule allows it"
}

// administered notes what an administrator has done that leaves no other trace, or
// can't be undone.
func (c *caller) administered(req *protocol.Request) {
	if c.auth == nil || verbOf(req.Command) != admin || req.Command == protocol.Hooks {
		return
	}
	c.auth.note(event{what: "admin", id: c.id, remote: c.remote, command: req.Command.String(), topic: req.Topic})
}

// isStranger reports whether the connection has to show who it is.
func (c *conn) isStranger() bool {
	c.judge()
	return c.auth != nil && c.id == nil
}

// becomeStranger counts the connection as one that has to show who it is, and reports
// whether there may be another. One that is already there may be one in any case.
func (c *conn) becomeStranger(already bool) bool {
	if !c.srv.strangers.enter(networkOf(c.remote), already) {
		return false
	}
	c.stranger, c.showBy = true, time.Now().Add(c.srv.limits.Load().AuthTimeout)
	return true
}

func (c *conn) endStranger() {
	if c.stranger {
		c.stranger = false
		c.srv.strangers.leave(networkOf(c.remote))
	}
}

// known sees whether the connection still is who it was, and reports whether it is
// to end since it is nobody any more: with an answer if a request has begun to arrive.
func (c *conn) known() (ends bool) {
	is := c.isStranger()
	switch {
	case c.expelled && c.partial(c.in.unread()):
		c.endWith(protocol.ErrUnauthorized, "")
	case c.expelled:
		c.phase = ending
	case is && !c.stranger:
		c.becomeStranger(true)
	case !is:
		c.endStranger()
	}
	return c.expelled
}

// holdBack waits for as long as the answer to a wrong token has to.
func (c *conn) holdBack() error {
	if err := c.flush(false); err != nil {
		return err
	}
	until := time.Now().Add(c.delay.delay)
	for time.Now().Before(until) && !c.draining.Load() {
		if err := awaitWake(c.ctx, nil, c.woken, until); err != nil {
			return err
		}
	}
	c.read.Forget() // who has woken it has set the deadline
	return nil
}

// strangerBuffer bounds the buffer of who has not shown who it is: its requests are
// lines, and what follows them is dropped.
const strangerBuffer = 8 << 10

// mostBuffer is how large the buffer gets without a batch that needs more.
func (c *conn) mostBuffer() int {
	if c.stranger {
		return strangerBuffer
	}
	return streamBuffer
}

// mayHoldToken reports whether what has arrived and was not looked at may be a token.
func (c *conn) mayHoldToken() bool {
	return c.auth != nil && (c.phase == waiting || bytes.HasPrefix(c.in.unread(), []byte("AUTH ")))
}
