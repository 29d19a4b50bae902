package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/exit"
)

// A folder that was removed under a running server is damage, although the files
// that are left are in order: the server says what is missing.
func TestCheckOnlineAsksTheServer(t *testing.T) {
	dir := t.TempDir()
	s, err := startServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.addr, "", "write", "gone", "one")
	run(t, s.addr, "", "write", "here", "one")
	if code, stdout, stderr := inProcess(t, s.addr, nil, "check", "--online", dir); code != exit.Done {
		t.Errorf("all in place: exit code %d: %s%s", code, stdout, stderr)
	}
	if err := os.RemoveAll(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := inProcess(t, s.addr, nil, "check", "--online", dir)
	want := regexp.MustCompile(`(?m)^damage: gone: the folder is gone, and the server at 127\.0\.0\.1:\d+ still has the topic$`)
	if code != exit.Damage || !want.MatchString(stdout) || strings.Contains(stdout, "here:") || !strings.Contains(stdout, ": damage in 1 place") {
		t.Errorf("a folder removed: exit code %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := inProcess(t, s.addr, nil, "check", "--online", dir, "-o", "json"); code != exit.Damage || !strings.Contains(stdout, `"kind":"server","topic":"gone"`) {
		t.Errorf("as JSON: exit code %d: %s", code, stdout)
	}
	s.stop() // which can't sync what is gone

	// One that is there no more is not asked.
	if code, stdout, stderr := inProcess(t, s.addr, nil, "check", "--online", dir); code != exit.Done {
		t.Errorf("without a server: exit code %d: %s%s", code, stdout, stderr)
	}
}
