package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// machine is what a member runs on that loses its power: a disk, and the number of the
// boot, by which a start knows that the machine was down.
type machine struct {
	*disk
	boot  string // the file that stands in the place of the kernel's
	boots int
}

// newMachine gives a member a machine.
func newMachine(t *testing.T, m *member) {
	t.Helper()
	if _, err := exec.LookPath("unshare"); err != nil {
		cannot(t, "needs unshare (Debian's package util-linux)")
	}
	m.machine = &machine{disk: newDisk(t, "ext4", "64M"), boot: filepath.Join(t.TempDir(), "boot_id")}
	m.dir = filepath.Join(m.machine.dir, m.name)
	m.machine.up(t)
	m.command = slices.Concat([]string{
		"unshare", "--mount", "--propagation", "slave",
		"sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, m.machine.boot,
	}, m.command)
}

// up begins another boot.
func (m *machine) up(t testing.TB) {
	t.Helper()
	m.boots++
	if err := os.WriteFile(m.boot, fmt.Appendf(nil, "%08d-0000-4000-8000-000000000000\n", m.boots), 0o600); err != nil {
		t.Fatal(err)
	}
}

// powerCut cuts the power of the machines of members that run, at one moment: none of them
// does anything from then on, and what was not on stable storage is gone. A sync that is
// under way is either done before that, or its success was never seen. So what was
// acknowledged is exactly what clients have heard, or what is on its way to them.
func (c *cluster) powerCut(members ...*member) {
	c.t.Helper()
	for _, m := range members {
		m.pause()
	}
	for _, m := range members {
		m.awaitStop()
	}
	for _, m := range members {
		if err := m.machine.cutPower(); err != nil {
			c.t.Fatal(err)
		}
		c.note(m, "has no power")
	}
	for _, m := range members {
		m.kill()
	}
	for _, m := range members {
		m.machine.remount()
		m.machine.up(c.t)
	}
}

// awaitStop waits until every thread of a process that was sent SIGSTOP has stopped, also
// one that is in a sync.
func (m *member) awaitStop() {
	m.c.t.Helper()
	eventually(m.c.t, "all of "+m.name+" has stopped", func() bool {
		if !m.running() {
			m.c.t.Fatalf("%s has ended by itself", m)
		}
		names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", m.s.cmd.Process.Pid))
		if err != nil || len(names) == 0 {
			return false
		}
		return !slices.ContainsFunc(names, func(name string) bool {
			b, err := os.ReadFile(name)
			_, state, _ := strings.Cut(string(b), ") ")
			return err == nil && !strings.HasPrefix(state, "T") // a thread that has ended does nothing
		})
	})
}

// TestClusterPowerCut cuts the power of all members of a cluster at once, again and again,
// under traffic, and now and then of one of them, and while they start. All that was
// acknowledged is there in the end, once, in order. With few topics a round syncs each file
// by itself, with many the file system. The control is servers that leave out a sync, or
// answer before it: TestSeededProcesses.
func TestClusterPowerCut(t *testing.T) {
	t.Parallel()
	cuts := 4 + int(setting(t, "LOGD_POWER_CYCLES", 10))/50
	if brief() {
		cuts = 2
	}
	for name, topics := range map[string][]string{"few topics": trafficTopics[:2], "many topics": trafficTopics} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cutClusterPower(t, cuts, topics)
		})
	}
}

func cutClusterPower(t *testing.T, cuts int, topics []string) {
	t.Helper()
	r := random(t)
	c := makeCluster(t, newLoopback(), shortTimeout)
	c.equip = func(m *member) { newMachine(t, m) }
	c.run(3)
	l := startTraffic(c, r, writing{topics: topics, plain: 2})
	begun := time.Now()
	for i := range cuts {
		l.goesOn(1 + r.Int64N(80))
		hit := c.live()
		if i > 0 && r.IntN(4) == 0 {
			hit = hit[:1]
		}
		c.powerCut(hit...)
		for again := i > 0 && r.IntN(3) == 0; ; again = false {
			for _, m := range hit {
				m.begin()
			}
			if !again {
				break
			}
			time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond) // wherever they then are
			c.powerCut(hit...)
		}
		for _, m := range hit {
			m.s.await("logd takes requests")
		}
	}
	h := c.finish(l, false)
	acks := 0
	for i := range h.writes {
		if h.writes[i].fate == acked {
			acks++
		}
	}
	t.Logf("%d times in %v: %d batches acknowledged", cuts, time.Since(begun).Round(time.Millisecond), acks)
}
