// Package forward runs log-forwarder and logd as processes, kills them, takes away what
// they read and write, and compares what a reader of the log gets with what was written:
// each line carries who wrote it and its number, so that what is lost, doubled or out of
// order shows. What `log-forwarder audit` says has to agree.
//
// Settings of a run:
//
//	LOGD_FORWARD_SOAK  how many times as long each test is
//	LOGD_SEED          seed of everything random, to repeat a run
//	LOGD_BUILT         a folder with the programs, which are then not built
//	LOGD_FORWARD_SEEDED_BUGS   1: see whether the tests find bugs that are put into the agent
package forward

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

// hangup has the settings read again.
const hangup = syscall.SIGHUP

// patience bounds every wait for something that has to happen.
const patience = 60 * time.Second

// built is where the programs are.
var built string

func TestMain(m *testing.M) {
	// What starts the tests may ignore hangups, as nohup does; the programs must not.
	signal.Notify(make(chan os.Signal, 1), hangup)
	if built = os.Getenv("LOGD_BUILT"); built != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "logd-forward-")
	if err == nil {
		built = dir
		cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/logd", "./cmd/log-cli", "./cmd/log-forwarder")
		cmd.Dir = "../.."
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("build the programs: %w\n%s", err, out)
		}
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// times returns how often a test does what it does n times in a short run.
func times(n int) int {
	if soak, err := strconv.Atoi(os.Getenv("LOGD_FORWARD_SOAK")); err == nil && soak > 0 {
		return n * soak
	}
	return n
}

// random returns a generator whose seed is told if the test fails.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("LOGD_SEED"), 10, 64)
	if err != nil {
		h := fnv.New64a()
		fmt.Fprint(h, t.Name(), time.Now().UnixNano())
		seed = h.Sum64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat: LOGD_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// process is a program that runs.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	err  bytes.Buffer
	mu   sync.Mutex
	done chan struct{}
	code int
}

// Write takes the standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// launch starts a program with no settings but those that are given.
func launch(t *testing.T, program string, args ...string) *process {
	t.Helper()
	return launchAt(t, filepath.Join(built, program), args...)
}

// launchAt is launch for a program at a path.
func launchAt(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SEEDED_BUG=" + os.Getenv("SEEDED_BUG")}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			log := p.log()
			t.Logf("%s %s:\n%s", program, strings.Join(args, " "), log[max(0, len(log)-4000):])
		}
	})
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop asks the program to stop, and returns its exit code.
func (p *process) stop() int {
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the program does not end:\n%s", p.log())
	}
	return p.code
}

// await waits until the log has a text.
func (p *process) await(text string) {
	p.t.Helper()
	await(p.t, "the log has "+strconv.Quote(text), func() bool {
		select {
		case <-p.done:
			p.t.Fatalf("ended with %d before the log had %q:\n%s", p.code, text, p.log())
		default:
		}
		return strings.Contains(p.log(), text)
	})
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// scene is a server and an agent, and a place for files.
type scene struct {
	t             *testing.T
	dir           string // of what the agent reads
	work, state   string
	addr, http    string
	more          []string // flags of the server
	server, agent *process
	flags         []string // of the agent
	client        *logd.Client
}

// port returns an address of this machine that nobody uses now.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// begin starts a server. The flags are the agent's, which begin starts.
func begin(t *testing.T, flags ...string) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), work: t.TempDir(), state: t.TempDir(), addr: port(t), http: port(t), flags: flags}
	s.serve()
	var err error
	s.client, err = logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}, ReconnectAttempts: logd.Unlimited})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.client.Close() })
	return s
}

// serve starts the server.
func (s *scene) serve() {
	s.t.Helper()
	s.server = launch(s.t, "logd", append([]string{"--host", s.addr, "--http-host", "", "--workdir", s.work}, s.more...)...)
	s.server.await("takes requests")
}

// forward starts the agent.
func (s *scene) forward(flags ...string) {
	s.t.Helper()
	args := append([]string{"--host", s.addr, "--state-dir", s.state, "--http-host", s.http}, s.flags...)
	s.agent = launch(s.t, "log-forwarder", append(args, flags...)...)
	s.agent.await("takes messages")
}

// read returns all messages of a topic.
func (s *scene) read(topic string) (all []string) {
	s.t.Helper()
	for at := int64(0); ; {
		r, err := s.client.Read(s.t.Context(), topic, at, logd.ReadOptions{})
		if errors.Is(err, logd.ErrNoTopic) {
			return nil
		} else if err != nil {
			s.t.Fatal(err)
		}
		if len(r.Batches) == 0 {
			return all
		}
		for i := range r.Batches {
			for m := range r.Batches[i].All() {
				all = append(all, string(m.Body))
			}
		}
		at = r.Next
	}
}

// lines returns how many messages a topic has.
func (s *scene) count(topic string) int64 {
	info, err := s.client.Info(s.t.Context(), topic)
	if err != nil {
		return 0
	}
	return info.Messages
}

// audit runs the audit of the agent's state and returns its exit code, and its lines.
func (s *scene) audit() (code int, lines []auditLine, text string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(built, "log-forwarder"), "audit", "-o", "json", "--host", s.addr, "--state-dir", s.state)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = s.dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		text = string(exit.Stderr)
	} else if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var l auditLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			s.t.Fatalf("audit says %q: %v", line, err)
		}
		lines = append(lines, l)
	}
	return cmd.ProcessState.ExitCode(), lines, string(out) + text
}

type auditLine struct {
	Input, Source, Topic                               string
	Taken, Stored, Waiting                             int64
	Verified, Expired, Missing, Mismatched, Duplicates int64
	Holes                                              []struct {
		Kind            string
		Messages, Bytes int64
	}
}

// clean demands that the audit finds nothing wrong.
func (s *scene) clean() {
	s.t.Helper()
	if code, _, text := s.audit(); code != 0 {
		s.t.Errorf("audit ends with %d:\n%s", code, text)
	}
}

// sequence checks that a topic has the lines "NAME 0", "NAME 1" … of each of its writers,
// each once and in order, up to the number that each has written.
func sequence(t *testing.T, got []string, want map[string]int) {
	t.Helper()
	next := map[string]int{}
	for _, line := range got {
		name, number, _ := strings.Cut(line, " ")
		number, _, _ = strings.Cut(number, " ")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil || want[name] == 0:
			t.Fatalf("%q is stored, which nobody wrote", line)
		case n < next[name]:
			t.Fatalf("%q is stored twice, or late: %d was next", line, next[name])
		case n > next[name]:
			t.Fatalf("%q is stored and %d is not", line, next[name])
		}
		next[name]++
	}
	for name, n := range want {
		if next[name] != n {
			t.Errorf("%d lines of %s are stored, of %d", next[name], name, n)
		}
	}
}

// each checks that a topic has the lines "NAME 0", "NAME 1" … of each of its writers, each
// once, in whatever order: those of two files have none.
func each(t *testing.T, got []string, want map[string]int) {
	t.Helper()
	seen := map[string]int{}
	for _, line := range got {
		name, rest, _ := strings.Cut(line, " ")
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n >= want[name] {
			t.Fatalf("%q is stored, which nobody wrote", line)
		}
		seen[name+" "+number]++
	}
	lost, twice := []string{}, []string{}
	for name, n := range want {
		for i := range n {
			switch line := fmt.Sprint(name, " ", i); {
			case seen[line] == 0:
				lost = append(lost, line)
			case seen[line] > 1:
				twice = append(twice, line)
			}
		}
	}
	if len(lost) > 0 || len(twice) > 0 {
		t.Errorf("%d lines are lost, as %q, and %d are stored twice, as %q", len(lost), lost[:min(len(lost), 3)], len(twice), twice[:min(len(twice), 3)])
	}
}
