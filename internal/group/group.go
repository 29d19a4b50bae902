package group

import (
	"errors"
	"fmt"
	"slices"

	raft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// Time is counted in ticks, of which an election timeout has ElectionTicks.
const (
	ElectionTicks  = 10
	heartbeatTicks = 2

	// verdictTicks is how long a leader that lost its lead waits to learn what
	// became of what it had proposed.
	verdictTicks = ElectionTicks
	// patientTicks is for how long nobody leads before a member campaigns that
	// lacks bytes.
	patientTicks = 10 * ElectionTicks
	// stuckTicks is for how long a leader goes on that lacks bytes which another
	// member needs; silentTicks for how long it is silent at most.
	stuckTicks  = 2 * ElectionTicks
	silentTicks = 6 * ElectionTicks
)

// Errors of requests. Nothing of a request is stored that gets one.
var (
	// ErrNotLeader is a member that does not lead the group.
	ErrNotLeader = errors.New("group: not the leader")
	// ErrBusy is a group that has too much on its way, or can't take it right now.
	ErrBusy = errors.New("group: busy")
	// ErrUnknown is a topic that there is not.
	ErrUnknown = errors.New("group: no such topic")
)

// ErrLostLog is a member that has less of the log than it told others: it has
// lost some, and must not go on under its id.
var ErrLostLog = errors.New("group: the log is shorter than what was told of it")

// Config says which group this is, and of which member.
type Config struct {
	Number uint16
	ID     uint64
	Start  uint64 // another number each time that the member starts
}

// State is what a member log says of the group.
type State struct {
	Term, Vote, Commit uint64
	Table              *entry.Table // what the log begins with; nil: nothing is known yet
	Entries            []Entry
}

// Group is one group of one member. New makes it. It is for one goroutine.
type Group struct {
	cfg Config
	rn  *raft.RawNode
	log raftLog
	st  *state // as of applied, or known if that is more

	blank   bool // it has neither a table nor an entry yet
	applied uint64
	known   uint64 // what the log said was committed when the group was made
	change  uint64 // the Members entry whose configuration is in force
	noted   uint64 // the newest COMMIT that was written
	tabled  uint64 // index of the newest table that was written

	role     raft.StateType
	term     uint64
	leader   uint64
	lead     lead
	pending  []proposal
	maxRound int64
	lostAt   int // tick at which the lead was lost

	ticks     int
	noLeader  int // ticks since there was one
	campaigns int // elections in which this member stood
	stuck     int // ticks for which the leader could not send what others need
	silent    int // ticks for which nothing is said
	damage    map[uint32][]Range

	seq     uint64 // of the newest store
	durable uint64
	stores  []promise // what is to be said when stores are durable, in order
	awaited uint64    // the newest store that somebody waits for
	entries uint64    // the newest store that has entries
	todo    []todo    // what is to be carried out, in order
	spans   []span    // which stores wrote the entries that are not durable

	left      uint64 // entry by which the last joint configuration was left
	leaving   uint64 // store of its COMMIT
	settledAt uint64 // store of the COMMIT of the newest change of the configuration
	fresh     []fresh
	others    []other // that are sent a table
	failed    bool
	err       error // why nothing can go on

	want     want // of members
	takeover *takeover
	waiting  []*pb.Message // MsgStorageApply that a takeover holds up

	out Output
}

// promise is what raft says when a store is durable.
type promise struct {
	seq       uint64
	responses []*pb.Message
	table     bool // the store puts a table in force
}

// todo is what is to be carried out when a store is durable.
type todo struct {
	seq   uint64 // of the COMMIT; 0: not written yet
	carry Carry
}

// proposal is a round that was proposed here and whose entry is not applied yet.
type proposal struct {
	index, term uint64
	runs        []entry.Run
}

// Range is a range of offsets.
type Range struct{ From, To int64 }

// New returns the group as its log says it is. It panics if the log is not one
// that a group can have written.
func New(cfg Config, s State) *Group {
	g := &Group{maxRound: entry.MaxRoundBytes, cfg: cfg, st: newState(s.Table), blank: s.Table == nil && len(s.Entries) == 0}
	g.log.snapshot = g.snapshot
	if s.Table != nil {
		g.log.restart(s.Table)
		g.applied, g.known, g.tabled, g.change = s.Table.Index, s.Table.Index, s.Table.Index, s.Table.Change
	}
	if len(s.Entries) > 0 {
		g.log.append(s.Entries)
	}
	g.known = max(g.known, min(s.Commit, g.log.last()), g.certainConf())
	g.noted = g.known
	for i := range g.log.entries {
		if e := &g.log.entries[i]; e.Index <= g.known {
			g.st.apply(e)
		}
	}
	g.log.hard = pb.HardState{Term: new(s.Term), Vote: new(s.Vote), Commit: new(g.known)}
	g.lead.reset()
	rn, err := raft.NewRawNode(&raft.Config{
		ID: cfg.ID, ElectionTick: ElectionTicks, HeartbeatTick: heartbeatTicks, Storage: &g.log, Applied: g.applied,
		AsyncStorageWrites: true, MaxCommittedSizePerReady: 1 << 20, MaxInflightMsgs: 32, MaxUncommittedEntriesSize: 4 << 20,
		CheckQuorum: true, PreVote: true, StepDownOnRemoval: true, DisableProposalForwarding: true, Logger: logger{},
	})
	if err != nil {
		panic(fmt.Sprintf("group: %v", err))
	}
	g.rn = rn
	g.drain()
	return g
}

// Take returns what is to be done since the last Take. It is the group's memory until
// the next event.
func (g *Group) Take() Output {
	out := g.out
	g.out = Output{}
	return out
}

// String describes the group for who looks into it.
func (g *Group) String() string {
	last, term := g.Last()
	phase := "none"
	if g.takeover != nil {
		phase = fmt.Sprintf("of %d in phase %d", g.takeover.table.Index, g.takeover.phase)
	}
	return fmt.Sprintf("%v in term %d, leader %d, ready %v, applied %d (known %d, noted %d), last %d in term %d, stores %d up to %d, durable %d, pending %d, to carry %d, takeover %s, damage %v, silent %d, failed %v, conf %+v of %d",
		g.role, g.term, g.leader, g.lead.ready, g.applied, g.known, g.noted, last, term, len(g.stores), g.seq, g.durable, len(g.pending), len(g.todo), phase, g.damage, g.silent, g.failed, g.conf(), g.change)
}

// Err returns why the group can't go on, or nil: ErrLostLog, or entry.ErrNewer.
func (g *Group) Err() error { return g.err }

// Failed reports whether the group has failed: see Fail.
func (g *Group) Failed() bool { return g.failed }

// Leader returns who leads, as far as is known, or 0, and the term.
func (g *Group) Leader() (id, term uint64) { return g.leader, g.term }

// Campaigns returns in how many elections this member has stood.
func (g *Group) Campaigns() int { return g.campaigns }

// Leads reports whether this member leads, and ready whether it takes requests:
// it has applied an entry of its own term.
func (g *Group) Leads() (leads, ready bool) {
	return g.role == raft.StateLeader, g.lead.ready && !g.failed && g.silent == 0
}

// Status is what operators want to know of a group.
type Status struct {
	Term, Last, Commit, Applied uint64
	Topics                      int
	Stored                      int64 // the sum of the ends of topics
}

// Status returns how far the group is here.
func (g *Group) Status() Status {
	return Status{g.term, g.log.last(), max(g.rn.BasicStatus().GetCommit(), g.known), max(g.applied, g.known), len(g.st.topics), g.st.stored}
}

// Stored returns the sum of the ends of topics. It grows as they do.
func (g *Group) Stored() int64 { return g.st.stored }

// Applied returns the index up to which entries were applied.
func (g *Group) Applied() uint64 { return g.applied }

// Last returns the index and term of the last entry.
func (g *Group) Last() (index, term uint64) {
	term, _ = g.log.Term(g.log.last())
	return g.log.last(), term
}

// Conf returns who votes, and the Members entry that this comes from.
func (g *Group) Conf() (conf entry.Conf, change uint64) {
	if g.log.conf == nil {
		return entry.Conf{}, 0
	}
	return g.conf(), g.change
}

// has reports whether a member is in the group.
func (g *Group) has(id uint64) bool {
	conf := g.conf()
	return isMember(&conf, id)
}

func (g *Group) conf() entry.Conf { return confOf(g.log.conf) }

// Topics returns the topics that were made and not deleted, by number, with the ends
// up to which they may be read. They are to be told when the group was made.
func (g *Group) Topics() []entry.Topic { return g.st.table().Topics }

// Topic returns a topic by name.
func (g *Group) Topic(name string) (entry.Topic, bool) {
	n, ok := g.st.names[name]
	if !ok {
		return entry.Topic{}, false
	}
	return g.st.topic(n)
}

// Carrying returns how much is committed and yet to be carried out.
func (g *Group) Carrying() int { return len(g.todo) }

// Blank reports whether the group has no log yet: it votes, and waits for a table.
func (g *Group) Blank() bool { return g.blank }

// Logged returns the topics as the log has them, with what may not be committed:
// where their bytes end. What TRIM or DELETE would remove that may not be
// committed is there.
func (g *Group) Logged() []entry.Topic {
	t := g.st.table()
	s := newState(t)
	for i := range g.log.entries {
		e := &g.log.entries[i]
		if e.Index <= max(g.applied, g.known) {
			continue
		}
		switch e.Decoded.(type) {
		case *entry.Round, entry.Create:
			s.apply(e)
		}
	}
	return s.table().Topics
}

// RunsAt returns the runs of the log that name bytes of a topic, in order.
func (g *Group) RunsAt(topic uint32) (runs []entry.Run) {
	for i := range g.log.entries {
		for _, r := range g.log.entries[i].runs() {
			if r.Topic == topic {
				runs = append(runs, r)
			}
		}
	}
	return runs
}

// SetDamage tells which bytes of a topic are set aside, or missing, here. A member
// that lacks some votes, and does not campaign unless nobody leads for long; a
// leader that can't send what others need falls silent.
func (g *Group) SetDamage(topic uint32, ranges []Range) {
	if len(ranges) == 0 {
		delete(g.damage, topic)
		return
	}
	if g.damage == nil {
		g.damage = make(map[uint32][]Range)
	}
	g.damage[topic] = slices.Clone(ranges)
}

// Tick lets a tenth of an election timeout pass.
func (g *Group) Tick() {
	if g.stopped() {
		return
	}
	g.ticks++
	if g.leader == 0 {
		g.noLeader++
	}
	if g.silent > 0 {
		g.silent--
		if g.leader != 0 && g.leader != g.cfg.ID {
			g.silent = 0
		}
	}
	g.rn.Tick()
	g.drain()
	if g.role != raft.StateLeader && g.ticks-g.lostAt > verdictTicks {
		g.giveVerdict(func(*proposal) (Fate, bool) { return InDoubt, true })
	}
	if g.role == raft.StateLeader {
		g.lookAtOthers()
		g.changeMembers()
	}
	g.answerFresh()
	g.lookAtTakeover()
	if g.applied > g.noted {
		g.commit(false)
	}
}

func (g *Group) stopped() bool { return g.failed || g.err != nil }

// Step tells what another member has said: raft's message, which is the group's
// afterwards. bodies are what came with a MsgApp, one for each entry. The caller
// has checked that they are what the entries' runs say.
func (g *Group) Step(m *pb.Message, bodies []Body) {
	if g.stopped() {
		return
	}
	switch m.GetType() {
	case pb.MsgTimeoutNow:
		if g.lacks() {
			return
		}
	case pb.MsgSnap:
		if !g.tableCame(m) {
			return
		}
	case pb.MsgApp:
		for _, p := range m.GetEntries() {
			if _, err := decode(p); err != nil {
				g.err = err
				return
			}
		}
		if !g.appendCame(m) {
			return
		}
	}
	g.step(m)
	g.drainWith(m.GetEntries(), bodies)
}

// step has raft take a message. What raft panics with when a member has lost what it
// told others of becomes an error.
func (g *Group) step(m *pb.Message) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(lostLog); !ok {
				panic(r)
			}
			g.err = ErrLostLog
		}
	}()
	_ = g.rn.Step(m) // what it refuses is as if it were lost
}

// Campaign has the member try to become the leader, if it lacks nothing; Forget has
// it forget the leader, so that it and others may.
func (g *Group) Campaign() {
	if g.stopped() || g.lacks() || g.blank {
		return
	}
	_ = g.rn.Campaign()
	g.drain()
}

// Forget forgets the leader, whose process is known to be gone.
func (g *Group) Forget() {
	if g.stopped() {
		return
	}
	_ = g.rn.ForgetLeader()
	g.drain()
}

// Transfer hands the lead over to another member, if this one has it.
func (g *Group) Transfer(to uint64) {
	if g.stopped() || g.role != raft.StateLeader {
		return
	}
	g.rn.TransferLeader(to)
	g.drain()
}

// Unreachable tells that a message to a member was lost.
func (g *Group) Unreachable(id uint64) {
	if !g.stopped() && g.role == raft.StateLeader {
		g.rn.ReportUnreachable(id)
	}
}

// Lacks reports whether the member lacks bytes of its own log, or soon will: it does not
// campaign.
func (g *Group) Lacks() bool { return g.lacks() }

// lacks reports whether the member lacks bytes of its own log, or soon will.
func (g *Group) lacks() bool { return len(g.damage) > 0 || g.takeover != nil }

// Durable tells that all stores up to one are on stable storage, with all bytes
// that their entries name.
func (g *Group) Durable(seq uint64) {
	if g.stopped() {
		return
	}
	g.durable = max(g.durable, seq)
	for len(g.spans) > 0 && g.spans[0].seq <= g.durable {
		g.spans = g.spans[1:]
	}
	g.carryOut()
	for len(g.stores) > 0 && g.stores[0].seq <= seq && !g.stopped() {
		p := g.stores[0]
		g.stores = g.stores[1:]
		if p.table {
			g.tableTaken()
		}
		g.respond(p.responses)
	}
	g.drain()
	g.lookAtTakeover()
	g.write() // what had to wait until a joint configuration was left
}

// respond delivers what raft says to itself and others.
func (g *Group) respond(messages []*pb.Message) {
	for _, m := range messages {
		if m.GetTo() == g.cfg.ID {
			g.step(m)
		} else {
			g.send(m)
		}
	}
}

// Fail tells that a write or a sync has failed that the group waits for. It says
// nothing more, and the sync is not tried again; what it had proposed is in doubt.
func (g *Group) Fail() {
	if g.failed {
		return
	}
	g.failed = true
	g.loseLead()
	g.giveVerdict(func(*proposal) (Fate, bool) { return InDoubt, true })
	g.role, g.leader, g.takeover = raft.StateFollower, 0, nil
}

// drain does what raft has to say.
func (g *Group) drain() { g.drainWith(nil, nil) }

// drainWith is drain after a message that had entries with bodies.
func (g *Group) drainWith(came []*pb.Entry, bodies []Body) {
	for !g.stopped() && g.rn.HasReady() {
		rd := g.rn.Ready()
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				g.store(m, came, bodies)
			case raft.LocalApplyThread:
				g.waiting = append(g.waiting, m)
			default:
				g.send(m)
			}
		}
		for _, r := range rd.ReadStates {
			g.freshRead(r)
		}
		g.lookAtRole()
		g.apply()
	}
}

// send has a message sent, unless it must not be.
func (g *Group) send(m *pb.Message) {
	switch m.GetType() {
	case pb.MsgPreVote, pb.MsgVote:
		// It does not campaign. Its clock goes on, so that its lease ends and it votes.
		if alone := len(g.conf().Voters) == 1; g.lacks() && !alone && (g.takeover != nil || g.noLeader < patientTicks) {
			return
		}
	case pb.MsgApp:
		if g.heldBack(m) {
			g.rn.ReportUnreachable(m.GetTo()) // it is sent again
			return
		}
	}
	if g.silent > 0 {
		return
	}
	g.out.Send = append(g.out.Send, m)
}

// lookAtRole notes who leads.
func (g *Group) lookAtRole() {
	st := g.rn.BasicStatus()
	was, wasTerm := g.role, g.term
	if st.RaftState == raft.StateCandidate && (was != raft.StateCandidate || st.GetTerm() != wasTerm) {
		g.campaigns++
	}
	g.role, g.term, g.leader = st.RaftState, st.GetTerm(), st.Lead
	if g.leader != 0 {
		g.noLeader = 0
	}
	if was == raft.StateLeader && (g.role != raft.StateLeader || g.term != wasTerm) {
		g.loseLead()
	}
}

// Covering returns the proposal that has put the bytes of a topic there that end at an
// offset, or index 0 if they are applied. What relies on them may be told with its
// verdict.
func (g *Group) Covering(topic uint32, end int64) (index, term uint64) {
	if t := g.st.topics[topic]; t == nil || end <= t.End {
		return 0, 0
	}
	for i := range g.pending {
		for _, r := range g.pending[i].runs {
			if r.Topic == topic && r.End() >= end {
				return g.pending[i].index, g.pending[i].term
			}
		}
	}
	return 0, 0
}

// logger is raft's. What raft logs is of no use to users; what it panics with tells
// what has gone wrong.
type logger struct{}

// lostLog is raft's panic when somebody says that more is committed than there is.
type lostLog string

func (logger) Debug(...any)            {}
func (logger) Debugf(string, ...any)   {}
func (logger) Error(...any)            {}
func (logger) Errorf(string, ...any)   {}
func (logger) Info(...any)             {}
func (logger) Infof(string, ...any)    {}
func (logger) Warning(...any)          {}
func (logger) Warningf(string, ...any) {}
func (logger) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (logger) Fatalf(format string, v ...any) {
	panic(fmt.Sprintf(format, v...))
}
func (logger) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (logger) Panicf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); len(text) >= 8 && text[:8] == "tocommit" {
		panic(lostLog(text))
	} else {
		panic(text)
	}
}
