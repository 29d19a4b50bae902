package group

import (
	"fmt"
	"math"

	raft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// apply applies what is committed. While a table is taken over nothing is: bytes
// may be gone.
func (g *Group) apply() {
	for len(g.waiting) > 0 && !g.stopped() && !g.takeover.holds() {
		m := g.waiting[0]
		g.waiting = g.waiting[1:]
		for _, p := range m.GetEntries() {
			e, err := decode(p)
			if err != nil {
				panic(fmt.Sprintf("group: entry %d: %v", p.GetIndex(), err))
			}
			g.applyEntry(&e, p)
		}
		for _, r := range m.GetResponses() {
			g.step(r)
		}
	}
}

func (g *Group) applyEntry(e *Entry, p *pb.Entry) {
	switch p.GetType() {
	case pb.EntryConfChange, pb.EntryConfChangeV2:
		g.applyConf(e, p)
	}
	before := g.applied
	g.applied = e.Index
	if e.Index > g.known {
		g.applyData(e)
	}
	switch d := e.Decoded.(type) {
	case entry.Trim:
		g.compactRemoved(d.Topic)
	case entry.Delete:
		g.compactRemoved(d.Topic)
	}
	if e.Index != before+1 {
		panic(fmt.Sprintf("group: entry %d is applied after %d", e.Index, before))
	}
	g.giveVerdict(func(q *proposal) (Fate, bool) {
		if q.term == e.Term {
			return Stored, q.index == e.Index
		}
		return Not, q.index == e.Index
	})
	if g.role == raft.StateLeader && e.Term == g.term && !g.lead.ready {
		g.becomeReady()
	}
	if len(g.fresh) > 0 {
		g.answerFresh()
	}
	if n := len(g.todo); n > 0 && g.todo[n-1].seq == 0 {
		// Written before what comes next, and durable before it is carried out.
		g.commit(true)
		for i := range g.todo {
			if g.todo[i].seq == 0 {
				g.todo[i].seq = g.seq
			}
		}
	}
}

// applyData applies what an entry says of topics and members.
func (g *Group) applyData(e *Entry) {
	var topic entry.Topic
	switch d := e.Decoded.(type) {
	case entry.Delete:
		topic, _ = g.st.topic(d.Topic)
	}
	g.st.apply(e)
	carry := func(t entry.Topic) { g.todo = append(g.todo, todo{carry: Carry{t, e.Decoded}}) }
	switch d := e.Decoded.(type) {
	case *entry.Round:
		for i := range d.Runs {
			if t, ok := g.st.topic(d.Runs[i].Topic); ok {
				g.out.Ends = append(g.out.Ends, endOf(&t))
			}
		}
	case entry.Create:
		if t, ok := g.st.topic(d.Topic); ok && t.ID == d.ID {
			g.out.Made = append(g.out.Made, t)
			carry(t)
		}
		delete(g.lead.creating, d.Name)
	case entry.Delete:
		if topic.Name != "" {
			g.out.Removed = append(g.out.Removed, topic)
			carry(topic)
		}
		delete(g.damage, d.Topic)
	case entry.Leader:
		g.out.Leaders = append(g.out.Leaders, d)
	case entry.Trim:
		if t, ok := g.st.topic(d.Topic); ok {
			carry(t)
			g.out.Ends = append(g.out.Ends, endOf(&t))
		}
	}
}

// compactRemoved forgets the entries that name bytes of a topic which are gone, and all
// before.
func (g *Group) compactRemoved(topic uint32) {
	oldest := int64(math.MaxInt64)
	if t := g.st.topics[topic]; t != nil {
		oldest = t.Oldest
	}
	var to uint64
	for i := range g.log.entries {
		e := &g.log.entries[i]
		if e.Index > g.applied {
			break
		}
		for _, r := range e.runs() {
			if r.Topic == topic && r.Offset < oldest {
				to = e.Index
			}
		}
	}
	g.log.compact(to)
}

// carryOut has done what a durable COMMIT covers.
func (g *Group) carryOut() {
	for len(g.todo) > 0 && g.todo[0].seq != 0 && g.todo[0].seq <= g.durable {
		g.out.Tasks = append(g.out.Tasks, g.todo[0].carry)
		g.todo = g.todo[1:]
	}
}

// giveVerdict says what became of the proposals that fate knows of.
func (g *Group) giveVerdict(fate func(*proposal) (f Fate, known bool)) {
	rest := g.pending[:0]
	for i := range g.pending {
		p := &g.pending[i]
		if f, known := fate(p); known {
			for _, r := range p.runs {
				g.lead.bytes = max(g.lead.bytes-int64(r.Bytes), 0)
			}
			g.out.Verdicts = append(g.out.Verdicts, Verdict{p.index, p.term, f})
		} else {
			rest = append(rest, *p)
		}
	}
	clear(g.pending[len(rest):])
	g.pending = rest
}
