package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// output is ready once the process has written something.
func output(p *Process) func(context.Context) error {
	return func(context.Context) error {
		if len(p.tail()) == 0 {
			return errors.New("no output yet")
		}
		return nil
	}
}

func alive(p *Process) bool { return syscall.Kill(p.PID(), 0) == nil }

func TestStop(t *testing.T) {
	p := start(t, "echo up; while :; do sleep 0.01; done")
	if err := p.Await(t.Context(), output(p)); err != nil {
		t.Fatal(err)
	}
	if u, err := p.Usage(); err != nil || u.PeakBytes == 0 || u.Files < 3 {
		t.Errorf("usage %+v, %v: want memory and at least three files", u, err)
	}
	for range 2 { // the second one finds nothing to do
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	}
	if alive(p) {
		t.Error("the process lives on")
	}
	if _, err := p.Usage(); err == nil {
		t.Error("usage of a process that is gone")
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	p := start(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	if err := p.Await(t.Context(), output(p)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(50 * time.Millisecond); err == nil {
		t.Error("no error for a process that had to be killed")
	}
	if alive(p) {
		t.Error("the process lives on")
	}
}

func TestPause(t *testing.T) {
	p := start(t, "echo up; trap 'exit 0' TERM; while :; do :; done")
	if err := p.Await(t.Context(), output(p)); err != nil {
		t.Fatal(err)
	}
	state := func(want string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return p.Await(ctx, func(context.Context) error {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
			if err != nil {
				return err
			}
			if got := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))[1]; !strings.Contains(want, got) {
				return fmt.Errorf("its state is %s", got)
			}
			return nil
		})
	}
	p.Pause()
	if err := state("T"); err != nil {
		t.Errorf("paused: %v", err)
	}
	p.Resume()
	if err := state("RS"); err != nil {
		t.Errorf("resumed: %v", err)
	}
	p.Pause()
	p.Kill()
	if alive(p) {
		t.Error("the process lives on")
	}
}

func TestEndByItself(t *testing.T) {
	p := start(t, "echo no such setting >&2; exit 3")
	never := func(context.Context) error { return errors.New("refused") }
	err := p.Await(t.Context(), never)
	if err == nil || !strings.Contains(err.Error(), "no such setting") {
		t.Errorf("error %v does not tell the output", err)
	}
	if err := p.Stop(time.Second); err == nil {
		t.Error("no error for a server that was gone when it was to be stopped")
	}
}

func TestAwaitIsBounded(t *testing.T) {
	p := start(t, "while :; do sleep 0.01; done")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	never := func(context.Context) error { return errors.New("refused") }
	if err := p.Await(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the end of the context", err)
	}
}

func TestStartOfNothing(t *testing.T) {
	if _, err := Start(Command{Path: "/nonexistent", Dir: t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want not exist", err)
	}
}

func TestCPUSeconds(t *testing.T) {
	got, err := cpuSeconds("7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0")
	if err != nil || got != 1.75 {
		t.Errorf("%v, %v: want 1.75", got, err)
	}
	for _, bad := range []string{"", "7 (sh) S 1 2", "7 (sh) S 1 2 3 4 5 6 7 8 9 10 x 25"} {
		if _, err := cpuSeconds(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestNumber(t *testing.T) {
	text := "VmPeak:\t 9 kB\nVmHWM:\t    512 kB\nVmX:\n"
	if got, err := number(text, "VmHWM:"); err != nil || got != 512 {
		t.Errorf("%v, %v: want 512", got, err)
	}
	for _, name := range []string{"VmX:", "none:"} {
		if _, err := number(text, name); err == nil {
			t.Errorf("no error for %q", name)
		}
	}
}
