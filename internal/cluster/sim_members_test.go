package cluster

import (
	"fmt"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// maxSimMembers is how many members there ever are in a simulation.
const maxSimMembers = 9

// change is a member that comes or goes, as another one was asked for it.
type change struct {
	w    *waiter
	node *Node // that was asked
	at   *simMember
	id   *uint64 // of who comes; nil: somebody goes
}

// gone reports whether a member is none any more, or never began: its place is taken.
func (m *simMember) gone() bool { return m.out || m.disk == nil }

// leave ends a member that was told that it is none any more.
func (m *simMember) leave() {
	if m.up() {
		m.end()
	}
	m.out = true
	if m.s.hurt == m.id {
		m.s.hurt = 0
	}
	show(m.id, "OUT")
}

// comeOrGo asks a member to admit a new one, or to remove one, when all have everything
// and the change before is done.
func (s *sim) comeOrGo(lead *simMember) {
	if s.change != nil || !s.changeable(lead) {
		return
	}
	n := lead.node
	if s.r.IntN(2) == 0 && len(s.members) < maxSimMembers {
		id := new(uint64)
		name := fmt.Sprintf("m%d", len(s.members)+1)
		w := n.begin(n.joining(&peer.Join{Name: name, Addr: "h:1", PeerAddr: "h:2"}, id))
		s.change = &change{w: w, node: n, at: lead, id: id}
		return
	}
	members := n.Said().Members
	m := members[s.r.IntN(len(members))]
	s.change = &change{w: n.begin(n.leaving(fmt.Sprint(m.ID), true)), node: n, at: lead}
}

// lookAtChange sees whether who was asked has answered. A member that is admitted gets a
// disk, with what it was told.
func (s *sim) lookAtChange() {
	c := s.change
	if c == nil {
		return
	}
	if c.at.node != c.node {
		s.change = nil // nobody answers any more
		return
	}
	select {
	case err := <-c.w.done:
		s.change = nil
		if err != nil || c.id == nil {
			return
		}
	default:
		return
	}
	s.stats.joins++
	for uint64(len(s.members)) < *c.id-1 { // who was admitted and never heard of it
		s.members = append(s.members, &simMember{s: s, id: uint64(len(s.members)) + 1})
	}
	m := &simMember{s: s, id: *c.id, disk: vfstest.New(), boot: 1, ends: make(map[entry.ID]int64)}
	w := c.node.welcome(m.id)
	if err := Admitted(m.disk, grouplog.Member{ID: m.id, Name: fmt.Sprintf("m%d", m.id), Groups: w.Groups}, 1, w); err != nil {
		s.t.Fatal(err)
	}
	s.members = append(s.members, m)
	m.start()
}
