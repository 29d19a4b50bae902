package forward

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCopytruncate rotates a file by a copy and a truncation, by itself or by logrotate,
// while the agent is up, blocked or down, and the program writes with O_APPEND or without.
// Lost is at most what was written between the copy and the truncation, and holes list no
// more than that. A line is stored twice only if the agent was killed while a copy was
// shorter than what had been read.
func TestCopytruncate(t *testing.T) {
	logrotate := need(t, "logrotate")
	for _, appends := range []bool{true, false} {
		for _, glob := range []string{"app.log*", "app.log"} {
			t.Run(fmt.Sprintf("append %v, %s", appends, glob), func(t *testing.T) {
				rng := random(t)
				s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--rotated-wait", "200ms")
				s.flags = append(s.flags, small...)
				s.flags = append(s.flags, "file:"+filepath.Join(s.dir, glob))
				path := filepath.Join(s.dir, "app.log")
				conf := filepath.Join(t.TempDir(), "rotate.conf")
				text := fmt.Sprintf("%s {\nrotate 1000\nsize 1\ncopytruncate\n}\n", path)
				if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(s.dir, 0o755); err != nil {
					t.Fatal(err)
				}
				flags := os.O_CREATE | os.O_WRONLY
				if appends {
					flags |= os.O_APPEND
				}
				f, err := os.OpenFile(path, flags, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				s.forward()
				may := map[string]bool{} // lines that may be lost
				doubt := map[string]bool{}
				killed := false
				var files []*logfile
				begins := func() *logfile {
					l := &logfile{name: fmt.Sprint("g", len(files)), path: path, f: f}
					files = append(files, l)
					return l
				}
				l := begins()
				for i := range times(40) {
					l.write(t, rng, 10+rng.IntN(100))
					// What begins with NULs alone is not known by its beginning: it is by its lines.
					s.become(up)
					last := fmt.Sprint(l.name, " ", len(l.each)-1, " ")
					await(t, "some of it is read", func() bool {
						return s.count("t") > 0 && slices.ContainsFunc(s.read("t"), func(line string) bool { return strings.HasPrefix(line, last) })
					})
					if rng.IntN(3) == 0 {
						w := weather(rng.IntN(3))
						killed = killed || w == down
						s.become(w)
						l.write(t, rng, rng.IntN(50))
					}
					if rng.IntN(4) == 0 {
						if out, err := exec.Command(logrotate, "-f", "-s", filepath.Join(filepath.Dir(conf), "state"), conf).CombinedOutput(); err != nil {
							t.Fatalf("logrotate: %v\n%s", err, out)
						}
					} else {
						copied(t, path, fmt.Sprintf("%s.%d.copy", path, i))
						before := len(l.each)
						l.write(t, rng, rng.IntN(20))
						if rng.IntN(2) == 0 {
							time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
						}
						for n := before; n < len(l.each); n++ {
							may[fmt.Sprint(l.name, " ", n)] = true
						}
						if len(l.each) > before {
							doubt[l.name] = true
						}
						if err := f.Truncate(0); err != nil {
							t.Fatal(err)
						}
					}
					l = begins()
					// More than one generation that nobody has seen is nobody's, if the pattern
					// does not find its copy.
					if s.weather() == down {
						s.become(up)
					}
				}
				l.write(t, rng, 10)
				s.become(up)
				last := fmt.Sprint(l.name, " ", 9, " ")
				await(t, "the last line is stored", func() bool {
					return slices.ContainsFunc(s.read("t"), func(line string) bool { return strings.HasPrefix(line, last) })
				})
				for n, since := s.count("t"), time.Now(); time.Since(since) < 7*time.Second; time.Sleep(100 * time.Millisecond) {
					if now := s.count("t"); now != n {
						n, since = now, time.Now()
					}
				}
				if code := s.agent.stop(); code != 0 {
					t.Errorf("the agent ends with %d", code)
				}
				v := judge(s.read("t"), files)
				for _, line := range v.lost {
					if !may[line] {
						t.Errorf("%q is lost, which the copy has", line)
					}
				}
				holes := s.holes()
				if listed := holes["gone"] + holes["truncated"]; listed > v.bytes {
					t.Errorf("%d bytes are lost, and holes are %v", v.bytes, holes)
				}
				delete(holes, "gone")
				delete(holes, "truncated")
				if len(holes) > 0 {
					t.Errorf("holes are %v", holes)
				}
				v.twice = slices.DeleteFunc(v.twice, func(line string) bool {
					name, _, _ := strings.Cut(line, " ")
					return killed && doubt[name]
				})
				v.lost, v.late = nil, nil // of the rest and of its copy there is no order
				if !v.ok() {
					t.Error(v)
				}
			})
		}
	}
}

// copied copies a file.
func copied(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
}

// TestSame does what makes files look alike, while the agent is up or down: an inode that is
// used again, the same first 1024 bytes, the same content in two files, a file that an
// editor saves, one that is cut back. Each line of each file is stored once; but of a file
// that was cut back at most a batch twice, and a small one that is saved as often as it is.
func TestSame(t *testing.T) {
	rng := random(t)
	s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--rotated-wait", "200ms")
	s.flags = append(s.flags, small...)
	s.flags = append(s.flags, "file:"+filepath.Join(s.dir, "*.log"))
	s.forward()
	least, most := map[string]int{}, map[string]int{}
	names := 0
	lines := func(n int) (all []string) {
		names++
		for i := range n {
			all = append(all, fmt.Sprintf("w%d %d %s", names, i, strings.Repeat("x", rng.IntN(200))))
		}
		return all
	}
	want := func(all []string, n int) {
		for _, line := range all {
			least[line] += n
			most[line] += n
		}
	}
	text := func(all ...[]string) string { return strings.Join(slices.Concat(all...), "\n") + "\n" }
	write := func(path, text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	stored := func() {
		t.Helper()
		n := 0
		for _, k := range least {
			n += k
		}
		await(t, fmt.Sprintf("%d lines are stored", n), func() bool {
			if s.count("t") < int64(n) {
				return false
			}
			got := map[string]int{}
			for _, line := range s.read("t") {
				got[line]++
			}
			for line, k := range least {
				if got[line] < k {
					return false
				}
			}
			return true
		})
		await(t, "the agent knows it", func() bool {
			sizes, positions := s.sources()
			return maps.Equal(sizes, positions)
		})
	}
	// change has the agent look on, or be killed before and started behind.
	change := func(f func()) {
		t.Helper()
		if rng.IntN(2) == 0 {
			f()
			return
		}
		s.become(down)
		f()
		s.become(up)
	}
	for i := range times(30) {
		path := filepath.Join(s.dir, fmt.Sprintf("f%d.log", i))
		first := lines(30 + rng.IntN(100))
		switch what := i % 6; what {
		case 0: // an inode that is used again
			write(path, text(first))
			want(first, 1)
			stored()
			next := lines(30 + rng.IntN(100))
			change(func() {
				must(os.Remove(path))
				write(path, text(next))
			})
			want(next, 1)
		case 1: // the same beginning
			next, other := lines(20), lines(40)
			change(func() {
				write(path, text(first, next))
				write(path+".other.log", text(first, other))
			})
			want(first, 2)
			want(next, 1)
			want(other, 1)
		case 2: // the same content
			change(func() {
				write(path, text(first))
				write(path+".other.log", text(first))
			})
			want(first, 2)
		case 3, 4: // saved by an editor
			if what == 4 {
				first = first[:3]
			}
			write(path, text(first))
			want(first, 1)
			stored()
			next := lines(20)
			change(func() {
				must(os.WriteFile(path+"~", []byte(text(first, next)), 0o600))
				must(os.Rename(path+"~", path))
			})
			want(next, 1)
			if what == 4 { // it is too small to be known again
				want(first, 1)
			}
		case 5: // cut back
			write(path, text(first))
			want(first, 1)
			stored()
			keep := rng.IntN(len(first)-10) + 5
			next := lines(20)
			change(func() {
				must(os.Truncate(path, int64(len(text(first[:keep])))))
				write(path, text(next)[:0])
			})
			if s.weather() == up && keep > 0 {
				await(t, "the truncation is seen", func() bool { return s.sizes()[path] == int64(len(text(first[:keep]))) })
			}
			write(path, text(next))
			want(next, 1)
			for _, line := range first[:keep] {
				most[line]++
			}
		}
		stored()
	}
	time.Sleep(time.Second) // for what would come twice
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	got := map[string]int{}
	for _, line := range s.read("t") {
		got[line]++
	}
	if err := within(got, least, most); err != nil {
		t.Error(err)
	}
	s.clean()
}

// within reports what came too seldom or too often.
func within(got, least, most map[string]int) error {
	lost, twice := []string{}, []string{}
	for line, n := range least {
		if got[line] < n {
			lost = append(lost, line)
		}
	}
	for line, n := range got {
		if n > most[line] {
			twice = append(twice, line)
		}
	}
	if len(lost)+len(twice) == 0 {
		return nil
	}
	return fmt.Errorf("%d lines are lost, as %.60q, and %d are there too often, as %.60q", len(lost), lost[:min(2, len(lost))], len(twice), twice[:min(2, len(twice))])
}

// What TestSame is judged by sees what is lost and what is there too often.
func TestWithin(t *testing.T) {
	least, most := map[string]int{"a": 1, "b": 2}, map[string]int{"a": 2, "b": 2}
	for _, good := range []map[string]int{{"a": 1, "b": 2}, {"a": 2, "b": 2}} {
		if err := within(good, least, most); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []map[string]int{{"a": 1, "b": 1}, {"b": 2}, {"a": 3, "b": 2}, {"a": 1, "b": 2, "c": 1}} {
		if within(bad, least, most) == nil {
			t.Errorf("%v: nothing is found", bad)
		}
	}
}
