package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// serve starts a server for the test.
func serve(t *testing.T, settings ...string) *testServer {
	t.Helper()
	s, err := startServer(t.TempDir(), "127.0.0.1:0", settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// process is a running log-cli. The test fails if it has not ended a minute
// after it began.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

func start(t *testing.T, addr string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), "log-cli", args...)}
	p.cmd.Env = append(os.Environ(), cli.HostEnv+"="+addr)
	p.cmd.Stderr = &p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	return p
}

// line returns the next line of standard output.
func (p *process) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.cmd.Wait()
		p.t.Fatalf("no line on standard output: %v; standard error: %s", err, &p.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	io.Copy(io.Discard, p.out)
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// run runs log-cli to its end and returns its standard output.
func run(t *testing.T, addr, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "log-cli", args...)
	cmd.Env = append(os.Environ(), cli.HostEnv+"="+addr)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("log-cli %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

// inProcess runs log-cli in this process.
func inProcess(t *testing.T, addr string, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: stdin, Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), root(a), args)
	return code, out.String(), errs.String()
}

// A reader that follows goes on where it was when the server comes back:
// nothing is lost and nothing is repeated.
func TestFollowOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	s, err := startServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.addr, "", "write", "-t", "t", "a", "b")
	p := start(t, s.addr, "read", "-t", "t", "-F", "--limit", "8")
	for i, want := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if i > 0 && i%2 == 0 {
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if s, err = startServer(dir, s.addr); err != nil {
				t.Fatal(err)
			}
			next := string(rune(want[0] + 1))
			run(t, s.addr, "", "write", "-t", "t", want, next)
		}
		if got := p.line(); got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
	if code := p.wait(); code != exit.Done {
		t.Errorf("exit code %d", code)
	}
	if text := p.stderr.String(); !strings.Contains(text, "trying on") || !strings.Contains(text, "the server answers again") {
		t.Errorf("standard error is %q", text)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// A line is stored, and its offset printed, while the input goes on.
func TestWriteDoesNotWaitForFullBatches(t *testing.T) {
	s := serve(t)
	p := start(t, s.addr, "write", "-t", "t", "--wait-interval", "10ms")
	for _, text := range []string{"one", "two", "three"} {
		fmt.Fprintln(p.in, text)
		p.line()
		if got := run(t, s.addr, "", "read", "-t", "t", "--last", "1"); got != text+"\n" {
			t.Errorf("the last message is %q, want %q", got, text)
		}
	}
	fmt.Fprint(p.in, "no end")
	p.in.Close()
	p.line()
	if code := p.wait(); code != exit.Done || p.stderr.Len() > 0 {
		t.Errorf("exit code %d, standard error %q", code, &p.stderr)
	}
	if got := run(t, s.addr, "", "read", "-t", "t"); got != "one\ntwo\nthree\nno end\n" {
		t.Errorf("stored %q", got)
	}
}

// An interrupt ends a write in order: what was read is stored, and what was
// not is said.
func TestInterruptedWrite(t *testing.T) {
	s := serve(t)
	p := start(t, s.addr, "write", "-t", "t", "--wait-interval", "10ms", "-c", "2")
	fmt.Fprint(p.in, "one\ntwo\nthree\nfo")
	p.line()
	p.line()
	p.cmd.Process.Signal(os.Interrupt)
	if code := p.wait(); code != exit.Failed {
		t.Errorf("exit code %d, want %d", code, exit.Failed)
	}
	if got, want := p.stderr.String(), "log-cli: lines 1 to 3 are stored; no other line is stored\nlog-cli: interrupted\n"; got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
	if got := run(t, s.addr, "", "read", "-t", "t"); got != "one\ntwo\nthree\n" {
		t.Errorf("stored %q", got)
	}
}

// An interrupt is the end that a reader who follows has.
func TestInterruptedFollow(t *testing.T) {
	s := serve(t)
	run(t, s.addr, "", "write", "-t", "t", "one")
	p := start(t, s.addr, "read", "-t", "t", "-F")
	p.line()
	p.cmd.Process.Signal(os.Interrupt)
	if code := p.wait(); code != exit.Done || p.stderr.Len() > 0 {
		t.Errorf("exit code %d, standard error %q", code, &p.stderr)
	}
}

// A reader that follows waits for a topic that is not there yet, and says so.
func TestFollowAwaitsTheTopic(t *testing.T) {
	s := serve(t)
	run(t, s.addr, "", "write", "greetings", "hello")
	for _, from := range [][]string{nil, {"--last", "5"}, {"--from", "end"}, {"--since", "1h"}, {"--offset", "0"}} {
		const topic = "greetigns"
		cmd := exec.CommandContext(t.Context(), "log-cli", append([]string{"read", topic, "-F", "--limit", "1"}, from...)...)
		cmd.Env = append(os.Environ(), cli.CLIHostEnv+"="+s.addr)
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said, err := bufio.NewReader(stderr).ReadString('\n')
		if want := fmt.Sprintf("log-cli: there is no topic %q yet; waiting for it; did you mean \"greetings\"?\n", topic); err != nil || said != want {
			t.Errorf("%q: it says %q (%v), want %q", from, said, err, want)
		}
		run(t, s.addr, "", "write", topic, "first")
		if err := cmd.Wait(); err != nil || stdout.String() != "first\n" {
			t.Errorf("%q: %v, standard output %q", from, err, &stdout)
		}
		run(t, s.addr, "", "delete", topic, "--yes", "--now")
	}
}
