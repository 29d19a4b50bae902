package tests

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// episode is a cluster under traffic to which something happens.
type episode struct {
	t testing.TB
	*cluster
	l     *traffic
	r     *rand.Rand
	gaps  []gapMark
	recut bool // files may be cut at other places on other members
}

// gapMark is a time in which answers may stop.
type gapMark struct {
	what, topic string
	from, to    int64
}

// topic returns one of the topics.
func (e *episode) topic() string { return e.l.topics[e.r.IntN(len(e.l.topics))] }

// during has something happen to a topic's leader, and waits until the topic goes on.
func (e *episode) during(what, topic string, f func(leader *member)) {
	e.t.Helper()
	leader := e.leader(topic)
	mark := gapMark{what: what, topic: topic, from: e.l.now()}
	f(leader)
	e.l.goesOn(5)
	mark.to = e.l.now()
	e.gaps = append(e.gaps, mark)
}

// nemesis is something that happens to a cluster of three members.
type nemesis struct {
	name string
	cuts bool // it needs a network that can be cut
	run  func(e *episode)
}

var nemeses = []nemesis{
	{"kill the leader", false, func(e *episode) {
		e.during("kill -9 of the leader", e.topic(), func(m *member) { m.kill() })
		e.restart()
	}},
	{"kill a follower", false, func(e *episode) {
		m := e.cluster.follower(e.topic())
		m.kill()
		e.l.goesOn(10)
		m.start()
	}},
	{"kill all", false, func(e *episode) {
		for _, m := range e.live() {
			m.kill()
		}
		for _, m := range e.live() {
			m.begin()
		}
		for _, m := range e.live() {
			m.s.await("logd takes requests")
		}
	}},
	{"a short stop of the leader", false, func(e *episode) {
		e.during("SIGSTOP for half an election timeout", e.topic(), func(m *member) {
			m.pause()
			time.Sleep(e.et / 2)
			m.resume()
		})
	}},
	{"a long stop of the leader", false, func(e *episode) {
		e.during("SIGSTOP", e.topic(), func(m *member) {
			m.pause()
			e.l.goesOn(5)
			m.resume()
		})
	}},
	{"transfers", false, func(e *episode) {
		for range 5 {
			topic := e.topic()
			e.during("TRANSFER", topic, func(leader *member) {
				to := e.live()[e.r.IntN(len(e.live()))]
				e.command("TRANSFER %s topic=%s", to.name, topic)
			})
		}
	}},
	{"drains", false, func(e *episode) {
		for _, m := range e.live() {
			e.during("DRAIN", e.topic(), func(*member) { e.command("DRAIN %s", m.name) })
			e.command("DRAIN %s off=1", m.name)
		}
	}},
	{"a rolling restart", false, func(e *episode) {
		for _, m := range e.live() {
			e.during("restart", e.topic(), func(*member) { m.s.stop() })
			m.start()
			e.voters(3)
		}
	}},
	{"join and leave", false, func(e *episode) {
		for range 2 {
			e.place(e.newName()).start()
			e.l.goesOn(5)
		}
		e.voters(5)
		leaving := e.live()[e.r.IntN(5)]
		if e.r.IntN(2) == 0 { // who leads the change is out of the groups before it is done
			leaving = e.named(e.table("GROUPS")[0]["leader"])
		}
		e.remove(leaving, "LEAVE %s force=1", leaving.name)
		e.voters(3)
		for _, m := range e.table("CLUSTER") {
			if m["role"] == "learner" {
				e.remove(e.named(m["name"]), "LEAVE %s force=1", m["name"])
			}
		}
		e.voters(3)
	}},
	{"replace a member that runs", false, func(e *episode) {
		old := e.live()[e.r.IntN(3)]
		m := e.place(e.newName())
		m.start()
		e.remove(old, "REPLACE %s %s", old.name, m.name)
		e.voters(3)
	}},
	{"a lost disk", false, func(e *episode) {
		m := e.live()[e.r.IntN(3)]
		old := e.idOf(m.name)
		m.kill()
		e.l.goesOn(5)
		if err := os.RemoveAll(m.dir); err != nil {
			e.t.Fatal(err)
		}
		m.start()
		id := e.newest(m.name, old)
		e.commandUntil(func() bool {
			return !slices.ContainsFunc(e.table("CLUSTER"), func(row map[string]string) bool { return row["member"] == old })
		}, "REPLACE %s %s", old, id)
		e.voters(3)
	}},
	{"kills while catching up", false, func(e *episode) {
		m := e.cluster.follower(e.topic())
		m.kill()
		e.l.goesOn(200)
		for range 3 {
			m.begin()
			time.Sleep(time.Duration(e.r.IntN(200)) * time.Millisecond) // wherever it then is
			m.kill()
		}
		m.start()
	}},
	{"kills of a new member while it catches up", false, func(e *episode) {
		m := e.place(e.newName())
		m.start()
		for range 3 {
			m.kill()
			m.begin()
			time.Sleep(time.Duration(e.r.IntN(150)) * time.Millisecond)
		}
		m.kill()
		m.start()
		e.eventually("the new member has all", func() bool {
			return slices.ContainsFunc(e.table("CLUSTER"), func(row map[string]string) bool {
				return row["name"] == m.name && row["role"] == "learner" && row["state"] == "up"
			})
		})
		e.remove(m, "LEAVE %s force=1", m.name)
	}},
	{"flipped bits on one that is down", false, func(e *episode) {
		e.recut = true // what is refilled may be one file where others have two
		m := e.cluster.follower(e.topic())
		m.kill()
		flipBits(e.t, m, e.r, e.l.topics)
		m.start()
	}},
	{"the leader is cut off", true, func(e *episode) {
		e.during("the leader is cut off", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cutBoth(leader, m)
			}
			e.cut(0, leader.host, dropAll)
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"the leader is cut off from members only", true, func(e *episode) {
		e.during("the leader is cut off from members", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cutBoth(leader, m)
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"the leader is not heard", true, func(e *episode) {
		e.during("the leader is not heard", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cut(leader.host, m.host, dropAll)
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"the leader hears nobody", true, func(e *episode) {
		e.during("the leader hears nobody", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cut(m.host, leader.host, dropAll)
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"two followers do not hear each other", true, func(e *episode) {
		leader := e.leader(e.topic())
		var others []*member
		for _, m := range e.live() {
			if m != leader {
				others = append(others, m)
			}
		}
		e.cutBoth(others[0], others[1])
		e.l.goesOn(20)
		e.heal()
	}},
	{"a fifth of all packets is lost", true, func(e *episode) {
		for _, from := range e.live() {
			for _, to := range e.live() {
				if from != to {
					e.cut(from.host, to.host, dropSome)
				}
			}
		}
		e.l.goesOn(10)
		e.heal()
	}},
	{"connections of the leader are reset", true, func(e *episode) {
		e.during("connections of the leader are reset", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				if m != leader {
					e.cut(m.host, leader.host, resetThem)
					e.cut(leader.host, m.host, resetThem)
				}
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
}

// restart starts what was killed.
func (e *episode) restart() {
	e.t.Helper()
	for _, m := range e.live() {
		if !m.running() {
			m.start()
		}
	}
}

// newName returns a name that no member has had.
func (e *episode) newName() string { return string(rune('a' + len(e.members))) }

func (e *episode) named(name string) *member {
	e.t.Helper()
	for _, m := range e.live() {
		if m.name == name {
			return m
		}
	}
	e.t.Fatalf("there is no member %s", name)
	return nil
}

// remove has a member be removed, and waits for its end.
func (e *episode) remove(m *member, format string, args ...any) {
	e.t.Helper()
	e.commandUntil(func() bool { return !m.running() }, format, args...)
	m.out = true
	if code := m.s.wait(); code != 5 {
		e.t.Errorf("exit code %d of %s, which was removed, want 5", code, m)
	}
}

// idOf returns the id of the voter of that name.
func (e *episode) idOf(name string) (id string) {
	e.t.Helper()
	e.eventually("an id of "+name, func() bool {
		for _, m := range e.table("CLUSTER") {
			if m["name"] == name && m["role"] == "voter" {
				id = m["member"]
			}
		}
		return id != ""
	})
	return id
}

// newest waits until there is a learner of that name with another id, and returns it.
func (e *episode) newest(name, old string) (id string) {
	e.t.Helper()
	e.eventually("a new "+name, func() bool {
		for _, m := range e.table("CLUSTER") {
			if m["name"] == name && m["member"] != old && m["role"] == "learner" {
				id = m["member"]
			}
		}
		return id != ""
	})
	return id
}

func (e *episode) cut(from, to int, how string) {
	e.t.Helper()
	if from == to {
		return
	}
	if err := e.net.cut(from, to, how); err != nil {
		e.t.Fatal(err)
	}
}

func (e *episode) cutBoth(a, b *member) {
	e.t.Helper()
	e.cut(a.host, b.host, dropAll)
	e.cut(b.host, a.host, dropAll)
}

func (e *episode) heal() {
	e.t.Helper()
	if err := e.net.heal(); err != nil {
		e.t.Fatal(err)
	}
}

// flipBits damages partition files of a member that does not run.
func flipBits(t testing.TB, m *member, r *rand.Rand, topics []string) {
	t.Helper()
	for _, topic := range topics {
		bases := partitions(t, m.dir, topic)
		for range 3 {
			name := partitionFile(m.dir, topic, bases[r.IntN(len(bases))])
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) == 0 {
				continue
			}
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runNemesis starts a cluster and traffic, has something happen, and checks all.
func runNemesis(t *testing.T, net network, et time.Duration, all ...nemesis) {
	t.Helper()
	c := newCluster(t, net, 3, et)
	r := random(t)
	e := &episode{t: t, cluster: c, r: r, l: startTraffic(c, r)}
	e.l.goesOn(20)
	for _, n := range all {
		begun := time.Now()
		n.run(e)
		e.l.goesOn(5)
		t.Logf("%s: %v", n.name, time.Since(begun).Round(time.Millisecond))
	}
	h := c.finish(e.l, e.recut)
	for _, g := range e.gaps {
		t.Logf("gap: %s: %v", g.what, h.gap(g.topic, g.from, g.to).Round(time.Millisecond))
	}
	n := 0
	for _, s := range h.stored {
		n += len(s)
	}
	t.Logf("%d batches, %d stored, %d reads of %d readers, %d looks", len(h.writes), n, len(slices.Concat(h.reads...)), len(h.reads), len(h.looks))
}

// TestCluster has things happen to clusters on the loopback network.
func TestCluster(t *testing.T) {
	t.Parallel()
	for _, n := range nemeses {
		if n.cuts {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			runNemesis(t, newLoopback(), 500*time.Millisecond, n)
		})
	}
}

// TestClusterNetwork has things happen to clusters whose members have a network namespace each.
func TestClusterNetwork(t *testing.T) {
	t.Parallel()
	for _, n := range nemeses {
		if !n.cuts && os.Getenv("LOGD_CLUSTER_ALL") == "" {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			runNemesis(t, newNamespaces(t, "logd"), 500*time.Millisecond, n)
		})
	}
}
