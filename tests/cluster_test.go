package tests

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cluster is one of processes, each with an address of its own.
type cluster struct {
	t     testing.TB
	net   network
	id    string
	et    time.Duration // the election timeout
	dir   string
	flags []string      // of all members
	equip func(*member) // gives a new member what it is to have; nil: nothing

	begun  time.Time // of traffic
	events []string  // what happened to members, to be told if the test fails

	mu      sync.Mutex
	members []*member
}

// member is a place for a process, with a name, an address and a work directory. What
// runs there may come and go.
type member struct {
	c       *cluster
	name    string
	host    int
	ip      string
	command []string
	flags   []string // of this member alone
	dir     string
	s       *server  // nil if nothing runs
	machine *machine // with a power supply of its own; nil: this one
	stopped bool     // by a SIGSTOP
	out     bool     // it is no part of the cluster, or not any more
}

// note notes what happens to a member, with the time of the traffic's clock.
func (c *cluster) note(m *member, what string) {
	c.events = append(c.events, fmt.Sprintf("%v %s %s", time.Since(c.begun).Round(time.Millisecond), m, what))
}

func (m *member) addr() string { return m.ip + ":1774" }

func (m *member) String() string { return m.name }

// clusterFlags are settings of a new cluster that make much happen with few bytes.
var clusterFlags = []string{"--partition-size", "256KiB", "--partitions", "100000"}

// newCluster starts a cluster of so many members, and returns when all vote that can.
func newCluster(t testing.TB, n network, size int, et time.Duration) *cluster {
	t.Helper()
	c := makeCluster(t, n, et)
	c.run(size)
	return c
}

// makeCluster makes one that has no members yet.
func makeCluster(t testing.TB, n network, et time.Duration) *cluster {
	t.Helper()
	return &cluster{t: t, net: n, et: et, dir: t.TempDir(), flags: []string{"--election-timeout", et.String()}}
}

// run starts so many members of a cluster that was made, and returns when all vote that can.
func (c *cluster) run(size int) {
	t := c.t
	t.Helper()
	t.Cleanup(c.end)
	first := c.place("a")
	out, err := c.initCommand(first).CombinedOutput()
	if err != nil {
		t.Fatalf("logd cluster init: %v\n%s", err, out)
	}
	c.id = strings.TrimSpace(string(out))
	first.start()
	for i := 1; i < size; i++ {
		c.place(string(rune('a' + i))).start()
	}
	c.voters(size - (1 - size%2))
}

// initCommand is logd cluster init for a member.
func (c *cluster) initCommand(m *member) *exec.Cmd {
	args := append([]string{"cluster", "init", "--config", built.noConfig, "--workdir", m.dir, "--node", m.name,
		"--host", m.addr(), "--peer-host", m.ip + ":1776"}, clusterFlags...)
	cmd := exec.Command(built.logd, args...)
	cmd.Env = environment()
	return cmd
}

// place makes a place for a member.
func (c *cluster) place(name string) *member {
	c.t.Helper()
	m := &member{c: c, name: name, host: len(c.members) + 1, dir: filepath.Join(c.dir, name)}
	m.ip, m.command = c.net.host(m.host)
	if c.equip != nil {
		c.equip(m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(c.members, m)
	return m
}

// addrs returns where members are, or were.
func (c *cluster) addrs() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		all = append(all, m.addr())
	}
	return all
}

// start starts the member's process and waits until it takes requests. A member that
// never was one joins.
func (m *member) start() {
	m.c.t.Helper()
	m.begin()
	m.s.await("logd takes requests")
	m.c.note(m, "takes requests")
}

// begin is start that does not wait.
func (m *member) begin() {
	m.c.t.Helper()
	flags := append([]string{"--node", m.name, "--host", m.addr(), "--peer-host", m.ip + ":1776", "--http-host", m.ip + ":1780", "--insecure"}, slices.Concat(m.c.flags, m.flags)...)
	for _, other := range m.c.members {
		if other != m {
			flags = append(flags, "--join", other.ip+":1776")
		}
	}
	if len(m.c.members) > 1 {
		flags = append(flags, "--cluster", m.c.id)
	}
	m.c.note(m, "starts")
	m.s = launchLoose(m.c.t, m.command, m.dir, flags...)
	m.out = false
}

// running reports whether the process runs, stopped or not.
func (m *member) running() bool { return m.s != nil && m.s.running() }

func (m *member) signal(sig syscall.Signal) {
	m.c.t.Helper()
	m.c.note(m, sig.String())
	if err := m.c.net.signal(m.host, m.s, sig); err != nil {
		m.c.t.Fatalf("signal %v to %s: %v", sig, m, err)
	}
}

// kill ends the process without asking.
func (m *member) kill() {
	m.c.t.Helper()
	m.signal(syscall.SIGKILL)
	m.s.wait()
	m.stopped = false
}

// stop ends the process in order.
func (m *member) stop() {
	m.c.t.Helper()
	m.signal(syscall.SIGTERM)
	if code := m.s.wait(); code != 0 {
		m.c.t.Errorf("exit code %d of %s after SIGTERM, want 0", code, m)
	}
}

// pause stops the process as a machine does that hangs.
func (m *member) pause() {
	m.c.t.Helper()
	m.signal(syscall.SIGSTOP)
	m.stopped = true
}

func (m *member) resume() {
	m.c.t.Helper()
	m.signal(syscall.SIGCONT)
	m.stopped = false
}

// end kills what still runs, and looks at how all has ended.
func (c *cluster) end() {
	if c.t.Failed() {
		for _, m := range c.members {
			if m.running() {
				groups, err := m.ask("GROUPS")
				c.t.Logf("GROUPS at %s: %v\n%s", m, err, groups)
			}
		}
	}
	for _, m := range c.members {
		if m.running() {
			if err := c.net.signal(m.host, m.s, syscall.SIGKILL); err != nil {
				c.t.Errorf("kill %s: %v", m, err)
			}
			m.s.awaited = true
		} else if m.s != nil && !m.s.awaited {
			c.t.Errorf("%s has ended by itself: %v", m, m.s.cmd.ProcessState)
		}
	}
	if c.t.Failed() {
		c.t.Logf("what happened:\n%s", strings.Join(c.events, "\n"))
	}
	for _, m := range c.members {
		if m.s == nil {
			continue
		}
		m.s.wait()
		if m.s.log.contains("panic") {
			c.t.Errorf("%s has panicked", m)
		}
		if c.t.Failed() {
			c.t.Logf("the log of %s:\n%s", m, m.s.log.tail())
		}
	}
}

// ask sends a line to a member and returns the answer's line or body. An error answer
// is a refusal.
func (m *member) ask(format string, args ...any) (string, error) {
	nc, err := dialFor(m.c.net, m.addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second)) // a server gives up after 15
	if _, err := fmt.Fprintf(nc, format+"\r\n", args...); err != nil {
		return "", err
	}
	c := &conn{in: bufio.NewReader(nc)}
	if b, err := c.in.Peek(4); err == nil && string(b) == "MOK " {
		return c.body()
	}
	return c.answer()
}

// command has the cluster do something, asking whoever may do it until it is done.
func (c *cluster) command(format string, args ...any) {
	c.t.Helper()
	c.commandUntil(func() bool { return false }, format, args...)
}

// commandUntil is command that also ends when done says so: where the answer was lost a
// second try may be refused, since it is done.
func (c *cluster) commandUntil(done func() bool, format string, args ...any) {
	c.t.Helper()
	line := fmt.Sprintf(format, args...)
	var last error
	for begun := time.Now(); time.Since(begun) < patience; {
		for _, m := range c.members {
			if !m.running() || m.stopped || m.out {
				continue
			}
			_, err := m.ask("%s", line)
			if err == nil {
				return
			}
			var r refusal
			if errors.As(err, &r) && strings.HasPrefix(string(r), "not leader") && last != nil {
				continue // what the leader says tells more
			}
			last = err
		}
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("%s: after %v still %v\n%v\n%v", line, patience, last, c.table("CLUSTER"), c.table("GROUPS"))
}

// words are the words "key=value" of a line.
func words(line string) map[string]string {
	m := make(map[string]string)
	for _, w := range strings.Fields(line) {
		if k, v, ok := strings.Cut(w, "="); ok {
			m[k] = v
		}
	}
	return m
}

// table asks a member that answers for CLUSTER or GROUPS, and returns the lines.
func (c *cluster) table(command string) (rows []map[string]string) {
	for _, m := range c.members {
		if !m.running() || m.stopped || m.out {
			continue
		}
		body, err := m.ask("%s", command)
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if w := words(line); w["member"] != "" || w["group"] != "" {
				rows = append(rows, w)
			}
		}
		return rows
	}
	return nil
}

// eventually waits until the answer is yes. Each question is one to the cluster.
func (c *cluster) eventually(what string, ask func() bool) {
	c.t.Helper()
	begun := time.Now()
	for !ask() {
		if time.Since(begun) > patience {
			c.t.Fatalf("after %v still not: %s\n%v\n%v", patience, what, c.table("CLUSTER"), c.table("GROUPS"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// voters waits until so many members vote in all groups, are up, and have all.
func (c *cluster) voters(n int) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%d voters in all groups", n), func() bool {
		groups := c.table("GROUPS")
		for _, g := range groups {
			if g["leader"] == "-" || len(strings.Split(g["voters"], ",")) != n {
				return false
			}
		}
		k := 0
		for _, m := range c.table("CLUSTER") {
			if m["state"] != "up" || m["role"] == "joining" || m["role"] == "leaving" {
				return false
			}
			if m["role"] == "voter" {
				k++
			}
		}
		return len(groups) > 0 && k == n
	})
}

// leader waits until a topic has a leader that knows of it, and returns it.
func (c *cluster) leader(topic string) (leader *member) {
	c.t.Helper()
	c.eventually("a leader of "+topic, func() bool {
		for _, m := range c.members {
			if !m.running() || m.stopped || m.out {
				continue
			}
			if body, err := m.ask("INFO %s", topic); err == nil && fields(body)["Role"] == "leader" {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

// follower returns a running member that does not lead the topic.
func (c *cluster) follower(topic string) *member {
	c.t.Helper()
	leader := c.leader(topic)
	for _, m := range c.members {
		if m != leader && m.running() && !m.stopped && !m.out {
			return m
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// live returns the members that are a part of the cluster.
func (c *cluster) live() (all []*member) {
	for _, m := range c.members {
		if !m.out {
			all = append(all, m)
		}
	}
	return all
}
