package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd/cmd/internal/scripttest"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/testkit"
)

// given is the real program, started as a service manager with sockets starts it.
type given struct {
	cmd *exec.Cmd
	log *testkit.Buffer
}

// startGiven starts logd with sockets and variables of the environment. LISTEN_PID is its
// own unless env says otherwise.
func startGiven(t *testing.T, dir string, files []*os.File, env []string, args ...string) *given {
	t.Helper()
	logd, err := exec.LookPath("logd")
	if err != nil {
		t.Fatal(err)
	}
	script := `LISTEN_PID=${LISTEN_PID-$$}; export LISTEN_PID; exec "$0" "$@"`
	g := &given{exec.Command("sh", append([]string{"-c", script, logd, "--workdir", "data"}, args...)...), new(testkit.Buffer)}
	g.cmd.Dir, g.cmd.ExtraFiles, g.cmd.Stderr = dir, files, g.log
	g.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0", fmt.Sprintf("LISTEN_FDS=%d", len(files))}, env...)
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.cmd.ProcessState == nil {
			g.cmd.Process.Kill()
			g.cmd.Wait()
		}
	})
	return g
}

// await waits until the log matches.
func (g *given) await(t *testing.T, expr string) {
	t.Helper()
	re := regexp.MustCompile(expr)
	for deadline := time.Now().Add(scripttest.Patience); !re.MatchString(g.log.String()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not match %s:\n%s", expr, g.log)
		}
	}
}

func (g *given) stop(t *testing.T) {
	t.Helper()
	g.cmd.Process.Signal(syscall.SIGTERM)
	if err := g.cmd.Wait(); err != nil {
		t.Fatalf("%v:\n%s", err, g.log)
	}
}

// ask sends a request and returns the first line of the answer.
func ask(t *testing.T, network, addr, request string) string {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return askOn(t, c, request)
}

func askOn(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(scripttest.Patience))
	io.WriteString(c, request)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// made is a socket that the test has made, as a service manager does: its address, and a
// file to give away.
func made(t *testing.T, network, addr string) (string, *os.File) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return l.Addr().String(), f
}

// shortDir returns a folder whose path is short enough for a unix socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "g")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestInheritedSockets: they are served in place of what the settings say, and stay when
// the server ends: who connects before it is back is served then. Hooks get none of it.
func TestInheritedSockets(t *testing.T) {
	dir := shortDir(t)
	addr, protocol := made(t, "tcp", "127.0.0.1:0")
	http, web := made(t, "tcp", "127.0.0.1:0")
	files := []*os.File{protocol, web}
	args := []string{"--host", "192.0.2.1:1", "--http-host", "192.0.2.1:2", "--partition-size", "256", "--batch-size", "128", "--partitions", "1",
		"--delete-hook", `sh -c "env; ls -l /proc/self/fd; echo done"`, "--unix-socket", "own"}
	g := startGiven(t, dir, files, nil, args...)
	g.await(t, "logd takes requests.* addr="+addr+" http="+http)
	if got := ask(t, "tcp", addr, testkit.Batch("t", "x")); got != "OK 0 1" {
		t.Errorf("protocol: %s", got)
	}
	if got := ask(t, "tcp", http, "GET /livez HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "200 OK") {
		t.Errorf("HTTP: %s", got)
	}
	if got := ask(t, "unix", filepath.Join(dir, "own"), "PING\r\n"); got != "OK" {
		t.Errorf("the unix socket of the settings: %s", got)
	}
	for range 20 { // more than a partition
		ask(t, "tcp", addr, testkit.Batch("full", strings.Repeat("x", 50)))
	}
	g.await(t, "hook says.* line=done")
	for _, bad := range []string{"LISTEN_", "NOTIFY_", "socket:"} {
		if said := g.log.String(); strings.Contains(said, bad) {
			t.Errorf("the hook has %s:\n%s", bad, said)
		}
	}
	g.stop(t)

	waiting, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("the socket is gone: %v", err)
	}
	defer waiting.Close()
	g = startGiven(t, dir, files, []string{"LISTEN_FDNAMES=protocol:http"}, args...)
	if got := askOn(t, waiting, testkit.Batch("t", "y")); got != "OK 35 1" {
		t.Errorf("who waited: %s", got)
	}
	g.stop(t)
}

// TestInheritedUnixSocket: with it there need be no TCP, and the path stays.
func TestInheritedUnixSocket(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	_, f := made(t, "unix", path)
	tcp, g := made(t, "tcp", "127.0.0.1:0")
	for _, test := range []struct {
		name  string
		files []*os.File
		env   []string
		args  []string
		tcp   bool
	}{
		{"alone", []*os.File{f}, []string{"LISTEN_FDNAMES=unix"}, []string{"--host", ""}, false},
		{"in place of host", []*os.File{f}, []string{"LISTEN_FDNAMES=protocol"}, []string{"--host", "192.0.2.1:1"}, false},
		{"without a name", []*os.File{f}, nil, nil, false},
		{"beside TCP", []*os.File{f, g}, []string{"LISTEN_FDNAMES=unix:protocol"}, []string{"--unix-socket", "other"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := startGiven(t, dir, test.files, test.env, append(test.args, "--http-host", "")...)
			want := "unix:" + path
			if test.tcp {
				want = tcp
			}
			g.await(t, "logd takes requests.* addr="+want)
			if got := ask(t, "unix", path, "PING\r\n"); got != "OK" {
				t.Errorf("%s", got)
			}
			if test.tcp {
				if got := ask(t, "tcp", tcp, "PING\r\n"); got != "OK" {
					t.Errorf("TCP: %s", got)
				}
			}
			g.stop(t)
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("the socket was removed: %v", err)
			}
		})
	}
}

// TestInheritedSocketsRefused: what can't be meant ends the start before anything is made.
// Sockets of another process are none.
func TestInheritedSocketsRefused(t *testing.T) {
	dir := shortDir(t)
	_, loopback := made(t, "tcp", "127.0.0.1:0")
	open, everywhere := made(t, "tcp4", "0.0.0.0:0")
	_, one := made(t, "unix", filepath.Join(dir, "one"))
	_, two := made(t, "unix", filepath.Join(dir, "two"))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, test := range []struct {
		name  string
		files []*os.File
		env   []string
		args  []string
		want  string
	}{
		{"fewer than said", []*os.File{loopback}, []string{"LISTEN_FDS=2"}, nil, `inherited socket \\"http\\" \(file descriptor 4\)`},
		{"another name", []*os.File{loopback, one}, []string{"LISTEN_FDNAMES=protocol:web"}, nil, `LISTEN_FDNAMES is \\"protocol:web\\"`},
		{"no number", []*os.File{loopback}, []string{"LISTEN_FDS=x"}, nil, "LISTEN_FDS is"},
		{"a file", []*os.File{null}, nil, nil, "it is no socket"},
		{"two of unix", []*os.File{one, two}, []string{"LISTEN_FDNAMES=protocol:unix"}, nil, "both unix sockets"},
		{"open to others", []*os.File{everywhere}, nil, nil, `host = \\"` + open + `\\" is reached from other machines`},
		{"HTTP open to others", []*os.File{everywhere}, []string{"LISTEN_FDNAMES=http"}, nil, `http-host = \\"` + open + `\\" is reached from other machines`},
		{"no way in", []*os.File{loopback}, []string{"LISTEN_FDNAMES=http"}, []string{"--host", ""}, "clients need a way in"},
		{"of another process", []*os.File{loopback}, []string{"LISTEN_PID=1"}, []string{"--host", ""}, "clients need a way in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := startGiven(t, dir, test.files, test.env, test.args...)
			err := g.cmd.Wait()
			if code := g.cmd.ProcessState.ExitCode(); code != exit.Config {
				t.Errorf("exit code %d, want %d: %v", code, exit.Config, err)
			}
			if said := g.log.String(); !regexp.MustCompile(strings.ReplaceAll(test.want, `\\"`, `\\?"`)).MatchString(said) {
				t.Errorf("it does not say %s:\n%s", test.want, said)
			}
			if _, err := os.Stat(filepath.Join(dir, "data")); !os.IsNotExist(err) {
				t.Errorf("there is a work directory: %v", err)
			}
		})
	}
}
