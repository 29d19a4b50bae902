package group

import (
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// TestAnswerWithoutSync: what only says what is committed is answered without a sync,
// but not before what came before it is durable.
func TestAnswerWithoutSync(t *testing.T) {
	seedRaft(t, 1)
	const own, leader, term = 1, 2, 2
	first := &entry.Table{Index: 1, Term: 1, NextTopic: 1, Conf: entry.Conf{Voters: []uint64{own, leader, 3}}}
	g := New(Config{ID: own}, State{Term: 1, Commit: 1, Table: first})
	newest := uint64(0)
	step := func(m *pb.Message) (syncs int, answers []uint64) {
		t.Helper()
		if m != nil {
			m.From, m.To, m.Term = new(uint64(leader)), new(uint64(own)), new(uint64(term))
			g.Step(m, make([]Body, len(m.GetEntries())))
		} else {
			g.Durable(newest)
		}
		out := g.Take()
		for _, task := range out.Tasks {
			if s, ok := task.(*Store); ok {
				newest = s.Seq
				if s.Sync {
					syncs++
				}
			}
		}
		for _, m := range out.Send {
			if m.GetType() == pb.MsgAppResp {
				answers = append(answers, m.GetIndex())
			}
		}
		return syncs, answers
	}
	// The term is new: it is written first. Then there is an entry.
	commitOnly := func(index, commit uint64) *pb.Message {
		return &pb.Message{Type: pb.MsgApp.Enum(), Index: new(index), LogTerm: new(min(index, uint64(term))), Commit: new(commit)}
	}
	withEntry := &pb.Message{
		Type: pb.MsgApp.Enum(), Index: new(uint64(1)), LogTerm: new(uint64(1)), Commit: new(uint64(1)),
		Entries: []*pb.Entry{{Type: pb.EntryNormal.Enum(), Index: new(uint64(2)), Term: new(uint64(term))}},
	}
	for i, c := range []struct {
		m       *pb.Message // nil: all is durable
		syncs   int
		answers []uint64
	}{
		{commitOnly(1, 1), 1, nil},
		{nil, 0, []uint64{1}},
		{commitOnly(1, 1), 0, []uint64{1}},
		{withEntry, 1, nil},
		{commitOnly(2, 2), 0, nil},
		{nil, 0, []uint64{2, 2}},
		{commitOnly(2, 2), 0, []uint64{2}},
	} {
		if syncs, answers := step(c.m); syncs != c.syncs || !slices.Equal(answers, c.answers) {
			t.Errorf("step %d: %d syncs, answers up to %v; want %d and %v", i, syncs, answers, c.syncs, c.answers)
		}
	}
}
