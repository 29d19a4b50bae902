package tests

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mirror is a topic that is written to at one server, and copied to another one whose
// batches are smaller, by log-cli.
type mirror struct {
	t      *testing.T
	from   *server
	to     *server
	dirs   [2]string
	state  string // the file; empty if it is a position of the source
	copy   *exec.Cmd
	stderr strings.Builder
}

func newMirror(t *testing.T) *mirror {
	m := &mirror{t: t, dirs: [2]string{t.TempDir(), t.TempDir()}, state: filepath.Join(t.TempDir(), "state")}
	m.from = start(t, m.dirs[0])
	m.to = start(t, m.dirs[1], "--batch-size", "150")
	t.Cleanup(m.killCopy)
	return m
}

// command returns a copy.
func (m *mirror) command(more ...string) *exec.Cmd {
	args := append([]string{"copy", "t", "--to-host", m.to.addr}, more...)
	if m.state != "" {
		args = append(args, "--state", m.state)
	}
	return cli(m.t, m.from.addr, args...)
}

// begin starts a copy that follows, if none is running.
func (m *mirror) begin() {
	m.t.Helper()
	if m.copy != nil {
		return
	}
	m.copy = m.command("-F")
	m.copy.Stderr = &m.stderr
	if err := m.copy.Start(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mirror) killCopy() {
	if m.copy != nil {
		m.copy.Process.Kill()
		m.copy.Wait()
	}
	m.copy = nil
}

func (m *mirror) killFrom() {
	m.from.kill()
	m.from = start(m.t, m.dirs[0], "--host", m.from.addr)
}

func (m *mirror) killTo() {
	m.to.kill()
	m.to = start(m.t, m.dirs[1], "--host", m.to.addr, "--batch-size", "150")
}

// write writes lines at the source until the function that it returns is called, which
// returns how many there are.
func (m *mirror) write() (stop func() int) {
	m.t.Helper()
	cmd := cli(m.t, m.from.addr, "write", "t", "--wait-interval", "1ms", "-c", "5", "--output", os.DevNull)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	end, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-end:
				in.Close()
				sent <- n
				return
			}
			for range 10 {
				n++
				fmt.Fprintf(in, "line %d of those that are copied\n", n)
			}
		}
	}()
	return func() int {
		close(end)
		n := <-sent
		if err := cmd.Wait(); err != nil {
			m.t.Error(err)
		}
		return n
	}
}

// differs copies the rest, and returns how the target differs from n lines.
func (m *mirror) differs(n int) error {
	m.t.Helper()
	m.killCopy()
	if out, err := m.command("-o", "json").CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s\nbefore that:\n%s", err, out, &m.stderr)
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "line %d of those that are copied\n", i+1)
	}
	return m.compare(want.String())
}

// compare returns how the target differs from what it is to have.
func (m *mirror) compare(want string) error {
	m.t.Helper()
	read := cli(m.t, m.to.addr, "read", "t")
	got, err := read.StdoutPipe()
	if err == nil {
		err = read.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	differs := sameStream(got, strings.NewReader(want))
	io.Copy(io.Discard, got)
	if err := read.Wait(); err != nil {
		m.t.Fatal(err)
	}
	return differs
}

// someTime is as long as it takes for a copy to have batches on their way, or less.
func someTime(r *rand.Rand) { time.Sleep(time.Duration(20+r.IntN(200)) * time.Millisecond) }

// TestCopyOutlivesKills kills the copy, its source and its target while lines come:
// each is stored once, in order.
func TestCopyOutlivesKills(t *testing.T) {
	for _, kept := range []string{"in a file", "as a position"} {
		t.Run(kept, func(t *testing.T) {
			m := newMirror(t)
			if kept == "as a position" {
				m.state = ""
			}
			m.outlivesKills()
		})
	}
}

func (m *mirror) outlivesKills() {
	t := m.t
	kills := int(setting(t, "LOGD_SOAK_KILLS", 4))
	r := random(t)
	stop := m.write()
	for i := range 3 * kills {
		m.begin()
		someTime(r)
		switch i % 3 {
		case 0:
			m.killCopy()
		case 1:
			m.killTo()
		case 2:
			m.killFrom()
		}
		if r.IntN(4) == 0 {
			m.killCopy()
			m.killTo()
		}
	}
	n := stop()
	if err := m.differs(n); err != nil {
		t.Errorf("%v\ncopy said:\n%s", err, &m.stderr)
	}
	t.Logf("%d lines over %d kills", n, 3*kills)
}

// TestCopyControl: a copy that numbers its batches anew after a kill stores some twice,
// and the test above would notice.
func TestCopyControl(t *testing.T) {
	m, r := newMirror(t), random(t)
	for i := range 20 {
		stop := m.write()
		m.begin()
		someTime(r)
		m.killCopy()
		n := stop()
		text, err := os.ReadFile(m.state)
		if err != nil {
			continue // it was killed before it had begun
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		words := strings.Fields(lines[len(lines)/2]) // what came behind it is stored under its numbers
		if len(words) == 7 {
			words[4], words[6] = strconv.Itoa(i+1), "1" // another generation
			text = append(text, strings.Join(words, " ")+"\n"...)
			if err := os.WriteFile(m.state, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.differs(n); err != nil {
			t.Logf("seen in round %d: %v", i+1, err)
			return
		}
		m = newMirror(t) // since lines begin at 1
	}
	t.Error("no line was stored twice, or it was not seen")
}

// TestImportOutlivesKills kills an import and its server again and again: a further run
// stores what is not there yet, without any state.
func TestImportOutlivesKills(t *testing.T) {
	m, r := newMirror(t), random(t)
	stop := m.write()
	time.Sleep(time.Second)
	n := stop()
	file := filepath.Join(t.TempDir(), "export")
	if out, err := cli(t, m.from.addr, "export", "t", "-O", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	killed := 0
	for i := range 3 * int(setting(t, "LOGD_SOAK_KILLS", 4)) {
		m.copy = cli(t, m.to.addr, "import", file)
		if err := m.copy.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+r.IntN(60)) * time.Millisecond)
		if i%3 == 2 {
			m.killTo()
		}
		m.copy.Process.Kill()
		if m.copy.Wait(); m.copy.ProcessState.ExitCode() < 0 { // else it had ended
			killed++
		}
		m.copy = nil
	}
	if killed == 0 {
		t.Error("no import was killed before it had ended")
	}
	if out, err := cli(t, m.to.addr, "import", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "line %d of those that are copied\n", i+1)
	}
	if err := m.compare(want.String()); err != nil {
		t.Error(err)
	}
	t.Logf("%d lines, %d kills", n, killed)
}
