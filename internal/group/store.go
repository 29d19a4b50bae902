package group

import (
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// store makes a store of what raft wants written.
func (g *Group) store(m *pb.Message, came []*pb.Entry, bodies []Body) {
	s := &Store{Seq: g.seq + 1}
	p := promise{seq: s.Seq, responses: m.GetResponses()}
	if term, vote := m.GetTerm(), m.GetVote(); term != 0 && (term != g.log.hard.GetTerm() || vote != g.log.hard.GetVote()) {
		s.Hard, s.Term, s.Vote = true, term, vote
		g.log.hard.Term, g.log.hard.Vote = new(term), new(vote)
	}
	if snap := m.GetSnapshot(); snap.GetMetadata().GetIndex() > 0 {
		s.Table = g.writeTable(snap)
		p.table = true
	}
	if raw := m.GetEntries(); len(raw) > 0 {
		g.storeEntries(s, raw, came, bodies)
	}
	s.Sync = len(s.Entries) > 0 || s.Hard || s.Table != nil
	if !s.Sync {
		g.answer(p.responses) // else it is of the commit alone, which is noted when it is applied
		return
	}
	g.add(s, p)
}

// answer delivers responses for which nothing is to be written: to a MsgApp that only
// says what is committed, or to a MsgPreVote. INVARIANT: they are not delivered before
// all is durable that raft had wanted written when it gave them. A sync of their own
// would be one for each entry, and what comes next would wait until it has ended.
func (g *Group) answer(responses []*pb.Message) {
	for i := range g.stores {
		if g.stores[i].seq == g.awaited {
			g.stores[i].responses = append(slices.Clip(g.stores[i].responses), responses...)
			return
		}
	}
	g.respond(responses)
}

// add has a store done.
func (g *Group) add(s *Store, p promise) {
	g.seq = s.Seq
	if s.Sync {
		g.awaited = s.Seq
	}
	p.seq = s.Seq
	g.stores = append(g.stores, p)
	g.out.Tasks = append(g.out.Tasks, s)
}

func (g *Group) storeEntries(s *Store, raw, came []*pb.Entry, bodies []Body) {
	s.Entries = make([]Entry, len(raw))
	s.Bodies = make([]Body, len(raw))
	for i, p := range raw {
		e, err := decode(p)
		if err != nil {
			panic(fmt.Sprintf("group: entry %d: %v", p.GetIndex(), err)) // it was looked at when it came
		}
		s.Entries[i] = e
		for k, c := range came {
			if c.GetIndex() == e.Index && c.GetTerm() == e.Term && k < len(bodies) {
				s.Bodies[i] = bodies[k]
			}
		}
	}
	void := g.log.append(s.Entries)
	if len(void) > 0 {
		s.Void = void[0].Index
		g.void(s, void)
	}
	g.spans = append(g.spans, span{s.Entries[0].Index, s.Seq})
	g.entries = s.Seq
	g.blank = false
}

// void notes what entries had done that are void: the latest first, so that the
// lowest offset of a topic is what stays.
func (g *Group) void(s *Store, entries []Entry) {
	for len(g.spans) > 0 && g.spans[len(g.spans)-1].first >= s.Void {
		g.spans = g.spans[:len(g.spans)-1]
	}
	at := make(map[uint32]int)
	for _, e := range entries {
		for _, r := range e.runs() {
			if _, ok := at[r.Topic]; !ok {
				at[r.Topic] = len(s.Cuts)
				s.Cuts = append(s.Cuts, VoidRun{r.Topic, r.Offset})
			}
		}
		if d, ok := e.Decoded.(entry.Create); ok {
			s.Gone = append(s.Gone, VoidCreate{d.Topic, d.ID})
		}
	}
}

// span says which store wrote the entries from an index on.
type span struct{ first, seq uint64 }

// commit writes down how far entries were applied.
func (g *Group) commit(sync bool) {
	if g.stopped() || g.applied <= g.noted {
		return
	}
	g.noted = g.applied
	g.log.hard.Commit = new(g.applied)
	g.add(&Store{Seq: g.seq + 1, Commit: g.applied, Sync: sync}, promise{})
}

// entrySeq returns the store that an entry was written by, or 0 if it is durable.
func (g *Group) entrySeq(index uint64) uint64 {
	for i := len(g.spans) - 1; i >= 0; i-- {
		if g.spans[i].first <= index {
			return g.spans[i].seq
		}
	}
	return 0
}
