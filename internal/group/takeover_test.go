package group

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// TestVotesDuringATakeover: a member that waits for the bytes of a table votes. Who needs
// its vote may be the only one that has them.
func TestVotesDuringATakeover(t *testing.T) {
	conf := entry.Conf{Voters: []uint64{1, 2, 3}}
	g := New(Config{ID: 1}, State{Term: 1, Commit: 1, Table: &entry.Table{Index: 1, Term: 1, Conf: conf, NextTopic: 1}})
	table := &entry.Table{Index: 10, Term: 2, Conf: conf, NextTopic: 2, Topics: []entry.Topic{{Number: 1, ID: entry.ID{1}, Name: "t", End: 100}}}
	g.Step(&pb.Message{
		Type: pb.MsgSnap.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(2)),
		Snapshot: &pb.Snapshot{Data: table.Encode(), Metadata: &pb.SnapshotMetadata{Index: new(table.Index), Term: new(table.Term), ConfState: confState(&conf)}},
	}, nil)
	begun, voted := false, false
	see := func(out Output) {
		for _, task := range out.Tasks {
			_, takes := task.(TakeOver)
			begun = begun || takes
		}
		for _, m := range out.Send {
			voted = voted || m.GetType() == pb.MsgVoteResp && m.GetTo() == 3 && !m.GetReject()
		}
	}
	pump(g, see)
	if !begun {
		t.Fatalf("it takes no table over: %v", g)
	}
	for range 2 * ElectionTicks { // the leader is not heard any more
		g.Tick()
	}
	g.Step(&pb.Message{Type: pb.MsgVote.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(uint64(5)), Index: new(uint64(20)), LogTerm: new(uint64(2))}, nil)
	pump(g, see)
	if !voted {
		t.Errorf("it does not vote: %v", g)
	}
}

// TestVerdictComesFromApply: that an entry is void here says nothing of what becomes of
// it. Another leader may have it, and commit it.
func TestVerdictComesFromApply(t *testing.T) {
	g := leading(t, Config{ID: 1})
	made := entry.Create{Topic: g.NextTopic(), ID: entry.ID{2}, Name: "u"}
	before, beforeTerm := g.Last()
	index, term, err := g.Propose(made)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []Verdict
	void := false
	take := func() {
		for range 5 {
			out := g.Take()
			verdicts = append(verdicts, out.Verdicts...)
			for _, task := range out.Tasks {
				if s, ok := task.(*Store); ok {
					void = void || s.Void == index
					g.Durable(s.Seq)
				}
			}
		}
	}
	take()
	appends := func(from, term, commit uint64, entries ...*pb.Entry) {
		g.Step(&pb.Message{
			Type: pb.MsgApp.Enum(), From: new(from), To: new(uint64(1)), Term: new(term),
			Index: new(before), LogTerm: new(beforeTerm), Entries: entries, Commit: new(commit),
		}, make([]Body, len(entries)))
		take()
	}
	appends(3, term+1, before, &pb.Entry{Index: new(index), Term: new(term + 1)})
	if !void {
		t.Fatal("the entry is not void")
	}
	if len(verdicts) > 0 {
		t.Errorf("what is void has the verdict %v", verdicts)
	}
	appends(2, term+2, index+1, &pb.Entry{Index: new(index), Term: new(term), Data: entry.Append(nil, made)}, &pb.Entry{Index: new(index + 1), Term: new(term + 2)})
	if want := (Verdict{index, term, Stored}); len(verdicts) != 1 || verdicts[0] != want {
		t.Errorf("verdicts %v, want %v", verdicts, want)
	}
}
