package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/vfs"
)

// fakeNode is a node whose end the test decides.
type fakeNode struct {
	shutdown func(context.Context) error // default: at once
	reload   func()                      // default: nothing
	onClose  func()

	once    sync.Once
	stopped chan struct{}
	err     error
	closed  bool
}

func newFakeNode() *fakeNode { return &fakeNode{stopped: make(chan struct{})} }

func (n *fakeNode) stop(err error) {
	n.once.Do(func() {
		n.err = err
		close(n.stopped)
	})
}

func (n *fakeNode) Addr() net.Addr     { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }
func (n *fakeNode) HTTPAddr() net.Addr { return nil }
func (n *fakeNode) Wait() error        { <-n.stopped; return n.err }

func (n *fakeNode) Ping() error { return nil }

func (n *fakeNode) Reload(load func() (config.Config, error)) error {
	if n.reload != nil {
		n.reload()
	}
	_, err := load()
	return err
}

func (n *fakeNode) Close() error {
	n.closed = true
	if n.onClose != nil {
		n.onClose()
	}
	n.stop(nil)
	return nil
}

func (n *fakeNode) Shutdown(ctx context.Context) error {
	if n.shutdown != nil {
		n.stop(n.shutdown(ctx))
	}
	n.stop(nil)
	return n.err
}

// testRun is a run of logd inside the test.
type testRun struct {
	signals        chan os.Signal
	reloads        chan os.Signal
	env            []string
	stdout, stderr bytes.Buffer
	stoppedSignals bool
}

// run runs logd and returns its exit code. It is done when logd is.
func (r *testRun) run(t *testing.T, start startFunc, args ...string) int {
	t.Helper()
	t.Chdir(t.TempDir())
	a := &app{
		Program: cmdline.Program{Stdout: &r.stdout, Stderr: &r.stderr},
		env:     r.env,
		notify: func() cmdline.Signals {
			return cmdline.Signals{Stop: r.signals, Reload: r.reloads, LetGo: func() { r.stoppedSignals = true }}
		},
		start: start,
	}
	return a.run(args)
}

func newTestRun() *testRun { return &testRun{signals: make(chan os.Signal, 2)} }

func (r *testRun) want(t *testing.T, code, wantCode int, texts ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr.String(), text) {
			t.Errorf("standard error does not say %q", text)
		}
	}
	if t.Failed() {
		t.Logf("standard error:\n%s", r.stderr.String())
	}
}

func TestServeSignal(t *testing.T) {
	r := newTestRun()
	n := newFakeNode()
	n.shutdown = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("Shutdown without a deadline")
		}
		return nil
	}
	code := r.run(t, func(_ context.Context, o node.Options) (runningNode, error) {
		if o.Config.Partitions != 3 || o.Version == "" || o.Logger == nil {
			t.Errorf("node.Options = %+v", o)
		}
		r.signals <- syscall.SIGTERM
		return n, nil
	}, "--partitions", "3")
	// The start and the signal race: both are clean ends.
	r.want(t, code, exit.Done, "signal=terminated", "msg=stopped")
	if n.closed {
		t.Error("the node was cut")
	}
}

func TestServeSecondSignal(t *testing.T) {
	r := newTestRun()
	n := newFakeNode()
	n.shutdown = func(context.Context) error {
		r.signals <- os.Interrupt
		<-n.stopped // by Close
		return context.Canceled
	}
	code := r.run(t, func(context.Context, node.Options) (runningNode, error) {
		r.signals <- os.Interrupt
		return n, nil
	})
	r.want(t, code, exit.Failed, "a second signal cut the shutdown short")
	if !n.closed || !r.stoppedSignals {
		t.Errorf("node cut: %v, signals given back: %v", n.closed, r.stoppedSignals)
	}
}

// TestServeHangs: a node that does not end, as one does not whose disk hangs, is
// left behind: by shutdown-timeout, and soon after a second signal.
func TestServeHangs(t *testing.T) {
	for _, test := range []struct {
		name  string
		again bool // a second signal comes
		start bool // what hangs is the start
		took  time.Duration
		says  []string
	}{
		{"shutdown-timeout", false, false, 15*time.Second + lastTime, []string{"shut down: the disk does not answer"}},
		{"second signal", true, false, lastTime, []string{"a second signal cut the shutdown short", "; the disk does not answer", "ending at once"}},
		{"start", false, true, 15*time.Second + lastTime, []string{"stop the start: the disk does not answer"}},
		{"start and second signal", true, true, 0, []string{"a second signal cut the shutdown short"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &testRun{signals: make(chan os.Signal, 2)}
				hang := make(chan struct{})
				again := func() {
					if test.again {
						r.signals <- syscall.SIGTERM
					}
					<-hang
				}
				n := newFakeNode()
				n.shutdown = func(context.Context) error { again(); return nil }
				n.onClose = func() { <-hang }
				began := time.Now()
				code := r.run(t, func(context.Context, node.Options) (runningNode, error) {
					r.signals <- syscall.SIGTERM
					if test.start {
						again()
					}
					return n, nil
				})
				if took := time.Since(began); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				r.want(t, code, exit.Failed, test.says...)
				close(hang)
				n.stop(nil)
			})
		})
	}
}

func TestServeSignalDuringStart(t *testing.T) {
	r := newTestRun()
	code := r.run(t, func(ctx context.Context, _ node.Options) (runningNode, error) {
		r.signals <- syscall.SIGTERM
		<-ctx.Done()
		return nil, fmt.Errorf("recover: %w", ctx.Err())
	})
	r.want(t, code, exit.Done, "stopping before requests are taken")
}

func TestServeSecondSignalDuringStart(t *testing.T) {
	r := newTestRun()
	release := make(chan struct{})
	returned := make(chan struct{})
	code := r.run(t, func(ctx context.Context, _ node.Options) (runningNode, error) {
		defer close(returned)
		r.signals <- syscall.SIGTERM
		<-ctx.Done()
		r.signals <- syscall.SIGTERM
		<-release // as a recovery on a disk that hangs
		return nil, ctx.Err()
	})
	r.want(t, code, exit.Failed, "a second signal cut the shutdown short")
	close(release)
	<-returned
}

func TestServeFailure(t *testing.T) {
	r := newTestRun()
	n := newFakeNode()
	n.stop(errors.New("listener is gone"))
	code := r.run(t, func(context.Context, node.Options) (runningNode, error) { return n, nil })
	r.want(t, code, exit.Failed, "stopped by a failure: listener is gone")
}

func TestServeShutdownFailure(t *testing.T) {
	r := newTestRun()
	n := newFakeNode()
	n.shutdown = func(ctx context.Context) error {
		<-ctx.Done() // shutdown-timeout
		return errors.New("disk is gone")
	}
	code := r.run(t, func(context.Context, node.Options) (runningNode, error) {
		r.signals <- syscall.SIGTERM
		return n, nil
	}, "--shutdown-timeout=1ms")
	r.want(t, code, exit.Failed, "shut down: disk is gone")
}

func TestServeStartErrors(t *testing.T) {
	listen := func(addr string, errno syscall.Errno) error {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Errorf("start: %w", &net.OpError{Op: "listen", Net: "tcp", Addr: a, Err: os.NewSyscallError("bind", errno)})
	}
	for _, test := range []struct {
		name string
		err  error
		args []string
		code int
		want string
	}{
		{"locked", fmt.Errorf("open: %w", vfs.ErrLocked), []string{"--workdir", "/data/logs"}, exit.Failed,
			"the work directory /data/logs is in use by another logd: stop that one, or give this one a folder of its own with --workdir"},
		{"address in use", listen("127.0.0.1:1774", syscall.EADDRINUSE), nil, exit.Temporary,
			"cannot listen on 127.0.0.1:1774 (host: default): address already in use; stop what listens there, or choose another with --host"},
		{"HTTP address", listen("127.0.0.1:80", syscall.EACCES), []string{"--http-host", "127.0.0.1:80"}, exit.Failed,
			"cannot listen on 127.0.0.1:80 (http-host: flag --http-host): permission denied; choose another with --http-host"},
		{"no such host", &net.OpError{Op: "listen", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "x.invalid", IsNotFound: true}},
			[]string{"--host", "x.invalid:1"}, exit.Config,
			"cannot listen on x.invalid:1 (host: flag --host): lookup x.invalid: no such host; choose another with --host"},
		{"another", errors.New("mkdir logs: read-only file system"), nil, exit.Failed, "mkdir logs: read-only file system"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTestRun()
			code := r.run(t, func(context.Context, node.Options) (runningNode, error) { return nil, test.err }, test.args...)
			r.want(t, code, test.code, `msg="`+test.want+`"`)
		})
	}
}

// TestServeLogsErrorsAsJSON: what reads JSON gets JSON from the start on.
func TestServeLogsErrorsAsJSON(t *testing.T) {
	r := newTestRun()
	code := r.run(t, func(context.Context, node.Options) (runningNode, error) {
		return nil, errors.New("no luck")
	}, "--log-format", "json")
	r.want(t, code, exit.Failed, `"level":"ERROR","msg":"no luck"}`)
	for line := range strings.Lines(r.stderr.String()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("a line is not JSON: %s", line)
		}
	}

	// Durations are text there, too, as in what settings are made of.
	r = newTestRun()
	code = r.run(t, func(context.Context, node.Options) (runningNode, error) {
		r.signals <- syscall.SIGTERM
		return newFakeNode(), nil
	}, "--log-format", "json", "--flush-interval", "1500ms", "--shutdown-timeout", "2m")
	r.want(t, code, exit.Done)
	if text := r.stderr.String(); strings.Contains(text, "1500000000") || strings.Contains(text, "120000000000") {
		t.Errorf("durations are numbers:\n%s", text)
	}
}

func TestServeProfiles(t *testing.T) {
	r := newTestRun()
	dir := t.TempDir()
	cpu, trace := filepath.Join(dir, "cpu"), filepath.Join(dir, "trace")
	n := newFakeNode()
	code := r.run(t, func(context.Context, node.Options) (runningNode, error) {
		r.signals <- syscall.SIGTERM
		return n, nil
	}, "--cpuprofile", cpu, "--trace", trace)
	r.want(t, code, exit.Done)
	for _, file := range []string{cpu, trace} {
		if info, err := os.Stat(file); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", filepath.Base(file), info, err)
		}
	}

	r = newTestRun()
	code = r.run(t, func(context.Context, node.Options) (runningNode, error) {
		t.Error("started without the profile")
		return nil, errors.New("started")
	}, "--cpuprofile", cpu, "--trace", filepath.Join(dir, "none", "trace"))
	r.want(t, code, exit.Failed, "--trace: open ")
}

func TestTryIt(t *testing.T) {
	for _, test := range []struct {
		addr   net.TCPAddr
		names  []string
		source bool
		want   []string
	}{
		{net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1774}, nil, true, []string{
			"  echo hello | go run ./cmd/log-cli write --topic greetings\n",
			"  go run ./cmd/log-cli read --topic greetings -F\n"}},
		{net.TCPAddr{IP: net.IPv6unspecified, Port: 9}, []string{"b", "a"}, false, []string{
			"  echo hello | log-cli write --topic b --host 127.0.0.1:9\n",
			"  log-cli read --topic b --host 127.0.0.1:9 -F\n"}},
		{net.TCPAddr{IP: net.IPv6loopback, Port: 9}, nil, false, []string{
			"  echo hello | log-cli write --topic greetings --host [::1]:9\n",
			"  log-cli read --topic greetings --host [::1]:9 -F\n"}},
	} {
		got := tryIt(&test.addr, &config.Config{TopicsWhitelist: test.names}, test.source)
		for _, line := range test.want {
			if !strings.Contains(got, "\n"+line) {
				t.Errorf("%v, source tree %v: no line %q in\n%s", test.addr, test.source, line, got)
			}
		}
	}
}

func TestPerson(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || !cmdline.IsTerminal(terminal) {
		t.Skipf("no terminal here: %v", err)
	}
	defer terminal.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	text, json := &config.Config{LogFormat: config.FormatText}, &config.Config{LogFormat: config.FormatJSON}
	t.Chdir(t.TempDir())
	if a := (&app{Program: cmdline.Program{Stdout: null, Stderr: terminal}}); a.person(json) != terminal {
		t.Error("a terminal at standard error is not found")
	}
	if a := (&app{Program: cmdline.Program{Stdout: terminal, Stderr: null}}); a.person(text) != terminal {
		t.Error("a terminal at standard output is not found")
	}
	if a := (&app{Program: cmdline.Program{Stdout: null, Stderr: null}}); a.person(text) != nil {
		t.Error("somebody reads although there is no terminal")
	}
	t.Chdir(root)
	a := &app{Program: cmdline.Program{Stdout: null, Stderr: null}}
	if a.person(text) != null {
		t.Error("nobody reads in the source tree")
	}
	if a.person(json) != nil {
		t.Error("lines that are not JSON are written to whom wants JSON")
	}
}

func TestSourceTree(t *testing.T) {
	dir := t.TempDir()
	if sourceTree(dir) {
		t.Error("an empty folder is taken for the source")
	}
	if err := os.MkdirAll(filepath.Join(dir, "cmd", "log-cli"), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"":                                      false,
		"module example.org/x\n":                false,
		"module " + module + "2\n":              false,
		"// comment\nmodule " + module + "\n":   true,
		strings.Repeat("//\n", 5000) + "module": false,
	} {
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := sourceTree(dir); got != want {
			t.Errorf("go.mod %.40q: sourceTree = %v", text, got)
		}
	}
}

// TestServeUnderAManager: who manages the service is told how it is.
func TestServeUnderAManager(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	next := func(want string) string {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 4096)
		for {
			n, err := manager.Read(b)
			if err != nil {
				t.Errorf("%v, before %s", err, want)
				return ""
			}
			if got := string(b[:n]); strings.Contains(got, want) {
				return got
			}
		}
	}
	r := newTestRun()
	r.reloads = make(chan os.Signal, 1)
	r.env = []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=20000000"}
	talked := make(chan struct{})
	code := r.run(t, func(_ context.Context, o node.Options) (runningNode, error) {
		o.Recovering("37 of 120 topics", true)
		if got := next("STATUS=37"); got != "STATUS=37 of 120 topics\nEXTEND_TIMEOUT_USEC=30000000" {
			t.Errorf("%q", got)
		}
		o.Recovering("37 of 120 topics", false)
		if got := next("STATUS=37"); got != "STATUS=37 of 120 topics" {
			t.Errorf("without progress: %q", got)
		}
		go func() {
			defer close(talked)
			next("READY=1")
			next("WATCHDOG=1")
			r.reloads <- syscall.SIGHUP
			next("RELOADING=1\nMONOTONIC_USEC=")
			next("READY=1")
			r.signals <- syscall.SIGTERM
			next("STOPPING=1")
		}()
		return newFakeNode(), nil
	})
	<-talked
	r.want(t, code, exit.Done, "msg=stopped")
}

// TestReloadThatOutlastsTheServer: one that is under way when the server stops is waited
// for, and nobody is told after STOPPING that the server is ready. Without the end of what
// the file system holds up there is an end all the same.
func TestReloadThatOutlastsTheServer(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs=%v", hangs), func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "notify")
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			r := newTestRun()
			r.reloads = make(chan os.Signal, 1)
			r.env = []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=2000"}
			begun, release, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
			n := newFakeNode()
			n.reload = func() {
				close(begun)
				<-release
				close(returned)
			}
			n.shutdown = func(context.Context) error {
				if !hangs {
					close(release)
				}
				return nil
			}
			go func() {
				r.reloads <- syscall.SIGHUP
				<-begun
				r.signals <- syscall.SIGTERM
			}()
			code := r.run(t, func(context.Context, node.Options) (runningNode, error) { return n, nil })
			r.want(t, code, exit.Done, "msg=stopped")
			if hangs {
				close(release)
			} else {
				select {
				case <-returned:
				default:
					t.Error("the reload was not waited for")
				}
			}
			<-returned
			var told []string
			manager.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			for b := make([]byte, 4096); ; {
				n, err := manager.Read(b)
				if err != nil {
					break
				}
				told = append(told, string(b[:n]))
			}
			if len(told) == 0 || !strings.HasPrefix(told[len(told)-1], "STOPPING=1") {
				t.Errorf("told: %q", told)
			}
		})
	}
}
