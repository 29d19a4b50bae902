package cluster

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	mrand "math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// The simulation runs whole nodes, the code that is shipped, on one goroutine: a seed
// decides who does the next thing, what the network loses and what a crash leaves.

const simGroups = 2

type sim struct {
	t      *testing.T
	r      *mrand.Rand
	micros atomic.Int64 // the time; storage asks for it in goroutines of its own

	members []*simMember
	net     []letter
	cut     map[[2]uint64]bool
	quiet   bool   // nothing fails any more
	hurt    uint64 // whose disk has damage; 0: nobody's
	clients []*simClient
	ids     uint64

	truth   map[entry.ID][]byte // what was committed
	leaders map[[2]uint64]uint64
	acked   map[string]entry.ID // bodies, and the topic
	refused map[string]bool
	doubted map[string]bool
	trimmed map[entry.ID]int64
	cuts    map[entry.ID]map[int64]bool // where leaders have had partitions begin
	looks   []*look                     // requests with fresh=1
	deleted map[entry.ID]bool           // topics of which the deletion was asked for
	lost    bool                        // a member has lost its log, for good
	change  *change                     // a member that comes or goes; nil: none does

	stats struct{ crashes, kills, takes, acks, elections, refills, duplicates, outOfOrder, doubts, failedSyncs, flips, changes, joins, outs, fresh, reads, stops, clocks, lostLogs int }
}

type letter struct {
	from, to uint64
	group    int
	m        *pb.Message
	beat     *peer.Beat
}

// simMember is a machine with a disk.
type simMember struct {
	s     *sim
	id    uint64
	disk  *vfstest.FS
	proc  *process
	store *storage.Store
	node  *Node
	out   bool // it was told that it is none any more, or has lost its log

	stopped int          // so many of its turns it does nothing, as after a SIGSTOP
	skew    atomic.Int64 // of its clock, a time.Duration
	broken  bool         // its log is damaged
	hung    bool         // its disk does not answer
	boot    uint64
	ends    map[entry.ID]int64 // readable ends that were seen
	took    bool               // a table was taken over since the start
	lacks   bool               // bytes may be missing: a table was being taken over, or some were
	safe    map[entry.ID]int64 // what is known to be on stable storage since the start
}

func (m *simMember) up() bool { return m.node != nil }

// stillClock tells the simulation's time. Nothing happens later.
type stillClock struct{ m *simMember }

func (c stillClock) Now() time.Time { return c.m.now() }

func (stillClock) AfterFunc(time.Duration, func()) storage.Timer { return stillTimer{} }

type stillTimer struct{}

func (stillTimer) Reset(time.Duration) bool { return false }
func (stillTimer) Stop() bool               { return false }

type source struct{ r *mrand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.r.Uint32())
	}
	return len(b), nil
}

func (s *sim) now() time.Time { return time.UnixMicro(s.micros.Load()) }

// now is the time by the member's clock.
func (m *simMember) now() time.Time { return m.s.now().Add(time.Duration(m.skew.Load())) }

func newSim(t *testing.T, seed uint64, voters int) *sim {
	// What storage does side by side is then done in the same order each time.
	procs := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	old := rand.Reader
	rand.Reader = source{mrand.New(mrand.NewPCG(seed, 7))} // raft's jitter
	t.Cleanup(func() { rand.Reader = old })
	s := &sim{
		t: t, r: mrand.New(mrand.NewPCG(seed, 1)), cut: make(map[[2]uint64]bool),
		truth: make(map[entry.ID][]byte), leaders: make(map[[2]uint64]uint64),
		acked: make(map[string]entry.ID), refused: make(map[string]bool), doubted: make(map[string]bool), trimmed: make(map[entry.ID]int64), cuts: make(map[entry.ID]map[int64]bool),
		deleted: make(map[entry.ID]bool),
	}
	s.micros.Store(1_700_000_000_000_000)
	var ids []uint64
	var members []entry.Member
	for i := range uint64(voters) {
		ids = append(ids, i+1)
		members = append(members, entry.Member{ID: i + 1, Role: entry.Voter, Name: fmt.Sprintf("m%d", i+1), Addr: "h:1", PeerAddr: "h:2"})
	}
	for _, id := range ids {
		m := &simMember{s: s, id: id, disk: vfstest.New(), boot: 1, ends: make(map[entry.ID]int64)}
		var tables []*entry.Table
		for g := range simGroups {
			table := &entry.Table{Group: uint16(g), Index: 1, Term: 1, Conf: entry.Conf{Voters: ids}, NextTopic: 1}
			if g == 0 {
				table.Members, table.NextMember = members, uint64(voters)+1
			}
			tables = append(tables, table)
		}
		l, err := grouplog.Create(m.disk, grouplog.Member{ID: id, Name: fmt.Sprintf("m%d", id), Groups: simGroups}, 1, tables)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		s.members = append(s.members, m)
		m.start()
	}
	for i := range 4 {
		s.clients = append(s.clients, &simClient{s: s, name: fmt.Sprintf("t%d", i%3), pid: fmt.Sprintf("p%d", i), hint: -1, id: i})
	}
	t.Cleanup(func() {
		for _, m := range s.members {
			m.end()
		}
	})
	return s
}

func (m *simMember) start() {
	s := m.s
	if m.gone() {
		return
	}
	m.disk.SetClock(s.now)
	m.proc = newProcess(m.disk)
	store, err := storage.Open(s.t.Context(), storage.Options{
		FS: m.proc, Clock: stillClock{m}, Managed: true, Partitions: -1, PartitionSize: 400, ScrubRate: 0, Producers: 4096, FlushInterval: -1,
		Logger: simLogger(m.id),
	})
	if m.mayFail(err) {
		m.proc.kill()
		return
	}
	m.store = store
	m.node, err = Open(Options{
		FS: m.proc, Store: store, Transport: simNet{m}, Now: m.now, NewID: s.newID, Boot: m.boot, Reserve: 16 << 10,
		Logger: simLogger(m.id),
	})
	if err != nil {
		show(m.id, "NAMES", m.disk.Names())
	}
	if m.broken && (err == nil || errors.Is(err, ErrLostLog)) {
		if err == nil {
			s.t.Fatalf("member %d goes on under its id, and its log is damaged", m.id)
		}
		m.proc.kill()
		m.store.Close()
		m.node = nil
		m.leave()
		return
	}
	if m.mayFail(err) {
		m.proc.kill()
		m.store.Close()
		m.node = nil
		return
	}
	m.safe = make(map[entry.ID]int64)
	for i, cg := range m.node.core.groups {
		for _, t := range cg.g.Topics() {
			m.sees(i, t.ID, t.End)
			m.safe[t.ID] = t.End
			if l := m.store.ByID(t.ID); len(m.node.topics.Damage(l)) > 0 && !m.lacks && s.hurt != m.id {
				s.t.Fatalf("member %d: %s lacks %v, and nothing was damaged: %v, runs %v", m.id, t.Name, *l.Damaged(), cg.g, cg.g.RunsAt(t.Number))
			}
		}
	}
}

// mayFail reports whether a start has failed because of a fault. It is tried again
// later, with the fault gone.
func (m *simMember) mayFail(err error) bool {
	switch {
	case err == nil:
		return false
	case !copies.NoRoom(err) && !errors.Is(err, syscall.EIO):
		m.s.t.Fatalf("member %d: %v", m.id, err)
	}
	show(m.id, "NO START", err)
	m.disk.ClearFaults()
	return true
}

var debugging = os.Getenv("LOGD_DEBUG") != ""

func simLogger(id uint64) *slog.Logger {
	if !debugging {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Uint64("member", id)
		}
		return a
	}}))
}

func (s *sim) newID() (id entry.ID) {
	s.ids++
	binary.BigEndian.PutUint64(id[:], s.ids)
	return id
}

// end ends the process of a member, and all that it has begun.
func (m *simMember) end() {
	if m.node == nil {
		return
	}
	m.proc.kill()
	m.store.Close()
	m.node = nil
}

// crash ends the process, and perhaps the power.
func (m *simMember) crash() {
	s := m.s
	m.lacks, m.took = m.took, false
	for g, cg := range m.node.core.groups {
		term, _ := cg.g.TakingOver()
		m.lacks = m.lacks || term != 0
		for _, t := range cg.g.Logged() {
			if l := m.node.topics.Get(g, t.Number); l != nil && (len(*l.Damaged()) > 0 || l.Begin() > t.Oldest) {
				m.lacks = true // or others have said that it is GONE
			}
		}
	}
	show(m.id, "CRASH")
	m.stopped = 0
	if s.r.IntN(3) == 0 {
		s.stats.kills++
		m.end()
		return
	}
	s.stats.crashes++
	var image *vfstest.FS
	if s.r.IntN(3) == 0 {
		image = m.disk.CrashKeepNothing()
	} else {
		image = m.disk.Crash(s.r)
	}
	m.end()
	m.disk, m.boot = image, m.boot+1
}

func show(a ...any) {
	if debugging {
		fmt.Println(a...)
	}
}

// simNet is the network as a member sees it.
type simNet struct{ m *simMember }

func (n simNet) Send(to uint64, number int, m *pb.Message) {
	s := n.m.s
	s.net = append(s.net, letter{from: n.m.id, to: to, group: number, m: proto.Clone(m).(*pb.Message)})
	if len(s.net) > 200 {
		s.net = slices.Delete(s.net, 0, 100)
	}
}

func (n simNet) Beat(to uint64, b *peer.Beat) {
	n.m.s.net = append(n.m.s.net, letter{from: n.m.id, to: to, beat: b})
}

func (n simNet) Suggest(uint64, []byte) {}

func (n simNet) Sums(from uint64, id entry.ID, offset, end int64) ([]uint32, error) {
	o := n.m.s.member(from)
	if !o.up() || !n.m.s.linked(n.m.id, from) {
		return nil, ErrNotHere
	}
	return o.node.Sums(id, offset, end)
}

func (n simNet) Sending(to uint64, number int) bool {
	return slices.ContainsFunc(n.m.s.net, func(l letter) bool {
		return l.from == n.m.id && l.to == to && l.group == number && l.m != nil && l.m.GetType() == pb.MsgSnap
	})
}

func (n simNet) Fetch(from uint64, id entry.ID, offset, end int64) (Fetched, error) {
	o := n.m.s.member(from)
	if !o.up() || !n.m.s.linked(n.m.id, from) || !n.m.s.linked(from, n.m.id) {
		return Fetched{}, errors.New("not reached")
	}
	v, parts, err := o.node.Serve(id, offset, end)
	if err != nil {
		return Fetched{}, err
	}
	data, err := copies.ReadViews(nil, []View{v})
	return Fetched{Data: data, Parts: parts}, err
}

// member returns a member by its id; who was admitted may not be there yet.
func (s *sim) member(id uint64) *simMember {
	if id > uint64(len(s.members)) {
		return &simMember{s: s, id: id}
	}
	return s.members[id-1]
}

func (s *sim) linked(from, to uint64) bool { return !s.cut[[2]uint64{from, to}] }

// deliver has a message arrive, or not.
func (s *sim) deliver() {
	if len(s.net) == 0 {
		return
	}
	i := s.r.IntN(len(s.net))
	l := s.net[i]
	if s.member(l.to).stopped > 0 {
		return // it is in a socket
	}
	switch k := s.r.IntN(25); {
	case k == 0 && !s.quiet:
		s.net = slices.Delete(s.net, i, i+1)
		return
	case k == 1 && !s.quiet && l.m != nil:
		l.m = proto.Clone(l.m).(*pb.Message)
	default:
		s.net = slices.Delete(s.net, i, i+1)
	}
	from, to := s.member(l.from), s.member(l.to)
	if !from.up() || !to.up() || !s.linked(l.from, l.to) {
		return
	}
	if to.node.Removed(l.from) {
		s.stats.outs++
		from.leave()
		return
	}
	if l.beat != nil {
		to.node.ReceiveBeat(l.from, l.beat, nil)
		return
	}
	views, ok := from.node.Bodies(l.group, l.m)
	if !ok {
		for _, v := range views {
			v.Close()
		}
		return
	}
	body, err := copies.ReadViews(nil, views)
	if err != nil {
		return
	}
	to.node.Receive(l.from, l.group, l.m, body, nil)
}

// work lets an actor of a member do the next thing, and looks at what that has changed.
func (m *simMember) work(a Actor) {
	s := m.s
	n := 1 + s.r.IntN(6)
	for n > 0 && m.node.Step(a) {
		n--
	}
	if err := m.node.Err(); err != nil {
		s.t.Fatalf("member %d: %v", m.id, err)
	}
	for i, cg := range m.node.core.groups {
		for _, t := range cg.g.Topics() {
			m.sees(i, t.ID, t.End)
			s.trimmed[t.ID] = max(s.trimmed[t.ID], t.Oldest)
			if s.cuts[t.ID] == nil {
				s.cuts[t.ID] = make(map[int64]bool)
			}
			for _, r := range cg.g.RunsAt(t.Number) {
				if r.Roll {
					s.cuts[t.ID][r.Offset] = true
				}
			}
		}
		if term, _ := cg.g.TakingOver(); term != 0 {
			m.took = true
		}
		if leads, _ := cg.g.Leads(); leads {
			_, term := cg.g.Leader()
			k := [2]uint64{uint64(i), term}
			if id, ok := s.leaders[k]; ok && id != m.id {
				s.t.Fatalf("%d and %d lead group %d in term %d", id, m.id, i, term)
			} else if !ok {
				s.stats.elections++
			}
			s.leaders[k] = m.id
		}
	}
}

// sees compares what may be read of a topic with what others could read.
func (m *simMember) sees(number int, id entry.ID, end int64) {
	s := m.s
	if end <= m.ends[id] && m.ends[id] > 0 {
		return
	}
	l := m.store.ByID(id)
	if l == nil {
		s.t.Fatalf("member %d: topic %v may be read and is not there", m.id, id)
	}
	if l.Readable() > max(end, l.Begin()) {
		s.t.Fatalf("member %d: %s may be read up to %d, and is committed up to %d", m.id, l.Name(), l.Readable(), end)
	}
	have := s.truth[id]
	from := min(m.ends[id], int64(len(have)))
	m.ends[id] = end
	if from < l.Begin() || len(*l.Damaged()) > 0 {
		from = int64(len(have))
		if from >= end {
			return
		}
	}
	if from == end {
		return
	}
	v, err := l.Stored(from, end)
	if err != nil {
		if len(*l.Damaged()) > 0 || from < l.Begin() {
			return
		}
		s.t.Fatalf("member %d: %s may be read from %d to %d: %v (begin %d, next %d)", m.id, l.Name(), from, end, err, l.Begin(), l.Next())
	}
	b, err := copies.ReadViews(nil, []View{v})
	if err != nil {
		s.t.Fatalf("member %d: %s: %v", m.id, l.Name(), err)
	}
	n := min(int64(len(have)), end) - from
	if !bytes.Equal(have[from:from+n], b[:n]) {
		s.t.Fatalf("member %d: %s differs between %d and %d from what could be read before:\n%q\n%q", m.id, l.Name(), from, from+n, have[from:from+n], b[:n])
	}
	s.truth[id] = append(have, b[n:]...)
	for _, body := range bodiesOf(b[n:]) {
		show(m.id, "COMMITTED", l.Name(), id, body)
		if s.refused[body] {
			s.t.Fatalf("%s was refused and is stored", body)
		}
	}
}

// bodiesOf returns the message of each batch.
func bodiesOf(b []byte) (bodies []string) {
	for len(b) > 0 {
		h, n, err := batch.Parse(b)
		if err != nil {
			panic(err)
		}
		data := b[int64(h.Len()):n]
		_, body, _ := strings.Cut(string(data), "\r\n")
		bodies = append(bodies, strings.TrimSuffix(body, "\r\n"))
		b = b[n:]
	}
	return bodies
}

// simClient sends numbered batches to one topic, and sends them again until it knows
// what became of them.
type simClient struct {
	s    *sim
	id   int
	name string
	pid  string
	gen  int

	seq, msg int
	unsure   []*simBatch // not answered, in order
	at       *simMember  // whom it is connected to
	node     *Node
	hint     int
	silence  int
	draining bool
	creating func() (*verdict, error, bool)
}

type simBatch struct {
	seq  int
	body string
	req  *request
	to   entry.ID // the topic that it was sent to last
	ever bool
}

func (c *simClient) wire(b *simBatch) []byte {
	data := fmt.Sprintf("MSG %d\r\n%s\r\n", len(b.body), b.body)
	h := batch.Header{Size: int64(len(data)), Topic: []byte(c.name), CRC: crc32.ChecksumIEEE([]byte(data)), Messages: 1, PID: []byte(c.pid), Seq: int64(b.seq)}
	if b.seq%3 == 0 { // compressed, as far as storage looks
		h.Codec = []string{"zstd", "s2"}[b.seq%2]
	}
	return append(batch.AppendHeader(nil, &h), data...)
}

func (c *simClient) lost() {
	c.at, c.node, c.creating, c.draining, c.silence = nil, nil, nil, false, 0
	for _, b := range c.unsure {
		b.req = nil
	}
}

func (c *simClient) step() {
	s := c.s
	if c.at == nil {
		m := s.members[s.r.IntN(len(s.members))]
		if c.hint > 0 && s.r.IntN(4) > 0 {
			m = s.members[c.hint-1]
		}
		c.hint = -1
		if m.up() {
			c.at, c.node = m, m.node
		}
		return
	}
	if c.at.node != c.node || c.silence > 60 {
		c.lost()
		return
	}
	number := GroupOf(c.name, simGroups)
	cg := c.node.core.groups[number]
	t, ok := cg.g.Topic(c.name)
	if !ok {
		if _, ready := cg.g.Leads(); !ready {
			c.redirect(cg)
			return
		}
		if s.r.IntN(3) == 0 {
			core := &c.node.core
			core.post(func() {
				core.proposeTo(number, entry.Create{Topic: core.groups[number].g.NextTopic(), ID: s.newID(), Name: c.name, Time: s.now().UnixMilli()})
			})
		}
		c.silence++
		return
	}
	for i := 0; i < len(c.unsure); i++ {
		if c.answer(c.unsure[i]) {
			return
		}
	}
	if c.draining {
		if !slices.ContainsFunc(c.unsure, func(b *simBatch) bool { return b.req != nil }) {
			c.draining = false
		}
		return
	}
	for _, b := range c.unsure {
		if b.req == nil {
			c.send(b, number, t)
			return
		}
	}
	if len(c.unsure) < 6 && !s.quiet {
		c.seq++
		c.msg++
		b := &simBatch{seq: c.seq, body: fmt.Sprintf("c%d.%d-%d %s", c.id, c.gen, c.msg, strings.Repeat("x", s.r.IntN(20)))}
		c.unsure = append(c.unsure, b)
		c.send(b, number, t)
	}
}

func (c *simClient) redirect(cg *coreGroup) {
	leader, _ := cg.g.Leader()
	c.lost()
	c.hint = int(leader)
}

func (c *simClient) send(b *simBatch, number int, t entry.Topic) {
	wire := c.wire(b)
	h, _, _ := batch.Parse(wire)
	b.ever, b.to = true, t.ID
	b.req = &request{part: storage.Part{Data: wire, Extents: []batch.Extent{h.Extent()}}, done: make(chan struct{})}
	if l := c.node.topics.Get(number, t.Number); l != nil {
		if err := l.ReadyNumbers(c.s.t.Context()); err != nil {
			b.req.answer(err)
			return
		}
	}
	req := b.req
	node := c.node
	node.core.post(func() { node.core.submit(number, t.Number, req) })
}

// answer looks what became of a batch, and reports whether that has changed
// something.
func (c *simClient) answer(b *simBatch) bool {
	s := c.s
	if b.req == nil {
		return false
	}
	select {
	case <-b.req.done:
	default:
		c.silence++
		return false
	}
	err := b.req.err
	ticket, _ := b.req.result.Ticket.(*verdict)
	var outcome error
	if err == nil && len(b.req.result.Outcomes) > 0 {
		o := b.req.result.Outcomes[0]
		ticket, _ = o.Ticket.(*verdict)
		outcome = o.Err
	}
	if err == nil && ticket != nil {
		select {
		case <-ticket.done:
			err = ticket.err(group.ErrNotLeader)
		default:
			c.silence++
			return false
		}
	}
	c.silence = 0
	if err == nil {
		err = outcome
	}
	b.req = nil
	show("client", c.id, "seq", b.seq, b.body, err)
	var order *topic.OutOfOrderError
	switch {
	case err == nil:
		s.stats.acks++
		c.stored(b)
	case errors.Is(err, topic.ErrInDoubt):
		s.stats.doubts++
		c.lost()
	case errors.As(err, &order):
		s.stats.outOfOrder++
		c.draining = true
		switch {
		case order.Next > int64(b.seq):
			c.stored(b)
		case slices.ContainsFunc(c.unsure, func(o *simBatch) bool { return int64(o.seq) == order.Next }):
		default:
			c.forget()
		}
	default:
		c.draining = true
		if errors.Is(err, group.ErrNotLeader) {
			if !slices.ContainsFunc(c.unsure, func(o *simBatch) bool { return o.req != nil }) {
				c.redirect(c.node.core.groups[GroupOf(c.name, simGroups)])
			}
		}
	}
	return true
}

// stored notes that a batch counts as stored.
func (c *simClient) stored(b *simBatch) {
	c.s.acked[b.body] = b.to
	c.unsure = slices.DeleteFunc(c.unsure, func(o *simBatch) bool { return o == b })
}

// forget begins anew under another id: nobody knows what became of what was sent.
func (c *simClient) forget() {
	c.gen++
	c.pid = fmt.Sprintf("p%d.%d", c.id, c.gen)
	for i, b := range c.unsure {
		if b.ever {
			c.s.doubted[b.body] = true
		}
		b.seq = i + 1
		b.req = nil
	}
	c.seq = len(c.unsure)
	c.lost()
}

func (s *sim) step() {
	r := s.r
	s.micros.Add(int64(r.IntN(3)) * 1000)
	s.lookAtChange()
	s.lookAtFresh()
	m := s.members[r.IntN(len(s.members))]
	if m.stopped > 0 {
		m.stopped--
		return
	}
	switch k := r.IntN(1000); {
	case k < 300:
		s.deliver()
	case k < 480:
		if m.up() {
			m.work(Core)
		}
	case k < 620:
		if m.up() && !m.hung {
			m.work(Disk)
		}
	case k < 690:
		if m.up() {
			m.work(Round)
		}
	case k < 740:
		if m.up() {
			m.work(Fetcher)
		}
	case k < 800:
		if m.up() && r.IntN(4) == 0 {
			m.node.Tick()
		}
	case k < 890:
		s.clients[r.IntN(len(s.clients))].step()
	case k < 900:
		if m.up() && k < 895 {
			s.readBeyond(m)
		} else if o := s.members[r.IntN(len(s.members))]; o.up() {
			s.askFresh(o) // also of one that is stopped
		}
	case k < 901:
		if s.hurt != 0 && r.IntN(3) == 0 {
			s.heal()
		}
	case k < 905:
		if m.up() {
			g := r.IntN(simGroups)
			m.node.core.post(func() {
				if m.up() && m.node.core.groups[g].g.Compact() {
					m.node.core.groups[g].g.ForgetOld(0)
					m.node.core.take(g)
				}
			})
		}
	case k < 910:
		if m.up() && r.IntN(3) == 0 {
			g, to := r.IntN(simGroups), uint64(r.IntN(len(s.members)))+1
			m.node.core.post(func() { m.node.core.groups[g].g.Transfer(to); m.node.core.take(g) })
		}
	case s.quiet && !m.up():
		m.start()
	case s.quiet:
	case k < 915:
		switch k := r.IntN(6); {
		case k < 4:
			s.admin(m)
		case k < 5:
			s.changeMembers(m)
		default:
			s.comeOrGo(m)
		}
	case k < 920:
		if m.up() && r.IntN(4) == 0 {
			g := r.IntN(simGroups)
			m.node.core.post(func() {
				m.node.core.groups[g].g.Forget()
				m.node.core.groups[g].g.Campaign()
				m.node.core.take(g)
			})
		}
	case k < 935:
		if m.up() && r.IntN(25) == 0 {
			m.crash()
		}
	case k < 985:
		if !m.up() {
			m.start()
		}
	case k < 993:
		s.fault(m)
	case k < 998:
		if r.IntN(4) > 0 {
		} else if r.IntN(2) == 0 {
			s.cut[[2]uint64{uint64(r.IntN(len(s.members))) + 1, m.id}] = true
		} else {
			clear(s.cut)
		}
	}
}

// fault has the disk of a member fail, or be full, for a while, or damages it.
func (s *sim) fault(m *simMember) {
	if !m.up() {
		return
	}
	switch s.r.IntN(12) {
	case 0:
		s.stats.failedSyncs++
		for i := range 1 + s.r.IntN(3) {
			pattern := []string{".cluster/log/*", "t0/*", "t1/*", "t2/*"}[s.r.IntN(4)]
			if i > 0 {
				m.disk.FailSync(pattern)
				continue
			}
			m.failSyncOnce(pattern) // who tries again is told that all is well
		}
	case 1, 2, 3:
		m.disk.ClearFaults()
		m.proc.full = false
	case 4:
		m.proc.full = true
	case 5, 6:
		s.damage(m)
	case 7:
		s.stats.clocks++
		m.skew.Store(int64(time.Duration(s.r.IntN(3)-1) * time.Hour))
	case 8:
		if s.r.IntN(4) == 0 {
			s.stats.stops++
			m.stopped = s.r.IntN(1500)
			show(m.id, "STOP", m.stopped)
		}
	case 9:
		if s.r.IntN(8) == 0 {
			s.loseLog(m)
		}
	}
}

// failSyncOnce has one sync of a file fail, as the kernel tells it: what was to be synced
// is gone, and the next sync succeeds.
func (m *simMember) failSyncOnce(pattern string) {
	m.disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool {
		ok, _ := path.Match(pattern, op.Name)
		return ok && op.Kind == vfstest.OpSync
	}})
}

// oneMayLose reports whether a minority, one member, may lose something of what it has on
// stable storage: what members get back from each other.
func (s *sim) oneMayLose(m *simMember) bool {
	if s.lost || s.hurt != 0 && s.hurt != m.id {
		return false
	}
	change, _, _ := m.node.core.groups[0].g.Members()
	for _, o := range s.members {
		if !o.up() {
			return false
		}
		for _, cg := range o.node.core.groups { // a change may be under way that leaves fewer
			if conf, c := cg.g.Conf(); len(conf.Voters) < 3 || len(conf.Outgoing) > 0 || c != change || s.changing(change) {
				return false
			}
		}
	}
	return true
}

// loseLog damages the member log of one, which must not go on under its id then.
func (s *sim) loseLog(m *simMember) {
	if s.hurt != 0 || !s.oneMayLose(m) {
		return
	}
	s.stats.lostLogs++
	s.lost, m.broken = true, true
	show(m.id, "LOST LOG")
	m.end()
	newest := 0
	for _, name := range m.disk.Names() {
		if file, ok := strings.CutPrefix(name, ".cluster/log/"); ok {
			n, _ := strconv.Atoi(file)
			newest = max(newest, n)
		}
	}
	// The beginning of a file was on stable storage before the file had its name.
	if err := m.disk.Corrupt(fmt.Sprint(".cluster/log/", newest), s.r.Int64N(64), func(b []byte) { b[0] ^= 1 << s.r.IntN(8) }); err != nil {
		s.t.Fatal(err)
	}
}

// damage flips bits on one disk, in what it is known to have on stable storage.
func (s *sim) damage(m *simMember) {
	if !s.oneMayLose(m) {
		return
	}
	for _, cg := range m.node.core.groups {
		for _, t := range cg.g.Topics() {
			l := m.store.ByID(t.ID)
			if l == nil || s.r.IntN(2) == 0 || m.safe[t.ID] <= l.Begin() || !l.Named() {
				continue
			}
			at := s.somewhere(t.ID, l.Begin(), m.safe[t.ID])
			base, whole := int64(-1), false
			for _, p := range l.Plan(topic.Limits{}) {
				if p.Base <= at && at < p.End {
					base, whole = p.Base, p.End <= m.safe[t.ID] && !p.Head
				}
			}
			if base < 0 {
				continue
			}
			s.hurt = m.id
			s.stats.flips++
			name := fmt.Sprintf("%s/%d.log", t.Name, base)
			show(m.id, "FLIP", name, at-base)
			if s.r.IntN(6) == 0 && whole {
				show(m.id, "GONE", name)
				if err := errors.Join(m.disk.Remove(name), m.disk.SyncDir(t.Name)); err != nil {
					s.t.Fatal(err)
				}
				m.crash()
				return
			}
			if err := m.disk.Corrupt(name, at-base, func(b []byte) { b[0] ^= 1 << s.r.IntN(8) }); err != nil {
				s.t.Fatal(err)
			}
			if s.r.IntN(2) == 0 {
				scrub(l)
			}
		}
	}
	if s.r.IntN(3) == 0 {
		m.crash()
	}
}

// somewhere returns the offset of a byte of a batch that its checksum covers: what
// the envelope says of its number no checksum does.
func (s *sim) somewhere(id entry.ID, from, to int64) int64 {
	at := int64(0)
	goal := from + s.r.Int64N(to-from)
	for b := s.truth[id]; len(b) > 0; {
		h, n, err := batch.Parse(b)
		if err != nil {
			s.t.Fatal(err)
		}
		if at+n > goal {
			return at + int64(h.Len()) + s.r.Int64N(h.Size)
		}
		at += n
		b = b[n:]
	}
	return -1
}

// scrub reads all of a topic, and sets aside what is damaged.
func scrub(l *storage.Log) {
	for at := l.Oldest(); at < l.Readable(); {
		v, err := l.Verify(at, math.MaxInt64, 0)
		if err != nil {
			next := at + 1
			for _, r := range *l.Damaged() {
				if r.From <= at && at < r.To {
					next = r.To
				}
			}
			at = next
			continue
		}
		at += v.Len()
		v.Close()
	}
}

// lacksBefore reports whether something is missing before an offset.
func lacksBefore(damaged []storage.Range, end int64) bool {
	return slices.ContainsFunc(damaged, func(r storage.Range) bool { return r.From < end })
}

// heal scrubs the disk that was damaged, and reports whether all is well there.
func (s *sim) heal() bool {
	if s.hurt == 0 {
		return true
	}
	m := s.members[s.hurt-1]
	if !m.up() {
		return false
	}
	whole := true
	for i, cg := range m.node.core.groups {
		for _, t := range cg.g.Logged() { // also what may be committed, and is not known to be
			l := m.node.topics.Get(i, t.Number)
			if l == nil {
				return false
			}
			scrub(l)
			whole = whole && !lacksBefore(m.node.topics.Damage(l), t.End)
		}
		whole = whole && !cg.g.Failed()
	}
	if whole {
		s.hurt = 0
	}
	return whole
}

// admin trims or deletes a topic.
func (s *sim) admin(m *simMember) {
	if !m.up() {
		return
	}
	g := s.r.IntN(simGroups)
	topics := m.node.core.groups[g].g.Topics()
	if len(topics) == 0 {
		return
	}
	t := topics[s.r.IntN(len(topics))]
	del := s.r.IntN(8) == 0
	s.deleted[t.ID] = s.deleted[t.ID] || del
	m.node.core.post(func() {
		if del {
			m.node.core.proposeTo(g, entry.Delete{Topic: t.Number})
			return
		}
		l := m.node.topics.Get(g, t.Number)
		if l == nil {
			return
		}
		parts := l.Plan(topic.Limits{})
		offset := min(parts[s.r.IntN(len(parts))].Base, t.End)
		if !s.cuts[t.ID][offset] {
			return // only here files are cut so: see "What is not refilled" in docs/design/replication.md
		}
		m.node.core.proposeTo(g, entry.Trim{Topic: t.Number, Offset: offset})
	})
}

// changing reports whether a change of members is proposed that is newer than that.
func (s *sim) changing(change uint64) bool {
	return slices.ContainsFunc(s.members, func(m *simMember) bool {
		if m.gone() {
			return false
		}
		if !m.up() {
			return true
		}
		c, _, _ := m.node.core.groups[0].g.Members()
		return c > change || m.node.core.groups[0].g.Changing()
	})
}

// changeable reports whether a member leads group 0, and all have everything and the
// change of members before is done.
func (s *sim) changeable(lead *simMember) bool {
	if !lead.up() || s.hurt != 0 {
		return false
	}
	if _, ready := lead.node.core.groups[0].g.Leads(); !ready || !lead.node.core.idle() {
		return false
	}
	for i, cg := range lead.node.core.groups {
		for _, m := range s.members {
			if m.gone() {
				continue
			}
			if !m.up() {
				return false
			}
			g := m.node.core.groups[i].g
			if _, index := g.TakingOver(); index != 0 || g.Applied()+3 < cg.g.Applied() || g.Failed() {
				return false
			}
		}
	}
	return true
}

// changeMembers has other members vote, when all have everything and the change before
// is done.
func (s *sim) changeMembers(lead *simMember) {
	if s.change != nil || !s.changeable(lead) {
		return
	}
	var all []entry.Member
	for _, e := range lead.node.Said().Members {
		if !active(&e) {
			continue
		}
		if s.member(e.ID).gone() {
			return // it was admitted and never heard of it: it is no voter
		}
		all = append(all, e)
	}
	voters := 1 + 2*s.r.IntN((len(all)+1)/2)
	members := entry.Members{}
	for i, k := range s.r.Perm(len(all)) {
		e := all[k]
		e.Role = entry.Learner
		if i < voters {
			e.Role = entry.Voter
		}
		members.Members = append(members.Members, e)
	}
	slices.SortFunc(members.Members, func(a, b entry.Member) int { return cmp.Compare(a.ID, b.ID) })
	s.stats.changes++
	lead.node.core.post(func() { lead.node.core.proposeTo(0, members) })
}

// converged returns what is still to come, or nothing.
func (s *sim) converged() string {
	if len(s.net) > 50 {
		return "messages"
	}
	for _, m := range s.members {
		for m.up() && m.node.disk.step() {
		}
		if m.up() && len(m.node.disk.tasks) > 0 {
			return fmt.Sprintf("member %d has something to do", m.id)
		}
	}
	for g := range simGroups {
		var lead *group.Group
		for _, m := range s.members {
			if m.gone() {
				continue
			}
			if !m.up() {
				return fmt.Sprintf("member %d is down", m.id)
			}
			if _, ready := m.node.core.groups[g].g.Leads(); ready {
				lead = m.node.core.groups[g].g
			}
		}
		if lead == nil {
			return fmt.Sprintf("nobody leads group %d", g)
		}
		index, _ := lead.Last()
		for _, m := range s.members {
			if m.gone() {
				continue
			}
			gr := m.node.core.groups[g].g
			last, _ := gr.Last()
			if gr.Failed() {
				return fmt.Sprintf("member %d: group %d has failed", m.id, g)
			}
			if _, i := gr.TakingOver(); gr.Applied() != index || last != index || i != 0 || gr.Carrying() > 0 {
				return fmt.Sprintf("member %d: group %d applied %d, last %d of %d, takes over %d, carries %d", m.id, g, gr.Applied(), last, index, i, gr.Carrying())
			}
			for _, t := range gr.Topics() {
				l := m.node.topics.Get(g, t.Number)
				if l == nil {
					return fmt.Sprintf("member %d: topic %s is not there", m.id, t.Name)
				}
				if !l.Named() || lacksBefore(m.node.topics.Damage(l), t.End) {
					return fmt.Sprintf("member %d: topic %s %v: files %v, damage %v, failed %v", m.id, t.Name, t.ID, l != nil, *l.Damaged(), l.Failed())
				}
			}
		}
	}
	for _, c := range s.clients {
		if len(c.unsure) > 0 {
			return fmt.Sprintf("client %d waits for %d", c.id, len(c.unsure))
		}
	}
	return ""
}

func (s *sim) run(steps int) {
	for range steps {
		s.step()
	}
	s.quiet = true
	clear(s.cut)
	for _, m := range s.members {
		m.stopped = 0
		if !m.gone() {
			m.disk.ClearFaults()
			m.proc.full = false
		}
	}
	why := ""
	for i := range 400_000 {
		s.step()
		if i%300 == 0 {
			for _, m := range s.members { // what has failed is restarted
				if m.up() && slices.ContainsFunc(m.node.core.groups, func(cg *coreGroup) bool { return cg.g.Failed() }) {
					m.crash()
				}
			}
			if why = s.converged(); why == "" && s.heal() {
				break
			}
		}
	}
	if why != "" {
		for _, m := range s.members {
			if !m.up() {
				continue
			}
			for i, cg := range m.node.core.groups {
				for _, t := range cg.g.Topics() {
					if l := m.node.topics.Get(i, t.Number); l != nil {
						s.t.Logf("member %d: %s %+v begin %d next %d damaged %v oldest %d failed %v numbers %v", m.id, t.Name, t, l.Begin(), l.Next(), *l.Damaged(), l.Oldest(), l.Failed(), l.ReadyNumbers(s.t.Context()))
					}
				}
				s.t.Logf("member %d group %d: %v; disk %d tasks, asked %v, full %v, waiting %d, round %v", m.id, i, cg.g, len(m.node.disk.tasks), m.node.disk.asked, m.node.disk.full, len(m.node.disk.waiting), m.node.round.under)
			}
		}
		s.t.Fatalf("no convergence: %s", why)
	}
	s.final()
}

// differ returns where two differ first.
func differ(a, b []byte) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// final compares all members with each other and with what was acknowledged.
func (s *sim) final() {
	oldest := make(map[entry.ID]int64)
	for _, m := range s.members {
		if m.gone() {
			continue
		}
		for g, cg := range m.node.core.groups {
			for _, t := range cg.g.Topics() {
				l := m.node.topics.Get(g, t.Number)
				if int(t.End) != len(s.truth[t.ID]) {
					s.t.Errorf("member %d: %s ends at %d, committed were %d", m.id, t.Name, t.End, len(s.truth[t.ID]))
				}
				if o, ok := oldest[t.ID]; ok && o != t.Oldest {
					s.t.Errorf("member %d: %s begins at %d, elsewhere at %d", m.id, t.Name, t.Oldest, o)
				}
				oldest[t.ID] = t.Oldest
				// Where something was missing files may be cut elsewhere, and keep more.
				from := max(l.Begin(), t.Oldest)
				if l.Begin() > t.Oldest && t.Oldest < t.End {
					s.t.Errorf("member %d: files of %s begin at %d, its log says %d", m.id, t.Name, l.Begin(), t.Oldest)
				}
				if from == t.End {
					continue
				}
				v, err := l.Stored(from, t.End)
				if err != nil {
					s.t.Errorf("member %d: %s: %v", m.id, t.Name, err)
					continue
				}
				b, err := copies.ReadViews(nil, []View{v})
				if err != nil || !bytes.Equal(b, s.truth[t.ID][from:]) {
					s.t.Errorf("member %d: files of %s differ at the end, %v: from %d to %d, %d bytes, %d bytes before; first at %d", m.id, t.Name, err, from, t.End, len(b), len(s.truth[t.ID])-int(from), differ(b, s.truth[t.ID][from:]))
				}
			}
		}
	}
	count := make(map[string]int)
	twice := make(map[string]int) // in one topic
	first := make(map[string]int64)
	last := make(map[string]int) // by topic and client
	for id, b := range s.truth {
		at := int64(0)
		for _, body := range bodiesOf(b) {
			_, size, _ := batch.Parse(b[at:])
			first[fmt.Sprint(id, body)] = min(cmp.Or(first[fmt.Sprint(id, body)], at+1), at+1)
			at += size
			count[body]++
			var c, gen, n int
			fmt.Sscanf(body, "c%d.%d-%d ", &c, &gen, &n)
			k := fmt.Sprint(id, c, gen)
			if n <= last[k] && !s.doubted[body] && first[fmt.Sprint(id, body)]-1 >= s.trimmed[id] {
				s.t.Errorf("%s is stored after %d", body, last[k])
			}
			last[k] = n
			twice[fmt.Sprint(id, body)]++
			// What was trimmed nobody knows again.
			if twice[fmt.Sprint(id, body)] > 1 && !s.doubted[body] && first[fmt.Sprint(id, body)]-1 >= s.trimmed[id] {
				s.t.Errorf("%s is stored twice", body)
			}
		}
	}
	for body, id := range s.acked {
		if _, there := oldest[id]; there && count[body] == 0 {
			s.t.Errorf("%s was acknowledged and is lost", body)
		}
	}
}

// TestSimulation lets clusters run, with everything that can happen to them, and then
// in peace: all members come to have the same, which has all that was acknowledged,
// once, in order. It is the same runs each time: LOGD_SIM_RUNS asks for more,
// LOGD_RUNS_FROM for others, LOGD_SEED for one.
func TestSimulation(t *testing.T) {
	n, from := 20, uint64(1)
	if k, err := strconv.Atoi(os.Getenv("LOGD_SIM_RUNS")); err == nil {
		n = k
	}
	if k, err := strconv.ParseUint(os.Getenv("LOGD_RUNS_FROM"), 10, 64); err == nil {
		from = k
	}
	var seeds []uint64
	for i := range uint64(n) {
		seeds = append(seeds, from+i)
	}
	if s := os.Getenv("LOGD_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			voters := []int{1, 3, 3, 3, 5}[seed%5]
			s := newSim(t, seed, voters)
			s.run(40_000)
			t.Logf("%d voters: %+v", voters, s.stats)
		})
		if !ok {
			return
		}
	}
}
