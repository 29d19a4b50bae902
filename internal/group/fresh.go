package group

import (
	"bytes"
	"encoding/binary"

	raft "go.etcd.io/raft/v3"
)

// Fresh is a request to answer with all that was answered before it: see
// Group.Fresh.
type Fresh struct {
	ID  uint64
	Err error // ErrNotLeader: nobody could be asked
}

// fresh is what waits for a leader's word, or for that to be applied.
type fresh struct {
	id    uint64
	index uint64 // 0: the leader was not heard yet
	since int
}

// Fresh asks the leader how far entries are committed, and answers under the id, by
// Output.Fresh, when that is applied here. Ids are not used twice.
func (g *Group) Fresh(id uint64) {
	if g.stopped() || g.leader == 0 || g.silent > 0 || g.role == raft.StateLeader && !g.lead.ready {
		g.out.Fresh = append(g.out.Fresh, Fresh{id, ErrNotLeader})
		return
	}
	g.fresh = append(g.fresh, fresh{id: id, since: g.ticks})
	g.rn.ReadIndex(g.freshContext(id))
	g.drain()
}

// freshContext is by what raft knows a request again, which no other member has, and no
// other start of this one: an answer that was meant for another request, and comes late,
// would be taken for one that others gave after this one.
func (g *Group) freshContext(id uint64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, g.cfg.ID)
	b = binary.LittleEndian.AppendUint64(b, g.cfg.Start)
	return binary.LittleEndian.AppendUint64(b, id)
}

// freshRead notes how far a request has to be applied.
func (g *Group) freshRead(r raft.ReadState) {
	if len(r.RequestCtx) != 3*8 {
		return
	}
	id := binary.LittleEndian.Uint64(r.RequestCtx[2*8:])
	if !bytes.Equal(r.RequestCtx, g.freshContext(id)) {
		return
	}
	for i := range g.fresh {
		if g.fresh[i].id == id {
			g.fresh[i].index = max(r.Index, 1)
		}
	}
	g.answerFresh()
}

// answerFresh answers what is applied.
func (g *Group) answerFresh() {
	rest := g.fresh[:0]
	for _, f := range g.fresh {
		switch {
		case f.index > 0 && f.index <= max(g.applied, g.known) && g.applied >= g.known:
			g.out.Fresh = append(g.out.Fresh, Fresh{ID: f.id})
		case g.ticks-f.since > 2*ElectionTicks: // the question or its answer was lost
			g.out.Fresh = append(g.out.Fresh, Fresh{f.id, ErrNotLeader})
		default:
			rest = append(rest, f)
		}
	}
	g.fresh = rest
}

// dropFresh gives up what waits.
func (g *Group) dropFresh() {
	for _, f := range g.fresh {
		g.out.Fresh = append(g.out.Fresh, Fresh{f.id, ErrNotLeader})
	}
	g.fresh = nil
}
