package tests

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

var cliCases = []systemCase{
	{name: "log-cli", run: commandLine},
}

// cli makes a command of log-cli for a server.
func cli(t testing.TB, addr string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built.cli, args...)
	cmd.Env = environment("LOGD_HOST=" + addr)
	cmd.Dir = built.empty
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// result is what a command has printed, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

func runCLI(t testing.TB, addr, stdin string, args ...string) result {
	t.Helper()
	cmd := cli(t, addr, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{string(out), stderr.String(), cmd.ProcessState.ExitCode()}
}

// commandLine looks at the exit codes of log-cli, and what it prints.
func commandLine(s *scene) {
	s.append("one", "two")
	gone := closedPort(s)
	longest := int(s.config.maxBatchSize())
	steps := []struct {
		addr, stdin    string
		args           string // of log-cli; TOPIC is the case's
		code           int
		stdout, stderr string // what has to be in there; - for nothing at all
	}{
		{args: "read -t TOPIC", stdout: "one\ntwo\n", stderr: "-"},
		{args: "read -t TOPIC -n", stdout: "0.0 one\n0.12 two\n", stderr: "-"},
		{args: "ping", stdout: "answered", stderr: "-"},
		{args: "topics", stdout: "TOPIC\n", stderr: "-"},
		{args: "info TOPIC", stdout: "Messages: 2\n", stderr: "-"},
		{args: "config", stdout: fmt.Sprintf("MaxBatchSize: %d\n", longest), stderr: "-"},
		{args: "stats", stdout: "requests.total: ", stderr: "-"},
		{args: "write -t TOPIC three", stdout: fmt.Sprintf("%d\n", s.next()), stderr: "-"},
		{args: "read -t TOPIC --last 1", stdout: "three\n", stderr: "-"},
		{args: "read -t nothing", code: 3, stdout: "-", stderr: `no topic "nothing"`},
		{args: "info nothing", code: 3, stdout: "-", stderr: `no topic "nothing"`},
		{args: "read -t TOPIC --offset 1", code: 3, stdout: "-", stderr: "offset 1 "},
		{args: "read -t TOPIC --offset 99999", code: 3, stdout: "-", stderr: "beyond the end"},
		{args: "write -t TOPIC", stdin: "short\n" + strings.Repeat("x", longest) + "\n", code: 1, stderr: "line 2"},
		{args: "write -t ../TOPIC x", code: 2, stdout: "-", stderr: "../"},
		{args: "read", code: 2, stdout: "-", stderr: "topic"},
		{args: "nothing", code: 2, stdout: "-", stderr: "nothing"},
		{args: "ping", addr: gone, code: 75, stdout: "-", stderr: gone},
		{args: "write -t TOPIC x", addr: gone, code: 75, stdout: "-", stderr: gone},
		{args: "ping", addr: "no port", code: 78, stdout: "-", stderr: "LOGD_HOST"},
	}
	for _, step := range steps {
		addr := step.addr
		if addr == "" {
			addr = s.server.addr
		}
		args := strings.Fields(strings.ReplaceAll(step.args, "TOPIC", s.topic))
		r := runCLI(s, addr, step.stdin, args...)
		has := func(got, want string) bool {
			if want == "-" {
				return got == ""
			}
			return strings.Contains(got, strings.ReplaceAll(want, "TOPIC", s.topic))
		}
		if r.code != step.code || !has(r.stdout, step.stdout) || !has(r.stderr, step.stderr) {
			s.Errorf("log-cli %s exits with %d, want %d; stdout %.200q, want %q; stderr %.200q, want %q",
				step.args, r.code, step.code, r.stdout, step.stdout, r.stderr, step.stderr)
		}
	}
	s.restart((*server).stop, "--topics", "0", "--topics-whitelist", "good")
	if r := runCLI(s, s.server.addr, "", "write", "-t", "bad", "x"); r.code != 5 || !strings.Contains(r.stderr, "topic not allowed") {
		s.Errorf("write to a topic that is not allowed exits with %d and says %q", r.code, r.stderr)
	}
	s.restart((*server).stop, "--max-connections", "1")
	if r := runCLI(s, s.server.addr, "", "ping"); r.code != 75 || !strings.Contains(r.stderr, "busy") {
		s.Errorf("ping of a busy server exits with %d and says %q", r.code, r.stderr)
	}
}

// closedPort returns an address that nothing listens on any more.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
