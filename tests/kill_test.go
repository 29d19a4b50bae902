package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKill kills a server under eight writers, again and again: what was
// acknowledged is there after each start, in order, and nothing half.
func TestKill(t *testing.T) {
	t.Parallel()
	const writers = 8
	const perDirectory = 25 // so that what is checked again and again stays small
	cycles := int(setting(t, "LOGD_KILL_CYCLES", 8))
	r := random(t)
	keep := []string{"--partitions", "100000"} // all of them
	var dir string
	var loads []*load
	var s *server
	verify := func() {
		t.Helper()
		for _, problem := range checkLoads(stored(t, s.addr, "t"), loads...) {
			t.Error(problem)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	acks := 0
	for cycle := range cycles {
		if cycle%perDirectory == 0 {
			if s != nil {
				s = start(t, dir, keep...)
				verify()
				s.stop()
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			dir, loads = filepath.Join(t.TempDir(), "data"), nil
		}
		flags := append(slices.Clone(keep), "--partition-size", []string{"64KiB", "100MiB"}[r.IntN(2)], "--flush-batches", fmt.Sprint(r.IntN(3)))
		if r.IntN(3) == 0 {
			// Killed while it starts.
			launch(t, nil, dir, flags...).kill()
		}
		s = start(t, dir, flags...)
		if len(loads) > 0 {
			verify()
		}
		l := newLoad(s.addr, "t", writers, fmt.Sprint(cycle))
		l.awaitAcks(t, 1+r.IntN(600))
		s.kill()
		l.wait()
		loads = append(loads, l)
		acks += l.acks
	}
	s = start(t, dir, keep...)
	verify()
	s.stop()
	t.Logf("%d kills, %d batches acknowledged", cycles, acks)
	killControl(t, dir, keep, loads)
}

// stored reads a whole topic, which need not exist.
func stored(t testing.TB, addr, topic string) []batch {
	t.Helper()
	c := dial(t, addr)
	defer c.close()
	c.write("INFO %s\r\n", topic)
	if _, err := c.body(); err == refusal("not found") {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	return c.all(topic, 0)
}

// killControl takes the last acknowledged batch out of the files: a server on
// what is left must be found wanting.
func killControl(t *testing.T, dir string, flags []string, loads []*load) {
	t.Helper()
	cut := int64(-1)
	for _, l := range loads {
		for _, w := range l.writers {
			for _, offset := range w.acked {
				cut = max(cut, offset)
			}
		}
	}
	for _, base := range slices.Backward(partitions(t, dir, "t")) {
		name := partitionFile(dir, "t", base)
		if base < cut {
			if err := os.Truncate(name, cut-base); err != nil {
				t.Fatal(err)
			}
			break
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	// With its journal logd itself would see that something is missing.
	if err := os.Remove(filepath.Join(dir, "t", "journal")); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir, flags...)
	problems := checkLoads(stored(t, s.addr, "t"), loads...)
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, "lost:") }) {
		t.Errorf("a lost batch is not found: %q", problems)
	}
}

// TestKillChecker changes a good log in each way that the checker is there to
// find.
func TestKillChecker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, dir)
	l := newLoad(s.addr, "t", 3, "x")
	l.awaitAcks(t, 100)
	s.kill()
	l.wait()
	s = start(t, dir)
	good := stored(t, s.addr, "t")
	if problems := l.check(good); len(problems) > 0 {
		t.Fatalf("problems without a change: %q", problems)
	}
	id := 0 // of the writer that got furthest: on a busy machine others may have done nothing
	for i, n := range l.acked() {
		if n > len(l.writers[id].acked) {
			id = i
		}
	}
	first, second := -1, -1 // two batches of it
	for i, b := range good {
		if strings.HasPrefix(b.messages[0].body, fmt.Sprintf("x/%d/", id)) {
			if first < 0 {
				first = i
			} else if second < 0 {
				second = i
			}
		}
	}
	changes := map[string]func([]batch) []batch{
		"an acknowledged batch is missing": func(b []batch) []batch { return slices.Delete(b, first, first+1) },
		"all is missing":                   func([]batch) []batch { return nil },
		"two have changed places":          func(b []batch) []batch { b[first], b[second] = b[second], b[first]; return b },
		"one is there twice":               func(b []batch) []batch { return append(b, b[first]) },
		"one is at another offset":         func(b []batch) []batch { b[first].offset++; return b },
		"one is not as it was sent":        func(b []batch) []batch { b[first].wire += "x"; return b },
		"one was never sent": func(b []batch) []batch {
			seq := l.writers[id].sent
			m := message{body: fmt.Sprintf("x/%d/%d", id, seq)}
			return append(b, batch{offset: b[len(b)-1].end(), wire: l.batch(id, seq), messages: []message{m}})
		},
		"one is nobody's": func(b []batch) []batch { return append(b, batch{messages: []message{{body: "y"}}}) },
	}
	for name, change := range changes {
		if len(l.check(change(slices.Clone(good)))) == 0 {
			t.Errorf("not found: %s", name)
		}
	}
}
