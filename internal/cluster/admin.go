package cluster

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/topic"
)

var _ topic.Cluster = (*Node)(nil)

// waiter is somebody who waits until something is so.
type waiter struct {
	try  func(c *core) (done bool, err error)
	done chan error // has room for one
	gone atomic.Bool
}

// await returns when try says that it is done, or an error. try is called by the core,
// now and whenever something has happened. If ctx is done first the error is
// topic.ErrBusy.
func (n *Node) await(ctx context.Context, try func(c *core) (done bool, err error)) error {
	w := n.begin(try)
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		w.gone.Store(true)
		return topic.ErrBusy
	case <-n.closed:
		return topic.ErrClosed
	}
}

// begin has the core try something until it is done.
func (n *Node) begin(try func(c *core) (done bool, err error)) *waiter {
	w := &waiter{try: try, done: make(chan error, 1)}
	n.core.post(func() {
		n.core.waiters = append(n.core.waiters, w)
		n.core.lookAtWaiters()
	})
	return w
}

// lookAtWaiters asks what is waited for. What a try does may have something happen: that
// is looked at in the end.
func (c *core) lookAtWaiters() {
	if c.looking {
		c.again = true
		return
	}
	c.looking = true
	for c.again = true; c.again; {
		c.again = false
		c.waiters = slices.DeleteFunc(c.waiters, func(w *waiter) bool {
			if w.gone.Load() {
				return true
			}
			done, err := w.try(c)
			if done || err != nil {
				w.done <- err
			}
			return done || err != nil
		})
	}
	c.looking = false
}

// ask has the core do something, and waits for it.
func (n *Node) ask(f func(c *core)) {
	done := make(chan struct{})
	n.core.post(func() { f(&n.core); close(done) })
	select {
	case <-done:
	case <-n.closed:
	}
}

// Fresh returns when this member knows all of a topic, or of all topics, that was
// acknowledged before: see topic.Cluster.
func (n *Node) Fresh(ctx context.Context, name []byte) error {
	if name != nil {
		return n.freshGroup(ctx, GroupOf(string(name), n.member.Groups))
	}
	for i := range n.member.Groups {
		if err := n.freshGroup(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

var roleNames = [...]string{entry.Voter: "voter", entry.Learner: "learner", entry.Joining: "joining", entry.Leaving: "leaving"}

// Members tells what this member sees of all: see topic.Cluster.
func (n *Node) Members() (all topic.Members) {
	all = topic.Members{Cluster: hex.EncodeToString(n.member.Cluster[:]), Groups: int64(n.member.Groups)}
	n.ask(func(c *core) {
		settled := c.idle()
		for _, m := range n.Said().Members {
			if m.Role == entry.Gone || m.Role == entry.Leaving && settled {
				continue
			}
			all.Members = append(all.Members, c.see(&m))
		}
	})
	return all
}

// see returns what this member sees of one.
func (c *core) see(m *entry.Member) topic.Member {
	v := topic.Member{
		ID: int64(m.ID), Name: m.Name, Addr: m.Addr, Peer: m.PeerAddr, Role: roleNames[m.Role], State: "up", Leads: c.leads(m.ID),
		HTTP: c.n.Said().HTTP(m.Name),
	}
	flags := c.flags()
	if m.ID == c.n.member.ID {
		v.Free, v.Version, v.Auth = c.n.disk.free.Load(), c.n.o.Version, c.auth()
	} else {
		p := c.peer(m.ID)
		v.Free, v.Version, v.Auth, flags = p.free, p.version, p.auth, p.flags
		oldest := c.ticks
		for i, cg := range c.groups {
			t := &p.groups[i]
			if t.applied >= cg.g.Applied() {
				continue
			}
			v.LagBytes += max(cg.g.Stored()-t.stored, 0)
			oldest = min(oldest, t.caughtAt)
		}
		v.LagMS = (time.Duration(c.ticks-oldest) * c.n.o.Tick).Milliseconds()
	}
	switch {
	case !c.up(m.ID):
		v.State = "down"
	case flags&peer.Failed != 0:
		v.State = "failed"
	case flags&peer.Full != 0:
		v.State = "full"
	}
	return v
}

// name returns the name of a member, or nothing.
func (s *Said) name(id uint64) string {
	m, _ := s.member(id)
	return m.Name
}

// Elsewhere returns nil if this member leads a topic, be it there or not, or if name is
// nil group 0: see topic.Cluster.
func (n *Node) Elsewhere(name []byte) error {
	number := 0
	if name != nil {
		number = GroupOf(string(name), n.member.Groups)
	}
	if id, _ := n.Leader(number); id == n.member.ID {
		return nil
	}
	return n.notLeader(number)
}

// Groups tells what this member sees of the groups: see topic.Cluster.
func (n *Node) Groups() (all []topic.Group) {
	n.ask(func(c *core) {
		s := n.Said()
		damaged := make([]int64, len(c.groups))
		for _, t := range c.troubled {
			for _, r := range n.topics.Damage(t.Log) {
				damaged[t.Group] += r.To - r.From
			}
		}
		for i, cg := range c.groups {
			st := cg.g.Status()
			leader, _ := cg.g.Leader()
			conf, _ := cg.g.Conf()
			names := func(ids []uint64) (names []string) {
				for _, id := range slices.Sorted(slices.Values(ids)) {
					names = append(names, s.name(id))
				}
				return names
			}
			all = append(all, topic.Group{
				Group: int64(i), Leader: s.name(leader), Prefers: s.name(c.preferred(i)), Term: int64(st.Term),
				Index: int64(st.Last), Commit: int64(st.Commit), Applied: int64(st.Applied), Topics: int64(st.Topics),
				Voters: names(conf.Voters), Learners: names(conf.Learners), DamagedBytes: damaged[i],
			})
		}
	})
	return all
}

// Transfer has a member lead a group: see topic.Cluster.
func (n *Node) Transfer(ctx context.Context, name string, number int64, of []byte) error {
	if number < 0 {
		_, err := n.Topics().Log(of)
		if err != nil && err != topic.ErrNotFound {
			// Another member leads the group, and knows.
			if err = n.Fresh(ctx, of); err == nil && n.names.get(string(of)) == nil {
				err = topic.ErrNotFound
			}
		}
		switch {
		case err == topic.ErrNotFound:
			return invalid("there is no topic %s", of)
		case err != nil:
			return err
		}
		number = int64(GroupOf(string(of), n.member.Groups))
	}
	if number >= int64(n.member.Groups) {
		return invalid("there are %d groups, from 0 on", n.member.Groups)
	}
	g := int(number)
	var target uint64
	said := -1 // tick at which it was said last
	return n.await(ctx, func(c *core) (bool, error) {
		if target == 0 {
			_, leads := c.groups[g].g.Leads()
			_, leads0 := c.groups[0].g.Leads()
			if !leads && !leads0 {
				return false, n.notLeader(g)
			}
			m, err := c.named(name, c.isVoter)
			if err != nil {
				return false, err
			}
			switch conf, _ := c.groups[g].g.Conf(); {
			case !slices.Contains(conf.Voters, m.ID):
				return false, invalid("%s does not vote in group %d", name, g)
			case m.ID != n.member.ID && !c.fit(m.ID, g) || c.drained(m.ID):
				return false, invalid("%s is not up, or has not caught up, or is drained, in group %d", name, g)
			}
			target = m.ID
		}
		preferred := slices.Contains(n.Said().Leaders, entry.Leader{Group: uint16(g), Member: target})
		leader, _ := c.groups[g].g.Leader()
		if preferred && leader == target {
			return true, nil
		}
		if target != n.member.ID && !c.up(target) {
			return false, invalid("%s has gone down", name)
		}
		if said < 0 || c.ticks-said >= 2 {
			said = c.ticks
			c.suggest(entry.Leader{Group: uint16(g), Member: target})
			c.handOver(g, target)
		}
		return false, nil
	})
}

// Drain has a member lead nothing, or lead again: see topic.Cluster.
func (n *Node) Drain(ctx context.Context, name string, off bool) error {
	var m entry.Member
	value, said := "", -1
	return n.await(ctx, func(c *core) (bool, error) {
		if m.ID == 0 {
			if _, ready := c.groups[0].g.Leads(); !ready {
				return false, n.notLeader(0)
			}
			found, err := c.named(name, func(m *entry.Member) bool { return c.up(m.ID) })
			if err != nil {
				return false, err
			}
			start := n.o.Start
			if found.ID != n.member.ID {
				start = c.peer(found.ID).start
			}
			switch {
			case off:
			case !c.up(found.ID) || start == 0:
				return false, invalid("%s is down", name)
			case !slices.ContainsFunc(n.Said().Members, func(o entry.Member) bool {
				return o.Role == entry.Voter && o.ID != found.ID && c.up(o.ID) && !c.drained(o.ID)
			}):
				return false, invalid("no other voter could lead: they are down or drained")
			default:
				value = drainValue(start)
			}
			m = found
		}
		if n.Said().setting(drainKey(m.ID)) == value {
			return off || c.leads(m.ID) == 0 && !c.orphans(), nil
		}
		if said < 0 || c.ticks-said >= 2 {
			if _, ready := c.groups[0].g.Leads(); !ready {
				return false, n.notLeader(0)
			}
			said = c.ticks
			c.suggest(entry.Setting{Key: drainKey(m.ID), Value: value})
		}
		return false, nil
	})
}

// Set gives a setting of the cluster a value: see topic.Cluster.
func (n *Node) Set(ctx context.Context, key, value string) error {
	if strings.HasPrefix(key, "~") || len(key) > entry.MaxKey || len(value) > entry.MaxValue {
		return invalid("there is no setting %s", key)
	}
	if n.o.CheckSetting != nil {
		if err := n.o.CheckSetting(key, value, n.Said()); err != nil {
			return invalid("%w", err)
		}
	}
	return n.say(ctx, entry.Setting{Key: key, Value: value})
}

// SetTopics keeps a value under an id, of settings of single topics; empty takes it away.
// What is kept Said.Topics has. Only the leader of group 0 does it. It returns, and fails, as
// Set does.
func (n *Node) SetTopics(ctx context.Context, id, value string) error {
	s := TopicSetting(id, value)
	if !s.Valid() {
		return invalid("the setting is too long")
	}
	if _, ready := n.Leader(0); !ready {
		return n.notLeader(0)
	}
	return n.say(ctx, s)
}

// say has a setting be said, for good, and waits for it.
func (n *Node) say(ctx context.Context, s entry.Setting) error {
	said := -1
	return n.await(ctx, func(c *core) (bool, error) {
		if v, ok := n.Said().Setting(s.Key); v == s.Value && (ok || v == "" && strings.HasPrefix(s.Key, topicPrefix)) {
			return true, nil
		}
		if said < 0 || c.ticks-said >= 2 {
			if _, ready := c.groups[0].g.Leads(); !ready {
				return false, n.notLeader(0)
			}
			said = c.ticks
			c.suggest(s)
		}
		return false, nil
	})
}
