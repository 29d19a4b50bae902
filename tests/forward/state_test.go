package forward

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lines appends lines "w FROM" to "w TO-1" to a file.
func lines(t *testing.T, path string, from, to int) {
	t.Helper()
	var b bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "w %d %s\n", i, strings.Repeat("x", i%80))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// copyDir copies a folder to one that is not there.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestState has the state folder damaged, restored, cloned and lost: nothing in a file is
// lost, and what is stored twice is at most what was sent since the copy.
func TestState(t *testing.T) {
	const before, after = 1000, 1500
	newest := func(t *testing.T, state string) string {
		all, err := filepath.Glob(filepath.Join(state, "ledger", "*.seg"))
		if err != nil || len(all) == 0 {
			t.Fatalf("no ledger: %v", err)
		}
		return all[len(all)-1]
	}
	change := func(t *testing.T, path string, f func([]byte) []byte) {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, f(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name  string
		twice int // at most
		harm  func(t *testing.T, s *scene, copied string)
	}{
		{"nothing", 0, func(*testing.T, *scene, string) {}},
		{"restored", after - before, func(t *testing.T, s *scene, copied string) {
			os.RemoveAll(s.state)
			copyDir(t, copied, s.state)
		}},
		{"lost", after, func(t *testing.T, s *scene, _ string) { os.RemoveAll(s.state) }},
		{"ledger cut", after, func(t *testing.T, s *scene, _ string) {
			change(t, newest(t, s.state), func(b []byte) []byte {
				b = bytes.TrimRight(b, "\x00")
				return b[:len(b)-300]
			})
		}},
		{"ledger damaged in the middle", after, func(t *testing.T, s *scene, _ string) {
			change(t, newest(t, s.state), func(b []byte) []byte {
				n := len(bytes.TrimRight(b, "\x00"))
				for i := n / 2; i < n/2+200; i++ {
					b[i] ^= 0x55
				}
				return b
			})
		}},
		{"spool and ledger of zeros", after, func(t *testing.T, s *scene, _ string) {
			change(t, newest(t, s.state), func(b []byte) []byte { return make([]byte, len(b)) })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := begin(t, "--topic", "t", "--scan-interval", "50ms")
			path := filepath.Join(s.dir, "app.log")
			run := func(n int64) {
				t.Helper()
				s.forward("file:" + path)
				await(t, fmt.Sprint(n, " lines are stored"), func() bool { return s.count("t") >= n })
				if code := s.agent.stop(); code != 0 {
					t.Fatalf("the agent ends with %d", code)
				}
			}
			lines(t, path, 0, before)
			run(before)
			copied := filepath.Join(t.TempDir(), "copy")
			copyDir(t, s.state, copied)
			lines(t, path, before, after)
			run(after)
			tc.harm(t, s, copied)
			lines(t, path, after, after+100)
			s.forward("file:" + path)
			last := fmt.Sprintf("w %d ", after+99)
			await(t, "the last line is stored", func() bool {
				all := s.read("t")
				return len(all) > 0 && strings.HasPrefix(all[len(all)-1], last)
			})
			if code := s.agent.stop(); code != 0 {
				t.Errorf("the agent ends with %d", code)
			}
			seen := map[string]int{}
			all := s.read("t")
			for _, line := range all {
				seen[line]++
			}
			if len(seen) != after+100 {
				t.Errorf("%d lines are lost", after+100-len(seen))
			}
			if twice := len(all) - len(seen); twice > tc.twice {
				t.Errorf("%d lines are stored twice, of at most %d", twice, tc.twice)
			}
		})
	}
}

// TestClone has two agents run with a copy each of one state folder: neither takes the
// other's batches for its own.
func TestClone(t *testing.T) {
	s := begin(t, "--topic", "t", "--scan-interval", "50ms")
	path := filepath.Join(s.dir, "app.log")
	lines(t, path, 0, 500)
	s.forward("file:" + path)
	await(t, "all is stored", func() bool { return s.count("t") >= 500 })
	s.agent.kill()
	clone := filepath.Join(t.TempDir(), "clone")
	copyDir(t, s.state, clone)
	s.forward("file:" + path)
	other := launch(t, "log-forwarder", "--host", s.addr, "--state-dir", clone, "--http-host", "", "--topic", "t", "--scan-interval", "50ms", "file:"+path)
	other.await("takes messages")
	lines(t, path, 500, 1000)
	await(t, "both have stored all", func() bool { return s.count("t") >= 1500 })
	for _, p := range []*process{s.agent, other} {
		if code := p.stop(); code != 0 {
			t.Errorf("an agent ends with %d", code)
		}
	}
	seen := map[string]int{}
	for _, line := range s.read("t") {
		seen[line]++
	}
	if len(seen) != 1000 {
		t.Errorf("%d lines are stored of 1000", len(seen))
	}
	for line, n := range seen {
		if n > 2 {
			t.Fatalf("%q is stored %d times", line, n)
		}
	}
}

// TestInUse says that a state folder is one agent's.
func TestInUse(t *testing.T) {
	s := begin(t, "--topic", "t")
	s.forward("file:" + filepath.Join(s.dir, "*.log"))
	second := launch(t, "log-forwarder", "--host", s.addr, "--state-dir", s.state, "--http-host", "", "--topic", "t", "file:/nothing")
	if code := second.wait(); code != 1 || !strings.Contains(second.log(), "in use") {
		t.Errorf("a second agent ends with %d: %s", code, second.log())
	}
}

// TestReload has the settings read again under load, good ones and bad ones: no line is
// lost or doubled.
func TestReload(t *testing.T) {
	s := begin(t)
	path := filepath.Join(s.dir, "app.log")
	conf := filepath.Join(t.TempDir(), "forwarder.toml")
	web := port(t)
	good := func(i int) string {
		return fmt.Sprintf("[[input]]\nname = \"files\"\nfrom = \"file:%s\"\ntopic = \"t\"\nscan-interval = \"%dms\"\n"+
			"[[input]]\nname = \"web\"\nfrom = \"http://%s\"\ntopic = \"w\"\nmax-body = \"%dKiB\"\n", path, 20+i, web, 100+i)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(good(0))
	s.flags = []string{"--config", conf}
	s.forward()
	n, posted := 0, 0
	for i := range times(15) {
		lines(t, path, n, n+200)
		n += 200
		for range 5 {
			r, err := http.Post("http://"+web+"/lines", "text/plain", strings.NewReader(fmt.Sprintf("w %d\n", posted)))
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				t.Fatalf("POST: %s", r.Status)
			}
			posted++
		}
		want := "msg=reloaded"
		switch i % 3 {
		case 0:
			write(good(i + 1))
		case 1:
			write(good(i+1) + "[[input]]\nname = \"more\"\nfrom = \"file:" + s.dir + "/more*\"\ntopic = \"m\"\n")
		case 2:
			write(good(i) + "nonsense = 1\n")
			want = "not reloaded"
		}
		had := strings.Count(s.agent.log(), want)
		s.agent.cmd.Process.Signal(hangup)
		await(t, "the settings are read", func() bool { return strings.Count(s.agent.log(), want) > had })
	}
	await(t, "all is stored", func() bool { return s.count("t") >= int64(n) && s.count("w") >= int64(posted) })
	time.Sleep(50 * time.Millisecond)
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	sequence(t, s.read("t"), map[string]int{"w": n})
	sequence(t, s.read("w"), map[string]int{"w": posted})
	s.clean()
}

// TestStdin says with which code a pipe ends.
func TestStdin(t *testing.T) {
	s := begin(t)
	run := func(input string, args ...string) int {
		t.Helper()
		cmd := exec.Command(filepath.Join(built, "log-forwarder"), append([]string{"--topic", "t"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		cmd.Stdin = strings.NewReader(input)
		cmd.Dir = s.dir
		cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	if code := run("w 0\nw 1\n\nw 3", "--host", s.addr); code != 0 {
		t.Errorf("code %d", code)
	}
	if got := s.read("t"); strings.Join(got, "|") != "w 0|w 1||w 3" {
		t.Errorf("%q is stored", got)
	}
	away := port(t)
	if code := run("w 0\n", "--host", away, "--timeout", "300ms"); code != 1 {
		t.Errorf("without a server and a state folder: code %d", code)
	}
	if code := run("w 4\n", "--host", away, "--timeout", "300ms", "--state-dir", s.state); code != 75 {
		t.Errorf("without a server: code %d", code)
	}
	if code := run("w 5\n", "--host", s.addr, "--state-dir", s.state); code != 0 {
		t.Errorf("with what is left: code %d", code)
	}
	if got := s.read("t"); strings.Join(got[4:], "|") != "w 4|w 5" {
		t.Errorf("%q is stored", got)
	}
}
