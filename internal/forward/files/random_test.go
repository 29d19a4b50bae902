package files

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// model is what the world of a random test should have come to. Each line carries its
// writer and number, and a writer writes to one file until it is rotated away.
type model struct {
	w       *world
	r       *rand.Rand
	writers int
	current map[string]*writer // by path
	all     map[string]*writer // by name
}

type writer struct {
	name  string
	lines int
	bytes int64
	seen  bool // by the agent
}

// did notes an operation among what the agent logs.
func (m *model) did(format string, args ...any) {
	fmt.Fprintf(&m.w.logs, "%s: %s\n", time.Now().Format("04:05.000"), fmt.Sprintf(format, args...))
}

func (m *model) write(path string) {
	wr := m.current[path]
	if wr == nil {
		m.writers++
		wr = &writer{name: fmt.Sprintf("w%d", m.writers)}
		m.current[path], m.all[wr.name] = wr, wr
	}
	n := 1 + m.r.IntN(200)
	s := text(wr.name, wr.lines, wr.lines+n)
	wr.lines += n
	wr.bytes += int64(len(s))
	// In pieces that end anywhere.
	for s != "" {
		k := 1 + m.r.IntN(len(s))
		m.did("write %d to %s: %s", k, path, wr.name)
		m.w.write(path, s[:k])
		s = s[k:]
		if m.r.IntN(20) == 0 {
			m.w.pass(time.Duration(m.r.IntN(700)) * time.Millisecond)
		}
	}
}

// TestRandomRotations does what programs and rotators do, in any order, to three files,
// while the agent reads, is blocked, or is down. Every line must come, once; those of a
// writer in order.
func TestRandomRotations(t *testing.T) {
	first, rounds := seeds(t, 25, 5)
	for i := range rounds {
		t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
			if err := randomRotations(t, first+i, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// The test above sees a line that is lost, one that comes twice, and one out of order.
func TestRandomRotationsCanFail(t *testing.T) {
	seed, _ := seeds(t, 1, 1)
	for name, spoil := range map[string]func([]string) []string{
		"lost":  func(s []string) []string { return slices.Delete(s, len(s)/2, len(s)/2+1) },
		"twice": func(s []string) []string { return slices.Insert(s, len(s)/2, s[len(s)/3]) },
		"order": func(s []string) []string {
			for i := range s[1:] {
				if strings.Fields(s[i])[0] == strings.Fields(s[i+1])[0] {
					s[i], s[i+1] = s[i+1], s[i]
					break
				}
			}
			return s
		},
	} {
		if err := randomRotations(t, seed, spoil); err == nil {
			t.Errorf("%s: the test does not see it", name)
		}
	}
}

func randomRotations(t *testing.T, seed uint64, spoil func([]string) []string) (result error) {
	inOne(t, seed%2 == 0, func(w *world) {
		m := &model{w: w, r: rand.New(rand.NewPCG(seed, 7)), current: make(map[string]*writer), all: make(map[string]*writer)}
		// The rotated names are in the glob, or not.
		w.sink.lazy = m.r.IntN(2) == 0
		narrow := m.r.IntN(2) == 0
		if narrow {
			w.conf.Glob = w.dir + "/*.log"
		}
		w.conf.ScanInterval = time.Second
		up, rotations := false, 0
		start := func() {
			if !up {
				w.up()
				up = true
			}
		}
		start()
		paths := []string{"a.log", "b.log", "c.log"}
		for range 60 {
			path := paths[m.r.IntN(len(paths))]
			switch op := m.r.IntN(20); {
			case op < 9:
				m.write(path)
			case op < 11:
				w.pass(time.Duration(m.r.IntN(3000)) * time.Millisecond)
				if w.sink.lazy {
					w.sink.store(m.r.IntN(100))
				}
			case op < 12:
				m.did("little room")
				w.sink.setRoom(int64(m.r.IntN(300)))
			case op < 14:
				w.sink.setRoom(-1)
			case op < 15:
				m.did("up or down")
				if up {
					w.down()
					up = false
				} else {
					start()
				}
			case op < 18: // rename
				if wr := m.current[path]; wr != nil && wr.lines > 0 {
					if narrow && !wr.seen { // what had another name before it was seen is nobody's
						start()
						w.scan()
						wr.seen = true
					}
					remove := m.r.IntN(4) == 0
					if remove { // what the agent does not hold open is lost with its last name
						start()
						w.scan()
					}
					rotations++
					to := fmt.Sprintf("%s.%d", path, rotations)
					m.did("rename to %s, remove it: %v", to, remove)
					w.rename(path, to)
					delete(m.current, path)
					if m.r.IntN(2) == 0 {
						m.did("late lines")
						w.write(to, text(wr.name, wr.lines, wr.lines+3)) // it is still open there
						wr.lines += 3
					}
					if m.r.IntN(3) > 0 {
						m.write(path)
					}
					if remove {
						w.remove(to)
						w.scan() // it has until then to see it
					}
				}
			default: // copytruncate
				if wr := m.current[path]; wr != nil && wr.bytes > 0 {
					// What the agent does not know of yet is lost if its copy is not found.
					start()
					if m.r.IntN(2) == 0 {
						w.sink.setRoom(-1)
					}
					w.pass(1100 * time.Millisecond)
					m.write(path)
					if m.r.IntN(2) == 0 {
						w.down()
						up = false
					}
					rotations++
					m.did("copy %s to %d, up: %v", path, rotations, up)
					w.copy(path, fmt.Sprintf("%s.%d", path, rotations))
					w.truncate(path, 0)
					delete(m.current, path)
					m.write(path)
				}
			}
		}
		start()
		w.sink.setRoom(-1)
		w.pass(30 * time.Second)
		bodies := w.sink.bodies()
		if spoil != nil {
			bodies = spoil(bodies)
		}
		result = m.check(bodies)
		if holes := w.sink.holes(); result == nil && len(holes) > 0 {
			result = fmt.Errorf("holes %q", holes)
		}
		if result != nil && spoil == nil {
			t.Logf("log:\n%s", w.logs.String())
		}
	})
	return result
}

// check looks whether all lines are there, each once, and those of a writer in order.
func (m *model) check(bodies []string) error {
	next := make(map[string]int)
	for i, b := range bodies {
		var name string
		var n int
		if _, err := fmt.Sscanf(b, "%s %d", &name, &n); err != nil || m.all[name] == nil {
			return fmt.Errorf("line %d is %q", i, b)
		}
		if n != next[name] {
			return fmt.Errorf("line %d is %q, want number %d", i, b, next[name])
		}
		next[name]++
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m.all)) {
		if next[name] != m.all[name].lines {
			errs = append(errs, fmt.Errorf("%d lines of %s came, want %d", next[name], name, m.all[name].lines))
		}
	}
	return errors.Join(errs...)
}
