package cluster

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
)

// compactBytes is how much of the member log the entries of a group may take before
// it begins with a table.
const compactBytes = 4 << 20

// core has the groups, and what their clients wait for.
type core struct {
	actor
	n      *Node
	groups []*coreGroup
}

// coreGroup is a group and who waits for it.
type coreGroup struct {
	g          *group.Group
	verdicts   map[verdictKey]*verdict
	fresh      map[uint64]func(error)
	nextFresh  uint64
	seenLeader atomic.Pointer[leader] // for others than the core

	seen map[uint32][]storage.Range // damage that the group was told of, by topic

	logBytes int64  // of its entries in the member log
	peers    []told // what others have said of the group, by member
	stalled  bool   // the table that is taken over may be of no use
	orphanOf uint64 // the leader whose process is gone; 0: none
}

// told is what a member says of a group in its beats.
type told struct {
	id      uint64
	settled uint64
}

type verdictKey struct{ index, term uint64 }

// verdict is what becomes of an entry that was proposed here, once done is closed.
type verdict struct {
	done chan struct{}
	fate group.Fate
}

// err returns what those are told whose batches are in the entry.
func (v *verdict) err(hint error) error {
	switch v.fate {
	case group.Stored:
		return nil
	case group.Not:
		return hint
	}
	return topic.ErrInDoubt
}

// request is a part of an append on its way.
type request struct {
	part   storage.Part
	result storage.Appended
	err    error
	done   chan struct{} // closed when the part is written and proposed, or refused
}

func (r *request) answer(err error) {
	r.err = err
	close(r.done)
}

// submit has a request stored, or refused. It is called in the core.
func (c *core) submit(number int, topic uint32, r *request) {
	var bytes int64
	for i := range r.part.Extents {
		bytes += r.part.Extents[i].Len
	}
	c.groups[number].g.Submit(&group.Request{Topic: topic, Bytes: bytes, Batches: len(r.part.Extents), Data: r})
	c.take(number)
}

// take does what a group wants done.
func (c *core) take(number int) {
	cg := c.groups[number]
	out := cg.g.Take()
	if err := cg.g.Err(); err != nil {
		if errors.Is(err, group.ErrLostLog) {
			err = ErrLostLog
		}
		c.n.fail(err)
	}
	c.lookAtLeader(cg)
	for _, t := range out.Tasks {
		c.n.disk.do(number, t)
	}
	for _, m := range out.Send {
		c.n.o.Transport.Send(m.GetTo(), number, m)
	}
	for _, e := range out.Ends {
		c.n.topics.trimmed(e.ID, e.Oldest)
		if l := c.n.topics.get(number, e.Topic); l != nil {
			l.SetReadable(e.Offset)
		}
	}
	for i := range out.Proposed {
		c.proposed(number, &out.Proposed[i])
	}
	for _, r := range out.Refused {
		for _, q := range r.Requests {
			q.Data.(*request).answer(r.Err)
		}
	}
	for _, v := range out.Verdicts {
		k := verdictKey{v.Index, v.Term}
		if w := cg.verdicts[k]; w != nil {
			w.fate = v.Fate
			close(w.done)
			delete(cg.verdicts, k)
		}
	}
	for _, f := range out.Fresh {
		if done := cg.fresh[f.ID]; done != nil {
			delete(cg.fresh, f.ID)
			done(f.Err)
		}
	}
}

// lookAtLeader notes who leads, for others than the core.
func (c *core) lookAtLeader(cg *coreGroup) {
	id, _ := cg.g.Leader()
	_, ready := cg.g.Leads()
	if seen := cg.seenLeader.Load(); seen != nil && seen.id == id && seen.ready == ready {
		return
	}
	cg.seenLeader.Store(&leader{id: id, addr: c.groups[0].g.Member(id).Addr, ready: ready})
}

// Leader returns who leads a group, 0 if nobody is known to; ready is true if it is
// this member, and it takes batches.
func (n *Node) Leader(number int) (id uint64, ready bool) {
	if l := n.core.groups[number].seenLeader.Load(); l != nil {
		return l.id, l.ready
	}
	return 0, false
}

// expect returns the verdict of an entry that was proposed here.
func (cg *coreGroup) expect(index, term uint64) *verdict {
	k := verdictKey{index, term}
	v := cg.verdicts[k]
	if v == nil {
		v = &verdict{done: make(chan struct{})}
		cg.verdicts[k] = v
	}
	return v
}

// proposed tells those whose batches were written which verdict to wait for.
func (c *core) proposed(number int, p *group.Proposed) {
	cg := c.groups[number]
	var v *verdict
	if p.Index > 0 {
		v = cg.expect(p.Index, p.Term)
	}
	for i := range p.Write.Runs {
		if p.Runs[i].Err != nil {
			continue
		}
		run := &p.Write.Runs[i]
		for _, q := range run.Requests {
			r := q.Data.(*request)
			if v != nil {
				r.result.Ticket = v
			}
			for k := range r.result.Outcomes {
				o := &r.result.Outcomes[k]
				// It relies on what is on its way, or was stored long ago.
				if index, term := cg.g.Covering(run.Topic.Number, o.End); index > 0 {
					o.Ticket = cg.expect(index, term)
				}
			}
			r.answer(nil)
		}
	}
}

// Tick lets a tenth of an election timeout pass.
func (n *Node) Tick() { n.core.post(n.core.tick) }

func (c *core) tick() {
	c.members()
	for i, cg := range c.groups {
		for _, id := range c.others(cg) {
			cg.g.TableOf(id, 0, 0, c.n.o.Transport.Sending(id, i))
		}
		c.lookForDamage(i)
		cg.g.Tick()
		if cg.logBytes > compactBytes {
			cg.g.Compact()
			cg.logBytes = 0 // until the disk says how much it is then
		}
		c.take(i)
	}
	c.beat()
	c.n.disk.post(c.n.disk.tick)
	c.n.fetcher.post(c.n.fetcher.lookForDamage)
}

// others returns the other members of a group.
func (c *core) others(cg *coreGroup) (ids []uint64) {
	conf, _ := cg.g.Conf()
	for _, list := range [][]uint64{conf.Voters, conf.Learners, conf.Outgoing} {
		for _, id := range list {
			if id != c.n.member.ID && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// lookForDamage tells a group which bytes of its topics are not there.
func (c *core) lookForDamage(number int) {
	cg := c.groups[number]
	for _, t := range cg.g.Topics() {
		l := c.n.topics.get(number, t.Number)
		if l == nil {
			continue
		}
		damaged := c.n.damage(l)
		if len(damaged) == 0 && len(cg.seen[t.Number]) == 0 || slices.Equal(damaged, cg.seen[t.Number]) {
			continue
		}
		cg.seen[t.Number] = damaged
		var ranges []group.Range
		for _, r := range damaged {
			ranges = append(ranges, group.Range{From: r.From, To: r.To})
		}
		cg.g.SetDamage(t.Number, ranges)
	}
}

// beat tells the others what they want to know at each tick.
func (c *core) beat() {
	beats := make(map[uint64]*peer.Beat)
	var ids []uint64
	for i, cg := range c.groups {
		for _, id := range c.others(cg) {
			b := beats[id]
			if b == nil {
				b = &peer.Beat{Position: c.n.disk.position.Load(), Clock: c.n.o.Now().UnixMilli(), Free: c.n.disk.free.Load()}
				beats[id] = b
				ids = append(ids, id)
			}
			term, index := cg.g.TakingOver()
			if cg.stalled {
				term, index = 0, 0
			}
			if settled := cg.g.Settled(); settled != 0 || index != 0 {
				b.Groups = append(b.Groups, peer.GroupBeat{Group: uint16(i), Change: settled, TableTerm: term, TableIndex: index})
			}
		}
	}
	for _, id := range ids {
		c.n.o.Transport.Beat(id, beats[id])
	}
}

// ReceiveBeat takes what another member says at each tick, but for the messages that
// are in it. done, if there is one, is called once, when that is done.
func (n *Node) ReceiveBeat(from uint64, b *peer.Beat, done func()) {
	groups := slices.Clone(b.Groups)
	n.core.post(func() {
		if done != nil {
			defer done()
		}
		for _, gb := range groups {
			if int(gb.Group) >= len(n.core.groups) {
				continue
			}
			cg := n.core.groups[gb.Group]
			cg.g.TableOf(from, gb.TableTerm, gb.TableIndex, false)
			i := slices.IndexFunc(cg.peers, func(p told) bool { return p.id == from })
			if i < 0 {
				cg.peers = append(cg.peers, told{id: from})
				i = len(cg.peers) - 1
			}
			cg.peers[i].settled = gb.Change
		}
	})
}

// Unreachable tells that a message of a group, or of all for a number of -1, did not
// get to a member: what was sent to it is sent again.
func (n *Node) Unreachable(id uint64, number int) {
	n.core.post(func() {
		for i, cg := range n.core.groups {
			if i == number || number == -1 {
				cg.g.Unreachable(id)
				n.core.take(i)
			}
		}
	})
}

// PeerGone tells that the process of a member is gone: its connections are closed, and
// it takes no new ones. The groups that it led forget it, so that another may be
// elected at once.
func (n *Node) PeerGone(id uint64) {
	n.core.post(func() {
		for i, cg := range n.core.groups {
			if leader, _ := cg.g.Leader(); leader == id {
				cg.orphanOf = id
				cg.g.Forget()
				n.core.take(i)
			}
		}
	})
}

// Campaign has the groups campaign that have lost their leader as PeerGone has told, and
// have no other yet. It is called once, some moments later, which are others on each
// member: else all would campaign at once, and nobody be elected.
func (n *Node) Campaign(gone uint64) {
	n.core.post(func() {
		for i, cg := range n.core.groups {
			if cg.orphanOf != gone {
				continue
			}
			cg.orphanOf = 0
			if leader, _ := cg.g.Leader(); leader == 0 {
				cg.g.Campaign()
				n.core.take(i)
			}
		}
	})
}

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
		done = done && c.settled(cg, change)
	}
	if done {
		c.groups[0].g.SetMembers(change, voters, learners)
	}
}

// settled reports whether a change is done in a group: a majority of the voters that
// are to be would know it after a start.
func (c *core) settled(cg *coreGroup, change uint64) bool {
	conf, has := cg.g.Conf()
	if has < change || len(conf.Outgoing) > 0 {
		return false
	}
	k := 0
	for _, id := range conf.Voters {
		if id == c.n.member.ID && cg.g.Settled() >= change {
			k++
		}
		if i := slices.IndexFunc(cg.peers, func(p told) bool { return p.id == id }); i >= 0 && cg.peers[i].settled >= change {
			k++
		}
	}
	return 2*k > len(conf.Voters)
}

// end tells all who wait that nobody will know.
func (c *core) end() {
	for _, cg := range c.groups {
		cg.g.Fail()
	}
	for i := range c.groups {
		c.take(i)
	}
}

// Propose proposes what is no batch to a group, and calls done with how it ended: nil
// when it is applied here. done must not block.
func (n *Node) propose(number int, d func(g *group.Group) (entry.Data, error), done func(v *verdict, err error)) {
	n.core.post(func() {
		cg := n.core.groups[number]
		data, err := d(cg.g)
		if err != nil {
			done(nil, err)
			return
		}
		index, term, err := cg.g.Propose(data)
		if err != nil {
			done(nil, err)
			return
		}
		v := cg.expect(index, term)
		n.core.take(number)
		done(v, nil)
	})
}
