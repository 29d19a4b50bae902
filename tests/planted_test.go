package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPlanted puts into a work directory what is no file or folder of logd's,
// under names that are: nothing waits for it, nothing is written through it,
// and the topics that can be served are.
func TestPlanted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	outside := filepath.Join(t.TempDir(), "outside")
	topics := []string{"good", "journal-pipe", "journal-link", "index-pipe", "index-folder", "partition-pipe", "partition-link", "topic-link", "topic-outside"}
	s := start(t, dir)
	c := dial(t, s.addr)
	for _, topic := range topics {
		c.append(topic, "before")
	}
	c.close()
	s.stop()

	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	instead := func(name string, plant func(name string) error) {
		t.Helper()
		must(os.RemoveAll(in(name)))
		must(plant(in(name)))
	}
	pipe := func(name string) error { return syscall.Mkfifo(name, 0o600) }
	link := func(target string) func(string) error {
		return func(name string) error { return os.Symlink(target, name) }
	}
	must(os.Mkdir(outside, 0o700))
	instead("journal-pipe/journal", pipe)
	instead("journal-link/journal", link("../good/journal"))
	instead("index-pipe/0.idx", pipe)
	instead("index-folder/0.idx", func(name string) error { return os.Mkdir(name, 0o700) })
	instead("partition-pipe/0.log", pipe)
	instead("partition-link/0.log", link("../good/0.log"))
	instead("topic-link", link("good"))
	instead("topic-outside", link(outside))
	before, err := os.ReadFile(in("good/0.log"))
	must(err)

	check := exec.Command(built.cli, "check", dir)
	check.Env = environment()
	text, _ := check.CombinedOutput()
	if code := check.ProcessState.ExitCode(); code != 4 || !strings.Contains(string(text), "not a regular file") {
		t.Errorf("log-cli check exits with %d, want 4:\n%s", code, text)
	}

	s = start(t, dir)
	c = dial(t, s.addr)
	defer c.close()
	for _, topic := range topics[1:] {
		c.write("%s", encode(topic, "after"))
		c.offset() // stored or refused
	}
	after, err := os.ReadFile(in("good/0.log"))
	must(err)
	if string(before) != string(after) {
		t.Errorf("a write to another topic went to this one: %q", after)
	}
	for _, topic := range []string{"good", "index-pipe", "index-folder"} {
		if got := c.all(topic, 0); len(got) == 0 || got[0].messages[0].body != "before" {
			t.Errorf("topic %s has %v", topic, got)
		}
	}
	if offset := c.append("good", "after"); offset != int64(len(before)) {
		t.Errorf("append to the good topic: %d, want %d", offset, len(before))
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
}
