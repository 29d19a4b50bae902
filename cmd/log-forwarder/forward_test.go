package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/testkit"
)

// fakeAgent runs until it is told to stop, and then as long as hold is open.
type fakeAgent struct {
	ready chan struct{}
	end   chan error    // ends Run
	hold  chan struct{} // of a stop

	mu      sync.Mutex
	configs []*settings.Config
	refuse  error
	failed  int
}

func (f *fakeAgent) Run(ctx context.Context) error {
	select {
	case err := <-f.end:
		return err
	case <-ctx.Done():
		<-f.hold
		return nil
	}
}

func (f *fakeAgent) Ready() <-chan struct{} { return f.ready }
func (f *fakeAgent) Stuck() error           { return nil }
func (f *fakeAgent) ReloadFailed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed++
}

func (f *fakeAgent) Reload(c *settings.Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.configs = append(f.configs, c)
	return nil
}

// testRun is a run of the command with a fake agent.
type testRun struct {
	agent         *fakeAgent
	stop, reload  chan os.Signal
	stderr        *testkit.Buffer
	code          chan int
	file, manager string // the configuration, and where the service manager listens
	told          *net.UnixConn
}

func start(t *testing.T, config string) *testRun {
	t.Helper()
	dir := t.TempDir()
	r := &testRun{
		agent: &fakeAgent{ready: make(chan struct{}), end: make(chan error, 1), hold: make(chan struct{})},
		stop:  make(chan os.Signal, 2), reload: make(chan os.Signal, 1),
		stderr: new(testkit.Buffer), code: make(chan int, 1),
		file: filepath.Join(dir, "c.toml"), manager: filepath.Join(dir, "notify"),
	}
	r.write(t, config)
	var err error
	if r.told, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.manager, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.told.Close() })
	a := &app{
		Program: cmdline.Program{Stdout: new(testkit.Buffer), Stderr: r.stderr},
		notify:  func() cmdline.Signals { return cmdline.Signals{Stop: r.stop, Reload: r.reload, LetGo: func() {}} },
		start: func(c *settings.Config, once bool, logger *slog.Logger) (agent, error) {
			return r.agent, nil
		},
		sources: settings.Sources{Env: []string{"HOME=" + dir, "NOTIFY_SOCKET=" + r.manager}, Hostname: "h"},
	}
	go func() { r.code <- a.run([]string{"--config", r.file}) }()
	return r
}

func (r *testRun) write(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitLog waits until a text is logged.
func (r *testRun) awaitLog(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, func() string {
		return testkit.Unless(strings.Contains(r.stderr.String(), text), fmt.Sprintf("%q is not logged:\n%s", text, r.stderr))
	})
}

// hear returns what the service manager is told next.
func (r *testRun) hear(t *testing.T) string {
	t.Helper()
	b := make([]byte, 4096)
	n, err := r.told.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b[:n]), "\n")
	return first
}

const journal = "topic = \"a\"\n[[input]]\nfrom = \"journald:\"\n"

func TestForwardStops(t *testing.T) {
	r := start(t, journal)
	close(r.agent.ready)
	if got := r.hear(t); got != "READY=1" {
		t.Errorf("the service manager is told %s", got)
	}
	r.awaitLog(t, "log-forwarder takes messages")
	r.stop <- syscall.SIGTERM
	if got := r.hear(t); got != "STOPPING=1" {
		t.Errorf("the service manager is told %s", got)
	}
	r.awaitLog(t, "stopping")
	r.reload <- syscall.SIGHUP // which is too late
	close(r.agent.hold)
	if code := <-r.code; code != exit.Done {
		t.Errorf("exit code %d", code)
	}
	r.awaitLog(t, "msg=stopped")
}

func TestForwardSecondSignal(t *testing.T) {
	r := start(t, journal)
	r.stop <- syscall.SIGINT
	r.stop <- syscall.SIGINT
	if code := <-r.code; code != exit.Failed {
		t.Errorf("exit code %d", code)
	}
	r.awaitLog(t, "a second signal cut the stop short")
	close(r.agent.hold)
}

// TestForwardEnds: the agent's error says with which code the command ends.
func TestForwardEnds(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, exit.Done}, {errors.New("lost"), exit.Failed}, {exit.With(exit.Temporary, errors.New("waits in the spool")), exit.Temporary},
	} {
		r := start(t, journal)
		r.agent.end <- tt.err
		if code := <-r.code; code != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, code, tt.want)
		}
		if tt.err != nil {
			r.awaitLog(t, tt.err.Error())
		}
	}
}

func TestForwardReloads(t *testing.T) {
	r := start(t, journal)
	close(r.agent.ready)
	r.hear(t)
	reload := func(config, logged string) {
		t.Helper()
		r.write(t, config)
		r.reload <- syscall.SIGHUP
		for _, want := range []string{"RELOADING=1", "READY=1"} {
			if got := r.hear(t); got != want {
				t.Errorf("the service manager is told %s, want %s", got, want)
			}
		}
		r.awaitLog(t, logged)
	}
	reload("memory = \"128MiB\"\nbatch-size = \"1MiB\"\n"+journal+"[[input]]\nfrom = \"file:/a\"\n", `msg=reloaded inputs=2`)
	r.awaitLog(t, `msg="a change needs a restart" setting=batch-size is=64KiB "was set to"=1MiB`)
	r.awaitLog(t, `msg="a setting has changed" setting=memory from=64MiB to=128MiB`)
	reload("nothing = 1\n"+journal, "not reloaded, all stays as it was: "+r.file+":1: nothing = 1: unknown key")
	r.agent.mu.Lock()
	r.agent.refuse = errors.New("the address is in use")
	r.agent.mu.Unlock()
	reload(journal, "not reloaded, all stays as it was: the address is in use")
	r.agent.mu.Lock()
	if len(r.agent.configs) != 1 || r.agent.configs[0].Memory != 128<<20 || r.agent.configs[0].BatchSize != 64<<10 || r.agent.failed != 1 {
		t.Errorf("%d reloads, %d failed", len(r.agent.configs), r.agent.failed)
	}
	r.agent.refuse = nil
	r.agent.mu.Unlock()
	// What the refused ones said counts for nothing.
	reload("memory = \"256MiB\"\n"+journal, `setting=memory from=128MiB to=256MiB`)
	close(r.agent.hold)
	r.stop <- syscall.SIGTERM
	if code := <-r.code; code != exit.Done {
		t.Errorf("exit code %d", code)
	}
}

// TestForwardToken: a token that is not there is a wrong setting.
func TestForwardToken(t *testing.T) {
	r := start(t, "token-file = \"/nonexistent/token\"\n"+journal)
	if code := <-r.code; code != exit.Config {
		t.Errorf("exit code %d", code)
	}
	r.awaitLog(t, "no token: ")
}
