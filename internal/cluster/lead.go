package cluster

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
)

// steadyTime is how long a member has to be up, and to have everything, before it is
// given the lead that it should have. It is twice as long for each of its losses.
const steadyTime = 30 * time.Second

// drainPrefix begins the key of a setting that says that a member leads nothing. Its
// value is the number of a process: it does not hold for the next one.
const drainPrefix = "~drain/"

// draining reports whether this member is to lead nothing.
func (c *core) draining() bool {
	return c.handsOver || c.drained(c.n.member.ID)
}

// drained reports whether a member was told to lead nothing.
func (c *core) drained(id uint64) bool {
	start := c.n.o.Start
	if id != c.n.member.ID {
		start = c.peer(id).start
	}
	return start != 0 && c.n.Said().setting(drainKey(id)) == drainValue(start)
}

func drainKey(id uint64) string      { return drainPrefix + strconv.FormatUint(id, 10) }
func drainValue(start uint64) string { return strconv.FormatUint(start, 16) }

// lead hands leads over, to who should have them.
func (c *core) lead() {
	unfit := c.flags() != 0 || c.n.round.hangs(group.ElectionTicks) || c.n.disk.hangs(group.ElectionTicks)
	for i, cg := range c.groups {
		if leads, _ := cg.g.Leads(); !leads {
			continue
		}
		to := uint64(0)
		preferred := c.preferred(i)
		switch {
		case cg.handTo != 0 && c.ticks <= cg.handUntil && c.fit(cg.handTo, i):
			to = cg.handTo
		case unfit:
			to = c.best(i)
		case preferred != c.n.member.ID && c.fit(preferred, i) && c.steady(preferred):
			to = preferred
		}
		if to == c.n.member.ID {
			cg.handTo = 0
			continue
		}
		if to != 0 {
			c.transfer(i, to)
		}
	}
}

// transfer asks a member to take a lead. As long as it may be about to it is not asked
// again: nothing is taken meanwhile.
func (c *core) transfer(number int, to uint64) {
	cg := c.groups[number]
	if to == cg.asked && c.ticks-cg.askedAt <= 2*group.ElectionTicks {
		return
	}
	cg.asked, cg.askedAt = to, c.ticks
	cg.g.Transfer(to)
	c.take(number)
}

// preferred returns who is to lead a group when it can, or 0.
func (c *core) preferred(number int) uint64 {
	conf, _ := c.groups[number].g.Conf()
	voters := slices.Sorted(slices.Values(conf.Voters))
	for _, l := range c.n.Said().Leaders {
		if int(l.Group) == number && slices.Contains(voters, l.Member) {
			return l.Member
		}
	}
	if len(voters) == 0 {
		return 0
	}
	return voters[number%len(voters)]
}

// steady reports whether a member has been up, with everything, for long enough.
func (c *core) steady(id uint64) bool {
	p := c.peers[id]
	if p == nil || p.steadySince == 0 {
		return false
	}
	wait := steadyTime << min(len(p.losses), 8)
	return time.Duration(c.ticks-p.steadySince)*c.n.o.Tick >= wait
}

// alone has this member lead the groups in which nobody else votes, and nobody has to be
// waited for.
func (c *core) alone() {
	for i, cg := range c.groups {
		if conf, _ := cg.g.Conf(); len(conf.Outgoing) == 0 && len(conf.Voters) == 1 && conf.Voters[0] == c.n.member.ID {
			cg.g.Campaign()
			c.take(i)
		}
	}
}

// best returns another voter to lead a group, or 0.
func (c *core) best(number int) uint64 {
	conf, _ := c.groups[number].g.Conf()
	var fit []uint64
	for _, id := range slices.Sorted(slices.Values(conf.Voters)) {
		if id != c.n.member.ID && c.fit(id, number) {
			fit = append(fit, id)
		}
	}
	if len(fit) == 0 {
		return 0
	}
	if p := c.preferred(number); slices.Contains(fit, p) {
		return p
	}
	return fit[number%len(fit)]
}

// handOver has a group that this member leads go to another member now.
func (c *core) handOver(number int, to uint64) {
	cg := c.groups[number]
	cg.handTo, cg.handUntil = to, c.ticks+2*group.ElectionTicks
	if leads, _ := cg.g.Leads(); leads && to != c.n.member.ID && c.fit(to, number) {
		cg.asked = 0 // it is asked now
		c.transfer(number, to)
	}
}

// leads returns of how many groups a member is known to be the leader.
func (c *core) leads(id uint64) (n int64) {
	for _, cg := range c.groups {
		if leader, _ := cg.g.Leader(); leader == id {
			n++
		}
	}
	return n
}

// orphans reports whether there is a group of which nobody is known to lead.
func (c *core) orphans() bool { return c.leads(0) > 0 }

// HandOver has this member lead nothing any more, if there is who can, and returns when
// it is so, or can't be, or ctx is done. It is for a process that is to end.
func (n *Node) HandOver(ctx context.Context) {
	err := n.await(ctx, func(c *core) (bool, error) {
		c.handsOver = true
		if c.leads(n.member.ID) == 0 {
			return true, nil
		}
		for i, cg := range c.groups {
			if leads, _ := cg.g.Leads(); leads && c.best(i) != 0 {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		n.log.Warn("this member stops as a leader: the others have to notice", "err", err)
	}
}

// suggest has who leads group 0 propose an entry for it, or proposes it.
func (c *core) suggest(d entry.Data) {
	g := c.groups[0].g
	if _, ready := g.Leads(); ready {
		if _, _, err := g.Propose(d); err == nil {
			c.take(0)
		}
		return
	}
	if leader, _ := g.Leader(); leader != 0 && leader != c.n.member.ID {
		c.n.o.Transport.Suggest(leader, entry.Append(nil, d))
	}
}

// Suggested takes what another member would have this one propose, if it leads group 0:
// who is to lead a group, or where that member, or its HTTP, is found.
func (n *Node) Suggested(from uint64, data []byte) {
	d, err := entry.Decode(data)
	if err != nil {
		return
	}
	n.core.post(func() {
		c := &n.core
		if _, ready := c.groups[0].g.Leads(); !ready {
			return // it is suggested again, to who leads then
		}
		switch d := d.(type) {
		case entry.Leader:
			if int(d.Group) < len(c.groups) {
				c.suggest(d)
			}
		case entry.Members:
			if len(d.Members) == 1 && d.Members[0].ID == from {
				c.moved(&d.Members[0])
			}
		case entry.Setting:
			c.saysHTTP(from, d)
		}
	})
}

// hangs reports whether a task takes longer than so many ticks: a disk that hangs may
// hold up a write before there is a sync.
func (d *disk) hangs(ticks int) bool {
	since := d.since.Load()
	return since != 0 && d.n.ticks.Load()-since > int64(ticks)
}

// hangs reports whether a sync takes longer than so many ticks.
func (r *round) hangs(ticks int) bool {
	since := r.since.Load()
	return since != 0 && r.n.ticks.Load()-since > int64(ticks)
}
