// Package scripttest runs commands in test scripts as users do. It is for tests.
package scripttest

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run runs the scripts in testdata/script, whose commands have of the environment the
// variables of those names, and what every command needs. installed is a file
// that every command would read: where it is there, nothing is tested. Beside the usual
// commands of scripts there are:
//
//	code N COMMAND [ARG...]      run a command that has to exit with N
//	start NAME COMMAND [ARG...]  start one that goes on; its standard input is a
//	                             terminal if STDIN says so
//	await NAME REGEXP            wait until its standard error matches; named
//	                             groups become environment variables
//	signal NAME TERM|INT|HUP     send it a signal
//	ended NAME N                 wait until it has ended; it has to exit with N;
//	                             its standard error is in the file NAME.stderr
//	connect ADDRESS TEXT REPLY   send TEXT, a Go string without quotes, wait until
//	                             a reply begins with REPLY, and keep the
//	                             connection until the script ends
func Run(t *testing.T, installed string, variables []string) {
	if exists(installed) {
		t.Skipf("%s is there and would be read by every command", installed)
	}
	if signal.Ignored(syscall.SIGHUP) { // under nohup, which what is started here is not to inherit
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	s := scripts{variables}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Values[processesKey{}] = processes{}
			// With the race detector each command would sleep for a second
			// before it exits.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "start": s.start, "await": await, "signal": signalProcess, "ended": ended, "connect": connect,
		},
		RequireExplicitExec: true,
	})
}

// scripts is what all scripts share.
type scripts struct {
	variables []string
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// Patience bounds the waits of scripts. No good run comes near it.
const Patience = 30 * time.Second

// processes are what a script has started, by name.
type processes map[string]*process

type processesKey struct{}

func started(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processesKey{}).(processes)[name]
	if p == nil {
		ts.Fatalf("nothing is called %s", name)
	}
	return p
}

// process is a command that runs beside its script.
type process struct {
	cmd *exec.Cmd

	mu      sync.Mutex
	stderr  []byte
	changed chan struct{} // closed and replaced when stderr grows
	ended   chan struct{} // closed when it has ended
}

// Write implements io.Writer for standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stderr = append(p.stderr, b...)
	close(p.changed)
	p.changed = make(chan struct{})
	return len(b), nil
}

func (p *process) output() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.stderr), p.changed
}

// command makes a command with the script's folder and environment.
func (s scripts) command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range append([]string{"PATH", "TMPDIR", "GOCOVERDIR", "GORACE"}, s.variables...) {
		if v := ts.Getenv(name); v != "" { // a script can't tell empty from not set
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func (s scripts) start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME COMMAND [ARG...]")
	}
	p := &process{cmd: s.command(ts, args[1:]), changed: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Stderr = p
	if ts.Getenv("STDIN") == "terminal" {
		terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
		ts.Check(err)
		defer terminal.Close()
		p.cmd.Stdin = terminal
	}
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.ended)
		p.cmd.Wait() // its exit code is what ended asks for
	}()
	ts.Defer(func() {
		p.cmd.Process.Kill()
		<-p.ended
		text, _ := p.output()
		ts.Logf("[standard error of %s]\n%s", args[0], text)
	})
	ts.Value(processesKey{}).(processes)[args[0]] = p
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await NAME REGEXP")
	}
	p := started(ts, args[0])
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	late := time.After(Patience)
	for ended := false; ; {
		text, changed := p.output()
		if m := re.FindStringSubmatch(text); m != nil {
			for i, name := range re.SubexpNames() {
				if name != "" {
					ts.Setenv(name, m[i])
				}
			}
			return
		}
		if ended {
			ts.Fatalf("%s ended without a match", args[0])
		}
		select {
		case <-changed:
		case <-p.ended:
			ended = true // look once more
		case <-late:
			ts.Fatalf("no match after %v", Patience)
		}
	}
}

func signalProcess(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	if neg || len(args) != 2 || signals[args[1]] == nil {
		ts.Fatalf("usage: signal NAME TERM|INT|HUP")
	}
	ts.Check(started(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME N")
	}
	p := started(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(Patience):
		ts.Fatalf("%s has not ended after %v", args[0], Patience)
	}
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s exited with %s, want %s", args[0], got, args[1])
	}
	text, _ := p.output()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stderr"), []byte(text), 0o600))
}

func connect(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: connect ADDRESS TEXT REPLY")
	}
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	conn, err := net.DialTimeout("tcp", args[0], Patience)
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	ts.Check(conn.SetDeadline(time.Now().Add(Patience)))
	_, err = io.WriteString(conn, text)
	ts.Check(err)
	reply := make([]byte, len(args[2]))
	n, err := io.ReadFull(conn, reply)
	if string(reply[:n]) != args[2] {
		ts.Fatalf("reply begins with %q, %v, want %q", reply[:n], err, args[2])
	}
}
