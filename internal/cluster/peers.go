package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/peer"
)

// peerState is what the core knows of another member: what that says of itself, and
// when.
type peerState struct {
	start   uint64 // the number of its process; 0 until it was heard of
	version string

	gone      uint64 // the number of a process of it that has ended
	goneUntil int    // tick up to which that is believed: it may still be heard, late

	heard   int // tick at which it said anything last; 0: never
	clock   int64
	clockAt time.Time // when it said so, by the own clock
	differs bool      // from the own clock, by much
	free    int64
	flags   peer.Flags
	auth    string
	groups  []told

	steadySince int   // tick since which it is up and has everything; 0: it is not so
	losses      []int // ticks at which it was found to be down, within the last hour
}

// told is what a member says of a group in its beats.
type told struct {
	settled uint64
	applied uint64
	stored  int64

	// Whether it has caught up is seen as in other logs: when it has what this member
	// had when it spoke last, it had everything then.
	asked    uint64 // what this member had applied then
	askedAt  int
	caughtAt int // tick at which it had everything last; 0: never
}

// caughtUpBytes and caughtUpTime are how little a member lacks that has caught up: one
// of the two is enough.
const (
	caughtUpBytes = 1 << 20
	caughtUpTime  = time.Second
)

// peer returns what is known of another member.
func (c *core) peer(id uint64) *peerState {
	p := c.peers[id]
	if p == nil {
		p = &peerState{groups: make([]told, len(c.groups))}
		c.peers[id] = p
	}
	return p
}

// up reports whether a member was heard within an election timeout, and its process is
// not known to have ended since. INVARIANT: nobody hands its lead to one that has ended:
// it would take no batches for an election timeout.
func (c *core) up(id uint64) bool {
	if id == c.n.member.ID {
		return true
	}
	p := c.peers[id]
	if p == nil || p.heard == 0 || p.gone == p.start && c.ticks <= p.goneUntil {
		return false
	}
	return c.ticks-p.heard <= group.ElectionTicks
}

// caughtUp reports whether a member has, but for a little, what this one has of a group.
func (c *core) caughtUp(id uint64, number int) bool {
	if id == c.n.member.ID {
		return true
	}
	p := c.peers[id]
	if p == nil || !c.up(id) {
		return false
	}
	t := &p.groups[number]
	if t.applied == 0 || t.caughtAt == 0 {
		return false
	}
	return c.groups[number].g.Stored()-t.stored <= caughtUpBytes || time.Duration(c.ticks-t.caughtAt)*c.n.o.Tick <= caughtUpTime
}

// fit reports whether a member may be given a lead: it is up, has what there is of the
// group, and nothing is wrong with it.
func (c *core) fit(id uint64, number int) bool {
	if id == c.n.member.ID {
		return c.flags() == 0
	}
	return c.caughtUp(id, number) && c.peers[id].flags == 0
}

// flags are what this member says of itself.
func (c *core) flags() (f peer.Flags) {
	if c.n.Err() != nil || slices.ContainsFunc(c.groups, func(cg *coreGroup) bool { return cg.g.Failed() }) {
		f |= peer.Failed
	}
	if c.n.disk.noRoom.Load() {
		f |= peer.Full
	}
	if c.draining() {
		f |= peer.Draining
	}
	if slices.ContainsFunc(c.groups, func(cg *coreGroup) bool { return cg.g.Lacks() }) {
		f |= peer.Lacking
	}
	return f
}

// auth is the digest of this member's file of identities, or nothing.
func (c *core) auth() string {
	if c.n.o.Auth == nil {
		return ""
	}
	return c.n.o.Auth()
}

// beat tells the others what they want to know at each tick, or at every second one as long
// as nothing but the clock and the room on the disk has changed: each wakes all members.
func (c *core) beat() {
	b := peer.Beat{
		Position: c.n.disk.position.Load(), Clock: c.n.o.Now().UnixMilli(), Free: max(c.n.disk.free.Load(), 0), Flags: c.flags(),
		Auth: c.auth(),
	}
	for i, cg := range c.groups {
		term, index := cg.g.TakingOver()
		if cg.stalled {
			term, index = 0, 0
		}
		b.Groups = append(b.Groups, peer.GroupBeat{
			Group: uint16(i), Change: cg.g.Settled(), Applied: cg.g.Applied(), Stored: cg.g.Stored(), TableTerm: term, TableIndex: index,
		})
	}
	if c.unsaid++; c.unsaid < 2 && !news(&c.beaten, &b) {
		return
	}
	c.beaten, c.unsaid = b, 0
	for _, id := range c.everybody() {
		own := b
		c.n.o.Transport.Beat(id, &own)
	}
}

// news reports whether a beat says something that the one before it does not.
func news(before, b *peer.Beat) bool {
	return before.Position != b.Position || before.Flags != b.Flags || before.Auth != b.Auth || !slices.EqualFunc(before.Groups, b.Groups, func(x, y peer.GroupBeat) bool {
		return x.Change == y.Change && x.Applied == y.Applied && x.Stored == y.Stored && x.TableTerm == y.TableTerm && x.TableIndex == y.TableIndex
	})
}

// everybody returns the other members, and those who are in a group still, in order.
func (c *core) everybody() (ids []uint64) {
	add := func(id uint64) {
		if id != c.n.member.ID && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, m := range c.n.Said().Members {
		if m.Role != entry.Gone {
			add(m.ID)
		}
	}
	for _, cg := range c.groups {
		for _, id := range c.others(cg) {
			add(id)
		}
	}
	slices.Sort(ids)
	return ids
}

// ReceiveBeat takes what another member says at each tick, but for the messages that
// are in it. done, if there is one, is called once, when that is done.
func (n *Node) ReceiveBeat(from uint64, b *peer.Beat, done func()) {
	beat := *b
	beat.Groups = slices.Clone(b.Groups)
	n.core.post(func() {
		if done != nil {
			defer done()
		}
		c := &n.core
		p := c.peer(from)
		p.heard, p.clock, p.clockAt, p.free, p.flags, p.auth = c.ticks, beat.Clock, n.o.Now(), beat.Free, beat.Flags, beat.Auth
		c.compareClocks(from, p)
		for _, gb := range beat.Groups {
			if int(gb.Group) >= len(c.groups) {
				continue
			}
			cg := c.groups[gb.Group]
			cg.g.TableOf(from, gb.TableTerm, gb.TableIndex, false)
			t := &p.groups[gb.Group]
			t.settled, t.applied, t.stored = gb.Change, gb.Applied, gb.Stored
			own := cg.g.Applied()
			if t.applied >= own {
				t.caughtAt = c.ticks
			} else if t.askedAt > 0 && t.applied >= t.asked {
				t.caughtAt = max(t.caughtAt, t.askedAt)
			}
			t.asked, t.askedAt = own, c.ticks
		}
	})
}

// compareClocks logs when the clock of another member begins to differ from the own one, and
// when it does so no more.
func (c *core) compareClocks(id uint64, p *peerState) {
	by := time.UnixMilli(p.clock).Sub(p.clockAt)
	differs := by.Abs() > maxAhead
	if differs == p.differs {
		return
	}
	p.differs = differs
	if name := c.n.Said().name(id); differs {
		c.n.log.Warn("the clocks of two members differ: batches get the time of most, or what is close to it", "member", name, "ahead", by.Round(time.Millisecond))
	} else {
		c.n.log.Info("the clocks of two members agree again", "member", name)
	}
}

// Met tells that a member has connected: the number of its process, and what it runs.
func (n *Node) Met(id, start uint64, version string) {
	n.core.post(func() {
		p := n.core.peer(id)
		p.start, p.version = start, version
	})
}

// lookAtPeers notes who is up and has everything, and for how long.
func (c *core) lookAtPeers() {
	for _, id := range c.everybody() {
		p := c.peer(id)
		steady := c.up(id) && p.flags == 0
		for i := range c.groups {
			steady = steady && c.caughtUp(id, i)
		}
		switch {
		case steady && p.steadySince == 0:
			p.steadySince = c.ticks
		case !steady && p.steadySince != 0:
			p.steadySince = 0
			if !c.up(id) {
				p.losses = append(p.losses, c.ticks)
			}
		}
		hour := int(time.Hour / c.n.o.Tick)
		for len(p.losses) > 0 && c.ticks-p.losses[0] > hour {
			p.losses = p.losses[1:]
		}
	}
}

// maxAhead is how far ahead of the others a clock is believed.
const maxAhead = 10 * time.Second

// latestTime returns the latest time that is believed, in milliseconds since 1970: the own
// clock may not be far ahead of what most voters say. How long it is since they have said
// so is counted in ticks, which no clock moves that is set.
func (c *core) latestTime() int64 {
	conf, _ := c.groups[0].g.Conf()
	times := []int64{c.n.o.Now().UnixMilli()}
	for _, id := range conf.Voters {
		if p := c.peers[id]; p != nil && p.heard > 0 && id != c.n.member.ID {
			times = append(times, p.clock+int64(c.ticks-p.heard)*c.n.o.Tick.Milliseconds())
		}
	}
	slices.Sort(times)
	return times[(len(times)-1)/2] + maxAhead.Milliseconds()
}

// now returns the time that a leader gives to batches, and that retention goes by, in
// milliseconds since 1970: that of the own clock, but at most the latest that was believed
// at the last tick. So a clock that is set counts only when others were asked.
func (n *Node) now() int64 { return min(n.o.Now().UnixMilli(), n.latest.Load()) }

// majorityFree returns how much room there is, at least, on so many voters as are a
// majority, this one among them.
func (c *core) majorityFree() int64 {
	conf, _ := c.groups[0].g.Conf()
	free := []int64{c.n.disk.free.Load()}
	for _, id := range conf.Voters {
		if p := c.peers[id]; p != nil && p.heard > 0 && id != c.n.member.ID {
			free = append(free, p.free)
		}
	}
	slices.SortFunc(free[1:], func(a, b int64) int { return cmp.Compare(b, a) })
	return slices.Min(free[:min(len(free), len(conf.Voters)/2+1)])
}
