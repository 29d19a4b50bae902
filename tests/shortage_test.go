package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// fillDisk writes to a file until the disk has no room, not even for a page.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for {
		if _, err := f.Write(page); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// folders returns the names of the folders in a work directory.
func folders(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestNewTopicsOnFullDisk: a topic whose first batch is refused leaves nothing,
// however many they are and however much room there was. With room again each
// can be made, also after a start on the full disk.
func TestNewTopicsOnFullDisk(t *testing.T) {
	for _, pages := range []int{0, 1, 2} { // for the journal, and for the batch
		t.Run(fmt.Sprint(pages, " pages left"), func(t *testing.T) {
			d := newDisk(t, "tmpfs", "1m")
			dir := filepath.Join(d.dir, "data")
			filler := filepath.Join(d.dir, "filler")
			s := start(t, dir, "--topics", "10")
			dial(t, s.addr).append("real", "x")
			fillDisk(t, filler)
			st, err := os.Stat(filler)
			if err == nil {
				err = os.Truncate(filler, st.Size()-4096*int64(pages))
			}
			if err != nil {
				t.Fatal(err)
			}
			full := strings.Repeat("x", 5000)
			for range 2 {
				c := dial(t, s.addr)
				for i := range 30 {
					c.refused("read only", "%s", encode(fmt.Sprint("refused", i), full))
				}
				if got := folders(t, dir); len(got) != 1 {
					t.Errorf("folders are %v", got)
				}
				if got := c.stat("topics.total"); got != 1 {
					t.Errorf("there are %d topics", got)
				}
				c.close()
				s.kill()
				s = start(t, dir, "--topics", "10")
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			c := dial(t, s.addr)
			for i := range 9 {
				c.append(fmt.Sprint("refused", i), full)
			}
			c.append("real", "y")
			if status, text := get(t, s.http, "/readyz"); status != 200 {
				t.Errorf("/readyz is %d %q with room again", status, text)
			}
		})
	}
}

// launchWith starts a server that may have so many files open.
func launchWith(t *testing.T, descriptors int, dir string, flags ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		cannot(t, "prlimit is not installed")
	}
	n := strconv.Itoa(descriptors)
	s := launch(t, []string{"prlimit", "--nofile=" + n + ":" + n}, dir, flags...)
	line := s.await("logd takes requests")
	s.addr, s.http = line["addr"].(string), line["http"].(string)
	return s
}

// TestFewDescriptors writes to more topics than the server may have files open,
// at once, and starts it after kill -9 with fewer still: all is taken, all is
// opened.
func TestFewDescriptors(t *testing.T) {
	for _, flags := range [][]string{nil, {"--flush-batches", "1"}, {"--flush-interval", "-1s"}} {
		t.Run(strings.Join(flags, "="), func(t *testing.T) {
			t.Parallel()
			const topics = 600
			dir := filepath.Join(t.TempDir(), "data")
			s := launchWith(t, 300, dir, flags...)
			c := dial(t, s.addr)
			for i := range topics {
				c.append(fmt.Sprint("topic", i), "one")
			}
			s.kill()
			s = launchWith(t, 128, dir, flags...)
			if s.log.contains("can't be opened") {
				t.Errorf("not all topics were opened:\n%s", s.log.tail())
			}
			if status, text := get(t, s.http, "/readyz"); status != 200 {
				t.Errorf("/readyz is %d %q", status, text)
			}
			c = dial(t, s.addr)
			for i := range topics {
				topic := fmt.Sprint("topic", i)
				c.append(topic, "two")
				if got := c.all(topic, 0); len(got) != 2 {
					t.Fatalf("%s has %d batches, want 2", topic, len(got))
				}
			}
			s.stop()
		})
	}
}

// TestLinkedTopic puts a symbolic link where a topic's folder was: the topic is
// named wherever one could ask for the reason, and the others are served.
func TestLinkedTopic(t *testing.T) {
	t.Parallel()
	dir, elsewhere := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "t")
	s := start(t, dir)
	c := dial(t, s.addr)
	c.append("t", "one")
	c.append("u", "one")
	s.stop()
	if err := errors.Join(os.Rename(filepath.Join(dir, "t"), elsewhere), os.Symlink(elsewhere, filepath.Join(dir, "t"))); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	s.await("topic can't be opened; the others are served", func(line map[string]any) bool {
		return line["topic"] == "t" && strings.Contains(fmt.Sprint(line["err"]), "symbolic link")
	})
	c = dial(t, s.addr)
	c.refused("internal error", "%s", encode("t", "two"))
	s.await("request failed", func(line map[string]any) bool {
		return line["topic"] == "t" && strings.Contains(fmt.Sprint(line["err"]), "symbolic link")
	})
	c.append("u", "two")
	if status, text := get(t, s.http, "/readyz"); status != 503 || !strings.Contains(text, "topic t can't be opened") || !strings.Contains(text, "symbolic link") {
		t.Errorf("/readyz is %d %q", status, text)
	}
	s.stop()
	// The folder itself in its place is all it takes.
	if err := errors.Join(os.Remove(filepath.Join(dir, "t")), os.Rename(elsewhere, filepath.Join(dir, "t"))); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	if got := stored(t, s.addr, "t"); len(got) != 1 {
		t.Errorf("%d batches, want 1", len(got))
	}
}

// TestRepairInVolume repairs a work directory that is the root of a volume, as
// the user that logd runs as: lost+found there is root's.
func TestRepairInVolume(t *testing.T) {
	if os.Geteuid() != 0 {
		cannot(t, "needs root, to be two users")
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		cannot(t, "setpriv is not installed")
	}
	d := newDisk(t, "ext4", "16M")
	for dir := d.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const user = 12345
	bin := t.TempDir() // the one that was built is in a folder of root's
	cli := filepath.Join(bin, "log-cli")
	err := errors.Join(os.Chmod(bin, 0o755), os.Chmod(filepath.Dir(bin), 0o755), os.Chown(d.dir, 0, user), os.Chmod(d.dir, 0o770))
	if err == nil {
		err = exec.Command("cp", built.cli, cli).Run()
	}
	// What logd leaves.
	one, two := encode("t", "one"), encode("t", "two")
	if err == nil {
		err = os.Mkdir(filepath.Join(d.dir, "t"), 0o700)
	}
	file := filepath.Join(d.dir, "t", "0.log")
	if err == nil {
		err = os.WriteFile(file, []byte(strings.Replace(one, "one", "0ne", 1)+two), 0o600)
	}
	if err = errors.Join(err, os.Chown(filepath.Dir(file), user, user), os.Chown(file, user, user)); err != nil {
		t.Fatal(err)
	}
	run := func(as int, command string) (string, int) {
		c := exec.Command("setpriv", "--reuid", strconv.Itoa(as), "--regid", strconv.Itoa(as), "--clear-groups", cli, command, d.dir)
		c.Env = environment()
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	if out, code := run(0, "repair"); code == 0 || !strings.Contains(out, fmt.Sprint("run the repair as user ", user)) {
		t.Errorf("as root: exit code %d:\n%s", code, out)
	}
	if out, code := run(user, "repair"); code != 0 || !strings.Contains(out, "1 topic repaired in ") {
		t.Errorf("as logd's user: exit code %d:\n%s", code, out)
	}
	if out, code := run(user, "check"); code != 0 || !strings.Contains(out, "no damage") {
		t.Errorf("check: exit code %d:\n%s", code, out)
	}
}
