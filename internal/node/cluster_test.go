package node

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/peernet"
	"github.com/logd-dev/logd/internal/testkit"
)

// testCluster is nodes in one process that are members of a cluster.
type testCluster struct {
	t       testing.TB
	id      string
	nodes   map[string]*Node
	configs map[string]config.Config
}

// beginCluster makes a cluster of one, in the work directory dir.
func beginCluster(t testing.TB, dir string, change func(*config.Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, nodes: make(map[string]*Node), configs: make(map[string]config.Config)}
	first := c.config("a", dir)
	if change != nil {
		change(&first)
	}
	var err error
	if c.id, err = InitCluster(t.Context(), &first, 4); err != nil {
		t.Fatal(err)
	}
	c.configs["a"] = first
	t.Cleanup(func() {
		for name := range c.nodes {
			c.stop(name)
		}
	})
	c.start("a")
	return c
}

func (c *testCluster) config(name, dir string) config.Config {
	g := config.Default()
	g.Host, g.HTTPHost, g.PeerHost, g.WorkDir = testkit.FreeAddr(c.t), "", testkit.FreeAddr(c.t), dir
	g.Node, g.ElectionTimeout, g.ScrubRate = name, 200*time.Millisecond, 0
	return g
}

// start starts a member, with its settings.
func (c *testCluster) start(name string) *Node {
	c.t.Helper()
	n, err := c.tryStart(name)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *testCluster) tryStart(name string) (*Node, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	n, err := Start(ctx, Options{Config: c.configs[name], Version: "test"})
	if err == nil {
		c.nodes[name] = n
	}
	return n, err
}

func (c *testCluster) stop(name string) {
	c.t.Helper()
	if err := c.nodes[name].Shutdown(context.Background()); err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
	delete(c.nodes, name)
}

// join starts new members, and waits until all vote.
func (c *testCluster) join(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.joinAs(name)
	}
	c.wait("a", "CLUSTER", func(body string) bool { return strings.Count(body, "role=voter state=up") == len(c.nodes) })
}

// joinAs starts a new member, with the settings of the first one.
func (c *testCluster) joinAs(name string) *Node {
	c.t.Helper()
	g := c.config(name, c.t.TempDir())
	first := c.configs["a"]
	g.Join, g.Cluster, g.CatchUpRate, g.AuthFile = []string{first.PeerHost}, c.id, first.CatchUpRate, first.AuthFile
	c.configs[name] = g
	return c.start(name)
}

// ask sends a request to a member and returns the line of the answer and the body.
func (c *testCluster) ask(name, request string) (line, body string) {
	c.t.Helper()
	line, body, err := askAt(c.configs[name].Host, request)
	if err != nil {
		c.t.Fatalf("%s at %s: %v", request, name, err)
	}
	return line, body
}

func askAt(addr, request string) (line, body string, err error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return "", "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(nc, "%s\r\nCLOSE\r\n", request); err != nil {
		return "", "", err
	}
	in := bufio.NewReader(nc)
	if line, err = in.ReadString('\n'); err != nil {
		return line, "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	var rest strings.Builder
	if _, err = in.WriteTo(&rest); err != nil {
		return line, "", err
	}
	return line, strings.TrimSuffix(rest.String(), "OK\r\n"), nil
}

var redirected = regexp.MustCompile(`^ERR not leader(?: (\S+))?$`)

// do has a request done by whoever says OK: redirects are followed, and what is said to
// pass is tried again.
func (c *testCluster) do(request string) (line, body string) {
	c.t.Helper()
	var addr string
	testkit.Eventually(c.t, func() string {
		if addr == "" {
			for name := range c.nodes {
				addr = c.configs[name].Host
				break
			}
		}
		var err error
		line, body, err = askAt(addr, request)
		if err != nil {
			addr = ""
			return err.Error()
		}
		if m := redirected.FindStringSubmatch(line); m != nil {
			addr = m[1]
		}
		return testkit.Unless(strings.HasPrefix(line, "OK") || strings.HasPrefix(line, "MOK"), request+": "+line)
	})
	return line, body
}

// wait waits until the body of an answer is as it should be.
func (c *testCluster) wait(name, request string, is func(body string) bool) string {
	c.t.Helper()
	var body string
	testkit.Eventually(c.t, func() string {
		var line string
		line, body = c.ask(name, request)
		return testkit.Unless(strings.HasPrefix(line, "MOK") && is(body), fmt.Sprintf("%s at %s: %s\n%s", request, name, line, body))
	})
	return body
}

// waitAll waits until all members answer as they should.
func (c *testCluster) waitAll(request string, is func(body string) bool) {
	c.t.Helper()
	for name := range c.nodes {
		c.wait(name, request, is)
	}
}

func (c *testCluster) write(topic, body string) {
	c.t.Helper()
	c.do(batchLines(topic, body))
}

// field returns what a line of a body says.
func field(body, name string) string {
	_, rest, _ := strings.Cut("\r\n"+body, "\r\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// same waits until all members have the same of a topic.
func (c *testCluster) same(topic string) {
	c.t.Helper()
	testkit.Eventually(c.t, func() string {
		seen := make(map[string]string)
		for name := range c.nodes {
			line, body := c.ask(name, "TAIL "+topic+" 1000")
			seen[line+body] = name
		}
		return testkit.Unless(len(seen) == 1, fmt.Sprintf("members differ: %q", seen))
	})
}

// A directory with data becomes a cluster of three, and at the end a single node again.
func TestClusterFromDataAndBack(t *testing.T) {
	single := testConfig(t)
	single.HTTPHost = ""
	n, err := Start(t.Context(), Options{Config: single, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, n, testkit.Batch("old", "one")+"CLOSE\r\n")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	c := beginCluster(t, single.WorkDir, nil)
	c.write("old", "two")
	long := strings.Repeat("n", 255)
	c.write(long, "one")
	c.join("b", "c")
	c.write("old", "three")
	c.write(long, "two")
	c.write(long[:254], "three")
	for _, name := range []string{"old", long, long[:254]} {
		c.same(name)
	}
	if _, body := c.ask("b", "TAIL old 10"); strings.Count(body, "BATCH ") != 3 || !strings.Contains(body, "one\r\n") {
		t.Errorf("b has %q", body)
	}

	// Without a name, and with another one, the directory is refused.
	c.stop("b")
	other := c.configs["b"]
	other.Node, other.Join, other.Cluster = "", nil, ""
	if _, err := Start(t.Context(), Options{Config: other}); !errors.Is(err, ErrMembership) || !strings.Contains(err.Error(), "logd cluster single") {
		t.Errorf("start without a name: %v", err)
	}
	other.Node = "x"
	if _, err := Start(t.Context(), Options{Config: other}); !errors.Is(err, ErrMembership) {
		t.Errorf("start with another name: %v", err)
	}
	other = testConfig(t)
	other.Node, other.PeerHost = "y", "127.0.0.1:0"
	if _, err := Start(t.Context(), Options{Config: other}); !errors.Is(err, ErrMembership) || !strings.Contains(err.Error(), "logd cluster init") {
		t.Errorf("start of what is no member: %v", err)
	}

	c.write("old", "four")
	c.stop("c")
	c.stop("a")
	a := c.configs["a"]
	if id, unread, err := SingleNode(t.Context(), &a); err != nil || unread != nil || id != c.id {
		t.Fatalf("single: %s, %v", id, err)
	}
	a.Node = ""
	n, err = Start(t.Context(), Options{Config: a, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if got := answers(t, n, "TAIL old 10\r\nCLOSE\r\n"); strings.Count(got, "BATCH ") != 4 {
		t.Errorf("the single node has %q", got)
	}
	if old, _ := filepath.Glob(filepath.Join(a.WorkDir, ".cluster-*.old")); len(old) != 1 {
		t.Errorf("the old log is %v", old)
	}
}

// What an operator does with a cluster, by lines of the protocol.
func TestClusterCommands(t *testing.T) {
	c := beginCluster(t, t.TempDir(), func(g *config.Config) { g.Partitions = 7 })
	c.join("b", "c")
	c.write("t", "one")

	t.Run("transfer", func(t *testing.T) {
		for _, to := range []string{"b", "c", "a"} {
			testkit.Eventually(t, func() string { // another one may be elected before all have heard of it
				c.do("TRANSFER " + to + " topic=t")
				for name := range c.nodes {
					if _, b := c.ask(name, "INFO t"); field(b, "Leader") != c.configs[to].Host {
						return fmt.Sprintf("INFO at %s: %s", name, b)
					}
				}
				return ""
			})
		}
		for g := range 4 { // also who does not lead the group knows that there is no such topic
			c.do(fmt.Sprintf("TRANSFER b group=%d", g))
		}
		c.do("TRANSFER a group=0")
		if line, _ := askLine(c, "TRANSFER c topic=nothing"); line != "ERR invalid request" {
			t.Errorf("TRANSFER for a topic that is not there: %q", line)
		}
		c.do("TRANSFER a topic=t")
		c.wait("b", "INFO t", func(b string) bool { return field(b, "Leader") == c.configs["a"].Host })
		c.wait("b", "GROUPS", func(b string) bool { return strings.Contains(b, "group=2 leader=b prefers=b ") })
	})
	t.Run("not here", func(t *testing.T) {
		line, _ := c.ask("b", batchLines("t", "x"))
		if want := "ERR not leader " + c.configs["a"].Host; line != want {
			t.Errorf("BATCH at a follower: %q, want %q", line, want)
		}
		// All groups are led by a.
		for g := range 4 {
			c.do(fmt.Sprintf("TRANSFER a group=%d", g))
		}
		c.wait("b", "GROUPS", func(b string) bool { return strings.Count(b, "leader=a prefers=a") == 4 })
		elsewhere := "ERR not leader " + c.configs["a"].Host
		for request, want := range map[string]string{
			"READ t 100000 1":             elsewhere,
			"READ t 100000 1 wait=20":     elsewhere,
			"READ t 1 1":                  "ERR not found",
			"LEAVE c":                     elsewhere,
			"REPLACE c b":                 elsewhere,
			"DRAIN c":                     elsewhere,
			"TRANSFER c group=1":          elsewhere,
			"SETTING partitions 3":        elsewhere,
			"READ nothing 0 1":            elsewhere,
			"READ nothing 0 1 fresh=1":    "ERR not found",
			"INFO nothing fresh=1":        "ERR not found",
			"READ t 100000 1 fresh=1":     "ERR not found",
			"INFO nothing":                elsewhere,
			"DELETE t id=00 now=1":        elsewhere,
			"TRIM t 100":                  elsewhere,
			"TRANSFER a group=0 nonsense": "ERR invalid request",
			"REPLACE c":                   "ERR invalid request",
		} {
			if line, _ := c.ask("b", request); line != want {
				t.Errorf("%s: %q, want %q", request, line, want)
			}
		}
		if line, _ := c.ask("a", "READ nothing 0 1"); line != "ERR not found" {
			t.Errorf("READ of no topic at the leader: %q", line)
		}
		if line, _ := c.ask("a", "READ t 100000 1"); line != "ERR not found" {
			t.Errorf("READ beyond the end at the leader: %q", line)
		}
	})
	t.Run("settings", func(t *testing.T) {
		if _, body := c.ask("c", "CONFIG"); field(body, "Partitions") != "7" || field(body, "Node") != "c" || field(body, "Cluster") != c.id {
			t.Errorf("CONFIG: %q", body)
		}
		c.do("SETTING batch-size 1000")
		c.waitAll("CONFIG", func(b string) bool { return field(b, "MaxBatchSize") == "1000" })
		line, _ := askLine(c, "SETTING batch-size 0")
		other, _ := askLine(c, "SETTING node x")
		if line != "ERR invalid request" || other != "ERR invalid request" {
			t.Errorf("bad settings: %q, %q", line, other)
		}
		c.do("SETTING topics-whitelist t,u")
		c.do("SETTING retention-age 24h")
		c.waitAll("CONFIG", func(b string) bool {
			return field(b, "TopicsWhitelist") == "t,u" && field(b, "RetentionAge") == "24h0m0s"
		})
		c.write("u", "x")
		if line, _ := askLine(c, batchLines("w", "x")); line != "ERR topic not allowed" {
			t.Errorf("a topic that is not listed: %q", line)
		}
		c.do("SETTING topics-whitelist ")
		c.write("w", "x")
		c.do("SETTING topics 3")
		c.waitAll("CONFIG", func(b string) bool { return field(b, "Topics") == "3" })
		if line, _ := askLine(c, batchLines("v", "x")); line != "ERR maximum topics allowed" {
			t.Errorf("one topic too many: %q", line)
		}
	})
	t.Run("drain", func(t *testing.T) {
		c.do("DRAIN a")
		c.wait("b", "CLUSTER", func(b string) bool {
			return strings.Contains(b, "name=a addr="+c.configs["a"].Host) && strings.Contains(b, "leads=0")
		})
		line, _ := askLine(c, "TRANSFER a group=1")
		if line != "ERR invalid request" {
			t.Errorf("TRANSFER to a member that is drained: %q", line)
		}
		c.do("DRAIN b")
		if line, _ := askLine(c, "DRAIN c"); line != "ERR invalid request" {
			t.Errorf("DRAIN of the last one that may lead: %q", line)
		}
		c.do("DRAIN b off=1")
		c.do("DRAIN a off=1")
		c.do("TRANSFER a group=1")
	})
	t.Run("fresh", func(t *testing.T) {
		for i := range 20 {
			name := fmt.Sprintf("f%d", i)
			c.do("SETTING topics 0")
			c.write(name, "x")
			for _, member := range []string{"a", "b", "c"} {
				if line, _ := c.ask(member, "READ "+name+" 0 1 fresh=1"); line != "OK 0 1" {
					t.Fatalf("%s does not see what was acknowledged: %q", member, line)
				}
			}
		}
	})
	t.Run("trim and delete", func(t *testing.T) {
		c.write("t", "two")
		_, info := c.do("INFO t fresh=1")
		next := field(info, "Next")
		if line, _ := c.do("TRIM t " + next); line != "OK "+next+" 0" {
			t.Errorf("TRIM: %q", line)
		}
		for _, name := range []string{"a", "b", "c"} {
			c.wait(name, "INFO t", func(b string) bool { return field(b, "Oldest") == next })
		}
		c.write("t", "three")
		c.same("t")
		id := field(info, "Id")
		if line, _ := askLine(c, "DELETE t id="+strings.Repeat("0", 32)); line != "ERR not found" {
			t.Errorf("DELETE of another id: %q", line)
		}
		c.do("DELETE t id=" + id)
		c.do("DELETE t id=" + id) // said again
		for _, name := range []string{"a", "b", "c"} {
			c.wait(name, "TOPICS", func(b string) bool { return !strings.Contains("\r\n"+b, "\r\nt\r\n") })
		}
		c.write("t", "new")
		if _, again := c.do("INFO t fresh=1"); field(again, "Id") == id {
			t.Error("the new topic has the id of the old one")
		}
		c.same("t")
	})
}

// askLine returns the answer of whoever does not send elsewhere, whatever it is.
func askLine(c *testCluster, request string) (line, body string) {
	c.t.Helper()
	addr := c.configs["a"].Host
	testkit.Eventually(c.t, func() string {
		var err error
		if line, body, err = askAt(addr, request); err != nil {
			return err.Error()
		}
		m := redirected.FindStringSubmatch(line)
		if m == nil {
			return ""
		}
		if addr = m[1]; addr == "" {
			addr = c.configs["b"].Host
		}
		return line
	})
	return line, body
}

// removed waits until a member has ended because it is none any more.
func (c *testCluster) removed(name string) {
	c.t.Helper()
	n := c.nodes[name]
	delete(c.nodes, name)
	ended := make(chan error, 1)
	go func() { ended <- n.Wait() }()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrRemoved) {
			c.t.Errorf("%s, which was removed, ends with %v", name, err)
		}
	case <-time.After(20 * time.Second):
		c.t.Errorf("%s was removed, and does not end", name)
		n.Close()
	}
}

// Members come and go, and lose their disks.
func TestClusterMembers(t *testing.T) {
	c := beginCluster(t, t.TempDir(), nil)
	c.join("b", "c")
	for i := range 20 {
		c.write(fmt.Sprintf("t%d", i), "one")
	}

	// c loses its disk, and comes back under its name with another id.
	c.stop("c")
	if line, _ := askLine(c, "LEAVE b"); line != "ERR invalid request" {
		t.Errorf("LEAVE that would leave two voters: %q", line)
	}
	g := c.configs["c"]
	g.WorkDir = t.TempDir()
	c.configs["c"] = g
	c.start("c")
	var id string
	c.wait("a", "CLUSTER", func(b string) bool {
		m := regexp.MustCompile(`member=(\d+) name=c [^\r]* role=learner state=up`).FindStringSubmatch(b)
		if m != nil {
			id = m[1]
		}
		return m != nil && strings.Contains(b, "role=voter state=down")
	})
	old, _ := strconv.Atoi(id)
	c.do(fmt.Sprintf("REPLACE c %s", id))
	body := c.wait("b", "CLUSTER", func(b string) bool {
		return strings.Count(b, "role=voter state=up") == 3 && strings.Count(b, "member=") == 3
	})
	if old < 4 {
		t.Errorf("the new member has an old id, %d: %s", old, body)
	}
	for i := range 20 {
		c.same(fmt.Sprintf("t%d", i))
	}

	// A fourth one stays a learner; when the third leaves it may take its place.
	d := c.config("d", t.TempDir())
	d.Join, d.Cluster = []string{c.configs["b"].PeerHost}, c.id
	c.configs["d"] = d
	c.start("d")
	c.wait("a", "CLUSTER", func(b string) bool { return regexp.MustCompile(`name=d [^\r]* role=learner state=up`).MatchString(b) })
	a := c.nodes["a"].member.Load()
	ask := &peer.Replace{Cluster: a.who.Cluster}
	for _, m := range a.node.Said().Members {
		switch m.Name {
		case "b":
			ask.Old = m.ID
		case "d":
			ask.New = m.ID
		}
	}
	testkit.Eventually(t, func() string { // what is no member's own place is not given to it
		var answers []string
		for name := range c.nodes {
			err := peernet.Replace(t.Context(), nil, c.configs[name].PeerHost, ask)
			answers = append(answers, fmt.Sprint(err))
		}
		return testkit.Unless(strings.Contains(strings.Join(answers, "\n"), "has not come back as"), fmt.Sprintf("%q", answers))
	})
	c.do("REPLACE b d")
	c.removed("b")
	c.write("t0", "two")
	c.same("t0")

	// Down to one.
	c.do("LEAVE d force=1")
	c.wait("a", "CLUSTER", func(b string) bool {
		return strings.Count(b, "role=voter") == 1 && strings.Count(b, "role=learner") == 1
	})
	c.removed("d")
	c.write("t0", "three")
	c.do("LEAVE c force=1")
	c.removed("c")
	body = c.wait("a", "CLUSTER", func(b string) bool { return strings.Count(b, "member=") == 1 })
	c.write("t0", "four")
	if line, _ := askLine(c, "LEAVE a force=1"); line != "ERR invalid request" {
		t.Errorf("LEAVE of the only voter: %q, %s", line, body)
	}
}

// Who leads decides what goes, and all have the same then.
func TestClusterRetention(t *testing.T) {
	c := beginCluster(t, t.TempDir(), func(g *config.Config) { g.PartitionSize, g.BatchSize, g.Partitions = 1000, 500, 3 })
	c.join("b", "c")
	for i := range 40 {
		c.write("t", fmt.Sprintf("%d %s", i, strings.Repeat("x", 300)))
	}
	for _, name := range []string{"a", "b", "c"} {
		c.wait(name, "INFO t", func(b string) bool { return field(b, "Partitions") == "3" && field(b, "Oldest") != "0" })
	}
	c.same("t")
	c.do("SETTING retention-age 1s")
	_, info := c.do("INFO t fresh=1")
	for _, name := range []string{"a", "b", "c"} {
		c.wait(name, "INFO t", func(b string) bool { return field(b, "Oldest") == field(info, "Next") })
	}
	c.write("t", "after")
	c.same("t")
}

// The hook runs on the member that leads, before anything goes, on any member; and on the
// next one if that has not seen to it.
func TestClusterHooks(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	hook := func(g *config.Config) {
		g.DeleteHook = fmt.Sprintf("/bin/sh -c 'test -f %s.stop && exit 1; echo $LOGD_NODE $LOGD_HOOK_TOPIC $LOGD_HOOK_BASE >>%s' sh", ran, ran)
		g.PartitionSize, g.BatchSize, g.Partitions = 1000, 500, 3
	}
	c := beginCluster(t, t.TempDir(), hook)
	for _, name := range []string{"b", "c"} {
		g := c.config(name, t.TempDir())
		hook(&g)
		g.Join, g.Cluster = []string{c.configs["a"].PeerHost}, c.id
		c.configs[name] = g
		c.start(name)
	}
	c.wait("a", "CLUSTER", func(body string) bool { return strings.Count(body, "role=voter state=up") == 3 })
	c.write("t", "first")
	c.do("TRANSFER b topic=t")
	if err := os.WriteFile(ran+".stop", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		c.write("t", fmt.Sprintf("%d %s", i, strings.Repeat("x", 300)))
	}
	c.wait("b", "HOOKS", func(b string) bool { return strings.Contains(b, "topic=t base=0 ") })
	for _, name := range []string{"a", "b", "c"} {
		c.wait(name, "INFO t", func(b string) bool { return field(b, "Oldest") == "0" })
	}
	if _, body := c.ask("c", "HOOKS"); body != "\r\n" {
		t.Errorf("hooks of a member that does not lead: %q", body)
	}
	// On a busy machine it may lose the lead again, and would get it back after half a minute.
	testkit.Eventually(t, func() string {
		c.do("TRANSFER c topic=t")
		_, body := c.ask("c", "HOOKS")
		return testkit.Unless(strings.Contains(body, "topic=t base=0 "), "HOOKS at c: "+body)
	})
	c.wait("b", "HOOKS", func(b string) bool { return !strings.Contains(b, "topic=t") })
	if err := os.Remove(ran + ".stop"); err != nil {
		t.Fatal(err)
	}
	if line, _ := c.ask("c", "HOOK t 0 retry"); line != "OK" {
		t.Errorf("HOOK: %q", line)
	}
	for _, name := range []string{"a", "b", "c"} {
		c.wait(name, "INFO t", func(b string) bool { return field(b, "Partitions") == "3" })
	}
	got, err := os.ReadFile(ran)
	if err != nil || !strings.Contains(string(got), "c t 0\n") || strings.Count(string(got), "c t ") != strings.Count(string(got), "\n") {
		t.Errorf("hooks ran: %q, %v", got, err)
	}
}

// A member that has lost its log comes back under another id, with the topics that the
// others say are right, and votes again: also where clients have to show who they are.
func TestClusterLostLog(t *testing.T) {
	t.Run("without identities", func(t *testing.T) { testClusterLostLog(t, "", "log", "member") })
	file := filepath.Join(t.TempDir(), "auth.toml")
	const text = "version = 1\n[[identity]]\nname = \"anonymous\"\nallow = [\"read,write,create *\", \"monitor *\"]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("with identities", func(t *testing.T) { testClusterLostLog(t, file, "log") })
}

func testClusterLostLog(t *testing.T, authFile string, lose ...string) {
	c := beginCluster(t, t.TempDir(), func(g *config.Config) { g.AuthFile = authFile })
	c.join("b", "c")
	for i := range 30 {
		c.write(fmt.Sprintf("t%d", i%3), strings.Repeat("x", 1000))
	}
	c.same("t0")
	c.same("t1")
	c.same("t2")
	for _, lost := range lose {
		c.stop("c")
		dir := filepath.Join(c.configs["c"].WorkDir, ".cluster")
		files, _ := filepath.Glob(filepath.Join(dir, "log", "*"))
		if lost == "member" {
			files = []string{filepath.Join(dir, "member")}
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(f, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c.write("t0", "while it was away")
		before := c.nodes["a"].member.Load().node.Said().NextMember
		n := c.start("c")
		body := c.wait("a", "CLUSTER", func(b string) bool {
			return strings.Count(b, "role=voter state=up") == 3 && strings.Count(b, "member=") == 3 ||
				lost == "member" && strings.Contains(b, "role=learner state=up")
		})
		if !strings.Contains(body, fmt.Sprintf("member=%d name=c ", before)) {
			t.Errorf("lost %s: %s", lost, body)
		}
		if lost == "member" { // who it was can't be known: that is for the operator
			m := regexp.MustCompile(`member=(\d+) name=c [^\r]*role=voter state=down`).FindStringSubmatch(body)
			if m == nil {
				t.Fatal(body)
			}
			c.do(fmt.Sprintf("REPLACE %s %d", m[1], before))
		}
		if fetched := n.member.Load().node.Stats().Fetched; fetched > 2000 {
			t.Errorf("lost %s: %d bytes were fetched", lost, fetched)
		}
		for i := range 3 {
			c.same(fmt.Sprintf("t%d", i))
		}
	}
}

// The number of batches that are looked through for a number is changed at once: where
// it is 0 numbers are refused.
func TestClusterProducersLive(t *testing.T) {
	c := beginCluster(t, t.TempDir(), nil)
	numbered := func(seq int) string {
		line, rest, _ := strings.Cut(batchLines("t", "x"), "\r\n")
		return fmt.Sprintf("%s pid=p seq=%d\r\n%s", line, seq, rest)
	}
	set := func(n int) {
		c.do(fmt.Sprintf("SETTING producers %d", n))
		c.wait("a", "CONFIG", func(body string) bool { return strings.Contains(body, fmt.Sprintf("Producers: %d\r\n", n)) })
	}
	want := func(request, want string) {
		t.Helper()
		if line, _ := c.ask("a", request); line != want {
			t.Errorf("answered %q, want %q", line, want)
		}
	}
	c.do(numbered(1))
	want(numbered(1), "OK 0 1")
	set(0)
	want(numbered(2), "ERR invalid request")
	set(1000)
	want(numbered(1), "OK 0 1") // it is known still
	want(numbered(3), "ERR out of order 2")
	c.do(numbered(2))
}

// TestClusterTLS: members speak TLS to each other, by certificates that can be renewed; who
// has none of the authority's is admitted by nobody, and hears nothing.
func TestClusterTLS(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	secure := func(g *config.Config, a *testkit.Authority) {
		g.PeerTLSCert, g.PeerTLSKey = a.Issue(t, g.Node, []string{"127.0.0.1"})
		g.PeerTLSCA = ours.File
	}
	c := beginCluster(t, t.TempDir(), func(g *config.Config) { secure(g, ours) })
	add := func(name string, change func(*config.Config)) error {
		g := c.config(name, t.TempDir())
		g.Join, g.Cluster = []string{c.configs["a"].PeerHost}, c.id
		change(&g)
		c.configs[name] = g
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if name == "x" {
			ctx, cancel = context.WithTimeout(t.Context(), 700*time.Millisecond)
		}
		defer cancel()
		n, err := Start(ctx, Options{Config: g, Version: "test"})
		if err == nil {
			c.nodes[name] = n
		}
		return err
	}
	for _, name := range []string{"b", "c"} {
		if err := add(name, func(g *config.Config) { secure(g, ours) }); err != nil {
			t.Fatal(err)
		}
	}
	c.wait("a", "CLUSTER", func(body string) bool { return strings.Count(body, "role=voter state=up") == 3 })
	c.write("t", "x")
	c.same("t")

	for what, change := range map[string]func(*config.Config){
		"without TLS":                        func(*config.Config) {},
		"a certificate of another authority": func(g *config.Config) { secure(g, theirs) },
	} {
		if err := add("x", change); err == nil {
			t.Errorf("%s: admitted", what)
		}
	}
	if body := c.wait("a", "CLUSTER", func(string) bool { return true }); strings.Contains(body, "name=x") {
		t.Errorf("a stranger is a member: %s", body)
	}
	nc, err := net.Dial("tcp", c.configs["a"].PeerHost)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, "PEER 1\r\n")
	if b, err := io.ReadAll(nc); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(b), "ERR") || strings.Contains(string(b), "OK") {
		t.Errorf("a stranger without TLS is answered %q, %v", b, err)
	}

	// A renewed certificate is in force for the connections that come.
	g, end := c.configs["b"], time.Now().Add(100*time.Hour).Truncate(time.Second)
	g.PeerTLSCert, g.PeerTLSKey = ours.Issue(t, "renewed", []string{"127.0.0.1"}, testkit.Ends(end))
	if err := c.nodes["b"].reloadTo(g); err != nil || !c.nodes["b"].secured.peer.Ends().Equal(end) {
		t.Errorf("the renewed certificate is not in force: %v", err)
	}
	c.stop("c")
	c.start("c")
	c.wait("a", "CLUSTER", func(body string) bool { return strings.Count(body, "role=voter state=up") == 3 })
	c.write("t", "y")
	c.same("t")
	g.PeerTLSCA = theirs.File
	if err := c.nodes["b"].reloadTo(g); err != nil || c.nodes["b"].secured.peer.Verify([]*x509.Certificate{ours.Cert}) == nil {
		t.Errorf("another authority is not in force: %v", err)
	}
	if ok, failed := c.nodes["a"].secured.peer.Handshakes(); ok < 4 || failed == 0 {
		t.Errorf("%d handshakes went well and %d did not", ok, failed)
	}
}

// TestWaitsForAdmission: a member that nobody admits yet says so, and is one that moves on:
// who started it waits as long as it takes.
func TestWaitsForAdmission(t *testing.T) {
	c := &testCluster{t: t}
	g := c.config("b", t.TempDir())
	g.HTTPHost = "127.0.0.1:0"
	nobody := testkit.FreeAddr(t)
	g.Join, g.Cluster = []string{nobody}, strings.Repeat("5", 32)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type said struct {
		status string
		moves  bool
	}
	told := make(chan said, 100)
	ended := make(chan error, 1)
	go func() {
		_, err := Start(ctx, Options{Config: g, Recovering: func(status string, moves bool) { told <- said{status, moves} }})
		ended <- err
	}()
	for range 3 {
		select {
		case s := <-told:
			if !s.moves || !strings.Contains(s.status, "asking to be admitted to the cluster") {
				t.Errorf("%+v", s)
			}
			if strings.Contains(s.status, nobody) {
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				return
			}
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(20 * time.Second):
			t.Fatal("nobody is told")
		}
	}
	t.Error("it does not say who does not answer")
}

// TestClusterReload: what is a member's own changes by a reload, with what is the cluster's
// as it is, and a change of that leaves it.
func TestClusterReload(t *testing.T) {
	c := beginCluster(t, t.TempDir(), nil)
	g := c.configs["a"]
	g.Codecs, g.UncompressedSize, g.BatchSize = batch.S2, 3<<20, 2<<20
	if err := c.nodes["a"].Reload(func() (config.Config, error) { return g, nil }); err != nil {
		t.Fatal(err)
	}
	own := func(when, batchSize string) {
		t.Helper()
		_, body := c.ask("a", "CONFIG")
		got := [...]string{field(body, "Codecs"), field(body, "MaxUncompressedSize"), field(body, "MaxBatchSize")}
		if want := [...]string{"s2", "3145728", batchSize}; got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	own("after the reload", "65536")
	c.do("SETTING batch-size 1000")
	c.wait("a", "CONFIG", func(b string) bool { return field(b, "MaxBatchSize") == "1000" })
	own("after a change of the cluster", "1000")
}

// TestClusterAuthDigest: each member tells all others which file of identities it goes by,
// also after a reload; one that has none tells nothing.
func TestClusterAuthDigest(t *testing.T) {
	file := uidFile(t, 1)
	c := beginCluster(t, t.TempDir(), func(g *config.Config) { g.AuthFile = file })
	g := c.config("b", t.TempDir())
	g.Join, g.Cluster = []string{c.configs["a"].PeerHost}, c.id
	c.configs["b"] = g
	c.start("b")
	digests := func(is func(a, b string) bool) (a string) {
		t.Helper()
		c.wait("b", "CLUSTER", func(body string) bool {
			m := regexp.MustCompile(` name=a .* auth=(\S+)\r\n.* name=b .* auth=(\S+)\r\n`).FindStringSubmatch(body)
			if m == nil || !is(m[1], m[2]) {
				return false
			}
			a = m[1]
			return true
		})
		return a
	}
	before := digests(func(a, b string) bool { return len(a) == 12 && b == "-" })
	if err := os.WriteFile(file, []byte("version = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes["a"].Reload(func() (config.Config, error) { return c.configs["a"], nil }); err != nil {
		t.Fatal(err)
	}
	digests(func(a, b string) bool { return len(a) == 12 && a != before && b == "-" })
}
