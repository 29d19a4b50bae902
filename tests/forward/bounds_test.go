package forward

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// deleted returns how many files without a name a process has open.
func (p *process) deleted() (n int) {
	p.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		p.t.Skipf("the descriptors of a process can't be listed here: %v", err)
	}
	for _, e := range all {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasSuffix(to, " (deleted)") {
			n++
		}
	}
	return n
}

// TestBeyondBounds has files rotated and removed while the server is away, more than descriptors
// and spool have room for. What is missing then is what the holes say, to the byte; and no
// file that was removed stays open.
func TestBeyondBounds(t *testing.T) {
	rng := random(t)
	s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--rotated-wait", "100ms",
		"--spool-bytes", "512KiB", "--unlinked-max", "128KiB", "--max-open-files", "20")
	s.flags = append(s.flags, small...)
	path := filepath.Join(s.dir, "app.log")
	s.flags = append(s.flags, "file:"+path+"*")
	s.forward()
	var files []*logfile
	l := create(t, "f0", path)
	files = append(files, l)
	l.write(t, rng, 50)
	await(t, "the first lines are stored", func() bool { return s.count("t") >= 50 })
	s.become(blocked)
	held := 0
	for i := range times(80) {
		l.write(t, rng, 1+rng.IntN(120))
		old := fmt.Sprint(path, ".", i)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		l.f.Close()
		s.seen(old, l.size)
		if i >= 3 { // some stay for a while
			if err := os.Remove(fmt.Sprint(path, ".", i-3)); err != nil {
				t.Fatal(err)
			}
		}
		held = max(held, s.agent.deleted())
		l = create(t, fmt.Sprint("f", i+1), path)
		files = append(files, l)
	}
	if held == 0 {
		t.Error("no file that was removed was ever held open: the test does not test it")
	}
	l.write(t, rng, 10)
	s.become(up)
	// It is at rest when nothing is behind, and what was removed is done with.
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent has %v, %v bytes in the spool, and %d removed files", s.sizes(), s.metric("spool_bytes"), s.agent.deleted())
		}
	})
	await(t, "the agent is at rest", func() bool {
		return s.metric("lag_bytes") == 0 && s.metric("unlinked_open_bytes") == 0 && s.metric("spool_bytes") < 256<<10 && // the segment that is written stays
			s.agent.deleted() == 0 && len(s.sizes()) <= 4 && slices.ContainsFunc(s.read("t"), func(line string) bool {
			return strings.HasPrefix(line, fmt.Sprint(l.name, " 9 "))
		})
	})
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	v := judge(s.read("t"), files)
	holes := s.holes()
	if holes["gone"] != v.bytes || len(holes) != 1 {
		t.Errorf("%d bytes are missing, and holes are %v", v.bytes, holes)
	}
	v.lost = nil
	if !v.ok() {
		t.Error(v)
	}
}

// TestMany has 2,000 files written to at once: all lines are stored within three scans, also
// where the file system tells of no events.
func TestMany(t *testing.T) {
	const files, interval = 2000, 2 * time.Second
	for _, events := range []bool{true, false} {
		t.Run(fmt.Sprint("events ", events), func(t *testing.T) {
			s := begin(t, "--topic", "t", "--scan-interval", interval.String(), "file:")
			s.flags[len(s.flags)-1] = "file:" + filepath.Join(s.dir, "**/*.log")
			if events {
				s.forward()
			} else {
				s.withoutEvents()
			}
			want := map[string]int{}
			write := func() {
				t.Helper()
				for i := range files {
					dir := filepath.Join(s.dir, fmt.Sprint(i%50))
					if err := os.MkdirAll(dir, 0o700); err != nil {
						t.Fatal(err)
					}
					f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i, ".log")), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
					if err != nil {
						t.Fatal(err)
					}
					name := fmt.Sprint("w", i)
					_, err = fmt.Fprintf(f, "%s %d\n%s %d\n", name, want[name], name, want[name]+1)
					f.Close()
					if err != nil {
						t.Fatal(err)
					}
					want[name] += 2
				}
			}
			// A machine that has other things to do is given another chance.
			total := int64(0)
			for try := range 3 {
				write()
				total += 2 * files
				begun := time.Now()
				await(t, "all is stored", func() bool { return s.count("t") >= total })
				if took := time.Since(begun); took <= 3*interval {
					break
				} else if try == 2 {
					t.Errorf("it took %v, which is more than three scans", took)
				}
			}
			if code := s.agent.stop(); code != 0 {
				t.Errorf("the agent ends with %d", code)
			}
			each(t, s.read("t"), want)
			s.clean()
		})
	}
}

// withoutEvents starts the agent where it can have no events of the file system: in a user
// namespace that has none to give.
func (s *scene) withoutEvents() {
	s.t.Helper()
	unshare := need(s.t, "unshare")
	const none = "echo 0 > /proc/sys/user/max_inotify_instances"
	if out, err := exec.Command(unshare, "-Ur", "sh", "-c", none).CombinedOutput(); err != nil {
		s.t.Skipf("events can't be taken away here: %v: %s", err, out)
	}
	args := append([]string{"--host", s.addr, "--state-dir", s.state, "--http-host", s.http}, s.flags...)
	command := none + " && exec \"$0\" \"$@\""
	s.agent = launchAt(s.t, unshare, append([]string{"-Ur", "sh", "-c", command, filepath.Join(built, "log-forwarder")}, args...)...)
	s.agent.await("takes messages")
}

// peak returns the most memory that a process has had.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skipf("the memory of a process is not known here: %v", err)
	}
	for in := bufio.NewScanner(bytes.NewReader(status)); in.Scan(); {
		if f := strings.Fields(in.Text()); len(f) == 3 && f[0] == "VmHWM:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return n << 10
		}
	}
	p.t.Skip("the memory of a process is not known here")
	return 0
}

// TestOdd has a file with a line of 64 MiB, NULs, random bytes, and lines that come byte by
// byte and in parts: what a reader gets is what was written, and the memory stays bounded.
func TestOdd(t *testing.T) {
	const memory, long = 16 << 20, 64 << 20
	rng := random(t)
	s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--memory", "16MiB", "--max-line", "60KiB")
	path := filepath.Join(s.dir, "odd.log")
	s.flags = append(s.flags, "file:"+path)
	s.forward()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []byte
	write := func(b []byte) {
		t.Helper()
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	write([]byte("\n\n\r\n\x00\x00\x00\n"))
	write(make([]byte, 5000))
	write([]byte("\n"))
	for range 50 { // with LFs where they fall
		write(noise(1 + rng.IntN(20_000)))
	}
	write([]byte("\n"))
	for _, c := range []byte("byte by byte\n\xff\xfe\n") {
		write([]byte{c})
	}
	for range 20 { // parts of a line, which are seen
		write(bytes.Repeat([]byte{'p'}, 1+rng.IntN(3000)))
		time.Sleep(5 * time.Millisecond)
	}
	write([]byte("\n"))
	for left := long; left > 0; left -= 1 << 20 {
		write(bytes.Repeat([]byte{byte('a' + left>>20%26)}, 1<<20))
	}
	write([]byte("\nthe last line\n"))
	await(t, "all is stored", func() bool {
		return s.metric("lag_bytes") == 0 && s.sizes()[path] == int64(len(all))
	})
	if peak := s.agent.peak(); peak > memory+64<<20 {
		t.Errorf("the agent had %d MiB, which is more than %d MiB", peak>>20, (memory+64<<20)>>20)
	}
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	if err := odd(s.read("t"), all, 60<<10); err != nil {
		t.Error(err)
	}
	s.clean()
}

// odd checks that messages are the lines of a text, the longer ones in pieces.
func odd(got []string, text []byte, most int) error {
	for n, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		for first := true; first || len(line) > 0; first = false {
			if len(got) == 0 {
				return fmt.Errorf("of line %d, %d bytes are missing, and all that comes behind", n, len(line))
			}
			m := got[0]
			if len(m) > most || len(m) < min(len(line), most/2) || !bytes.HasPrefix(line, []byte(m)) {
				return fmt.Errorf("of line %d there is %.20q of %d bytes, want %.20q of %d", n, m, len(m), line, len(line))
			}
			got, line = got[1:], line[len(m):]
		}
	}
	if len(got) > 0 {
		return fmt.Errorf("%d messages are there that nobody wrote, as %.20q", len(got), got[0])
	}
	return nil
}

// TestOddJudge is the negative control of TestOdd.
func TestOddJudge(t *testing.T) {
	text := []byte("a\n\nlonger than eight\nz\n")
	good := []string{"a", "", "longer t", "han eigh", "t", "z"}
	if err := odd(good, text, 8); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range good {
		for what, bad := range map[string][]string{
			"without": slices.Delete(slices.Clone(good), i, i+1),
			"twice":   slices.Insert(slices.Clone(good), i, good[i]),
			"changed": slices.Replace(slices.Clone(good), i, i+1, good[i]+string(rune('A'+rng.IntN(26)))),
		} {
			if odd(bad, text, 8) == nil {
				t.Errorf("%s %q: nothing is found", what, good[i])
			}
		}
	}
}
