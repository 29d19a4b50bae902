package group

import (
	"fmt"
	"slices"

	raft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/entry"
)

// A member that needs entries which are compacted is sent a table. It is kept aside
// until all bytes that it stands for are here, and synced; only then raft has it:
// votes would else wait behind the bytes, and the member that needs this vote may
// be the only one that has them. Meanwhile raft goes on with the old log: it
// answers votes and heartbeats, and does not campaign. A restart forgets the table.
//
// What was answered for the old log has to be known to be on stable storage before
// bytes are cut off: else a start takes what is missing for a torn end. There is no
// VOID: the log stays as it is until the table is in force.
//
// A later leader may go on with the old log. Then the table is given up, and what
// the log names and was cut off is damage. Or it sends another table, also of a
// lower index, which takes the place of the one under way.
type takeover struct {
	m     *pb.Message // MsgSnap
	table *entry.Table
	phase phase
	mark  uint64 // store that says what is synced
}

// phase is how far a takeover is.
type phase uint8

const (
	waits   phase = iota // for the stores of entries that came before
	marking              // for the record of what is synced
	begun                // bytes are cut off and fetched
	there                // all bytes are here and synced: raft may have it, once there is a leader
	stepped              // raft has it, and it is being written
	ending               // it is given up: what was cut off is noted
)

// TakeOver is for the disk: the topics of the table are to be made as it says. What
// the member has below its own readable ends stays, what is above is cut off, what is
// before the oldest is removed, and the rest is fetched from others: what they say
// is GONE is not waited for. When all is synced: TableThere. It takes the place of
// a TakeOver that is under way.
type TakeOver struct {
	Table *entry.Table
	Old   []entry.Topic // as they are here by the own log; nil if there is none: only what others confirm may stay
}

// GiveUp is for the disk: the TakeOver is not to go on. What the log names of these
// topics and is not there is to be noted as damage, durably. Then: GaveUp.
type GiveUp struct{ Topics []entry.Topic }

// Taken is for the disk: the table is in force. Its topics may take their names. The
// group has these and those of Logged, which entries behind the table have made, and
// no others.
type Taken struct {
	Table  *entry.Table
	Logged []entry.Topic
}

func (TakeOver) task() {}
func (GiveUp) task()   {}
func (Taken) task()    {}

// holds reports whether bytes may be gone that the log names.
func (t *takeover) holds() bool { return t != nil && t.phase >= begun }

// TakingOver returns the term and index of the table that is being taken over, as
// others are told, or 0.
func (g *Group) TakingOver() (term, index uint64) {
	if g.takeover == nil {
		return 0, 0
	}
	return g.takeover.m.GetTerm(), g.takeover.table.Index
}

// snapshot returns the state as a table, for a member that needs it.
func (g *Group) snapshot() (*pb.Snapshot, error) {
	if g.blank || g.applied < g.log.begin || g.applied < g.known || g.takeover != nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	t := g.table()
	return &pb.Snapshot{Data: t.Encode(), Metadata: &pb.SnapshotMetadata{
		Index: new(t.Index), Term: new(t.Term), ConfState: confState(&t.Conf),
	}}, nil
}

// table returns the table of what is applied.
func (g *Group) table() *entry.Table {
	t := g.st.table()
	term, err := g.log.Term(g.applied)
	if err != nil {
		panic(fmt.Sprintf("group: table at %d: %v", g.applied, err))
	}
	t.Group, t.Index, t.Term, t.Conf, t.Change = g.cfg.Number, g.applied, term, g.conf(), g.change
	return t
}

// memoryBytes bounds the entries that are kept for members which are behind.
const memoryBytes = 4 << 20

// Compact has the log begin with a table of what is applied, if that can be now, and
// reports whether it can.
func (g *Group) Compact() bool {
	if g.stopped() || g.blank || g.takeover != nil || len(g.todo) > 0 || g.applied < g.known || g.applied <= g.tabled {
		return false
	}
	g.add(&Store{Seq: g.seq + 1, Table: g.table()}, promise{})
	g.tabled = g.applied
	g.noted = max(g.noted, g.applied)
	g.ForgetOld(memoryBytes)
	return true
}

// ForgetOld forgets the oldest entries that are applied as long as all have more
// bytes: who needs them is sent a table.
func (g *Group) ForgetOld(most int) {
	bytes := 0
	to := uint64(0)
	for i := len(g.log.entries) - 1; i >= 0; i-- {
		e := &g.log.entries[i]
		if bytes += len(e.Data) + 64; bytes > most && e.Index <= g.applied {
			to = e.Index
			break
		}
	}
	g.log.compact(to)
}

// tableCame looks at a table that a leader has sent. It reports whether raft may
// have it at once: where it changes nothing but what is committed.
func (g *Group) tableCame(m *pb.Message) bool {
	t, err := entry.DecodeTable(m.GetSnapshot().GetData())
	if err != nil || t.Index != m.GetSnapshot().GetMetadata().GetIndex() || t.Term != m.GetSnapshot().GetMetadata().GetTerm() {
		if err != nil && !isInvalid(err) {
			g.err = err
		}
		return false
	}
	st := g.rn.BasicStatus()
	if m.GetTerm() < st.GetTerm() {
		return true // raft ignores it
	}
	in := g.takeover
	if in != nil && in.phase >= stepped {
		return false // as if lost: another is sent
	}
	term, err := g.log.Term(t.Index)
	has := err == nil && term == t.Term && t.Index > 0
	if t.Index <= st.GetCommit() && !g.blank || has || !isMember(&t.Conf, g.cfg.ID) {
		return true
	}
	switch {
	case in == nil:
		g.takeover = &takeover{m: m, table: t}
		g.lookAtTakeover()
	case m.GetTerm() > in.m.GetTerm() || m.GetTerm() == in.m.GetTerm() && t.Index > in.table.Index:
		in.m, in.table = m, t
		if in.phase >= begun {
			in.phase = begun
			g.begin()
		}
	}
	return false
}

// appendCame looks at a MsgApp that comes while a table is taken over. It reports
// whether raft may have it.
func (g *Group) appendCame(m *pb.Message) bool {
	in := g.takeover
	if in == nil || in.phase == stepped {
		return true
	}
	if in.phase == ending || m.GetTerm() <= in.m.GetTerm() {
		return false
	}
	if !in.phase.mayHaveCut() {
		g.takeover = nil
		return true
	}
	st := g.rn.BasicStatus()
	term, err := g.log.Term(m.GetIndex())
	if m.GetTerm() >= st.GetTerm() && m.GetIndex() >= st.GetCommit() && err == nil && term == m.GetLogTerm() && !g.blank {
		// Where it fits the log goes on, and that leader may need the answer before it can
		// serve the bytes. What was cut off is noted first; it comes again.
		g.giveUp()
		return false
	}
	return true // raft refuses it
}

func (p phase) mayHaveCut() bool { return p >= begun }

// lookAtTakeover goes on with a takeover, if it can.
func (g *Group) lookAtTakeover() {
	in := g.takeover
	if in == nil || g.stopped() {
		return
	}
	if in.phase == waits && g.durable >= g.entries {
		s := &Store{Seq: g.seq + 1, Synced: true, Sync: true}
		in.phase, in.mark = marking, s.Seq
		g.add(s, promise{})
	}
	if in.phase == marking && g.durable >= in.mark {
		in.phase = begun
		g.begin()
	}
	if in.phase == there {
		g.stepTable()
	}
}

// begin has the disk made as the table says.
func (g *Group) begin() {
	t := TakeOver{Table: g.takeover.table}
	if !g.blank {
		t.Old = g.Topics()
		if t.Old == nil {
			t.Old = []entry.Topic{}
		}
	}
	g.out.Tasks = append(g.out.Tasks, t)
}

// TableThere tells that all bytes of the table are here and synced. oldest says
// where topics begin that begin later than the table says, since others have said
// GONE. It does nothing if another table has taken the place of that one.
func (g *Group) TableThere(t *entry.Table, oldest map[uint32]int64) {
	in := g.takeover
	if g.stopped() || in == nil || in.table != t || in.phase != begun {
		return
	}
	for i := range t.Topics {
		p := &t.Topics[i]
		p.Oldest = max(p.Oldest, min(oldest[p.Number], p.End))
	}
	in.phase = there
	g.lookAtTakeover()
}

// stepTable gives the table to raft, as from who leads now: what was committed holds
// in every later term.
func (g *Group) stepTable() {
	in := g.takeover
	m := proto.Clone(in.m).(*pb.Message)
	if st := g.rn.BasicStatus(); st.GetTerm() > m.GetTerm() {
		if st.Lead == 0 || st.Lead == g.cfg.ID {
			return
		}
		m.Term, m.From = new(st.GetTerm()), new(st.Lead)
	}
	in.phase = stepped
	written := g.seq
	g.step(m)
	g.drain()
	if g.stopped() {
		return
	}
	if len(g.stores) == 0 || !slices.ContainsFunc(g.stores, func(p promise) bool { return p.table && p.seq > written }) {
		g.giveUp()
	}
}

// writeTable returns the table that raft wants written: the one that was taken over.
func (g *Group) writeTable(snap *pb.Snapshot) *entry.Table {
	in := g.takeover
	if in == nil || in.phase != stepped || in.table.Index != snap.GetMetadata().GetIndex() {
		panic(fmt.Sprintf("group: table %d is to be written, and its bytes are not here", snap.GetMetadata().GetIndex()))
	}
	// What follows it may come before it is durable.
	g.log.restart(in.table)
	g.log.hard.Commit = new(in.table.Index)
	g.spans = nil
	return in.table
}

// tableTaken puts the table in force, which is on stable storage.
func (g *Group) tableTaken() {
	t := g.takeover.table
	g.takeover = nil
	g.st = newState(t)
	g.blank = false
	g.applied, g.known, g.noted, g.tabled = t.Index, max(g.known, t.Index), t.Index, t.Index
	g.change, g.settledAt, g.leaving = t.Change, 0, 0
	g.waiting, g.todo = nil, nil
	for n := range g.damage {
		if g.st.topics[n] == nil {
			delete(g.damage, n)
		}
	}
	for _, p := range t.Topics {
		g.out.Ends = append(g.out.Ends, endOf(&p))
	}
	g.out.Reset = true
	g.out.Tasks = append(g.out.Tasks, Taken{t, g.Logged()})
	// Nobody here can say what became of what the table covers.
	g.giveVerdict(func(p *proposal) (Fate, bool) { return InDoubt, p.index <= t.Index })
}

// giveUp has the takeover end, and the log go on.
func (g *Group) giveUp() {
	g.takeover.phase = ending
	g.out.Tasks = append(g.out.Tasks, GiveUp{g.Logged()})
}

// GaveUp tells that what GiveUp asks for is done: what is missing is damage, as
// SetDamage was told.
func (g *Group) GaveUp() {
	if g.takeover == nil || g.takeover.phase != ending {
		return
	}
	g.takeover = nil
	g.apply()
	g.drain()
}

func isMember(c *entry.Conf, id uint64) bool {
	return slices.Contains(c.Voters, id) || slices.Contains(c.Learners, id) || slices.Contains(c.Outgoing, id)
}

func isInvalid(err error) bool { return err == entry.ErrInvalid }
