package tests

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

// onDisk has a new member, on a file system of its own, vote in the place of another.
func (e *episode) onDisk(old *member, kind string) (*member, *disk) {
	e.t.Helper()
	d := newDisk(e.t, kind, "64m")
	m := e.place(e.newName())
	m.dir = filepath.Join(d.dir, m.name)
	m.start()
	e.remove(old, "REPLACE %s %s", old.name, m.name)
	e.voters(3)
	return m, d
}

// allHaveAll waits until all members are up and have everything.
func (e *episode) allHaveAll() {
	e.t.Helper()
	e.eventually("all members go on", func() bool {
		for _, row := range e.table("CLUSTER") {
			// A member that stands still lags more and more: the writers go on.
			if lag, err := strconv.Atoi(row["lag-ms"]); err != nil || lag >= 1000 || row["state"] != "up" {
				return false
			}
		}
		return true
	})
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

// runNemeses starts a cluster and traffic, has things happen, and checks all. It returns
// how long there were no answers, by what happened.
func runNemeses(t *testing.T, net network, et time.Duration, r *rand.Rand, all ...nemesis) map[string][]time.Duration {
	t.Helper()
	c := newCluster(t, net, 3, et)
	e := &episode{t: t, cluster: c, r: r, l: startTraffic(c, r, usualWriting)}
	e.l.goesOn(20)
	for i, n := range all {
		if i > 0 { // each finds a cluster that is whole
			e.voters(3)
		}
		begun := time.Now()
		n.run(e)
		e.l.goesOn(5)
		t.Logf("%s: %v", n.name, time.Since(begun).Round(time.Millisecond))
	}
	h := c.finish(e.l, e.recut)
	gaps := make(map[string][]time.Duration)
	for _, g := range e.gaps {
		gaps[g.what] = append(gaps[g.what], h.gap(g.topic, g.from, g.to))
	}
	stored := 0
	for _, s := range h.stored {
		stored += len(s)
	}
	t.Logf("%d batches, of which %d are stored; %d reads by %d readers, %d looks", len(h.writes), stored, len(slices.Concat(h.reads...)), len(h.reads), len(h.looks))
	return gaps
}

// logGaps tells how long there were no answers.
func logGaps(t *testing.T, gaps map[string][]time.Duration) {
	for _, what := range slices.Sorted(maps.Keys(gaps)) {
		all := gaps[what]
		slices.Sort(all)
		at := func(share float64) time.Duration {
			return all[int(share*float64(len(all)-1)+0.5)].Round(time.Millisecond)
		}
		t.Logf("no answers after %s: p50 %v, p99 %v, of %d", what, at(0.5), at(0.99), len(all))
	}
}

// The election timeout of tests that do not measure: much happens in a short time.
const shortTimeout = 500 * time.Millisecond

// TestCluster has things happen to clusters on the loopback network.
func TestCluster(t *testing.T) {
	t.Parallel()
	for i, n := range nemeses {
		if brief() && i%4 > 0 || n.needs == needsCuts || n.needs == needsRoot && os.Geteuid() != 0 {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			logGaps(t, runNemeses(t, newLoopback(), shortTimeout, random(t), n))
		})
	}
}

// TestClusterNetwork has things happen to clusters whose members have a network
// namespace each: those for which that is needed, and with LOGD_CLUSTER_ALL all.
func TestClusterNetwork(t *testing.T) {
	t.Parallel()
	for i, n := range nemeses {
		if brief() && i%4 > 0 || n.needs != needsCuts && os.Getenv("LOGD_CLUSTER_ALL") == "" {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			logGaps(t, runNemeses(t, newNamespaces(t, "logd"), shortTimeout, random(t), n))
		})
	}
}

// TestClusterGaps measures how long there are no answers, with the default election
// timeout: LOGD_CLUSTER_GAPS times.
func TestClusterGaps(t *testing.T) {
	t.Parallel()
	n := int(setting(t, "LOGD_CLUSTER_GAPS", 1))
	var all []nemesis
	for range n {
		for _, n := range nemeses {
			if slices.Contains([]string{"kill the leader", "a long stop of the leader", "transfers", "drains"}, n.name) {
				all = append(all, n)
			}
		}
	}
	logGaps(t, runNemeses(t, newLoopback(), time.Second, random(t), all...))
}

// TestClusterSoak has things happen to one cluster after the other, several to each, in
// a random order, for LOGD_CLUSTER_SOAK seconds.
func TestClusterSoak(t *testing.T) {
	seconds := setting(t, "LOGD_CLUSTER_SOAK", 0)
	if seconds == 0 {
		t.Skip("LOGD_CLUSTER_SOAK is how many seconds it takes")
	}
	r := random(t)
	gaps := make(map[string][]time.Duration)
	for i, begun := 1, time.Now(); time.Since(begun) < time.Duration(seconds)*time.Second && !t.Failed(); i++ {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var net network
			if os.Geteuid() == 0 {
				net = newNamespaces(t, "soak")
			} else {
				net = newLoopback()
			}
			var all []nemesis
			for len(all) < 6 {
				n := nemeses[r.IntN(len(nemeses))]
				if n.needs == needsNothing || os.Geteuid() == 0 {
					all = append(all, n)
				}
			}
			et := 300*time.Millisecond + time.Duration(r.IntN(8))*100*time.Millisecond
			t.Logf("election timeout %v", et)
			for what, some := range runNemeses(t, net, et, r, all...) {
				gaps[what] = append(gaps[what], some...)
			}
		})
	}
	logGaps(t, gaps)
}
