package group

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	mrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/entry"
)

// The simulation here is of the group alone: its disk keeps what was synced, and of
// the rest a prefix. Package clustertest has the one with real files.

// world is some members and what lies between them.
type world struct {
	t       *testing.T
	r       *mrand.Rand
	members []*member
	net     []letter
	cut     map[[2]uint64]bool

	truth     map[entry.ID][]byte // committed bytes
	byIndex   map[uint64]string
	leaders   map[uint64]uint64
	sent      int
	stored    map[int]bool // messages that were answered OK
	not       map[int]bool // and those that were refused
	elections int
	takeovers int
	crashes   int
	voids     int
}

type letter struct {
	from, to uint64
	m        *pb.Message
	bodies   []Body
}

// member is one node with a disk.
type member struct {
	w       *world
	id      uint64
	up      bool
	g       *Group
	tasks   []Task
	log     []record // was written
	synced  int      // of log: is on stable storage
	durable int      // of log: with all bytes that it names
	files   map[entry.ID]*file
	ends    map[entry.ID]int64
	waits   map[[2]uint64][]int // messages that wait for a verdict
	over    *TakeOver
	cutting bool // a takeover may have cut something off
}

// record is a store that was written, when so many before it were known to be
// durable with all that they name.
type record struct {
	*Store
	synced int
}

type file struct {
	number uint32
	base   int64
	bytes  []byte
	synced int64 // offset
	bad    []Range
	gone   int64 // others have said that before it nothing is stored
}

func (f *file) end() int64 { return f.base + int64(len(f.bytes)) }

var table32 = crc32.MakeTable(crc32.Castagnoli)

// runs of a message with its number in it, so that all bytes differ.
func message(n int) []byte {
	b := binary.BigEndian.AppendUint32([]byte("message"), uint32(n))
	return append(b, make([]byte, n%5)...)
}

type source struct{ r *mrand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.r.Uint32())
	}
	return len(b), nil
}

// seedRaft has raft's jitter come from the seed, as the tests of a package do that
// are not run at the same time.
func seedRaft(t *testing.T, seed uint64) {
	old := rand.Reader
	rand.Reader = source{mrand.New(mrand.NewPCG(seed, 7))}
	t.Cleanup(func() { rand.Reader = old })
}

func newWorld(t *testing.T, seed uint64, voters, spare int) *world {
	seedRaft(t, seed)
	w := &world{
		t: t, r: mrand.New(mrand.NewPCG(seed, 1)), cut: make(map[[2]uint64]bool), truth: make(map[entry.ID][]byte),
		byIndex: make(map[uint64]string), leaders: make(map[uint64]uint64), stored: make(map[int]bool), not: make(map[int]bool),
	}
	first := &entry.Table{Index: 1, Term: 1, NextTopic: 1}
	for id := range uint64(voters) {
		first.Conf.Voters = append(first.Conf.Voters, id+1)
	}
	for id := range uint64(voters + spare) {
		m := &member{w: w, id: id + 1, files: make(map[entry.ID]*file)}
		w.members = append(w.members, m)
		if id < uint64(voters) {
			m.log = append(m.log, record{Store: &Store{Hard: true, Term: 1}}, record{Store: &Store{Table: first}})
			m.synced = len(m.log)
		}
		m.start()
	}
	return w
}

// start makes the group from what is on disk.
func (m *member) start() {
	var s State
	var entries []Entry
	last := 0 // S
	written := make(map[uint64]int)
	for i, r := range m.log {
		last = max(last, r.synced)
		for _, e := range r.Entries {
			written[e.Index] = i
		}
		if r.Hard {
			s.Term, s.Vote = r.Term, r.Vote
		}
		if r.Void != 0 {
			entries = cutBefore(entries, r.Void)
		}
		entries = append(entries, r.Entries...)
		s.Commit = max(s.Commit, r.Commit)
		if r.Table != nil {
			s.Table = r.Table
			s.Commit = max(s.Commit, r.Table.Index)
			i := slices.IndexFunc(entries, func(e Entry) bool { return e.Index == r.Table.Index && e.Term == r.Table.Term })
			if i < 0 {
				entries = nil
			} else {
				entries = slices.Clone(entries[i+1:])
			}
		}
	}
	// Runs that did not reach the disk end the log.
	number := make(map[uint32]*file)
	for _, f := range m.files {
		number[f.number] = f
	}
	for _, e := range entries {
		bad := false
		for _, r := range e.runs() {
			f := number[r.Topic]
			if f != nil && f.damaged(r.Offset, r.End()) {
				continue
			}
			bad = bad || f == nil || r.Offset >= f.base && (f.end() < r.End() || crc32.Checksum(f.bytes[r.Offset-f.base:r.End()-f.base], table32) != r.CRC)
		}
		if bad && written[e.Index] >= last {
			if e.Index <= s.Commit {
				m.w.t.Fatalf("member %d: entry %d is committed, and its bytes are lost", m.id, e.Index)
			}
			entries = cutBefore(entries, e.Index)
			m.log = append(m.log, record{&Store{Void: e.Index}, last})
			break
		}
	}
	for i, r := range m.log { // the group counts its stores anew
		c := *r.Store
		c.Seq = 0
		m.log[i].Store = &c
	}
	m.synced, m.durable = len(m.log), len(m.log)
	s.Entries = entries
	show(m.id, "START", s.Term, s.Commit, s.Table, len(s.Entries))
	m.g = New(Config{ID: m.id}, s)
	m.up, m.tasks, m.over = true, nil, nil
	m.ends, m.waits = make(map[entry.ID]int64), make(map[[2]uint64][]int)
	logged := make(map[entry.ID]entry.Topic)
	oldest := make(map[entry.ID]int64)
	for _, t := range m.g.Topics() {
		oldest[t.ID] = t.Oldest
	}
	for _, t := range m.g.Logged() {
		logged[t.ID] = t
		m.fit(t, oldest[t.ID])
	}
	m.cutting = false
	for _, t := range m.g.Topics() {
		m.ends[t.ID] = t.End
	}
	for id, f := range m.files {
		if _, ok := logged[id]; !ok {
			delete(m.files, id)
			continue
		}
		f.synced = f.end()
	}
	m.take()
}

// fit makes the file of a topic as the log says it is. What is missing may be
// missing only if a takeover was under way.
func (m *member) fit(t entry.Topic, oldest int64) {
	f := m.files[t.ID]
	if f != nil {
		oldest = max(oldest, min(f.gone, f.base, t.End))
	}
	ok := f != nil && f.base <= oldest && f.end() >= t.End || f != nil && len(f.bad) > 0
	if !ok && !m.cutting {
		m.w.t.Fatalf("member %d: topic %+v is %+v", m.id, t, f)
	}
	if f == nil {
		f = &file{number: t.Number, base: oldest}
		m.files[t.ID] = f
	}
	f.number = t.Number
	if f.base > oldest {
		h := min(f.base, t.End)
		if f.base > t.End {
			f.bytes, f.bad = nil, nil
		}
		f.bytes = append(make([]byte, h-oldest), f.bytes...)
		f.bad = append(f.bad, Range{oldest, h})
		f.base = oldest
	}
	if f.end() < t.End {
		f.bad = append(f.bad, Range{f.end(), t.End})
		f.bytes = append(f.bytes, make([]byte, t.End-f.end())...)
	}
	f.bytes = f.bytes[:t.End-f.base]
	f.clip()
	m.g.SetDamage(t.Number, f.bad)
}

// clip forgets damage that is outside of the file.
func (f *file) clip() {
	var bad []Range
	for _, r := range f.bad {
		r.From, r.To = max(r.From, f.base), min(r.To, f.end())
		if r.From < r.To {
			bad = append(bad, r)
		}
	}
	f.bad = bad
}

func (f *file) damaged(from, to int64) bool {
	return slices.ContainsFunc(f.bad, func(r Range) bool { return r.From < to && from < r.To })
}

// refill gets what is missing from whoever has it.
func (m *member) refill() {
	if m.over != nil || m.cutting {
		return
	}
	for _, t := range m.g.Topics() {
		f := m.files[t.ID]
		if f == nil {
			continue
		}
		m.g.SetDamage(t.Number, f.bad) // which may have been removed, or cut off, since
		if len(f.bad) == 0 {
			continue
		}
		r := f.bad[0]
		for _, o := range m.w.members {
			g := o.files[t.ID]
			if o == m || g == nil || !o.up || o.cutting || o.ends[t.ID] < r.To || g.damaged(r.From, r.To) {
				continue
			}
			if ot, ok := o.g.st.topic(t.Number); !ok || g.base > r.From && ot.Oldest < g.base {
				continue
			}
			if g.base > r.From { // GONE
				k := min(g.base, f.end())
				f.bytes, f.base, f.gone = slices.Clone(f.bytes[k-f.base:]), k, k
			} else {
				copy(f.bytes[r.From-f.base:r.To-f.base], g.bytes[r.From-g.base:])
				f.bad = f.bad[1:]
			}
			f.clip()
			m.g.SetDamage(t.Number, f.bad)
			break
		}
	}
}

func cutBefore(entries []Entry, index uint64) []Entry {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Index >= index })
	if i < 0 {
		return entries
	}
	return slices.Clone(entries[:i])
}

// crash loses a part of what was not synced.
func (m *member) crash() {
	w := m.w
	w.crashes++
	show(m.id, "CRASH")
	m.up = false
	if w.r.IntN(3) == 0 {
		return // killed: what was written is there
	}
	m.log = m.log[:m.synced+w.r.IntN(len(m.log)-m.synced+1)]
	for _, id := range slices.SortedFunc(maps.Keys(m.files), func(a, b entry.ID) int { return slices.Compare(a[:], b[:]) }) {
		f := m.files[id]
		keep := min(f.synced+w.r.Int64N(max(f.end()-f.synced, 0)+1), f.end())
		f.bytes = f.bytes[:max(keep-f.base, 0)]
	}
}

// take does what the group says, but for the disk, which comes later.
func (m *member) take() {
	w := m.w
	out := m.g.Take()
	if err := m.g.Err(); err != nil {
		w.t.Fatalf("member %d: %v", m.id, err)
	}
	for _, msg := range out.Send {
		l := letter{m.id, msg.GetTo(), proto.Clone(msg).(*pb.Message), nil}
		for _, p := range msg.GetEntries() {
			l.bodies = append(l.bodies, m.body(p))
		}
		w.net = append(w.net, l)
	}
	m.tasks = append(m.tasks, out.Tasks...)
	for _, e := range out.Ends {
		show(m.id, "END", e)
		m.ends[e.ID] = e.Offset
		m.check(e)
	}
	for _, p := range out.Proposed {
		for i := range p.Write.Runs {
			if p.Runs[i].Err != nil {
				continue
			}
			for _, r := range p.Write.Runs[i].Requests {
				k := [2]uint64{p.Index, p.Term}
				m.waits[k] = append(m.waits[k], r.Data.(int))
			}
		}
	}
	for _, r := range out.Refused {
		for _, q := range r.Requests {
			m.refuse(q.Data.(int))
		}
	}
	for _, v := range out.Verdicts {
		k := [2]uint64{v.Index, v.Term}
		for _, n := range m.waits[k] {
			switch v.Fate {
			case Stored:
				w.stored[n] = true
			case Not:
				m.refuse(n)
			}
		}
		delete(m.waits, k)
	}
	if leads, _ := m.g.Leads(); leads {
		_, term := m.g.Leader()
		if id, ok := w.leaders[term]; ok && id != m.id {
			w.t.Fatalf("%d and %d lead in term %d", id, m.id, term)
		} else if !ok {
			w.elections++
		}
		w.leaders[term] = m.id
	}
}

func (m *member) refuse(n int) { m.w.not[n] = true }

// body returns the bytes that an entry names, as they are in the files.
func (m *member) body(p *pb.Entry) Body {
	e, err := decode(p)
	if err != nil {
		m.w.t.Fatal(err)
	}
	var b [][]byte
	for _, r := range e.runs() {
		f := m.byNumber(r.Topic)
		if f == nil || r.Offset < f.base || r.End() > f.end() || f.damaged(r.Offset, r.End()) {
			return errors.New("gone")
		}
		b = append(b, slices.Clone(f.bytes[r.Offset-f.base:r.End()-f.base]))
	}
	return b
}

func (m *member) byNumber(n uint32) *file {
	for _, f := range m.files {
		if f.number == n {
			return f
		}
	}
	return nil
}

// check compares what may be read with what others could read before.
func (m *member) check(e End) {
	w := m.w
	f := m.files[e.ID]
	if f == nil {
		w.t.Fatalf("member %d: topic %v may be read and is not there", m.id, e.ID)
	}
	if f.end() < e.Offset {
		w.t.Fatalf("member %d: %v may be read up to %d, and ends at %d", m.id, e.ID, e.Offset, f.end())
	}
	have := w.truth[e.ID]
	if len(f.bad) > 0 || f.base > int64(len(have)) || f.base > e.Offset { // others have said that it is GONE
		return
	}
	b := f.bytes[:e.Offset-f.base]
	n := min(len(have)-int(f.base), len(b))
	if n < 0 || string(have[f.base:int(f.base)+n]) != string(b[:n]) {
		w.t.Fatalf("member %d: %v differs from what could be read before", m.id, e.ID)
	}
	w.truth[e.ID] = append(have, b[n:]...)
}

// work does a task.
func (m *member) work() {
	if len(m.tasks) == 0 {
		return
	}
	task := m.tasks[0]
	m.tasks = m.tasks[1:]
	switch task := task.(type) {
	case *Store:
		show(m.id, "STORE", task.Seq, "hard", task.Hard, task.Term, "void", task.Void, task.Cuts, "ents", len(task.Entries), task.Entries, len(task.Bodies), "commit", task.Commit, "table", task.Table != nil)
		m.store(task)
	case *Write:
		runs := make([]WrittenRun, len(task.Runs))
		for i := range task.Runs {
			run := &task.Runs[i]
			f := m.files[run.Topic.ID]
			if f == nil || m.w.r.IntN(50) == 0 {
				runs[i].Err = errors.New("full")
				continue
			}
			var b []byte
			for _, r := range run.Requests {
				b = append(b, message(r.Data.(int))...)
				runs[i].Batches++
			}
			m.put(f, run.Offset, b)
			runs[i].Bytes, runs[i].CRC = int64(len(b)), crc32.Checksum(b, table32)
		}
		m.g.Written(task, runs)
	case Carry:
		show(m.id, "CARRY", task)
		f := m.files[task.Topic.ID]
		switch d := task.What.(type) {
		case entry.Trim:
			if f != nil && d.Offset > f.base {
				k := min(d.Offset, f.end())
				f.bytes, f.base = slices.Clone(f.bytes[k-f.base:]), k
				f.synced = max(f.synced, k)
			}
		case entry.Delete:
			delete(m.files, task.Topic.ID)
		}
	case TakeOver:
		m.w.takeovers++
		show(m.id, "TAKEOVER", task.Table, task.Old)
		m.over = &task
		m.cutOver()
	case GiveUp:
		show(m.id, "GIVEUP", task)
		m.over = nil
		oldest := make(map[entry.ID]int64)
		for _, t := range m.g.Topics() {
			oldest[t.ID] = t.Oldest
		}
		for _, t := range task.Topics {
			m.fit(t, oldest[t.ID])
		}
		m.cutting = false
		m.g.GaveUp()
	case Taken:
		m.cutting = false
		show(m.id, "TAKEN", task.Table.Index)
		for id := range m.files {
			if !slices.ContainsFunc(task.Logged, func(t entry.Topic) bool { return t.ID == id }) {
				delete(m.files, id)
			}
		}
	}
	m.take()
}

// put writes bytes at an offset, where a tail may stand that is cut off.
func (m *member) put(f *file, at int64, b []byte) {
	if at > f.end() || at < f.base {
		m.w.t.Fatalf("member %d: write at %d of a file from %d to %d", m.id, at, f.base, f.end())
	}
	for id, g := range m.files {
		if g == f && at < m.ends[id] {
			m.w.t.Fatalf("member %d: %v is cut off at %d, and may be read up to %d", m.id, id, at, m.ends[id])
		}
	}
	f.bytes = f.bytes[: at-f.base : at-f.base]
	if len(f.bad) > 0 { // what was missing behind it is so no more
		f.clip()
		m.g.SetDamage(f.number, f.bad)
	}
	f.bytes = append(f.bytes, b...)
	f.synced = min(f.synced, at)
}

func (m *member) store(s *Store) {
	if s.Void != 0 {
		m.w.voids++
		m.log = append(m.log, record{&Store{Void: s.Void}, m.durable})
		m.synced = len(m.log)
		for _, c := range s.Cuts {
			if f := m.byNumber(c.Topic); f != nil && c.Offset >= f.base && c.Offset <= f.end() {
				m.put(f, c.Offset, nil)
			}
		}
		for _, c := range s.Gone {
			delete(m.files, c.ID)
		}
	}
	for i, e := range s.Entries {
		switch d := e.Decoded.(type) {
		case entry.Create:
			if m.files[d.ID] == nil {
				m.files[d.ID] = &file{number: d.Topic}
			}
		case *entry.Round:
			if s.Bodies[i] == nil {
				break // was written by the leader
			}
			for k, r := range d.Runs {
				if f := m.byNumber(r.Topic); f != nil && r.Offset >= f.base {
					m.put(f, r.Offset, s.Bodies[i].([][]byte)[k])
				}
			}
		}
	}
	c := *s
	c.Void = 0
	m.log = append(m.log, record{&c, m.durable})
}

// sync makes all durable.
func (m *member) sync() {
	m.synced, m.durable = len(m.log), len(m.log)
	for _, f := range m.files {
		f.synced = f.end()
	}
	for i := len(m.log) - 1; i >= 0; i-- {
		if m.log[i].Seq > 0 {
			m.g.Durable(m.log[i].Seq)
			m.take()
			return
		}
	}
}

// cutOver begins to take over a table.
func (m *member) cutOver() {
	m.cutting = true
	for _, t := range m.over.Table.Topics {
		f := m.files[t.ID]
		if f == nil || f.base > t.Oldest || m.over.Old == nil || len(f.bad) > 0 {
			m.files[t.ID] = &file{number: t.Number, base: t.Oldest, synced: t.Oldest}
			continue
		}
		own := m.ends[t.ID]
		f.bytes = f.bytes[:min(max(own-f.base, 0), int64(len(f.bytes)))]
		if t.Oldest > f.base {
			k := min(t.Oldest, f.end())
			f.bytes, f.base = slices.Clone(f.bytes[k-f.base:]), t.Oldest
		}
		f.synced = min(max(f.synced, f.base), f.end())
	}
}

// fetch gets bytes of a topic up to an offset from whoever has them.
func (m *member) fetch(t entry.Topic, end int64) bool {
	f := m.files[t.ID]
	if f == nil {
		f = &file{number: t.Number, base: t.Oldest, synced: t.Oldest}
		m.files[t.ID] = f
	}
	if f.end() >= end {
		return true
	}
	for _, o := range m.w.members {
		g := o.files[t.ID]
		if o == m || g == nil || !o.up || o.cutting || o.ends[t.ID] < end || g.damaged(f.end(), end) {
			continue
		}
		if g.base > f.end() {
			f.bytes, f.base = nil, min(g.base, end)
		}
		f.bytes = append(f.bytes, g.bytes[max(f.end()-g.base, 0):max(end-g.base, 0)]...)
		return true
	}
	return false
}

func (m *member) fetchOver() {
	if m.over == nil {
		return
	}
	oldest := make(map[uint32]int64)
	for _, t := range m.over.Table.Topics {
		if !m.fetch(t, t.End) {
			if _, ok := m.w.truth[t.ID]; !ok && t.End > 0 {
				m.w.t.Fatalf("nobody ever had topic %v", t.ID)
			}
			deleted := false // somebody has to say so
			for _, o := range m.w.members {
				_, has := o.g.st.topic(t.Number)
				deleted = deleted || o != m && o.up && o.g.Applied() >= m.over.Table.Index && !o.cutting && !has
			}
			if !deleted {
				return
			}
			f := m.files[t.ID]
			f.bytes, f.base, f.gone = nil, t.End, t.End
		}
		f := m.files[t.ID]
		f.synced = f.end()
		oldest[t.Number] = f.base
	}
	over := m.over
	m.over = nil
	m.g.TableThere(over.Table, oldest)
	m.take()
}

func (w *world) deliver() {
	if len(w.net) == 0 {
		return
	}
	i := w.r.IntN(len(w.net))
	l := w.net[i]
	switch {
	case w.r.IntN(25) == 0: // lost
		w.net = slices.Delete(w.net, i, i+1)
		return
	case w.r.IntN(25) == 0: // twice
		l.m = proto.Clone(l.m).(*pb.Message)
	default:
		w.net = slices.Delete(w.net, i, i+1)
	}
	to := w.members[l.to-1]
	if !to.up || w.cut[[2]uint64{l.from, l.to}] {
		return
	}
	for _, b := range l.bodies {
		if _, gone := b.(error); gone {
			return
		}
	}
	to.g.Step(l.m, l.bodies)
	to.take()
}

func (w *world) step(quiet bool) {
	r := w.r
	m := w.members[r.IntN(len(w.members))]
	switch k := r.IntN(1000); {
	case k < 400:
		w.deliver()
	case k < 550:
		if m.up {
			m.work()
		}
	case k < 650:
		if m.up {
			m.sync()
		}
	case k < 720:
		if m.up {
			m.g.Tick()
			m.take()
		}
	case k < 760:
		if m.up {
			m.fetchOver()
			m.refill()
		}
	case k < 770:
		if m.up && r.IntN(3) == 0 {
			m.g.Compact()
			m.g.ForgetOld(0)
			m.take()
		}
	case k < 850:
		if topics := m.g.Topics(); m.up && len(topics) > 0 && !quiet {
			w.sent++
			b := message(w.sent)
			m.g.Submit(&Request{Topic: topics[r.IntN(len(topics))].Number, Bytes: int64(len(b)), Batches: 1, Data: w.sent})
			m.take()
		}
	case k < 855:
		if _, ready := m.g.Leads(); m.up && ready && !quiet && len(m.g.Topics()) < 4 {
			var id entry.ID
			binary.BigEndian.PutUint64(id[:], r.Uint64())
			m.g.Propose(entry.Create{Topic: m.g.NextTopic(), ID: id, Name: fmt.Sprintf("t%d", r.IntN(6))})
			m.take()
		}
	case k < 860:
		if topics := m.g.Topics(); m.up && len(topics) > 0 && !quiet {
			t := topics[r.IntN(len(topics))]
			if r.IntN(6) == 0 {
				m.g.Propose(entry.Delete{Topic: t.Number})
			} else {
				m.g.Propose(entry.Trim{Topic: t.Number, Offset: t.Oldest + r.Int64N(t.End-t.Oldest+1)})
			}
			m.take()
		}
	case k < 870:
		if m.up && r.IntN(5) == 0 {
			m.g.Forget()
			m.g.Campaign()
			m.take()
		}
	case k < 880:
		if m.up && r.IntN(3) == 0 {
			m.g.Transfer(1 + r.Uint64N(uint64(len(w.members))))
			m.take()
		}
	case quiet && !m.up:
		m.start()
	case quiet:
	case k < 890:
		if m.up && r.IntN(4) == 0 {
			m.crash()
		}
	case k < 940:
		if !m.up {
			m.start()
		}
	case k < 950:
		if r.IntN(2) == 0 {
			w.cut[[2]uint64{1 + r.Uint64N(uint64(len(w.members))), m.id}] = true
		} else {
			clear(w.cut)
		}
	case k < 953:
		w.change()
	}
	if len(w.net) > 200 {
		w.net = slices.Delete(w.net, 0, 100)
	}
}

// change has who is in the group be others.
func (w *world) change() {
	n := uint64(0)
	settled := 0
	for _, m := range w.members {
		_, c := m.g.Conf()
		n = max(n, c, m.g.want.change)
		if m.g.Settled() == c && m.up {
			settled++
		}
	}
	for _, m := range w.members {
		if m.g.Settled() < n && m.up {
			if conf, _ := m.g.Conf(); slices.Contains(conf.Voters, m.id) {
				return // the one before is not done
			}
		}
	}
	if settled < len(w.members) {
		return
	}
	ids := w.r.Perm(len(w.members))
	voters := 1 + 2*w.r.IntN((len(ids)+1)/2)
	var v, l []uint64
	for i, id := range ids {
		if i < voters {
			v = append(v, uint64(id)+1)
		} else {
			l = append(l, uint64(id)+1)
		}
	}
	for _, m := range w.members {
		m.g.SetMembers(n+1, v, l)
	}
}

// converged reports what is still to come.
func (w *world) converged() string {
	var lead *member
	for _, m := range w.members {
		if _, ready := m.g.Leads(); m.up && ready {
			lead = m
		}
	}
	if lead == nil {
		return "no leader"
	}
	for _, m := range w.members {
		if !lead.g.has(m.id) {
			continue
		}
		li, _ := lead.g.Last()
		mi, _ := m.g.Last()
		if !m.up || m.g.Applied() != lead.g.Applied() || li != mi || m.g.Applied() != mi || len(m.g.todo) > 0 || m.g.lacks() || len(m.tasks) > 0 || m.g.takeover != nil {
			return fmt.Sprintf("member %d up %v applied %d of %d last %d todo %d tasks %d takeover %+v leader's %d", m.id, m.up, m.g.Applied(), lead.g.Applied(), mi, len(m.g.todo), len(m.tasks), m.g.takeover, li)
		}
	}
	return ""
}

func (w *world) run(steps int) {
	for range steps {
		w.step(false)
	}
	clear(w.cut)
	for i := range 300000 {
		w.step(true)
		if i%500 == 0 && w.converged() == "" {
			break
		}
	}
	if why := w.converged(); why != "" {
		for _, m := range w.members {
			conf, change := m.g.Conf()
			last, term := m.g.Last()
			w.t.Logf("member %d: up %v role %v term %d applied %d last %d/%d conf %+v of %d want %+v takeover %+v damage %v silent %d", m.id, m.up, m.g.role, m.g.term,
				m.g.applied, last, term, conf, change, m.g.want, m.g.takeover, m.g.damage, m.g.silent)
		}
		w.t.Fatalf("no convergence: %s", why)
	}
	var want *member
	for _, m := range w.members {
		if leads, _ := m.g.Leads(); leads {
			want = m
		}
	}
	for _, m := range w.members {
		if !want.g.has(m.id) {
			continue
		}
		a, b := m.g.table(), want.g.table()
		a.Term, b.Term = 0, 0
		if string(a.Encode()) != string(b.Encode()) {
			w.t.Errorf("tables of %d and %d differ: %+v %+v", m.id, want.id, a, b)
		}
		for _, t := range m.g.Topics() {
			f := m.files[t.ID]
			if f.end() < t.End || string(f.bytes[:t.End-f.base]) != string(w.truth[t.ID][f.base:]) {
				w.t.Errorf("member %d: files of %v differ", m.id, t.ID)
			}
		}
	}
	for n := range w.stored {
		if w.not[n] {
			w.t.Errorf("message %d is stored and refused", n)
		}
	}
	all := make(map[string]int)
	for _, b := range w.truth {
		for i := 0; i < len(b); {
			n := int(binary.BigEndian.Uint32(b[i+7:]))
			all[fmt.Sprint(n)]++
			i += len(message(n))
			if w.not[n] {
				w.t.Errorf("message %d was refused and is there", n)
			}
		}
	}
	for n := range w.stored {
		if all[fmt.Sprint(n)] != 1 {
			w.t.Errorf("message %d was acknowledged and is there %d times", n, all[fmt.Sprint(n)])
		}
	}
}

// count returns how many runs there are to be, which the environment may say.
func count(t *testing.T, name string, n int) int {
	if s := os.Getenv(name); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return n
}

// TestRandom lets members of a group run, crash, join and leave, and clients write,
// create, trim and delete, over a network that loses, repeats and reorders. It is the
// same runs each time: LOGD_GROUP_RUNS asks for more, LOGD_RUNS_FROM for others,
// LOGD_SEED for one.
func TestRandom(t *testing.T) {
	seeds := make([]uint64, count(t, "LOGD_GROUP_RUNS", 300))
	for i := range seeds {
		seeds[i] = uint64(count(t, "LOGD_RUNS_FROM", 1) + i)
	}
	if s := os.Getenv("LOGD_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		r := mrand.New(mrand.NewPCG(seed, 2))
		voters := []int{1, 3, 3, 5}[r.IntN(4)]
		spare := r.IntN(3)
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, seed, voters, spare)
			w.run(10000)
			t.Logf("%d of %d stored, %d elections, %d takeovers, %d crashes, %d voids", len(w.stored), w.sent, w.elections, w.takeovers, w.crashes, w.voids)
		})
		if !ok {
			return
		}
	}
}
