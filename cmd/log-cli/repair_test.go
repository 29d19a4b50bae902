package main

import (
	"os"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/exit"
)

// A repair by another user than the directory's would make files that logd
// can't open.
func TestRepairByAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a folder away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
	if code := a.run(t.Context(), []string{"repair", dir}); code != exit.Failed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stderr.String(), "belongs to user 12345 and this is user 0") {
		t.Errorf("stderr is %q", &stderr)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the folder has %v (%v)", names, err)
	}
	a = &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
	if code := a.run(t.Context(), []string{"repair", "--dry-run", dir}); code != exit.Done {
		t.Errorf("dry run: exit code %d: %s", code, &stderr)
	}
}
