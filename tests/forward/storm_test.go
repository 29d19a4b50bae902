package forward

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// logfile is a file that a test writes. Its lines carry its name and their number, so it
// is known of each line that is read to which file it belongs, wherever that was moved.
type logfile struct {
	name string
	path string // where it was made
	f    *os.File
	size int64
	each []int64 // the bytes of each line, with its LF
}

// text returns the next n lines.
func (l *logfile) text(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		line := fmt.Sprintf("%s %d %s\n", l.name, len(l.each), strings.Repeat("x", rng.IntN(1000)))
		l.each = append(l.each, int64(len(line)))
		b.WriteString(line)
	}
	return b.String()
}

// write appends n lines.
func (l *logfile) write(t *testing.T, rng *rand.Rand, n int) {
	t.Helper()
	got, err := l.f.WriteString(l.text(rng, n))
	if err != nil {
		t.Fatal(err)
	}
	l.size += int64(got)
}

// create makes a file.
func create(t *testing.T, name, path string) *logfile {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &logfile{name: name, path: path, f: f}
}

// verdict is what is wrong with what a reader gets, beside what was written.
type verdict struct {
	lost, twice, late, strange []string
	bytes                      int64 // of the lost lines, with their LFs
}

func (v verdict) String() string {
	s := fmt.Sprintf("%d lines are lost (%d bytes), %d are stored twice, %d late, and %d were never written",
		len(v.lost), v.bytes, len(v.twice), len(v.late), len(v.strange))
	for _, some := range [][]string{v.lost, v.twice, v.late, v.strange} {
		if len(some) > 0 {
			s += fmt.Sprintf("; as %.80q", some[:min(len(some), 5)])
		}
	}
	return s
}

func (v verdict) ok() bool {
	return len(v.lost)+len(v.twice)+len(v.late)+len(v.strange) == 0
}

// judge compares what is stored with what was written: the lines of a file each once, and
// in order.
func judge(got []string, files []*logfile) (v verdict) {
	by := map[string]*logfile{}
	seen := map[string]map[int]int{}
	last := map[string]int{}
	for _, l := range files {
		by[l.name], seen[l.name], last[l.name] = l, map[int]int{}, -1
	}
	for _, line := range got {
		name, rest, _ := strings.Cut(line, " ")
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if l := by[name]; err != nil || l == nil || n < 0 || n >= len(l.each) || l.each[n] != int64(len(line))+1 {
			v.strange = append(v.strange, line)
			continue
		}
		id := name + " " + number
		if seen[name][n]++; seen[name][n] > 1 {
			v.twice = append(v.twice, id)
		} else if n < last[name] {
			v.late = append(v.late, id)
		}
		last[name] = max(last[name], n)
	}
	for _, l := range files {
		for n, size := range l.each {
			if seen[l.name][n] == 0 {
				v.lost = append(v.lost, fmt.Sprint(l.name, " ", n))
				v.bytes += size
			}
		}
	}
	return v
}

// TestJudge is the negative control of the tests that judge: what is lost, doubled, late
// or changed in what a reader gets does not go by.
func TestJudge(t *testing.T) {
	rng := random(t)
	a, b := &logfile{name: "a"}, &logfile{name: "b"}
	good := strings.Split(strings.TrimSuffix(a.text(rng, 20)+b.text(rng, 20), "\n"), "\n")
	files := []*logfile{a, b}
	if v := judge(good, files); !v.ok() {
		t.Fatalf("nothing is wrong, but %v", v)
	}
	for name, spoil := range map[string]func([]string) []string{
		"lost":    func(s []string) []string { return slices.Delete(s, 7, 8) },
		"cut off": func(s []string) []string { return s[:len(s)-1] },
		"twice":   func(s []string) []string { return append(s, s[3]) },
		"late":    func(s []string) []string { s[3], s[4] = s[4], s[3]; return s },
		"changed": func(s []string) []string { s[5] += "x"; return s },
		"strange": func(s []string) []string { return append(s, "c 0 x") },
	} {
		if v := judge(spoil(slices.Clone(good)), files); v.ok() {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

// holes returns the bytes of the holes that the audit lists, by kind. It demands that the
// audit finds nothing else.
func (s *scene) holes() map[string]int64 {
	s.t.Helper()
	code, all, text := s.audit()
	bytes := map[string]int64{}
	for _, l := range all {
		for _, h := range l.Holes {
			if slices.Contains([]string{"dropped", "too-long", "refused", "damaged", "unknown"}, h.Kind) {
				l.Taken -= max(h.Messages, 0)
			}
		}
		if l.Taken != l.Stored+l.Waiting || l.Missing > 0 || l.Mismatched > 0 || l.Duplicates > 0 {
			s.t.Errorf("audit: %+v", l)
		}
		for _, h := range l.Holes {
			bytes[h.Kind] += h.Bytes
		}
	}
	want := 0
	if len(bytes) > 0 {
		want = 4
	}
	if code != want {
		s.t.Errorf("audit ends with %d, want %d:\n%s", code, want, text)
	}
	return bytes
}

// agrees demands that the audit finds nothing wrong, and what a reader gets is what was
// written.
func (s *scene) agrees(topic string, files []*logfile) {
	s.t.Helper()
	if v := judge(s.read(topic), files); !v.ok() {
		s.t.Error(v)
	}
	s.clean()
}

// sizes returns up to where the agent has seen each file, by path.
func (s *scene) sizes() map[string]int64 {
	s.t.Helper()
	sizes, _ := s.sources()
	return sizes
}

// sources returns up to where the agent has seen each file, and up to where it is stored.
func (s *scene) sources() (sizes, positions map[string]int64) {
	s.t.Helper()
	r, err := http.Get("http://" + s.http + "/sources")
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.agent.log())
	}
	defer r.Body.Close()
	sizes, positions = map[string]int64{}, map[string]int64{}
	for in := bufio.NewScanner(r.Body); in.Scan(); {
		var l struct {
			Source         string
			Size, Position int64
		}
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			s.t.Fatalf("/sources has %q: %v", in.Text(), err)
		}
		sizes[l.Source], positions[l.Source] = l.Size, l.Position
	}
	return sizes, positions
}

// metric returns the sum of a metric of the agent.
func (s *scene) metric(name string) (sum float64) {
	s.t.Helper()
	r, err := http.Get("http://" + s.http + "/metrics")
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.agent.log())
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key, _, _ = strings.Cut(key, "{"); key == "logd_forwarder_"+name {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatalf("%q", line)
			}
			sum += n
		}
	}
	return sum
}

// seen waits until the agent has seen all of a file. Then it holds it open, or has read it.
func (s *scene) seen(path string, size int64) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("the agent has seen %d bytes of %s", size, path), func() bool { return s.sizes()[path] == size })
}

// small has a topic of the agent take no more than a quarter of 1 MiB without the server,
// so that files do wait.
var small = []string{"--memory", "1MiB", "--batch-size", "16KiB"}

// written returns how many lines there are in files.
func written(files []*logfile) (n int64) {
	for _, l := range files {
		n += int64(len(l.each))
	}
	return n
}

// weather is what the agent and the server do while files change: up, the server down and
// the agent blocked, or the agent down.
type weather int

const (
	up weather = iota
	blocked
	down
)

func (w weather) String() string { return [...]string{"up", "blocked", "down"}[w] }

// weather returns what the weather is.
func (s *scene) weather() weather {
	switch {
	case closed(s.agent.done):
		return down
	case closed(s.server.done):
		return blocked
	}
	return up
}

// become changes the weather.
func (s *scene) become(w weather) {
	s.t.Helper()
	if w != blocked && closed(s.server.done) {
		s.serve()
	}
	if w != down && closed(s.agent.done) {
		s.forward()
	}
	switch w {
	case blocked:
		s.server.kill()
	case down:
		s.agent.kill()
	}
}

// end has the agent and the server run, waits until n messages are stored, and stops the
// agent.
func (s *scene) end(topic string, n int64) {
	s.t.Helper()
	s.become(up)
	await(s.t, "all is stored", func() bool { return s.count(topic) >= n })
	if code := s.agent.stop(); code != 0 {
		s.t.Errorf("the agent ends with %d", code)
	}
}

// TestStorm rotates a file again and again, by a new name or by turning a symlink, while
// the agent is up, blocked or down. Nothing is lost and nothing is stored twice.
func TestStorm(t *testing.T) {
	for _, tc := range []struct {
		name, glob string
		link       bool
	}{
		{"rename", "app.log*", false},
		{"symlink", "**/*.log", true},
		// Of the targets of a symlink that the pattern does not find, each has to be seen.
		{"symlink alone", "app.log", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rng := random(t)
			s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--rotated-wait", "200ms")
			s.flags = append(s.flags, small...)
			s.flags = append(s.flags, "file:"+filepath.Join(s.dir, tc.glob))
			path := filepath.Join(s.dir, "app.log")
			if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
				t.Fatal(err)
			}
			s.forward()
			var files []*logfile
			for i := range times(120) {
				name := fmt.Sprint("f", i)
				target := path
				if tc.link {
					target = filepath.Join(s.dir, "data", name+".log")
				} else if i > 0 {
					if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
						t.Fatal(err)
					}
				}
				l := create(t, name, target)
				if tc.link {
					if err := os.Symlink(target, path+"~"); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(path+"~", path); err != nil {
						t.Fatal(err)
					}
				}
				if i > 0 { // the program still has the one before, for a while
					files[i-1].write(t, rng, rng.IntN(10))
					files[i-1].f.Close()
				}
				files = append(files, l)
				l.write(t, rng, 1+rng.IntN(100))
				if tc.name == "symlink alone" {
					if s.weather() == down {
						s.become(up)
					}
					s.seen(target, l.size)
				}
				if rng.IntN(8) == 0 {
					s.become(weather(rng.IntN(3)))
				}
				time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
			}
			s.end("t", written(files))
			s.agrees("t", files)
		})
	}
}

// TestCompress rotates a file by a new name, compresses it and removes it. What the agent
// has seen, it has open, and so it is stored, also if the server was away. What was
// removed while the agent was down is lost: of it, what the agent had seen is a hole.
func TestCompress(t *testing.T) {
	gzip := need(t, "gzip")
	rng := random(t)
	s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--rotated-wait", "100ms")
	s.flags = append(s.flags, small...)
	path := filepath.Join(s.dir, "app.log")
	s.flags = append(s.flags, "file:"+path+"*")
	s.forward()
	removed := map[string]bool{} // by name of the line: those that may be lost
	l := create(t, "f0", path)
	files := []*logfile{l}
	var gone []string
	// change waits for what was removed to be in the spool, before it ends the agent.
	change := func(w weather) {
		t.Helper()
		if s.weather() != down && w == down {
			await(t, "what was removed is done with", func() bool {
				have := s.sizes()
				return !slices.ContainsFunc(gone, func(path string) bool { _, ok := have[path]; return ok })
			})
			gone = nil
		}
		s.become(w)
	}
	for i := range times(100) {
		l.write(t, rng, 1+rng.IntN(100))
		if rng.IntN(8) == 0 {
			change(weather(rng.IntN(3)))
		}
		old := fmt.Sprint(path, ".", i)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		l.write(t, rng, rng.IntN(5))
		l.f.Close()
		if s.weather() == down {
			removed[l.name] = true
		} else {
			s.seen(old, l.size)
			gone = append(gone, old)
		}
		if out, err := exec.Command(gzip, old).CombinedOutput(); err != nil {
			t.Fatalf("gzip: %v\n%s", err, out)
		}
		l = create(t, fmt.Sprint("f", i+1), path)
		files = append(files, l)
	}
	l.write(t, rng, 10)
	change(up)
	last := fmt.Sprint(l.name, " ", 9, " ")
	await(t, "the last line is stored, and what was removed is done with", func() bool {
		have := s.sizes()
		all := s.read("t")
		return len(have) == 1 && slices.ContainsFunc(all, func(line string) bool { return strings.HasPrefix(line, last) })
	})
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	v := judge(s.read("t"), files)
	for _, line := range v.lost {
		if name, _, _ := strings.Cut(line, " "); !removed[name] {
			t.Errorf("%q is lost, of a file that the agent had seen before it was removed", line)
		}
	}
	// If the inode is used again, the agent can't tell a removed file from a truncated one.
	holes := s.holes()
	if listed := holes["gone"] + holes["truncated"]; listed > v.bytes {
		t.Errorf("%d bytes are lost, and holes are %v", v.bytes, holes)
	}
	delete(holes, "gone")
	delete(holes, "truncated")
	if len(holes) > 0 {
		t.Errorf("holes are %v", holes)
	}
	v.lost = nil
	if !v.ok() {
		t.Error(v)
	}
}
