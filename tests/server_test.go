package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a logd process.
type server struct {
	t    testing.TB
	addr string // of the protocol
	http string
	cmd  *exec.Cmd
	log  *serverLog

	awaited bool // its end was waited for, and looked at
}

// start runs logd on a work directory and returns when it takes requests. It
// is ended with the test, if it still runs then, and has to end well.
func start(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s := launch(t, nil, dir, flags...)
	line := s.await("logd takes requests")
	s.addr, s.http = line["addr"].(string), line["http"].(string)
	return s
}

// launch is start that does not wait until requests are taken. The command, if
// there is one, is what runs logd.
func launch(t testing.TB, command []string, dir string, flags ...string) *server {
	t.Helper()
	s := launchLoose(t, command, dir, flags...)
	t.Cleanup(func() {
		running := s.running()
		if running {
			s.stop()
		}
		if s.log.contains("panic") {
			t.Errorf("logd panicked:\n%s", s.log.tail())
		} else if t.Failed() && (running || !s.awaited) {
			t.Logf("the log of logd on %s:\n%s", s.addr, s.log.tail())
		}
	})
	return s
}

// launchLoose is launch of a process that the caller ends.
func launchLoose(t testing.TB, command []string, dir string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, log: newServerLog()}
	args := append(command, built.logd, "--config", built.noConfig, "--host", "127.0.0.1:0", "--http-host", "127.0.0.1:0",
		"--workdir", dir, "--log-format", "json")
	args = append(args, flags...)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env = environment()
	s.cmd.Dir = built.empty
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.log.ended)
		s.cmd.Wait() // how it ended is for whoever ends it
	}()
	return s
}

func (s *server) running() bool {
	select {
	case <-s.log.ended:
		return false
	default:
		return true
	}
}

// await waits for a line of the log.
func (s *server) await(message string, match ...func(line map[string]any) bool) map[string]any {
	s.t.Helper()
	line, err := s.log.await(message, match...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.log.tail())
	}
	return line
}

// wait waits for the end of the process and returns its exit code.
func (s *server) wait() int {
	s.t.Helper()
	s.awaited = true
	select {
	case <-s.log.ended:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.log.ended
		s.t.Errorf("logd has not ended after %v", patience)
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
}

// stop ends the server in order.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		s.t.Errorf("exit code %d after SIGTERM, want 0\n%s", code, s.log.tail())
	}
}

// kill ends the server without asking.
func (s *server) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	s.wait()
}

// refused runs a logd that must not start, and returns its exit code and what
// it says.
func refused(t testing.TB, dir string, flags ...string) (int, string) {
	t.Helper()
	s := launch(t, nil, dir, flags...)
	code := s.wait()
	return code, s.log.tail()
}

// partitions returns the base offsets of a topic's partition files, in order.
func partitions(t testing.TB, dir, topic string) (bases []int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, topic, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		base, err := decimal(strings.TrimSuffix(filepath.Base(name), ".log"))
		if err != nil {
			t.Fatalf("partition %s: %v", name, err)
		}
		bases = append(bases, base)
	}
	slices.Sort(bases)
	return bases
}

// partitionFile returns the name of a partition's file.
func partitionFile(dir, topic string, base int64) string {
	return filepath.Join(dir, topic, fmt.Sprintf("%d.log", base))
}

// serverLog is what a logd has written to standard error.
type serverLog struct {
	ended chan struct{} // closed when the process has ended

	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed and replaced when text grows
}

func newServerLog() *serverLog {
	return &serverLog{ended: make(chan struct{}), changed: make(chan struct{})}
}

// Write implements io.Writer.
func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *serverLog) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text, []byte(text))
}

// tail returns the end of the text.
func (l *serverLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const enough = 8 << 10
	return string(l.text[max(len(l.text)-enough, 0):])
}

// await returns the first line with the message that all matches take.
func (l *serverLog) await(message string, match ...func(map[string]any) bool) (map[string]any, error) {
	late := time.After(patience)
	for done, ended := 0, false; ; {
		l.mu.Lock()
		rest, changed := l.text[done:], l.changed
		l.mu.Unlock()
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			done += len(line) + 1
			rest = after
			var fields map[string]any
			if json.Unmarshal(line, &fields) != nil || fields["msg"] != message {
				continue
			}
			taken := true
			for _, m := range match {
				taken = taken && m(fields)
			}
			if taken {
				return fields, nil
			}
		}
		if ended {
			return nil, fmt.Errorf("logd has ended without saying %q", message)
		}
		select {
		case <-changed:
		case <-l.ended:
			ended = true // look once more
		case <-late:
			return nil, fmt.Errorf("logd has not said %q after %v", message, patience)
		}
	}
}
