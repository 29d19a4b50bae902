package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClusterVoteWithoutRoom has a member of three not be able to write its log, as on a
// disk that is full to the last byte, and kills the leader. The third needs that member's
// vote: it must not get it before the vote can be written, and so nobody leads.
func TestClusterVoteWithoutRoom(t *testing.T) {
	t.Parallel()
	const topic = "t"
	c := newCluster(t, newLoopback(), 3, shortTimeout)
	first := c.members[0]
	if got := first.number(topic, "p", []int{1}); got[0] != "OK" {
		t.Fatalf("the first batch is answered %q", got)
	}
	leader := c.leader(topic)
	if leader != first {
		t.Fatalf("%s leads, and %s has begun the cluster", leader, first)
	}
	c.settle([]string{topic})
	voter, other := c.members[1], c.members[2]
	room := noRoomForLog(t, voter)
	leader.kill()
	voter.s.await("no room: what is written is not acknowledged until there is")
	for begun := time.Now(); time.Since(begun) < 5*c.et; time.Sleep(c.et / 20) {
		body, err := other.ask("GROUPS")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if w := words(line); w["leader"] != "" && w["leader"] != "-" && w["leader"] != leader.name {
				t.Fatalf("%s leads without the vote of %s, whose log can't be written: %s", w["leader"], voter, line)
			}
		}
	}
	room()
	c.eventually("the second batch", func() bool {
		return slices.ContainsFunc(c.members[1:], func(m *member) bool { return m.number(topic, "p", []int{2})[0] == "OK" })
	})
	leader.start()
	c.settle([]string{topic})
	c.stopAll()
}

// noRoomForLog has every write to the log of a member fail for want of room, until the
// function is called that it returns.
func noRoomForLog(t *testing.T, m *member) (room func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		cannot(t, "needs strace: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(m.dir, ".cluster", "log", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the log of %s: %v, %v", m, files, err)
	}
	args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "signal=none", "-e", "trace=pwrite64,pwritev", "-e", "inject=pwrite64,pwritev:error=ENOSPC"}
	for _, name := range files {
		args = append(args, "-P", name)
	}
	pid := m.s.cmd.Process.Pid
	cmd := exec.Command(strace, append(args, "-p", fmt.Sprint(pid))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		cannot(t, "strace may not trace here: %v", err)
	}
	room = func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGTERM) // it lets go of the process
		cmd.Wait()
	}
	t.Cleanup(room)
	eventually(t, "all threads are traced", func() bool {
		names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		return err == nil && len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool {
			b, err := os.ReadFile(name)
			return err == nil && strings.Contains(string(b), "\nTracerPid:\t0\n")
		})
	})
	return room
}
