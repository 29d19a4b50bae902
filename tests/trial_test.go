package tests

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// trial is a test whose failure is a finding, not yet a verdict: some cases
// have to fail under some configurations.
type trial struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// try runs f in a goroutine of its own, with all cleanups, and returns what
// failed.
func try(t testing.TB, f func(testing.TB)) []string {
	tr := &trial{TB: t}
	tr.run(func() { f(tr) })
	for len(tr.cleanups) > 0 {
		last := tr.cleanups[len(tr.cleanups)-1]
		tr.cleanups = tr.cleanups[:len(tr.cleanups)-1]
		tr.run(last)
	}
	return tr.failures
}

func (tr *trial) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (tr *trial) note(text string) {
	_, file, line, _ := runtime.Caller(2)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failures = append(tr.failures, fmt.Sprintf("%s:%d: %s", file[strings.LastIndexByte(file, '/')+1:], line, strings.TrimSuffix(text, "\n")))
}

func (tr *trial) Error(args ...any)                 { tr.note(fmt.Sprintln(args...)) }
func (tr *trial) Errorf(format string, args ...any) { tr.note(fmt.Sprintf(format, args...)) }
func (tr *trial) Fail()                             { tr.note("failed") }

func (tr *trial) Fatal(args ...any) {
	tr.note(fmt.Sprintln(args...))
	runtime.Goexit()
}

func (tr *trial) Fatalf(format string, args ...any) {
	tr.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (tr *trial) FailNow() {
	tr.note("failed")
	runtime.Goexit()
}

func (tr *trial) Failed() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.failures) > 0
}

func (tr *trial) Cleanup(f func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.cleanups = append(tr.cleanups, f)
}

// judge returns what is wrong with the outcome of a trial that is expected to
// fail for a reason, or to pass where there is none.
func judge(failures []string, why string) error {
	switch {
	case why == "" && len(failures) > 0:
		return fmt.Errorf("%s", strings.Join(failures, "\n"))
	case why != "" && len(failures) == 0:
		return fmt.Errorf("passes, but is expected to fail: %s", why)
	}
	return nil
}

// TestTrial makes sure that trials tell failing from passing.
func TestTrial(t *testing.T) {
	var order []string
	outcomes := map[string]struct {
		f     func(testing.TB)
		fails bool
	}{
		"passes": {func(testing.TB) {}, false},
		"errors": {func(t testing.TB) { t.Errorf("x"); t.Error("y") }, true},
		"ends":   {func(t testing.TB) { t.Fatalf("x"); order = append(order, "after Fatalf") }, true},
		"fails in cleanup": {func(t testing.TB) {
			t.Cleanup(func() { order = append(order, "first") })
			t.Cleanup(func() { order = append(order, "last"); t.Fatal("x") })
		}, true},
	}
	for name, o := range outcomes {
		failures := try(t, o.f)
		if (len(failures) > 0) != o.fails {
			t.Errorf("%s: failures %q", name, failures)
		}
		if (judge(failures, "") != nil) != o.fails || (judge(failures, "a reason") != nil) == o.fails {
			t.Errorf("%s is judged wrongly", name)
		}
	}
	if got := strings.Join(order, ", "); got != "last, first" {
		t.Errorf("ran %s", got)
	}
}
