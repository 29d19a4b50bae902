package cluster

import (
	"errors"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// Rules of which a simulation breaks one only where several rare things come together.

// calm lets a simulation go on in which nothing fails until done says so.
func (s *sim) calm(what string, done func() bool) {
	s.t.Helper()
	s.quiet = true
	for range 200_000 {
		if done() {
			return
		}
		s.step()
	}
	s.t.Fatalf("it never comes that %s", what)
}

// leads returns the member that leads a group and takes requests, or nil.
func (s *sim) leads(number int) *simMember {
	for _, m := range s.members {
		if m.up() {
			if _, ready := m.node.core.groups[number].g.Leads(); ready {
				return m
			}
		}
	}
	return nil
}

// TestOutOfOrderWaits: that a number is out of order says that those before it are stored.
// So it is not said before they are.
func TestOutOfOrderWaits(t *testing.T) {
	s := newSim(t, 1, 3)
	const name = "t0"
	number := GroupOf(name, simGroups)
	var m *simMember
	s.calm("somebody leads who knows the topic", func() bool {
		m = s.leads(number)
		return m != nil && m.node.names.get(name) != nil && m.node.core.groups[number].g.OnWay() == 0
	})
	to, _ := m.node.core.groups[number].g.Topic(name)
	c := &simClient{s: s, name: name, pid: "x", node: m.node}
	first, third := &simBatch{seq: 1, body: "first"}, &simBatch{seq: 3, body: "third"}
	c.send(first, number, to)
	c.send(third, number, to)
	stranger, second := &simClient{s: s, name: name, pid: "y", node: m.node}, &simBatch{seq: 2, body: "second"}
	stranger.send(second, number, to)
	for range 100 { // nobody else hears of it
		for _, a := range []Actor{Core, Disk, Round} {
			for m.node.Step(a) {
			}
		}
	}
	select {
	case <-third.req.done:
	default:
		t.Fatal("the third is not looked at")
	}
	out := third.req.result.Outcomes
	var order *topic.OutOfOrderError
	if third.req.err != nil || len(out) != 1 || !errors.As(out[0].Err, &order) || order.Next != 2 {
		t.Fatalf("the third is answered %v, %v", out, third.req.err)
	}
	gap := second.req.result.Outcomes
	if len(gap) != 1 || !errors.As(gap[0].Err, &order) || order.Next != 1 {
		t.Errorf("the second of a producer that nobody knows is answered %v", gap)
	}
	v, _ := out[0].Ticket.(*verdict)
	if v == nil {
		t.Fatal("it is said at once that the third is out of order, and the first may be lost")
	}
	select {
	case <-v.done:
		t.Error("there is a verdict of what nobody else has heard of")
	default:
	}
	s.calm("the first is stored", func() bool {
		select {
		case <-v.done:
			return true
		default:
			return false
		}
	})
}

// TestFailedRoundIsNotTriedAgain: after a sync of the member log that has failed nothing is
// said that has waited for it. A second sync would succeed, and what was to be synced be gone.
func TestFailedRoundIsNotTriedAgain(t *testing.T) {
	s := newSim(t, 1, 1)
	m := s.members[0]
	s.calm("it leads", func() bool { return s.leads(0) == m && s.leads(1) == m })
	m.failSyncOnce(".cluster/log/*")
	m.node.core.post(func() {
		m.node.core.proposeTo(0, entry.Create{Topic: m.node.core.groups[0].g.NextTopic(), ID: s.newID(), Name: "x"})
	})
	for range 100 {
		for _, a := range []Actor{Core, Disk, Round} {
			for m.node.Step(a) {
			}
		}
	}
	for i, cg := range m.node.core.groups {
		if !cg.g.Failed() {
			t.Errorf("group %d goes on after a sync of the member log has failed: %v", i, cg.g)
		}
	}
}

// TestHandsOverWhenAWriteHangs: a leader whose disk does not answer hands its lead over, also
// if it is a write that hangs, and no sync.
func TestHandsOverWhenAWriteHangs(t *testing.T) {
	s := newSim(t, 1, 3)
	var m *simMember
	s.calm("somebody leads, and another may", func() bool {
		m = s.leads(1)
		return m != nil && m.node.core.best(1) != 0
	})
	m.hung = true
	m.node.disk.since.Store(max(m.node.ticks.Load(), 1)) // as it is while a write is under way
	s.calm("another member leads", func() bool { o := s.leads(1); return o != nil && o != m })
}

// TestGroup0ComesLast: as long as another group has not changed its members group 0 does
// not: who is out of it hears of no change any more.
func TestGroup0ComesLast(t *testing.T) {
	s := newSim(t, 1, 3)
	var lead *simMember
	s.calm("somebody leads", func() bool {
		lead = s.leads(0)
		return lead != nil && s.leads(1) != nil && s.changeable(lead)
	})
	change := entry.Members{}
	for _, e := range lead.node.Said().Members {
		if e.ID != lead.id {
			e.Role = entry.Learner
		}
		change.Members = append(change.Members, e)
	}
	lead.node.core.post(func() { lead.node.core.proposeTo(0, change) })
	g := lead.node.core.groups[0].g
	inForce := func() bool {
		_, at := g.Conf()
		return at > 0
	}
	for i := 0; i < 20_000; i++ {
		rest := s.net[:0]
		for _, l := range s.net {
			if l.m == nil || l.group == 0 {
				rest = append(rest, l)
			}
		}
		s.net = rest
		s.quiet = true
		s.step()
		if inForce() {
			t.Fatal("group 0 has other members, and group 1 has heard of nothing")
		}
	}
	if at, _, _ := g.Members(); at == 0 {
		t.Fatal("the change is not known")
	}
	s.calm("the change is in force", func() bool {
		if m := s.leads(0); m != nil {
			g = m.node.core.groups[0].g
		}
		return inForce()
	})
}

// TestChangeIsKnownToMost: a change of members is done when a majority of the new voters
// would know it after a start, and not when the leader does.
func TestChangeIsKnownToMost(t *testing.T) {
	const number, change = 1, 7
	c := &newSim(t, 1, 3).members[0].node.core
	for id := uint64(2); id <= 3; id++ {
		if c.settled(number, change) {
			t.Errorf("it is done when %d of 3 know of it", id-2)
		}
		c.peer(id).groups[number].settled = change
	}
	if !c.settled(number, change) {
		t.Error("it is not done when two of three know of it")
	}
}

// TestStartKeepsWhatNobodyNamesYet: a member that has no log yet keeps the topics that it
// has. What other members confirm of them it need not fetch.
func TestStartKeepsWhatNobodyNamesYet(t *testing.T) {
	s := newSim(t, 1, 3)
	m := &simMember{s: s, id: 4, disk: vfstest.New(), boot: 1, ends: make(map[entry.ID]int64)}
	s.members = append(s.members, m)
	id := entry.ID{1}
	store, err := storage.Open(t.Context(), storage.Options{FS: m.disk, Clock: stillClock{m}, Managed: true, Partitions: -1, FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := store.CreateAs("t0", id, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wire := []byte(testkit.Batch("t0", "kept"))
	if _, err := l.AppendRun(t.Context(), &storage.Run{Data: wire, Extents: []batch.Extent{{Len: int64(len(wire)), Messages: 1}}, Roll: true}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.TakeName(l), store.Close()); err != nil {
		t.Fatal(err)
	}
	w := s.members[0].node.welcome(m.id)
	if err := Admitted(m.disk, grouplog.Member{ID: m.id, Name: "m4", Groups: w.Groups}, 1, w); err != nil {
		t.Fatal(err)
	}
	m.start()
	if l := m.store.ByID(id); l == nil || l.Next() != int64(len(wire)) {
		t.Errorf("what was there is gone: %v", l)
	}
}
