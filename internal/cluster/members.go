package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/topic"
)

// A change of members is a Members entry of group 0. Each group has its configuration
// follow, group 0 as the last one, and only when that is done everywhere the next
// change is taken.

// members sees to it that each group has the members that group 0 says: group 0 comes
// last.
func (c *core) members() {
	change, voters, learners := c.groups[0].g.Members()
	if change == 0 {
		return
	}
	done := true
	for i, cg := range c.groups {
		if i == 0 {
			continue
		}
		cg.g.SetMembers(change, voters, learners)
		done = done && c.settled(i, change)
	}
	if done {
		c.groups[0].g.SetMembers(change, voters, learners)
	}
}

// settled reports whether a change is done in a group: a majority of the voters that
// are to be would know it after a start. It goes by what they say: this member may be
// out of the group, and then hears of its leaving perhaps never.
func (c *core) settled(number int, change uint64) bool {
	_, voters, _ := c.groups[0].g.Members()
	k := 0
	for _, id := range voters {
		if id == c.n.member.ID && c.groups[number].g.Settled() >= change {
			k++
		}
		if p := c.peers[id]; p != nil && p.groups[number].settled >= change {
			k++
		}
	}
	return 2*k > len(voters)
}

// idle reports whether no change of members is under way.
func (c *core) idle() bool {
	if c.groups[0].g.Changing() {
		return false
	}
	change, _, _ := c.groups[0].g.Members()
	for i := range c.groups {
		if change > 0 && !c.settled(i, change) {
			return false
		}
	}
	return true
}

// maxVoters is how many voters there are at most.
const maxVoters = 7

// promote gives members their place that have caught up: as many vote as is an odd
// number, the others are learners.
func (c *core) promote() {
	g := c.groups[0].g
	if _, ready := g.Leads(); !ready || !c.idle() {
		return
	}
	s := c.n.Said()
	members := slices.Clone(s.Members)
	voters := 0
	var ready []int
	for i, m := range members {
		switch m.Role {
		case entry.Voter:
			voters++
		case entry.Learner, entry.Joining:
			if c.hasAll(m.ID, s.MembersAt) {
				ready = append(ready, i)
			}
		}
	}
	changed := false
	most := min(voters+len(ready), maxVoters)
	if most%2 == 0 {
		most--
	}
	for k, i := range ready {
		role := entry.Learner
		if voters+k < most {
			role = entry.Voter
		}
		if members[i].Role != role {
			members[i].Role, changed = role, true
		}
	}
	if changed {
		c.propose(members)
	}
}

// hasAll reports whether a member has caught up in all groups.
func (c *core) hasAll(id uint64, change uint64) bool {
	p := c.peers[id]
	if p == nil || !c.up(id) || p.flags&^peer.Draining != 0 {
		return false
	}
	for i := range c.groups {
		if !c.caughtUp(id, i) || p.groups[i].settled < change {
			return false
		}
	}
	return true
}

// propose proposes a change of members, without those whom the change before removed.
func (c *core) propose(members []entry.Member) (index, term uint64, err error) {
	gone := make(map[uint64]bool)
	for _, m := range c.n.Said().Members {
		gone[m.ID] = !active(&m)
	}
	members = slices.DeleteFunc(members, func(m entry.Member) bool { return gone[m.ID] && !active(&m) })
	slices.SortFunc(members, func(a, b entry.Member) int { return cmp.Compare(a.ID, b.ID) })
	index, term, err = c.groups[0].g.Propose(entry.Members{Members: members})
	if err == nil {
		c.take(0)
	}
	return index, term, err
}

// moved has a member be found where it says, if this one leads group 0.
func (c *core) moved(m *entry.Member) {
	members := slices.Clone(c.n.Said().Members)
	i := slices.IndexFunc(members, func(o entry.Member) bool { return o.ID == m.ID })
	if i < 0 || !c.idle() || members[i].Addr == m.Addr && members[i].PeerAddr == m.PeerAddr {
		return
	}
	members[i].Addr, members[i].PeerAddr = m.Addr, m.PeerAddr
	c.propose(members)
}

// sayWhere asks for an entry that says where this member is found, if it is said to be
// elsewhere.
func (c *core) sayWhere() {
	o := &c.n.o
	m, ok := c.n.Said().member(c.n.member.ID)
	if !ok || o.Addr == "" || m.Addr == o.Addr && m.PeerAddr == o.PeerAddr {
		return
	}
	m.Addr, m.PeerAddr = o.Addr, o.PeerAddr
	if _, ready := c.groups[0].g.Leads(); ready {
		c.moved(&m)
		return
	}
	c.suggest(entry.Members{Members: []entry.Member{m}})
}

// sayHTTP asks for an entry that says where clients of HTTP find this member, if something
// else is said. A leader of an older version does not listen: it is asked until there is
// another one, and not at each tick.
func (c *core) sayHTTP() {
	m, ok := c.n.Said().member(c.n.member.ID)
	if !ok || !active(&m) || c.n.o.HTTP == c.n.Said().HTTP(m.Name) || c.ticks%group.ElectionTicks != 0 {
		return
	}
	c.suggest(entry.Setting{Key: httpKey(m.Name), Value: c.n.o.HTTP})
}

// saysHTTP has it be said where clients of HTTP find a member, which is who says so, if
// this one leads group 0.
func (c *core) saysHTTP(from uint64, d entry.Setting) {
	m, ok := c.n.Said().member(from)
	if !ok || !active(&m) || d.Key != httpKey(m.Name) || !validHTTP(d.Value) || d.Value == c.n.Said().HTTP(m.Name) {
		return
	}
	c.suggest(d)
}

// validHTTP reports whether a member may say that it is found there: it is a word of
// CLUSTER, and begins what is sent in the header Location.
func validHTTP(url string) bool {
	if url == "" {
		return true
	}
	addr, plain := strings.CutPrefix(url, "http://")
	if !plain {
		var secure bool
		if addr, secure = strings.CutPrefix(url, "https://"); !secure {
			return false
		}
	}
	return entry.ValidAddr(addr) && !strings.ContainsAny(addr, "/?#@\\")
}

// invalid says why a change can't be.
func invalid(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{topic.ErrInvalid}, a...)...)
}

// named returns a member by its name or id. Where two have the name, which is so as long
// as one has taken the place of the other, it is the one that is preferred.
func (c *core) named(name string, prefer func(*entry.Member) bool) (m entry.Member, err error) {
	var found []entry.Member
	for _, m := range c.n.Said().Members {
		if m.Name == name && active(&m) {
			found = append(found, m)
		}
	}
	if id, err := strconv.ParseUint(name, 10, 64); err == nil && len(found) == 0 {
		if m, ok := c.n.Said().member(id); ok && active(&m) {
			found = append(found, m)
		}
	}
	if len(found) > 1 {
		if k := slices.DeleteFunc(slices.Clone(found), func(m entry.Member) bool { return !prefer(&m) }); len(k) == 1 {
			found = k
		}
	}
	switch len(found) {
	case 0:
		return m, invalid("no member is called %s", name)
	case 1:
		return found[0], nil
	}
	return m, invalid("%d members are called %s: name it by its id, which CLUSTER tells", len(found), name)
}

func (c *core) isVoter(m *entry.Member) bool { return m.Role == entry.Voter }

// changing is what is tried to have other members, when the change before is done. It is
// done when this one is, or, unless wait is set, as soon as the change is certain. change
// returns the members that there are to be.
func (n *Node) changing(wait bool, change func(c *core, members []entry.Member) ([]entry.Member, error)) func(c *core) (bool, error) {
	var index, term uint64
	return func(c *core) (bool, error) {
		g := c.groups[0].g
		if _, ready := g.Leads(); !ready {
			return false, n.notLeader(0)
		}
		at, _, _ := g.Members()
		switch {
		case index != 0 && at >= index:
			return !wait || c.idle(), nil
		case index != 0:
			if _, now := g.Leader(); now != term {
				return false, n.notLeader(0)
			}
			return false, nil
		case !c.idle():
			return false, nil
		}
		members, err := change(c, slices.Clone(n.Said().Members))
		if err != nil {
			return false, err
		}
		index, term, err = c.propose(members)
		if errors.Is(err, group.ErrBusy) {
			err = nil // another time
		}
		return false, err
	}
}

// Leave removes a member: see topic.Cluster.
func (n *Node) Leave(ctx context.Context, name string, force bool) error {
	return n.await(ctx, n.leaving(name, force))
}

func (n *Node) leaving(name string, force bool) func(c *core) (bool, error) {
	return n.changing(true, func(c *core, members []entry.Member) ([]entry.Member, error) {
		m, err := c.named(name, func(m *entry.Member) bool { return !c.up(m.ID) })
		if err != nil {
			return nil, err
		}
		voters := 0
		for i := range members {
			if members[i].ID == m.ID {
				members[i].Role = entry.Leaving
			}
			if members[i].Role == entry.Voter {
				voters++
			}
		}
		if m.Role != entry.Voter {
			return members, nil
		}
		switch {
		case voters == 0:
			return nil, invalid("%s is the only voter: logd cluster single makes it a single node", name)
		case !force && (voters < 3 || voters%2 == 0):
			return nil, invalid("%d voters would be left, which is less than 3 or an even number: force=1 does it all the same", voters)
		}
		if voters%2 == 0 {
			k := -1
			for i, o := range members {
				if o.Role != entry.Voter || o.ID == n.member.ID {
					continue
				}
				if k < 0 || !c.up(o.ID) || c.up(members[k].ID) {
					k = i // one that is down rather than one that is up, else the newest
				}
			}
			if k >= 0 {
				members[k].Role = entry.Learner
			}
		}
		return members, nil
	})
}

// Replace has one member vote in the place of another: see topic.Cluster.
func (n *Node) Replace(ctx context.Context, old, with string) error {
	return n.await(ctx, n.replacing(func(c *core) (out, in entry.Member, err error) {
		if out, err = c.named(old, c.isVoter); err != nil {
			return out, in, err
		}
		in, err = c.named(with, func(m *entry.Member) bool { return !c.isVoter(m) })
		return out, in, err
	}))
}

// TakeItsPlace has a member vote in the place of the one that it was before it lost its
// log, and returns the answer. Whoever says that it is a member may ask for this: so both
// have one name, and the old one is down.
func (n *Node) TakeItsPlace(ctx context.Context, r *peer.Replace) []byte {
	err := n.await(ctx, n.replacing(func(c *core) (out, in entry.Member, err error) {
		out, was := n.Said().member(r.Old)
		in, is := n.Said().member(r.New)
		if !was || !is || !active(&in) || in.Name != out.Name || c.up(out.ID) {
			err = invalid("member %d has not come back as member %d", r.Old, r.New)
		}
		return out, in, err
	}))
	if err != nil {
		return n.refusal(err)
	}
	return peer.AppendOK(nil)
}

// replacing is what is tried to have one member vote in the place of another.
func (n *Node) replacing(which func(c *core) (out, in entry.Member, err error)) func(c *core) (bool, error) {
	return n.changing(true, func(c *core, members []entry.Member) ([]entry.Member, error) {
		out, in, err := which(c)
		switch {
		case err != nil:
			return nil, err
		case out.Role != entry.Voter:
			return nil, invalid("%s does not vote: LEAVE removes it", out.Name)
		case in.Role == entry.Voter:
			return nil, invalid("%s votes already", in.Name)
		case !c.hasAll(in.ID, 0):
			return nil, invalid("%s has not caught up, or is down", in.Name)
		}
		for i := range members {
			switch members[i].ID {
			case out.ID:
				members[i].Role = entry.Leaving
			case in.ID:
				members[i].Role = entry.Voter
			}
		}
		return members, nil
	})
}

// errNameTaken is a name that a member has which is up.
var errNameTaken = errors.New("the name is another member's, which is up")

// Join admits a member as a learner, and returns the answer: what [peer.AppendWelcome]
// or a refusal is. Where it can't be said whether the member was admitted ctx is done.
func (n *Node) Join(ctx context.Context, j *peer.Join) []byte {
	var id uint64
	err := n.await(ctx, n.joining(j, &id))
	if err != nil {
		return n.refusal(err)
	}
	return peer.AppendWelcome(nil, n.welcome(id))
}

// refusal is what a member is answered that asked for a change of members.
func (n *Node) refusal(err error) []byte {
	reason := err.Error()
	if _, elsewhere := errors.AsType[*topic.NotLeaderError](err); elsewhere {
		reason = peer.NotLeader
		if lead, _ := n.Leader(0); lead != 0 && lead != n.member.ID {
			if m, ok := n.Said().member(lead); ok {
				reason += " " + m.PeerAddr
			}
		}
	}
	return peer.AppendRefusal(nil, reason)
}

// welcome is what a member is told that was admitted.
func (n *Node) welcome(id uint64) *peer.Welcome {
	members := slices.DeleteFunc(slices.Clone(n.Said().Members), func(m entry.Member) bool { return !active(&m) })
	return &peer.Welcome{ID: id, Groups: n.member.Groups, Members: members}
}

// joining is what is tried to admit a member, which has the id then.
func (n *Node) joining(j *peer.Join, id *uint64) func(c *core) (bool, error) {
	return n.changing(false, func(c *core, members []entry.Member) ([]entry.Member, error) {
		for i := range members {
			m := &members[i]
			if m.Name != j.Name || !active(m) {
				continue
			}
			switch {
			case c.up(m.ID):
				return nil, errNameTaken
			case m.Role != entry.Voter:
				m.Role = entry.Leaving // it has come back empty, or never came
			}
		}
		if len(slices.DeleteFunc(slices.Clone(members), func(m entry.Member) bool { return !active(&m) })) >= entry.MaxMembers {
			return nil, fmt.Errorf("there are %d members, which is the most", entry.MaxMembers)
		}
		*id = n.Said().NextMember
		return append(members, entry.Member{ID: *id, Role: entry.Joining, Name: j.Name, Addr: j.Addr, PeerAddr: j.PeerAddr}), nil
	})
}
