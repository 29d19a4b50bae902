package group

import (
	"encoding/binary"
	"fmt"
	"slices"

	raft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/entry"
)

// want is who is to be in the group.
type want struct {
	change           uint64 // the Members entry of group 0 that says so
	voters, learners []uint64
}

// SetMembers tells who is to be in the group, by the index of the Members entry of
// group 0 that says so. Its leader sees to it, step by step; Conf tells how far it
// is. Group 0 is told last, when all others are there: who is out of it hears of
// no change any more.
func (g *Group) SetMembers(change uint64, voters, learners []uint64) {
	if change > g.want.change {
		g.want = want{change, slices.Clone(voters), slices.Clone(learners)}
	}
}

// Settled returns the Members entry that this member is sure of: its configuration
// is in force, is no joint one, and a start would know it.
func (g *Group) Settled() uint64 {
	if g.blank || g.takeover != nil || len(g.conf().Outgoing) > 0 || g.durable < g.settledAt {
		return 0
	}
	return g.change
}

// changeMembers does the next step of a change.
func (g *Group) changeMembers() {
	if g.role != raft.StateLeader || !g.lead.ready || g.stopped() || g.leavingJoint() {
		return
	}
	conf := g.conf()
	if len(conf.Outgoing) > 0 {
		// A leader that is not in the new configuration would leave, and fall silent,
		// before the others know.
		if slices.Contains(conf.Voters, g.cfg.ID) {
			_ = g.rn.ProposeConfChange(&pb.ConfChangeV2{})
			g.drain()
		} else {
			g.Transfer(conf.Voters[g.ticks%len(conf.Voters)])
		}
		return
	}
	if g.want.change <= g.change || g.unapplied(func(*pb.ConfChangeV2) bool { return true }) > 0 {
		return
	}
	_ = g.rn.ProposeConfChange(g.confChange(conf.Voters, conf.Learners))
	g.drain()
}

// confChange returns the change from who is in the group to who is to be.
func (g *Group) confChange(voters, learners []uint64) *pb.ConfChangeV2 {
	cc := &pb.ConfChangeV2{Context: binary.LittleEndian.AppendUint64(nil, g.want.change)}
	add := func(t pb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: t.Enum(), NodeId: new(id)})
	}
	for _, id := range g.want.voters {
		if !slices.Contains(voters, id) {
			add(pb.ConfChangeAddNode, id)
		}
	}
	for _, id := range g.want.learners {
		if !slices.Contains(learners, id) {
			add(pb.ConfChangeAddLearnerNode, id)
		}
	}
	demoted := false
	for _, id := range append(slices.Clone(voters), learners...) {
		demoted = demoted || slices.Contains(voters, id) && !slices.Contains(g.want.voters, id)
		if !slices.Contains(g.want.voters, id) && !slices.Contains(g.want.learners, id) {
			add(pb.ConfChangeRemoveNode, id)
		}
	}
	if len(cc.Changes) == 0 {
		add(pb.ConfChangeAddNode, g.want.voters[0]) // it changes nothing but what the configuration comes from
	}
	if len(cc.Changes) > 1 || demoted {
		cc.Transition = pb.ConfChangeTransitionJointExplicit.Enum()
	}
	return cc
}

// applyConf puts a change of the configuration in force. That it is committed is
// written before anything that is appended by the new configuration.
func (g *Group) applyConf(e *Entry, p *pb.Entry) {
	if e.Index > g.noted {
		g.noted = e.Index
		g.log.hard.Commit = new(e.Index)
		g.add(&Store{Seq: g.seq + 1, Commit: e.Index, Sync: true}, promise{})
	}
	cc := &pb.ConfChangeV2{}
	if p.GetType() == pb.EntryConfChange {
		old := &pb.ConfChange{}
		if err := proto.Unmarshal(p.GetData(), old); err != nil {
			panic(fmt.Sprintf("group: entry %d: %v", e.Index, err))
		}
		cc = old.AsV2()
	} else if err := proto.Unmarshal(p.GetData(), cc); err != nil {
		panic(fmt.Sprintf("group: entry %d: %v", e.Index, err))
	}
	g.log.conf = g.rn.ApplyConfChange(cc)
	g.settledAt = g.seq
	if len(cc.GetChanges()) == 0 {
		g.leaving, g.left = g.seq, e.Index
	}
	if c := cc.GetContext(); len(c) == 8 {
		g.change = max(g.change, binary.LittleEndian.Uint64(c))
	}
}

// leavingJoint reports whether a joint configuration is being left. Nothing is
// proposed behind that before a start would know it: a leader that is the only voter of
// the new configuration, and restarts before, needs the votes of members that have
// more than it has, and do not campaign since they are out.
func (g *Group) leavingJoint() bool { return g.leavingEntry() > 0 }

// leavingEntry returns the entry by which a joint configuration is being left, or 0.
func (g *Group) leavingEntry() uint64 {
	if e := g.unapplied(func(cc *pb.ConfChangeV2) bool { return len(cc.GetChanges()) == 0 }); e > 0 {
		return e
	}
	if g.durable < g.leaving {
		return g.left
	}
	return 0
}

// heldBack reports whether a MsgApp is not to be sent yet. A leader that is elected
// while a joint configuration is being left has an entry of its term behind that,
// which is raft's own. As with what is proposed, others must not have it unless this
// member would still have it after a start.
func (g *Group) heldBack(m *pb.Message) bool {
	n := len(m.GetEntries())
	if n == 0 {
		return false
	}
	last := m.GetEntries()[n-1].GetIndex()
	left := g.leavingEntry()
	return left > 0 && last > left && (last > g.log.last() || g.entrySeq(last) > g.durable)
}

// certainConf returns the newest change of the configuration of which the log says that it
// is committed, or 0: there is a later one, which was proposed by who had applied it. That
// a record says it is not enough: a follower stores several entries at once, and may
// restart before the record. By the configuration before, it would elect and commit without
// who votes by the later one.
func (g *Group) certainConf() uint64 {
	later := false
	for i := len(g.log.entries) - 1; i >= 0; i-- {
		switch e := &g.log.entries[i]; pb.EntryType(e.Type) {
		case pb.EntryConfChange, pb.EntryConfChangeV2:
			if later {
				return e.Index
			}
			later = true
		}
	}
	return 0
}

// unapplied returns the newest change of the configuration that is in the log and not
// applied, of which is is true, or 0.
func (g *Group) unapplied(is func(*pb.ConfChangeV2) bool) uint64 {
	for i := len(g.log.entries) - 1; i >= 0 && g.log.entries[i].Index > g.applied; i-- {
		e := &g.log.entries[i]
		if pb.EntryType(e.Type) != pb.EntryConfChangeV2 {
			continue
		}
		cc := &pb.ConfChangeV2{}
		if proto.Unmarshal(e.Data, cc) == nil && is(cc) {
			return e.Index
		}
	}
	return 0
}

// other is what the leader knows of another member that is sent a table.
type other struct {
	id   uint64
	seen int // tick at which the table was on its way, or named by the member
}

// TableOf tells which table a member says that it is taking over, 0 for none, or
// that the one which this member sends is on its way still.
func (g *Group) TableOf(id, term, index uint64, onWay bool) {
	for i := range g.others {
		if o := &g.others[i]; o.id == id && (onWay || term == g.term && index != 0) {
			o.seen = g.ticks
		}
	}
}

// lookAtOthers sees to members that need something which this leader can't give, or
// which was lost on its way.
func (g *Group) lookAtOthers() {
	low := g.log.last()
	var lost []uint64
	var others []other
	g.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if id == g.cfg.ID {
			return
		}
		low = min(low, p.Match)
		if p.State != tracker.StateSnapshot {
			return
		}
		o := other{id: id, seen: g.ticks}
		if i := slices.IndexFunc(g.others, func(o other) bool { return o.id == id }); i >= 0 {
			o = g.others[i]
		}
		if g.ticks-o.seen > ElectionTicks {
			lost = append(lost, id)
			return
		}
		others = append(others, o)
	})
	g.others = others
	slices.Sort(lost)
	for _, id := range lost { // a member is never sent anything again until it answers, or this
		g.rn.ReportSnapshot(id, raft.SnapshotFailure)
	}
	g.drain()
	if !g.lacksBehind(low) || len(g.conf().Voters) == 1 {
		g.stuck = 0
		return
	}
	if g.stuck++; g.stuck > stuckTicks {
		g.stuck, g.silent, g.noLeader = 0, silentTicks, 0
		g.loseLead()
	}
}

// lacksBehind reports whether bytes are damaged that entries behind an index name.
func (g *Group) lacksBehind(index uint64) bool {
	if len(g.damage) == 0 {
		return false
	}
	for i := range g.log.entries {
		e := &g.log.entries[i]
		if e.Index <= index {
			continue
		}
		for _, r := range e.runs() {
			for _, d := range g.damage[r.Topic] {
				if d.From < r.End() && r.Offset < d.To {
					return true
				}
			}
		}
	}
	return false
}

// Members returns who is to be in all groups, by the newest Members entry that was
// applied, and its index; 0 if there is none. It is of group 0.
func (g *Group) Members() (change uint64, voters, learners []uint64) {
	for i := range g.st.members {
		switch m := &g.st.members[i]; m.Role {
		case entry.Voter:
			voters = append(voters, m.ID)
		case entry.Learner, entry.Joining:
			learners = append(learners, m.ID)
		}
	}
	return g.st.membersAt, voters, learners
}

// Said is what the entries of group 0 add up to for all groups.
type Said struct {
	Version    uint64 // another one when anything of it has changed
	MembersAt  uint64 // the Members entry that the members come from; 0: a new cluster's
	NextMember uint64 // the id that the next member gets
	Members    []entry.Member
	Settings   []entry.Setting // by key
	Leaders    []entry.Leader  // by group
}

// Said returns it. It is not to be changed. It is of group 0.
func (g *Group) Said() Said {
	return Said{g.st.version, g.st.membersAt, g.st.nextMember, g.st.members, g.st.settings, g.st.leaders}
}

// SaidVersion returns the Version of what Said returns.
func (g *Group) SaidVersion() uint64 { return g.st.version }

// Changing reports whether the log has a Members entry that is not applied.
func (g *Group) Changing() bool {
	for i := range g.log.entries {
		if _, ok := g.log.entries[i].Decoded.(entry.Members); ok && g.log.entries[i].Index > max(g.applied, g.known) {
			return true
		}
	}
	return false
}

// Member returns a member by its id; one without a name if there is none. It is of
// group 0.
func (g *Group) Member(id uint64) entry.Member {
	for i := range g.st.members {
		if g.st.members[i].ID == id {
			return g.st.members[i]
		}
	}
	return entry.Member{}
}
