package cluster

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster/copies"
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
	ticks  int

	peers     map[uint64]*peerState
	waiters   []*waiter
	looking   bool // at waiters
	again     bool // something has happened meanwhile
	handsOver bool // this member is to lead nothing more

	beaten peer.Beat // what the others were told last
	unsaid int       // ticks since

	troubled []copies.Copy // topics of which bytes are set aside, or that have failed
	troubles [2]uint64     // what the store and topics have said when that was looked at
}

// coreGroup is a group and who waits for it.
type coreGroup struct {
	g          *group.Group
	number     int
	verdicts   map[verdictKey]*verdict
	fresh      map[uint64]func(error)
	nextFresh  uint64
	seenLeader atomic.Pointer[leader] // for others than the core

	seen map[uint32][]storage.Range // damage that the group was told of, by topic

	logBytes int64 // of its entries in the member log
	stalled  bool  // the table that is taken over may be of no use
	orphan   orphan

	leaderAt  int    // tick at which it had a leader last
	campaigns int    // as the group counts them
	asked     uint64 // who was asked to take the lead last, and when
	askedAt   int
	handTo    uint64 // who is to be given the lead, up to a tick; 0: nobody
	handUntil int
}

// orphan is what is left of a leader whose process is gone.
type orphan struct {
	of      uint64 // the leader; 0: none
	term    uint64 // in which it led
	until   int    // tick up to which nothing of that term is taken from it
	waiting bool   // nobody leads since

	seen      uint64 // the term when this member looked last whether to campaign
	campaigns int    // and how often it had stood by then
}

// late reports whether a message is what a leader that is gone had sent before: it was
// in sockets and queues. The group would have a leader again that is none, and would
// neither campaign nor vote for an election timeout.
func (o *orphan) late(m *pb.Message, tick int) bool {
	return o.of != 0 && m.GetFrom() == o.of && m.GetTerm() == o.term && tick <= o.until
}

type verdictKey struct{ index, term uint64 }

// verdict is what becomes of an entry that was proposed here, once done is closed.
type verdict struct {
	done  chan struct{}
	fate  group.Fate
	since time.Time
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
func (c *core) submit(number int, to uint32, r *request) {
	var bytes int64
	for i := range r.part.Extents {
		bytes += r.part.Extents[i].Len
	}
	if way := c.onWay(); way > 0 {
		// TRIM comes behind what is on its way: that must find room.
		if free := c.n.free.Load(); free >= 0 && way+bytes > free/10 {
			r.answer(topic.ErrReadOnly)
			return
		}
		if way+bytes > maxOnWay {
			r.answer(topic.ErrBusy)
			return
		}
	}
	c.groups[number].g.Submit(&group.Request{Topic: to, Bytes: bytes, Batches: len(r.part.Extents), Data: r})
	c.take(number)
}

// maxOnWay bounds the bytes of all groups that wait to be written or applied.
const maxOnWay = 256 << 20

// onWay returns how many bytes wait to be written or applied.
func (c *core) onWay() (bytes int64) {
	for _, cg := range c.groups {
		bytes += cg.g.OnWay()
	}
	return bytes
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
	for i := range out.Made {
		c.n.made(number, &out.Made[i])
	}
	for i := range out.Removed {
		c.n.names.remove(&out.Removed[i], c.n.o.Now(), c.n.o.DeleteAfter)
		delete(cg.seen, out.Removed[i].Number)
	}
	if out.Reset {
		c.n.nameAll(number)
	}
	if number == 0 {
		c.publish(out.Reset)
	}
	for _, e := range out.Ends {
		c.n.topics.Trimmed(e.ID, e.Oldest)
		if l := c.n.topics.Get(number, e.Topic); l != nil {
			l.SetReadable(e.Offset)
		}
	}
	for i := range out.Proposed {
		c.proposed(number, &out.Proposed[i])
	}
	for _, r := range out.Refused {
		c.n.counts.dropped.Add(int64(len(r.Requests)))
		for _, q := range r.Requests {
			q.Data.(*request).answer(r.Err)
		}
	}
	for _, v := range out.Verdicts {
		k := verdictKey{v.Index, v.Term}
		if w := cg.verdicts[k]; w != nil {
			w.fate = v.Fate
			switch v.Fate {
			case group.Stored:
				c.n.o.Observer.Committed(time.Since(w.since))
			case group.InDoubt:
				c.n.counts.inDoubt.Add(1)
			}
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
	for _, l := range out.Leaders {
		if int(l.Group) < len(c.groups) && l.Member != 0 {
			c.handOver(int(l.Group), l.Member)
		}
	}
	if len(c.waiters) > 0 {
		c.lookAtWaiters()
	}
}

// lookAtLeader notes who leads, for others than the core.
func (c *core) lookAtLeader(cg *coreGroup) {
	id, term := cg.g.Leader()
	_, ready := cg.g.Leads()
	conf, _ := cg.g.Conf()
	now := leader{id: id, term: term, ready: ready, learner: !slices.Contains(conf.Voters, c.n.member.ID)}
	if seen := cg.seenLeader.Load(); seen != nil && *seen == now {
		return
	}
	if seen := cg.seenLeader.Load(); seen != nil && seen.id != id && id != 0 {
		c.n.counts.leaderChanges.Add(1)
	}
	if cg.g.Campaigns() > cg.campaigns {
		c.n.counts.elections.Add(int64(cg.g.Campaigns() - cg.campaigns))
		cg.campaigns = cg.g.Campaigns()
	}
	if seen := cg.seenLeader.Swap(&now); seen == nil || seen.ready != ready {
		c.n.keeper.soon() // another member decides what goes
		if ready {
			c.n.log.Info("this member leads a group", "group", cg.number, "term", term)
		}
	}
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
		v = &verdict{done: make(chan struct{}), since: time.Now()}
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
	c.ticks++
	c.n.ticks.Store(int64(c.ticks))
	c.n.latest.Store(c.latestTime())
	c.n.free.Store(c.majorityFree())
	c.lookAtPeers()
	c.members()
	c.lookForTrouble()
	for i, cg := range c.groups {
		for _, id := range c.others(cg) {
			cg.g.TableOf(id, 0, 0, c.n.o.Transport.Sending(id, i))
		}
		cg.g.Tick()
		if cg.logBytes > compactBytes {
			cg.g.Compact()
			cg.logBytes = 0 // until the disk says how much it is then
		}
		c.take(i)
	}
	c.lead()
	c.promote()
	c.sayWhere()
	c.sayHTTP()
	c.noteRemoved()
	c.lookWhetherReady()
	c.beat()
	c.n.disk.post(c.n.disk.tick)
	// An idle member wakes nobody for nothing.
	if troubled := c.troubled; len(troubled) > 0 || c.n.fetcher.Busy() {
		c.n.fetcher.Tick(troubled)
	}
	if c.n.ticks.Load() >= c.n.keeper.next.Load() {
		c.n.keeper.post(c.n.keeper.tick)
	}
	c.lookAtWaiters()
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

// lookForTrouble tells groups which bytes of their topics are not there. As long as the
// store says nothing it looks at those alone that lack some.
func (c *core) lookForTrouble() {
	now := [2]uint64{c.n.o.Store.Troubles(), c.n.topics.Generation()}
	look := c.troubled
	if now != c.troubles {
		c.troubles, look = now, c.n.topics.All()
	}
	var troubled []copies.Copy
	for _, t := range look {
		if c.lookForDamage(t) || t.Log.Failed() != nil {
			troubled = append(troubled, t)
		}
	}
	c.troubled = troubled
}

// lookForDamage tells a group which bytes of a topic are not there, and reports whether
// there are any.
func (c *core) lookForDamage(t copies.Copy) bool {
	cg := c.groups[t.Group]
	damaged := c.n.topics.Damage(t.Log)
	if !slices.Equal(damaged, cg.seen[t.Number]) {
		cg.seen[t.Number] = damaged
		if len(damaged) == 0 {
			delete(cg.seen, t.Number)
		}
		var ranges []group.Range
		for _, r := range damaged {
			ranges = append(ranges, group.Range{From: r.From, To: r.To})
		}
		cg.g.SetDamage(t.Number, ranges)
	}
	return len(damaged) > 0
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
// elected at once, and it is down until its next process has connected: who is elected
// would else hand the lead back to it, if it is the one that is preferred, and take no
// batches until raft gives that up.
func (n *Node) PeerGone(id uint64) {
	n.core.post(func() {
		p := n.core.peer(id)
		p.gone, p.goneUntil = p.start, n.core.ticks+group.ElectionTicks
		for i, cg := range n.core.groups {
			if leader, term := cg.g.Leader(); leader == id {
				cg.orphan = orphan{of: id, term: term, until: n.core.ticks + group.ElectionTicks, waiting: true, seen: term, campaigns: cg.g.Campaigns()}
				cg.g.Forget()
				n.core.take(i)
			}
		}
	})
}

// Campaign has the groups campaign that have lost their leader as PeerGone has told, and
// have no other yet. It is called some moments later, which are others on each member: else
// all would campaign at once, and nobody be elected. If that happens all the same it is
// called again.
func (n *Node) Campaign(gone uint64) {
	n.core.post(func() {
		for i, cg := range n.core.groups {
			if cg.orphan.of != gone || !cg.orphan.waiting {
				continue
			}
			leader, term := cg.g.Leader()
			// In a newer term, which is not its own, another one is being elected, maybe by
			// this one's vote: to stand against it would end its term as soon as it begins.
			other := term != cg.orphan.seen && cg.g.Campaigns() == cg.orphan.campaigns
			cg.orphan.seen, cg.orphan.campaigns = term, cg.g.Campaigns()
			if leader != 0 {
				cg.orphan.waiting = false
				continue
			}
			if !other {
				cg.g.Campaign()
				n.core.take(i)
			}
		}
	})
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

// proposeTo proposes what is no batch to a group, and returns its verdict.
func (c *core) proposeTo(number int, d entry.Data) (*verdict, error) {
	index, term, err := c.groups[number].g.Propose(d)
	if err != nil {
		return nil, err
	}
	v := c.groups[number].expect(index, term)
	c.take(number)
	return v, nil
}
