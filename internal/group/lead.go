package group

import (
	raft "go.etcd.io/raft/v3"

	"github.com/logd-dev/logd/internal/entry"
)

// Bounds of what is on its way.
const (
	// MaxUncommitted bounds the bytes that wait to be written or applied.
	MaxUncommitted = 64 << 20
	maxQueued      = 1 << 16 // requests

	// While so many rounds wait for a sync, requests are gathered up to so many bytes: a
	// round costs the same however small it is.
	fewRounds   = 2
	gatherBytes = 64 << 10
)

// Request is batches of one topic that a client wants stored. It is the caller's
// again when it is answered.
type Request struct {
	Topic   uint32
	Bytes   int64 // up to entry.MaxRoundBytes, or of one batch
	Batches int
	Data    any // the shell's
}

// Write is for the leader's files: what clients have sent is appended to topics, each
// at its offset, where something else may stand that was never proposed. Then the
// group is told: Written.
type Write struct {
	Runs []WriteRun
	term uint64
}

// WriteRun is what is appended to one topic.
type WriteRun struct {
	Topic    entry.Topic
	Offset   int64
	Requests []*Request
}

// WrittenRun is what became of a WriteRun.
type WrittenRun struct {
	Err      error // nothing of it is stored
	Bytes    int64 // 0: none of its batches was to be stored
	Batches  int64
	Messages int64
	CRC      uint32
	Time     int64
	Roll     bool
}

// Proposed says that a write became an entry. The requests of runs whose Err was
// nil are answered when its verdict is given.
type Proposed struct {
	Write       *Write
	Index, Term uint64 // 0: nothing was to be stored
	Runs        []WrittenRun
}

// Refused is requests of which nothing is stored.
type Refused struct {
	Requests []*Request
	Err      error
}

// lead is what only a leader has.
type lead struct {
	ready    bool // an entry of its term was applied: all ends are known
	queue    []*Request
	queued   int64            // bytes of queue
	bytes    int64            // of queue, and of what was written and is not applied
	writing  *Write           // is under way
	written  []WrittenRun     // how writing has ended, while a joint configuration is being left
	ends     map[uint32]int64 // where the next run of a topic goes
	creating map[string]bool  // was proposed and not applied
	deleting map[uint32]bool
	next     uint32 // number of the next topic
}

func (l *lead) reset() {
	*l = lead{ends: make(map[uint32]int64), creating: make(map[string]bool), deleting: make(map[uint32]bool)}
}

// becomeReady has the leader take requests: all before its term is applied, or
// void for good.
func (g *Group) becomeReady() {
	old := g.lead
	g.lead.reset()
	g.lead.ready, g.lead.queue, g.lead.queued, g.lead.bytes, g.lead.writing = true, old.queue, old.queued, old.bytes, old.writing
	g.lead.next = g.st.nextTopic
	for _, n := range g.st.numbers() {
		g.lead.ends[n] = g.st.topics[n].End
	}
	g.out.Tasks = append(g.out.Tasks, Lead{g.Topics()})
	g.write()
}

// Lead is for the disk: what topics have behind these ends is in no entry, and is to be
// cut off before clients' batches come.
type Lead struct{ Topics []entry.Topic }

func (Lead) task() {}

// loseLead refuses what waits. What was proposed gets its verdict later.
func (g *Group) loseLead() {
	queue, writing, written := g.lead.queue, g.lead.writing, g.lead.written
	g.lead.reset()
	g.lead.writing = writing // it ends, and is refused then
	g.lostAt = g.ticks
	g.refuse(queue, ErrNotLeader)
	if written != nil {
		g.Written(writing, written)
	}
	g.dropFresh()
}

func (g *Group) refuse(requests []*Request, err error) {
	if len(requests) > 0 {
		g.out.Refused = append(g.out.Refused, Refused{requests, err})
	}
}

// SetMaxRound says how many bytes the rounds have at most that this member proposes, unless
// they are of one batch: entry.MaxRoundBytes or less.
func (g *Group) SetMaxRound(bytes int64) { g.maxRound = min(bytes, entry.MaxRoundBytes) }

// Submit asks for a request to be stored. It is answered by Refused, or by Proposed
// and a verdict.
func (g *Group) Submit(r *Request) {
	switch {
	case g.role != raft.StateLeader || g.stopped() || g.silent > 0:
		g.refuse([]*Request{r}, ErrNotLeader)
	case g.lead.bytes+r.Bytes > MaxUncommitted && g.lead.bytes > 0 || len(g.lead.queue) >= maxQueued:
		g.refuse([]*Request{r}, ErrBusy)
	default:
		g.lead.queue = append(g.lead.queue, r)
		g.lead.bytes += r.Bytes
		g.lead.queued += r.Bytes
		g.write()
	}
}

// write has written what waits, if nothing is being written: one run of each topic,
// in the order of the first request.
func (g *Group) write() {
	l := &g.lead
	if g.stopped() || !l.ready || g.leavingJoint() {
		return
	}
	if runs := l.written; runs != nil {
		l.written = nil
		g.Written(l.writing, runs)
		return
	}
	if l.writing != nil || len(l.queue) == 0 {
		return
	}
	if len(g.spans) >= fewRounds && l.queued < gatherBytes {
		return // until a sync has ended: what comes meanwhile goes into the same round
	}
	w := &Write{term: g.term}
	at := make(map[uint32]int)
	var bytes, batches int64
	n := 0
	for _, r := range l.queue {
		t, known := g.st.topic(r.Topic)
		if !known || l.deleting[r.Topic] {
			err := ErrUnknown
			if known {
				err = ErrBusy
			}
			g.refuse([]*Request{r}, err)
			l.bytes -= r.Bytes
			n++
			continue
		}
		i, has := at[r.Topic]
		if bytes+r.Bytes > g.maxRound && batches > 0 || !has && len(at) == entry.MaxRuns {
			break
		}
		if !has {
			i = len(w.Runs)
			at[r.Topic] = i
			w.Runs = append(w.Runs, WriteRun{Topic: t, Offset: l.ends[r.Topic]})
		}
		w.Runs[i].Requests = append(w.Runs[i].Requests, r)
		bytes += r.Bytes
		batches += int64(r.Batches)
		n++
	}
	for _, r := range l.queue[:n] {
		l.queued -= r.Bytes
	}
	clear(l.queue[:n])
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	if len(w.Runs) > 0 {
		l.writing = w
		g.out.Tasks = append(g.out.Tasks, w)
	}
}

// Written tells how a write has ended, run by run.
func (g *Group) Written(w *Write, runs []WrittenRun) {
	l := &g.lead
	leads := !g.stopped() && l.ready && w.term == g.term
	if leads && g.leavingJoint() {
		l.written = runs // it is gone on with when that is left
		return
	}
	if l.writing == w {
		l.writing = nil
	}
	if !leads {
		// It is a tail that nobody names: the next run there cuts it off.
		for i := range w.Runs {
			g.refuse(w.Runs[i].Requests, ErrNotLeader)
			l.bytes = max(l.bytes-size(w.Runs[i].Requests), 0)
		}
		g.write()
		return
	}
	d := &entry.Round{}
	for i := range w.Runs {
		run, r := &w.Runs[i], &runs[i]
		if r.Err != nil {
			g.refuse(run.Requests, r.Err)
			l.bytes -= size(run.Requests)
			continue
		}
		l.bytes -= size(run.Requests) - r.Bytes
		if r.Bytes > 0 {
			d.Runs = append(d.Runs, entry.Run{
				Topic: run.Topic.Number, Offset: run.Offset, Bytes: uint32(r.Bytes), Batches: uint32(r.Batches),
				Messages: uint32(r.Messages), CRC: r.CRC, Time: r.Time, Roll: r.Roll,
			})
		}
	}
	p := Proposed{Write: w, Runs: runs}
	if len(d.Runs) > 0 {
		index, ok := g.propose(d)
		if !ok {
			for i := range w.Runs {
				if runs[i].Err == nil {
					g.refuse(w.Runs[i].Requests, ErrBusy)
					l.bytes -= runs[i].Bytes
				}
			}
			g.write()
			return
		}
		p.Index, p.Term = index, g.term
		for _, r := range d.Runs {
			l.ends[r.Topic] = r.End()
		}
	}
	g.out.Proposed = append(g.out.Proposed, p)
	if p.Index > 0 {
		g.pending = append(g.pending, proposal{p.Index, p.Term, d.Runs})
		g.drain()
	}
	g.write()
}

func size(requests []*Request) (n int64) {
	for _, r := range requests {
		n += r.Bytes
	}
	return n
}

// propose has raft take an entry and returns its index. Caller drains.
func (g *Group) propose(d entry.Data) (index uint64, ok bool) {
	if g.rn.Propose(entry.Append(nil, d)) != nil {
		return 0, false
	}
	// A leader appends at once, and nothing else since everything was drained.
	return g.log.last() + 1, true
}

// Propose proposes what is no round: topics, members, settings. It returns the index and
// the term of the entry, whose verdict is given as that of a round is.
func (g *Group) Propose(d entry.Data) (index, term uint64, err error) {
	l := &g.lead
	if g.role != raft.StateLeader || g.stopped() || g.silent > 0 || !l.ready {
		return 0, 0, ErrNotLeader
	}
	if g.leavingJoint() {
		return 0, 0, ErrBusy
	}
	switch d := d.(type) {
	case entry.Create:
		if _, ok := g.st.names[d.Name]; ok || l.creating[d.Name] || d.Topic != l.next {
			return 0, 0, ErrBusy
		}
	case entry.Delete:
		if _, ok := g.st.topic(d.Topic); !ok {
			return 0, 0, ErrUnknown
		}
		if g.writes(d.Topic) {
			return 0, 0, ErrBusy // its bytes would have no entry before this one
		}
	case entry.Trim:
		if _, ok := g.st.topic(d.Topic); !ok {
			return 0, 0, ErrUnknown
		}
	case entry.Roll:
		if _, ok := g.st.topic(d.Topic); !ok {
			return 0, 0, ErrUnknown
		}
		if g.writes(d.Topic) || l.deleting[d.Topic] || d.Offset != l.ends[d.Topic] {
			return 0, 0, ErrBusy // it has another end by now
		}
	case entry.Members:
		if g.Changing() {
			return 0, 0, ErrBusy
		}
	}
	index, ok := g.propose(d)
	if !ok {
		return 0, 0, ErrBusy
	}
	switch d := d.(type) {
	case entry.Create:
		l.creating[d.Name] = true
		l.ends[d.Topic] = 0
		l.next++
	case entry.Delete:
		l.deleting[d.Topic] = true
	}
	g.pending = append(g.pending, proposal{index: index, term: g.term})
	term = g.term
	g.drain()
	return index, term, nil
}

// End returns where the next run of a topic goes, if this member leads.
func (g *Group) End(topic uint32) int64 { return g.lead.ends[topic] }

// Creating returns how many topics are being made.
func (g *Group) Creating() int { return len(g.lead.creating) }

// OnWay returns how many bytes wait to be written or applied.
func (g *Group) OnWay() int64 { return g.lead.bytes }

// NextTopic returns the number that the next Create has to have.
func (g *Group) NextTopic() uint32 { return g.lead.next }

// writes reports whether a topic is being written to.
func (g *Group) writes(topic uint32) bool {
	if w := g.lead.writing; w != nil {
		for i := range w.Runs {
			if w.Runs[i].Topic.Number == topic {
				return true
			}
		}
	}
	return false
}
