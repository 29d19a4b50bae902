package group

import (
	"testing"

	raft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// leading returns a member of three that leads, with an entry of its term applied.
func leading(t *testing.T, c Config) *Group {
	t.Helper()
	g := New(c, State{Term: 1, Commit: 1, Table: &entry.Table{Index: 1, Term: 1, Conf: entry.Conf{Voters: []uint64{1, 2, 3}}, NextTopic: 2,
		Topics: []entry.Topic{{Number: 1, ID: entry.ID{1}, Name: "t"}}}})
	g.Campaign()
	pump(g, nil)
	if _, ready := g.Leads(); !ready {
		t.Fatalf("it does not lead: %v", g)
	}
	return g
}

// pump stores what a group gives to store, and has member 2 answer that it has done so. It
// calls see, if there is one, with all that the group says.
func pump(g *Group, see func(Output)) {
	id := g.cfg.ID
	for range 20 {
		out := g.Take()
		if see != nil {
			see(out)
		}
		for _, task := range out.Tasks {
			if s, ok := task.(*Store); ok {
				g.Durable(s.Seq)
			}
		}
		for _, m := range out.Send {
			if a := answer(m); a != nil && m.GetTo() == 2 {
				a.From, a.To = new(uint64(2)), new(id)
				g.Step(a, nil)
			}
		}
	}
}

// answer returns what a member says to a message that it agrees to.
func answer(m *pb.Message) *pb.Message {
	switch m.GetType() {
	case pb.MsgPreVote:
		return &pb.Message{Type: pb.MsgPreVoteResp.Enum(), Term: new(m.GetTerm())}
	case pb.MsgVote:
		return &pb.Message{Type: pb.MsgVoteResp.Enum(), Term: new(m.GetTerm())}
	case pb.MsgApp:
		if n := len(m.GetEntries()); n > 0 {
			return &pb.Message{Type: pb.MsgAppResp.Enum(), Term: new(m.GetTerm()), Index: new(m.GetEntries()[n-1].GetIndex())}
		}
	}
	return nil
}

// What others have answered to the process before confirms nothing: it may be what was
// stored before another leader was elected.
func TestFreshContexts(t *testing.T) {
	g := leading(t, Config{ID: 1, Start: 100})
	before := leading(t, Config{ID: 1, Start: 99})
	other := leading(t, Config{ID: 3, Start: 100})
	own := string(g.freshContext(1))
	for _, o := range []*Group{before, other} {
		if string(o.freshContext(1)) == own {
			t.Error("two requests of others look the same")
		}
	}
	g.Fresh(1)
	if got := g.Take().Fresh; len(got) > 0 {
		t.Errorf("the request is answered before another member was asked: %v", got)
	}
	g.freshRead(raft.ReadState{Index: 1, RequestCtx: before.freshContext(1)})
	if got := g.Take().Fresh; len(got) > 0 {
		t.Errorf("what the process before was answered is taken for an answer: %v", got)
	}
	g.freshRead(raft.ReadState{Index: 1, RequestCtx: g.freshContext(1)})
	if got := g.Take().Fresh; len(got) != 1 || got[0].Err != nil {
		t.Errorf("the request is answered %v", got)
	}
}
