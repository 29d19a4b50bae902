package group

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/entry"
)

// confEntry returns an entry that changes who votes.
func confEntry(t *testing.T, index, term uint64, cc *pb.ConfChangeV2) Entry {
	t.Helper()
	data, err := proto.Marshal(cc)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(index, term, uint8(pb.EntryConfChangeV2), data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A member that starts counts by the joint configuration if the entry by which that is left
// is in its log: that was proposed by who had applied the one before, also if the own log
// does not say that it is committed. By the old one it would elect, and commit, without
// those who vote by now.
func TestStartInJointConfiguration(t *testing.T) {
	table := &entry.Table{Index: 1, Term: 1, Conf: entry.Conf{Voters: []uint64{1, 2, 3}}, NextTopic: 1}
	enter := &pb.ConfChangeV2{Transition: pb.ConfChangeTransitionJointExplicit.Enum(), Changes: []*pb.ConfChangeSingle{
		{Type: pb.ConfChangeAddLearnerNode.Enum(), NodeId: new(uint64(1))},
		{Type: pb.ConfChangeAddLearnerNode.Enum(), NodeId: new(uint64(3))},
	}}
	entries := []Entry{confEntry(t, 2, 1, enter)}
	state := State{Term: 1, Commit: 1, Table: table, Entries: entries}
	if conf, _ := New(Config{ID: 3}, state).Conf(); len(conf.Outgoing) > 0 {
		t.Errorf("what may be void is in force: %+v", conf)
	}
	state.Entries = append(entries, confEntry(t, 3, 1, &pb.ConfChangeV2{}))
	g := New(Config{ID: 3}, state)
	if conf, _ := g.Conf(); len(conf.Outgoing) != 3 || len(conf.Voters) != 1 {
		t.Errorf("the joint configuration is not in force: %+v", conf)
	}
}

// A write that ends while a joint configuration is being left is neither proposed then nor
// refused: the client waits for a moment. If the lead is lost meanwhile it is refused.
func TestWriteWhileLeavingJoint(t *testing.T) {
	for _, lost := range []bool{false, true} {
		g := leading(t, Config{ID: 1, Start: 1})
		r := &Request{Topic: 1, Bytes: 10, Batches: 1}
		g.Submit(r)
		var w *Write
		var refused []Refused
		var proposed []Proposed
		see := func(out Output) {
			for _, task := range out.Tasks {
				if task, ok := task.(*Write); ok {
					w = task
				}
			}
			refused, proposed = append(refused, out.Refused...), append(proposed, out.Proposed...)
		}
		pump(g, see)
		if w == nil {
			t.Fatal("nothing is to be written")
		}
		g.SetMembers(7, []uint64{1, 2}, []uint64{3})
		for n := 0; !g.leavingJoint(); n++ {
			if n == 100 {
				t.Fatal("no joint configuration is left")
			}
			pump(g, see)
			g.Tick()
		}
		g.Written(w, []WrittenRun{{Bytes: 10, Batches: 1, Messages: 1}})
		if len(g.out.Refused) > 0 || len(g.out.Proposed) > 0 {
			t.Fatalf("refused %v, proposed %v while a joint configuration was left", g.out.Refused, g.out.Proposed)
		}
		if lost {
			g.Fail()
			if see(g.Take()); len(proposed) > 0 || len(refused) != 1 || refused[0].Err != ErrNotLeader {
				t.Errorf("refused %v, proposed %v after the lead was lost", refused, proposed)
			}
			continue
		}
		pump(g, see)
		if len(refused) > 0 || len(proposed) != 1 || proposed[0].Index == 0 {
			t.Errorf("refused %v, proposed %v when the joint configuration was left", refused, proposed)
		}
	}
}

// TestJointIsLeftByWhoStays: a leader that is out of the new configuration does not leave
// the joint one. It would fall silent before the others know, and nobody could be elected.
func TestJointIsLeftByWhoStays(t *testing.T) {
	for out, want := range map[bool]bool{true: false, false: true} {
		conf := entry.Conf{Voters: []uint64{1, 2}, Outgoing: []uint64{1, 2, 3}}
		if out {
			conf.Voters = []uint64{2}
		}
		g := New(Config{ID: 1}, State{Term: 1, Commit: 1, Table: &entry.Table{Index: 1, Term: 1, Conf: conf, NextTopic: 1}})
		left, hands := false, false
		see := func(o Output) {
			for _, task := range o.Tasks {
				if s, ok := task.(*Store); ok {
					for _, e := range s.Entries {
						left = left || pb.EntryType(e.Type) == pb.EntryConfChangeV2
					}
				}
			}
			for _, m := range o.Send {
				hands = hands || m.GetType() == pb.MsgTimeoutNow
			}
		}
		g.Campaign()
		pump(g, see)
		if _, ready := g.Leads(); !ready {
			t.Fatalf("it does not lead: %v", g)
		}
		for range 3 {
			g.Tick()
			pump(g, see)
		}
		if left != want || hands == want {
			t.Errorf("a leader that is out, %v: the configuration is left %v, the lead handed over %v", out, left, hands)
		}
	}
}
