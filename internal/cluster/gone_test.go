package cluster

import (
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/peer"
)

// TestLateWordsOfALeader: what a leader had sent before its process ended is read after
// that was found out. Nobody follows it again, so that an election is held at once.
func TestLateWordsOfALeader(t *testing.T) {
	const number, gone = 1, 2
	s := newSim(t, 1, 3)
	n := s.members[0].node
	do := func(f func()) {
		f()
		for n.core.step() {
		}
	}
	heartbeat := func(term uint64) {
		do(func() {
			m := &pb.Message{
				Type: pb.MsgHeartbeat.Enum(), From: proto.Uint64(gone), To: proto.Uint64(n.member.ID), Term: proto.Uint64(term), Commit: proto.Uint64(1),
			}
			n.Receive(gone, number, m, nil, nil)
		})
	}
	follows := func(want uint64) {
		t.Helper()
		if leader, term := n.core.groups[number].g.Leader(); leader != want {
			t.Errorf("member %d leads in term %d, want %d", leader, term, want)
		}
	}
	heartbeat(7)
	follows(gone)
	do(func() { n.PeerGone(gone) })
	heartbeat(7)
	follows(0)
	do(func() { n.Campaign(gone) })
	heartbeat(7)
	follows(0)
	heartbeat(9) // it was started again, and elected
	follows(gone)

	// Who only seemed to be gone is heard again when an election would have been over.
	do(func() { n.PeerGone(gone) })
	heartbeat(9)
	follows(0)
	for range group.ElectionTicks + 1 {
		n.core.ticks++
	}
	heartbeat(9)
	follows(gone)
}

// TestNobodyHandsOverToWhoIsGone: who takes over from a leader that should lead, and has
// done so for long, does not hand its lead back before it is there again.
func TestNobodyHandsOverToWhoIsGone(t *testing.T) {
	const gone, start = 2, 77
	n := newSim(t, 1, 3).members[0].node
	c := &n.core
	up := func(want bool, f func()) {
		t.Helper()
		f()
		for c.step() {
		}
		if got := c.up(gone); got != want {
			t.Errorf("up is %v, want %v", got, want)
		}
	}
	beat := func() { n.ReceiveBeat(gone, &peer.Beat{}, nil) }
	c.ticks = 1
	up(true, func() { n.Met(gone, start, ""); beat() })
	up(false, func() { n.PeerGone(gone) })
	up(false, beat) // it was in a socket
	up(true, func() { n.Met(gone, start+1, ""); beat() })

	// Who only seemed to be gone.
	up(false, func() { n.PeerGone(gone) })
	up(true, func() { c.ticks += group.ElectionTicks + 1; beat() })
}

// TestNobodyStandsAgainstWhoIsElected: a member that has voted meanwhile does not
// campaign itself.
func TestNobodyStandsAgainstWhoIsElected(t *testing.T) {
	const number, gone, other = 1, 2, 3
	s := newSim(t, 1, 3)
	n := s.members[0].node
	do := func(f func()) {
		f()
		for n.core.step() {
		}
	}
	send := func(m *pb.Message, from uint64) {
		m.From, m.To = proto.Uint64(from), proto.Uint64(n.member.ID)
		do(func() { n.Receive(from, number, m, nil, nil) })
	}
	g := n.core.groups[number].g
	send(&pb.Message{Type: pb.MsgHeartbeat.Enum(), Term: proto.Uint64(7), Commit: proto.Uint64(1)}, gone)
	do(func() { n.PeerGone(gone) })
	send(&pb.Message{Type: pb.MsgVote.Enum(), Term: proto.Uint64(8), Index: proto.Uint64(9), LogTerm: proto.Uint64(7)}, other)
	if _, term := g.Leader(); term != 8 {
		t.Fatalf("term %d, want 8", term)
	}
	asks := func() bool {
		return slices.ContainsFunc(s.net, func(l letter) bool {
			return l.group == number && l.m != nil && l.m.GetType() == pb.MsgPreVote
		})
	}
	do(func() { n.Campaign(gone) })
	if asks() {
		t.Error("it asks for votes itself")
	}
	do(func() { n.Campaign(gone) }) // the other one was not elected
	if !asks() {
		t.Error("it does not ask for votes although nobody was elected")
	}
}
