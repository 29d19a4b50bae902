package offline

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
)

// offlineRun runs one of the commands.
func offlineRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	code = a.Run(t.Context(), a.Root(nil, Commands(a)), args)
	return code, out.String(), errs.String()
}

// TestDamageAndRepair: check names the byte that has changed, dump shows it, repair
// takes it out, and then check is content.
func TestDamageAndRepair(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	dir := server.WorkDir()
	for _, body := range []string{"one", "two", "three"} {
		if _, err := client.AppendMessage(t.Context(), "t", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := offlineRun(t, "check", dir); code != exit.Temporary || !strings.Contains(stderr, "is in use by another process") {
		t.Errorf("while the server runs: exit code %d, %q", code, stderr)
	}
	if code, stdout, stderr := offlineRun(t, "check", "--online", dir); code != exit.Done || !strings.Contains(stdout, "no damage") {
		t.Errorf("online: exit code %d, %q, %q", code, stdout, stderr)
	}
	server.Stop()
	file := filepath.Join(dir, "t", "0.log")
	if code, stdout, stderr := offlineRun(t, "dump", file, "--bodies"); code != exit.Done || !strings.Contains(stdout, `"two"`) || strings.Count(stdout, "batch ") != 3 {
		t.Errorf("dump: exit code %d, %q, %q", code, stdout, stderr)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[bytes.Index(raw, []byte("two"))] ^= 1
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args string
		code int
		says string
	}{
		{"check", exit.Damage, "damage: t/0.log: position "},
		{"dump FILE", exit.Done, "damage "},
		{"repair --dry-run", exit.Done, "nothing was changed\n"},
		{"check -o json", exit.Damage, `"level":"damage"`},
		{"repair", exit.Done, "1 topic repaired"},
		{"check", exit.Done, "no damage"},
		{"repair", exit.Done, "nothing to repair\n"},
	} {
		args := strings.Fields(step.args)
		if last := len(args) - 1; args[last] == "FILE" {
			args[last] = file
		} else {
			args = append(args, dir)
		}
		if code, stdout, stderr := offlineRun(t, args...); code != step.code || !strings.Contains(stdout, step.says) {
			t.Errorf("%s: exit code %d, %q, %q, want %d, %q", step.args, code, stdout, stderr, step.code, step.says)
		}
	}
}

func TestNoWorkDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "repair"} {
		for name, want := range map[string]int{filepath.Join(dir, "none"): exit.NotFound, file: exit.Usage} {
			if code, _, stderr := offlineRun(t, command, name); code != want || stderr == "" {
				t.Errorf("%s %s: exit code %d, %q, want %d", command, name, code, stderr, want)
			}
		}
		if code, _, _ := offlineRun(t, command); code != exit.Usage {
			t.Errorf("%s of nothing: exit code %d", command, code)
		}
	}
	if code, _, stderr := offlineRun(t, "dump", filepath.Join(dir, "t", "0.log")); code != exit.NotFound {
		t.Errorf("dump of no file: exit code %d, %q", code, stderr)
	}
}
