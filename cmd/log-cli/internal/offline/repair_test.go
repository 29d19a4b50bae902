package offline

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// The root of a volume may be root's: what counts is whose the files are.
func TestRepairAtTheRootOfAVolume(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a file away")
	}
	for _, name := range []string{"topic/", ".lock", "LOCK"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700)
		if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.Mkdir(path, 0o700))
		} else {
			err = errors.Join(err, os.WriteFile(path, nil, 0o600))
		}
		if err = errors.Join(err, os.Chown(path, 12345, -1)); err != nil {
			t.Fatal(err)
		}
		if uid, err := runsAs(dir); uid != 12345 || err != nil {
			t.Errorf("%s is user 12345's, and logd runs as %d (%v)", name, uid, err)
		}
	}
}

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
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	if code := a.Run(t.Context(), a.Root(nil, []*cobra.Command{repairCommand(a)}), []string{"repair", dir}); code != exit.Failed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stderr.String(), "run the repair as user 12345") {
		t.Errorf("stderr is %q", &stderr)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the folder has %v (%v)", names, err)
	}
	a = &cli.App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	if code := a.Run(t.Context(), a.Root(nil, []*cobra.Command{repairCommand(a)}), []string{"repair", "--dry-run", dir}); code != exit.Done {
		t.Errorf("dry run: exit code %d: %s", code, &stderr)
	}
}
