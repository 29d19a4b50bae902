package cluster

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/grouplog"
)

// TestVoteWithoutRoom: a member whose log can't be written, for the disk is full and the
// reserve used up, gives no vote, so that nobody leads who needs it; also not if it is
// asked again and again, and if the power is cut meanwhile. When there is room again it
// votes.
func TestVoteWithoutRoom(t *testing.T) {
	const number = 1
	for name, cut := range map[string]bool{"room comes back": false, "power is cut": true} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, 1, 3)
			var lead *simMember
			s.calm("somebody leads, and all have everything", func() bool {
				lead = s.leads(number)
				return lead != nil && s.converged() == ""
			})
			voter, other := s.members[lead.id%3], s.members[(lead.id+1)%3]
			voter.proc.full = true
			lead.end()
			lead.out = true          // it stays away
			known := func() uint64 { // the term up to which stable storage knows of votes
				rec, err := grouplog.Open(voter.disk.CrashKeepNothing())
				if err != nil {
					t.Fatal(err)
				}
				return rec.Groups[number].Term
			}
			before := known()
			asked := 0
			for range 15_000 {
				s.quiet = true
				s.step()
				for _, l := range s.net {
					if l.m == nil || l.group != number {
						continue
					}
					switch l.m.GetType() {
					case pb.MsgVote:
						if l.to == voter.id && l.m.GetTerm() > before {
							asked++
						}
					case pb.MsgVoteResp:
						if l.from == voter.id && !l.m.GetReject() && l.m.GetTerm() > before {
							t.Fatalf("member %d votes in term %d, and its log knows of term %d", voter.id, l.m.GetTerm(), known())
						}
					}
				}
				if m := s.leads(number); m != nil {
					t.Fatalf("member %d leads without the vote of member %d", m.id, voter.id)
				}
			}
			if asked == 0 {
				t.Fatal("nobody has asked for the vote")
			}
			if term := known(); term != before {
				t.Fatalf("the log of the voter knows of term %d, and could not be written since term %d", term, before)
			}
			if cut {
				voter.disk, voter.boot = voter.disk.CrashKeepNothing(), voter.boot+1
				voter.end()
				voter.start()
			}
			voter.proc.full = false
			s.calm("the other two have a leader", func() bool {
				m := s.leads(number)
				return m == voter || m == other
			})
		})
	}
}
