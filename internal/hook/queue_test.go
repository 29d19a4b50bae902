package hook

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errHook = errors.New("hook says no")

// bench is a queue whose hooks end when the test says so.
type bench struct {
	*Queue
	mu       sync.Mutex
	running  map[int64]chan error // by base
	most     int                  // running at once
	started  []int64
	released []int64
	refuse   error // what Release returns
}

func newBench(t *testing.T, parallel int) *bench {
	b := &bench{running: make(map[int64]chan error)}
	b.Queue = NewQueue(Options{
		Parallel: parallel, Logger: slog.New(slog.DiscardHandler),
		Run: func(ctx context.Context, p Partition) error {
			end := make(chan error, 1)
			b.mu.Lock()
			b.running[p.Base] = end
			b.started = append(b.started, p.Base)
			b.most = max(b.most, len(b.running))
			b.mu.Unlock()
			defer func() {
				b.mu.Lock()
				delete(b.running, p.Base)
				b.mu.Unlock()
			}()
			select {
			case err := <-end:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Release: func(p Partition) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.refuse == nil {
				b.released = append(b.released, p.Base)
			}
			return b.refuse
		},
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.Shutdown(ctx)
	})
	return b
}

// end ends a running hook.
func (b *bench) end(t *testing.T, base int64, err error) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	c := b.running[base]
	b.mu.Unlock()
	if c == nil {
		t.Fatalf("the hook of %d does not run", base)
	}
	c <- err
	synctest.Wait()
}

func (b *bench) states() map[int64]State {
	synctest.Wait()
	states := make(map[int64]State)
	for _, e := range b.Entries() {
		states[e.Base] = e.State
	}
	return states
}

func partition(base int64) Partition {
	return Partition{Topic: "t", Path: "/w/t/0.log", Base: base, End: base + 10}
}

func TestQueueRunsSomeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		for base := range int64(5) {
			b.Add(partition(base))
			b.Add(partition(base)) // known: no second run
		}
		for base := range int64(5) {
			b.end(t, base, nil)
		}
		if b.most != 2 {
			t.Errorf("%d hooks ran at once, want 2", b.most)
		}
		slices.Sort(b.started) // the first two begin in any order
		if want := []int64{0, 1, 2, 3, 4}; !slices.Equal(b.started, want) || !slices.Equal(b.released, want) {
			t.Errorf("started %v, released %v, want %v", b.started, b.released, want)
		}
		if n := len(b.Entries()); n != 0 {
			t.Errorf("%d entries left", n)
		}
		if c := b.Counts(); c != (Counts{Succeeded: 5}) {
			t.Errorf("counts are %+v", c)
		}
	})
}

func TestQueueTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.Add(partition(0))
		var pauses []time.Duration
		for range 12 {
			b.end(t, 0, errHook)
			e := b.Entries()[0]
			if e.State != Failed || !errors.Is(e.Err, errHook) {
				t.Fatalf("entry is %+v", e)
			}
			pause := time.Until(e.Next)
			pauses = append(pauses, pause)
			time.Sleep(pause) // of the bubble's clock
		}
		want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses are %v, want %v", pauses, want)
		}
		if len(b.released) != 0 {
			t.Error("released without a success")
		}
		b.end(t, 0, nil)
		if !slices.Equal(b.released, []int64{0}) {
			t.Errorf("released %v", b.released)
		}
	})
}

func TestQueueRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.Add(partition(0))
		if err := b.Retry("t", 0); err != nil {
			t.Errorf("retry of a running hook: %v", err)
		}
		b.end(t, 0, errHook)
		if err := b.Retry("t", 0); err != nil {
			t.Fatal(err)
		}
		if s := b.states()[0]; s != Running {
			t.Errorf("after the retry it is %v", s)
		}
		if err := b.Retry("t", 1); err != ErrNotPending {
			t.Errorf("retry of a partition that is not there: %v", err)
		}
		b.end(t, 0, nil)
	})
}

func TestQueueSkip(t *testing.T) {
	for _, state := range []State{Waiting, Running, Failed} {
		t.Run(state.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.Add(partition(0))
				b.Add(partition(1))
				skip := int64(0)
				switch state {
				case Waiting:
					skip = 1
				case Failed:
					b.end(t, 0, errHook)
				}
				if got := b.states()[skip]; got != state {
					t.Fatalf("it is %v, want %v", got, state)
				}
				if err := b.Skip("t", skip); err != nil {
					t.Fatal(err)
				}
				if _, there := b.states()[skip]; there || !slices.Equal(b.released, []int64{skip}) {
					t.Errorf("released %v", b.released)
				}
				if c := b.Counts(); c.Skipped != 1 || c.Succeeded != 0 {
					t.Errorf("counts are %+v", c)
				}
				if err := b.Skip("t", skip); err != ErrNotPending {
					t.Errorf("skipped again: %v", err)
				}
			})
		})
	}
}

// TestQueueReleaseFails makes sure that a partition whose hook succeeded stays
// due while that can't be recorded.
func TestQueueReleaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.refuse = errors.New("disk is full")
		b.Add(partition(0))
		b.end(t, 0, nil)
		if s := b.states()[0]; s != Failed {
			t.Fatalf("it is %v, want failed", s)
		}
		b.mu.Lock()
		b.refuse = nil
		b.mu.Unlock()
		time.Sleep(firstPause)
		b.end(t, 0, nil)
		if !slices.Equal(b.started, []int64{0, 0}) || !slices.Equal(b.released, []int64{0}) {
			t.Errorf("started %v, released %v", b.started, b.released)
		}
	})
}

func TestQueueDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.Add(partition(0))
		b.Add(partition(1))
		synctest.Wait()
		b.Drop("t", 0) // kills the hook
		if s := b.states(); len(s) != 1 || s[1] != Running {
			t.Errorf("states are %v, want the second running", s)
		}
		b.end(t, 1, nil)
		if !slices.Equal(b.released, []int64{1}) {
			t.Errorf("released %v", b.released)
		}
	})
}

func TestQueueShutdownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.Add(partition(0))
		b.Add(partition(1))
		done := make(chan error, 1)
		go func() { done <- b.Shutdown(context.Background()) }()
		b.end(t, 0, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !slices.Equal(b.started, []int64{0}) || !slices.Equal(b.released, []int64{0}) {
			t.Errorf("started %v, released %v: want the running one alone", b.started, b.released)
		}
		b.Add(partition(2))
		if len(b.started) != 1 {
			t.Error("a hook was started after the shutdown")
		}
	})
}

func TestQueueShutdownKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.Add(partition(0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown returned %v", err)
		}
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("it took %v", took)
		}
		if len(b.released) != 0 {
			t.Error("a killed hook let its partition go")
		}
	})
}

// A queue that is shut down starts nothing, and has nothing to try again.
func TestQueueRetryAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.Add(partition(0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b.Shutdown(ctx)
		if e := b.Entries(); len(e) != 1 || e[0].State != Failed {
			t.Fatalf("entries: %+v; want one that was killed", e)
		}
		if err := b.Retry("t", 0); !errors.Is(err, ErrNotPending) {
			t.Errorf("retry: %v, want ErrNotPending", err)
		}
	})
}
