package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell returns a command that runs a script, and what it logs.
func shell(t *testing.T, script string) (*Command, *bytes.Buffer) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh to write a hook in")
	}
	var logged bytes.Buffer
	return &Command{
		Args:    []string{sh, "-c", script, "hook"},
		Timeout: time.Minute,
		Logger:  slog.New(slog.NewTextHandler(&logged, nil)),
	}, &logged
}

func TestWords(t *testing.T) {
	for value, want := range map[string][]string{
		"/bin/archive":                {"/bin/archive"},
		"  cp  -n\t--dir /x ":         {"cp", "-n", "--dir", "/x"},
		`a "b c" 'd "e' f\ g ""`:      {"a", "b c", `d "e`, "f g", ""},
		`x $HOME *.log ; rm | y > "z`: nil,
		`x $HOME *.log ; rm -rf | y`:  {"x", "$HOME", "*.log", ";", "rm", "-rf", "|", "y"},
		"":                            nil,
		"  ":                          nil,
		`"" x`:                        nil,
		`x 'y`:                        nil,
		`x \`:                         nil,
	} {
		got, err := Words(value)
		if (err != nil) != (want == nil) || err == nil && !slices.Equal(got, want) {
			t.Errorf("Words(%q) = %q, %v, want %q", value, got, err, want)
		}
	}
}

func TestCommandEnvironment(t *testing.T) {
	t.Setenv("SECRET", "not for hooks")
	out := filepath.Join(t.TempDir(), "env")
	c, _ := shell(t, `env > "$1"; readlink /proc/self/fd/0 >> "$1"`)
	c.Args = append(c.Args, out)
	p := Partition{Topic: "orders", Path: "/data/orders/120.log", Base: 120, End: 360}
	if err := c.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, want := range []string{
		"LOGD_HOOK_TOPIC=orders", "LOGD_HOOK_PARTITION=/data/orders/120.log",
		"LOGD_HOOK_BASE=120", "LOGD_HOOK_END=360", "PATH=" + os.Getenv("PATH"), "/dev/null",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "SECRET") {
		t.Error("the hook sees the server's environment")
	}
}

func TestCommandFails(t *testing.T) {
	c, logged := shell(t, "echo working on it; echo no room >&2; exit 7")
	err := c.Run(t.Context(), Partition{Topic: "orders", Path: "p"})
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Errorf("the error is %v, want exit status 7", err)
	}
	for _, want := range []string{"topic=orders", "partition=p", `line="working on it"`, `line="no room"`} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%q is missing in the log:\n%s", want, logged)
		}
	}
}

func TestCommandMissing(t *testing.T) {
	c := &Command{Args: []string{filepath.Join(t.TempDir(), "nothing")}, Logger: slog.New(slog.DiscardHandler)}
	if err := c.Run(t.Context(), Partition{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// TestCommandTimeout makes sure that the hook's children die with it.
func TestCommandTimeout(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c, _ := shell(t, `sleep 600 & echo $! $$ > "$1"; wait`)
	c.Args = append(c.Args, pids)
	c.Timeout = 300 * time.Millisecond
	err := c.Run(t.Context(), Partition{})
	if err == nil || !strings.Contains(err.Error(), "killed after 300ms") {
		t.Errorf("the error is %v", err)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		// A process that was killed takes a moment to go.
		testkit.Eventually(t, func() string { return testkit.Unless(!alive(pid), fmt.Sprintf("process %d is alive", pid)) })
	}
}

// A program that exits with 0 has succeeded, whatever it leaves running.
func TestCommandLeavesChild(t *testing.T) {
	c, logged := shell(t, `echo done; sleep 600 & echo $! > "$1"`)
	pidFile := filepath.Join(t.TempDir(), "pid")
	c.Args = append(c.Args, pidFile)
	if err := c.Run(t.Context(), Partition{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "line=done") {
		t.Errorf("logged: %s", logged)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Error("what it left is dead")
	}
	syscall.Kill(pid, syscall.SIGKILL)
}

// alive reports whether a process runs; one that nobody has waited for yet does
// not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestCommandCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := shell(t, "sleep 600")
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := c.Run(ctx, Partition{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// TestCommandOutput makes sure that a hook that says too much costs little.
func TestCommandOutput(t *testing.T) {
	c, logged := shell(t, `i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; head -c 1000000 /dev/zero | tr '\0' x; echo`)
	if err := c.Run(t.Context(), Partition{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(logged.String(), "line="); n != maxLines {
		t.Errorf("%d lines are logged, want %d", n, maxLines)
	}
	if n := logged.Len(); n > 64<<10 {
		t.Errorf("the log has %d bytes", n)
	}
	if !strings.Contains(logged.String(), "says more") {
		t.Error("the log does not say that there is more")
	}
}
