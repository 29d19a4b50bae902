package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEndOnFrozenDisk: the shutdown of a server whose disk answers nothing ends by
// shutdown-timeout, and at once by a second signal, and so do its delete hooks.
// A thread that the kernel holds in a write can't be killed, and may be the first
// one: what is left of the process stays until the disk answers, as it would after
// SIGKILL.
func TestEndOnFrozenDisk(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout time.Duration
		signals int
		within  time.Duration
		says    string
	}{
		{"shutdown-timeout", time.Second, 1, 10 * time.Second, "shut down: the disk does not answer"},
		{"second signal", time.Hour, 2, 10 * time.Second, "a second signal cut the shutdown short"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDisk(t, "ext4", "64M")
			notes := t.TempDir()
			hook := filepath.Join(notes, "hook")
			script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/begun; mv %s/begun %s/pid; sleep 600\n", notes, notes, notes)
			if err := os.WriteFile(hook, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			s := start(t, filepath.Join(d.dir, "logs"), "--flush-batches", "1", "--shutdown-timeout", test.timeout.String(),
				"--partitions", "1", "--partition-size", "128", "--batch-size", "128", "--delete-hook", hook)
			c := dial(t, s.addr)
			for range 2 {
				c.append("t", strings.Repeat("x", 60))
			}
			var pid int
			eventually(t, "the hook runs", func() bool {
				text, _ := os.ReadFile(filepath.Join(notes, "pid"))
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return pid > 0
			})

			thaw := freeze(t, d)
			c.write("%s", encode("t", "one that is stuck"))
			eventually(t, "a thread is stuck", func() bool { return strings.Contains(threads(s.cmd.Process.Pid), "D") })
			begun := time.Now()
			for range test.signals {
				s.signal(syscall.SIGTERM)
				if test.signals > 1 {
					s.await("shutting down")
				}
			}
			eventually(t, "the process ends", func() bool { return strings.Trim(threads(s.cmd.Process.Pid), "DZ") == "" })
			if took := time.Since(begun); took > test.within {
				t.Errorf("it took %v, want at most %v", took, test.within)
			}
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH && state(pid) != 'Z' {
				t.Errorf("the delete hook still runs: %v", err)
			}
			thaw()
			if code := s.wait(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if !s.log.contains(test.says) {
				t.Errorf("the log does not say %q:\n%s", test.says, s.log.tail())
			}
			// All that was acknowledged is there.
			s = start(t, filepath.Join(d.dir, "logs"), "--partition-size", "128", "--batch-size", "128")
			if got := dial(t, s.addr).all("t", 0); len(got) < 2 {
				t.Errorf("%d batches are left of 2", len(got))
			}
			s.stop()
		})
	}
}

// state returns the letter that the kernel has for the state of a process or
// thread, 0 for none.
func state(id any) byte {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%v/stat", id))
	_, rest, _ := strings.Cut(string(text), ") ")
	if rest == "" {
		return 0
	}
	return rest[0]
}

// threads returns the letters of all threads of a process.
func threads(pid int) string {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	var letters []byte
	for _, task := range tasks {
		letters = append(letters, state(strings.TrimPrefix(task, "/proc/")))
	}
	return string(letters)
}
