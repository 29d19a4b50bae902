package files

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestStorm rotates while the agent reads, in real time and with events: about 50 times a
// second, by rename, by rename and removal some scans later, by copytruncate, and by
// turning a symlink. All lines must come, once, and those of a file in order.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	seed, _ := seeds(t, 1, 1)
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	s := newSink(t)
	w := &world{t: t, dir: dir, sink: s}
	m, err := New(Options{Sink: s, Log: slog.New(slog.NewTextHandler(&w.logs, nil))}, []Config{{
		Name: "in", Glob: dir + "/*.log*", Lines: lines.Settings{Max: 100},
		ScanInterval: 20 * time.Millisecond, RotatedWait: 200 * time.Millisecond,
	}})
	w.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	defer stop()
	<-m.Ready()
	want := make(map[string]int)
	var old []string
	for i := range 150 {
		name := fmt.Sprintf("w%d", i)
		n := 100 + r.IntN(200)
		path := []string{"a.log", "b.log", "link.log"}[r.IntN(3)]
		if path == "link.log" {
			twoScans(t, m) // that to which the link leads is found by the link alone
			w.write("to."+name, text(name, 0, n))
			w.must(os.Symlink("to."+name, w.path("turn")))
			w.rename("turn", path)
		} else {
			if _, err := os.Stat(w.path(path)); err == nil {
				to := fmt.Sprintf("%s.%d", path, i)
				if r.IntN(3) == 0 {
					twoScans(t, m) // of two files that are found at once, none is a copy of the other
					w.copy(path, to)
					w.truncate(path, 0)
				} else {
					w.rename(path, to)
					old = append(old, to)
				}
			}
			w.write(path, text(name, 0, n))
		}
		fmt.Fprintln(&w.logs, name, "is in", path)
		want[name] = n
		if i%20 == 10 {
			s.setRoom(int64(r.IntN(1000)))
		} else if i%20 == 19 {
			s.setRoom(-1)
		}
		// What is removed was seen by a scan under its last name.
		if len(old) > 20 {
			twoScans(t, m)
			w.remove(old[0])
			old = old[1:]
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.setRoom(-1)
	for end := time.Now().Add(30 * time.Second); complete(s.bodies(), want) != nil && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if err := complete(s.bodies(), want); err != nil {
		t.Errorf("%v\nlog:\n%s", err, w.logs.String())
	}
	if holes := s.holes(); len(holes) > 0 {
		t.Errorf("holes %q", holes)
	}
}

// twoScans waits until two scans have begun and ended.
func twoScans(t *testing.T, m *Manager) {
	t.Helper()
	in := m.inputs["in"]
	scans := func() (n int64) {
		if err := in.do(t.Context(), func() { n = in.scans }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	begun := scans()
	testkit.Eventually(t, func() string { return testkit.Unless(scans() >= begun+2, "nothing is scanned") })
}

// complete looks whether all lines of the writers are there, in order and once.
func complete(bodies []string, want map[string]int) error {
	next := make(map[string]int)
	for _, b := range bodies {
		var name string
		var n int
		if _, err := fmt.Sscan(strings.TrimSpace(b), &name, &n); err != nil {
			return fmt.Errorf("line %q", b)
		}
		if n != next[name] {
			return fmt.Errorf("line %q, want number %d", b, next[name])
		}
		next[name]++
	}
	for name, n := range want {
		if next[name] != n {
			return fmt.Errorf("%d lines of %s, want %d", next[name], name, n)
		}
	}
	return nil
}

// What the storm is judged by sees a line that is lost, one that comes twice, and a writer
// of whom there is nothing.
func TestCompleteCanFail(t *testing.T) {
	want := map[string]int{"a": 2, "b": 1}
	if err := complete([]string{"a 0", "b 0", "a 1"}, want); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]string{{"a 0", "b 0"}, {"a 0", "a 0", "a 1", "b 0"}, {"a 1", "a 0", "b 0"}, {"a 0", "a 1"}} {
		if complete(bad, want) == nil {
			t.Errorf("%q is taken for complete", bad)
		}
	}
}
