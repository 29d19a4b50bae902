package tests

import (
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

// episode is a cluster under traffic to which something happens.
type episode struct {
	t *testing.T
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

// flipBits damages partition files of a member that does not run: anything but numbers of
// batches, which no checksum covers.
func flipBits(t testing.TB, m *member, r *rand.Rand, topics []string) {
	t.Helper()
	number := regexp.MustCompile(`pid=\w+ seq=\d+`)
	for _, topic := range topics {
		bases := partitions(t, m.dir, topic)
		if len(bases) == 0 {
			continue // it was not there yet
		}
		for range 3 {
			name := partitionFile(m.dir, topic, bases[r.IntN(len(bases))])
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) == 0 {
				continue
			}
			at := r.IntN(len(b))
			if slices.ContainsFunc(number.FindAllIndex(b, -1), func(x []int) bool { return x[0] <= at && at < x[1] }) {
				continue
			}
			b[at] ^= 1 << r.IntN(8)
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
		if n.needs == needsCuts || n.needs == needsRoot && os.Geteuid() != 0 {
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
		if n.needs != needsCuts && os.Getenv("LOGD_CLUSTER_ALL") == "" {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			runNemesis(t, newNamespaces(t, "logd"), 500*time.Millisecond, n)
		})
	}
}
