// Package clients runs the clients in other languages, clients/python and clients/js,
// against servers that are processes: it kills them, speaks TLS with them, asks for
// tokens, and makes them a cluster. What the clients do is in their own tests/run.py and
// test/run.js; what was stored is compared here, by the Go client.
//
// Where python3 or node is not installed their tests are skipped, and with CI=true they
// fail.
package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/testkit"
)

// patience bounds every wait for something that has to happen.
const patience = 50 * time.Second

// built is where the programs are.
var built string

func TestMain(m *testing.M) {
	for _, v := range os.Environ() { // settings of other tests are none of the programs'
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LOGD_") {
			os.Unsetenv(name)
		}
	}
	dir, err := os.MkdirTemp("", "logd-clients-")
	if err == nil {
		built = dir
		cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/logd", "./cmd/log-cli")
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

// language is one that there is a client in.
type language struct {
	name    string
	program string // the interpreter
	run     string // what its tests run
}

var languages = []language{
	{"python", "python3", "clients/python/tests/run.py"},
	{"js", "node", "clients/js/test/run.js"},
}

// each runs a test with the client in each language.
func each(t *testing.T, test func(t *testing.T, l language)) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			if _, err := exec.LookPath(l.program); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatalf("%s is not installed", l.program)
				}
				t.Skipf("%s is not installed", l.program)
			}
			test(t, l)
		})
	}
}

// options are those of a client, of every language.
type options map[string]any

// command returns the command that has the client do something.
func (l language) command(mode string, args ...any) *exec.Cmd {
	words := []string{filepath.Join("..", "..", l.run), mode}
	for _, a := range args {
		if o, ok := a.(options); ok {
			text, err := json.Marshal(o)
			if err != nil {
				panic(err)
			}
			a = string(text)
		}
		words = append(words, fmt.Sprint(a))
	}
	cmd := exec.Command(l.program, words...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// do has the client do something, and returns what it prints.
func (l language) do(t *testing.T, mode string, args ...any) string {
	t.Helper()
	p := l.start(t, mode, args...)
	return p.end(false)
}

// client is a client that runs.
type client struct {
	t        *testing.T
	cmd      *exec.Cmd
	stdin    io.Closer
	out, err bytes.Buffer
	mu       sync.Mutex // guards out
	done     chan error
}

// Write takes the standard output.
func (c *client) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

// lines returns how many lines it has printed.
func (c *client) lines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Count(c.out.Bytes(), []byte("\n"))
}

// start has the client begin to do something.
func (l language) start(t *testing.T, mode string, args ...any) *client {
	t.Helper()
	c := &client{t: t, cmd: l.command(mode, args...), done: make(chan error, 1)}
	c.cmd.Stdout, c.cmd.Stderr = c, &c.err
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() { // Python says where its threads are
			c.cmd.Process.Signal(syscall.SIGQUIT)
			time.Sleep(200 * time.Millisecond)
		}
		c.cmd.Process.Kill()
		if err := <-c.done; t.Failed() {
			t.Logf("%s: %v, %d lines\n%s", c.cmd, err, c.lines(), last(c.err.String()))
		}
	})
	return c
}

// end waits for the client's end, and has it come if it has to be told, and returns what
// it has printed.
func (c *client) end(tell bool) string {
	c.t.Helper()
	if tell {
		c.stdin.Close()
	}
	select {
	case err := <-c.done:
		c.done <- err
		if err != nil {
			c.t.Fatalf("%s: %v\n%s%s", c.cmd, err, &c.err, last(c.out.String()))
		}
	case <-time.After(patience):
		c.cmd.Process.Signal(syscall.SIGQUIT)
		c.t.Fatalf("%s has not ended after %v", c.cmd, patience)
	}
	return c.out.String()
}

func last(s string) string { return s[max(0, len(s)-2000):] }

// server is a logd process.
type server struct {
	t    *testing.T
	addr string
	http string
	args []string
	cmd  *exec.Cmd
	log  testkit.Buffer // of the process, in all its runs
}

// starts returns how often it says that the server takes requests.
func (s *server) starts() int { return strings.Count(s.log.String(), "logd takes requests") }

// serve starts a server at a free port.
func serve(t *testing.T, flags ...string) *server {
	t.Helper()
	s := &server{t: t, addr: port(t), http: port(t)}
	s.args = append([]string{"--host", s.addr, "--http-host", s.http, "--workdir", t.TempDir()}, flags...)
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", s.addr, last(s.log.String()))
		}
	})
	return s
}

// start starts the process, and waits until it says that it listens: whoever else may
// have the port for a moment, another test that looks for a free one, is no server.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(filepath.Join(built, "logd"), s.args...)
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	s.cmd.Stderr = &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	before := s.starts()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the server listens", func() bool { return s.starts() > before })
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it has not come to pass after %v that %s", patience, what)
		}
	}
}

// port returns an address of this machine that nobody uses. It is none of those that the
// system gives to outgoing connections: such a one could be taken while a server is away.
func port(t *testing.T) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 11000+rand.IntN(20000)))
		if err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// words splits each line of a text at its first space.
func words(text string) (pairs [][2]string) {
	for line := range strings.Lines(text) {
		a, b, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		pairs = append(pairs, [2]string{a, b})
	}
	return pairs
}
