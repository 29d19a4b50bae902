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
