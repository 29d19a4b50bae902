package work

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/bench/internal/process"
	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// tiny are sizes for tests: enough to go through everything.
func tiny() *Sizes {
	return &Sizes{
		Duration: 200 * time.Millisecond, WriteBytes: 256 << 10, ReadBytes: 1 << 20,
		Topics: []int{70}, StartBytes: []int64{1 << 20}, LimitBytes: 1 << 20,
		Clusters: Clusters{Kills: 1, Pauses: 1, GapTopics: []int{2}, Topics: 20, Idle: 50 * time.Millisecond, Bytes: 4 << 20},
	}
}

// TestWorks runs every case with every system that is here.
func TestWorks(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts servers: not in -short")
	}
	bin := t.TempDir()
	for _, s := range system.All() {
		t.Run(s.Name(), func(t *testing.T) {
			err := s.Find(t.Context(), bin)
			if errors.Is(err, system.ErrNotInstalled) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range tiny().All() {
				for _, c := range w.Cases {
					t.Run(w.Name+"/"+c.Name, func(t *testing.T) { testCase(t, s, w, c) })
				}
			}
		})
	}
}

func testCase(t *testing.T, s system.System, w Work, c Case) {
	if c.Skip != nil && c.Skip(s) != "" {
		t.Skip(c.Skip(s))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	recorded := 0
	trial := &Trial{
		Case: c, System: s, Options: system.Options{Dir: t.TempDir(), Sync: c.Sync, Positions: c.Positions},
		Record: func(name string, v report.Values) {
			recorded++
			if w.Name == Cluster {
				for m, x := range v {
					if x <= 0 && m != report.CPU && m != report.CPUMessage && m != report.Idle {
						t.Errorf("%s: %s is %v", name, m, x)
					}
				}
				return
			}
			if v[w.Chart] <= 0 {
				t.Errorf("%s: %s is %v", name, w.Chart, v[w.Chart])
			}
			if v[report.Peak] <= 0 || v[report.Files] < 3 {
				t.Errorf("%s: no memory or too few files: %v", name, v)
			}
			if v[report.P50] > v[report.P99] || v[report.P99] > v[report.P999] {
				t.Errorf("%s: percentiles out of order: %v", name, v)
			}
		},
		Miss: func(name, reason string) {
			if s.Traits().Replays && !s.Traits().InMemory {
				t.Errorf("%s is missing: %s", name, reason)
			}
		},
	}
	defer trial.Close()
	if err := c.Run(ctx, trial); err != nil {
		t.Fatal(err)
	}
	if recorded == 0 {
		t.Error("nothing was recorded")
	}
}

func TestLimits(t *testing.T) {
	n := 0
	err := tiny().MeasureLimits(t.Context(), t.TempDir(), func(name string, v report.Values) {
		n++
		if v[report.Bytes] <= 0 && v[report.Operations] <= 0 {
			t.Errorf("%s: %v", name, v)
		}
	})
	if err != nil || n != 6 {
		t.Errorf("%d limits, error %v: want 6", n, err)
	}
}

func TestLoopbackEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	read := func(nc *net.TCPConn) error {
		cancel()
		_, err := nc.Read(make([]byte, 1)) // which nobody sends
		return err
	}
	if err := loopback(ctx, read, read); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a deadline", err)
	}
}

func TestBodies(t *testing.T) {
	const size = 100
	a, again, other := newBodies(size, 0), newBodies(size, 0), newBodies(size, 1)
	first := bytes.Clone(a.next())
	if !bytes.Equal(first, again.next()) {
		t.Error("bodies differ from run to run")
	}
	if bytes.Equal(first, other.next()) {
		t.Error("two writers have the same bodies")
	}
	for range 3 * len(text()) / size {
		if body := a.next(); len(body) != size {
			t.Fatalf("a body of %d bytes", len(body))
		}
	}
	if _, ok := stampOf(first); ok {
		t.Errorf("%q has a stamp", first)
	}
}

func TestStamp(t *testing.T) {
	at := time.Now()
	body := newBodies(100, 0).stamped(at)
	got, ok := stampOf(body)
	if !ok || !got.Equal(at) || len(body) != 100 {
		t.Errorf("%v, %v from %q: want %v", got, ok, body, at)
	}
	if _, ok := stampOf(body[:8]); ok {
		t.Error("a stamp in too short a body")
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		n, elapsed, err := pace(t.Context(), 100, 100*time.Millisecond, func(due time.Time) error {
			at = append(at, due.Sub(began))
			if len(at) == 3 {
				time.Sleep(25 * time.Millisecond) // a server that holds the writer up
			}
			return nil
		})
		if err != nil || n != 10 || elapsed != 90*time.Millisecond {
			t.Errorf("%d calls in %v, error %v: want 10 in 90ms", n, elapsed, err)
		}
		// The calls that were late count from when they were due.
		for i, d := range at {
			if want := time.Duration(i) * 10 * time.Millisecond; d != want {
				t.Errorf("call %d at %v, want %v", i, d, want)
			}
		}
	})
}

func TestPaceEnds(t *testing.T) {
	broken := errors.New("broken")
	if n, _, err := pace(t.Context(), 1000, time.Hour, func(time.Time) error { return broken }); n != 0 || err != broken {
		t.Errorf("%d calls, error %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if n, _, err := pace(ctx, 1000, time.Hour, func(time.Time) error { cancel(); return nil }); n != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d calls, error %v", n, err)
	}
}

func TestParallel(t *testing.T) {
	broken := errors.New("broken")
	var ended atomic.Int64
	err := parallel(t.Context(), 8, func(ctx context.Context, i int) error {
		defer ended.Add(1)
		if i == 5 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if err != broken || ended.Load() != 8 {
		t.Errorf("%v after %d of 8: want the first error after all", err, ended.Load())
	}
}

// lossy is a server whose followers and readers do not get everything.
type lossy struct{ process *process.Process }

func (s *lossy) Process() *process.Process                                        { return s.process }
func (*lossy) Topics(context.Context, string, int) ([]string, error)              { return []string{"t"}, nil }
func (*lossy) Writer(context.Context, string) (system.Writer, error)              { return lossyWriter{}, nil }
func (*lossy) Caller(context.Context) (system.Caller, error)                      { return lossyWriter{}, nil }
func (*lossy) CatchUp(_ context.Context, _ string, _ int64, _ func([]byte)) error { return nil }
func (*lossy) Follow(ctx context.Context, _ string, ready func(), _ func([]byte)) error {
	ready()
	return errors.New("cut off")
}

type lossyWriter struct{}

func (lossyWriter) Write([]byte) error                         { return nil }
func (lossyWriter) Flush() error                               { return nil }
func (lossyWriter) Close() error                               { return nil }
func (lossyWriter) Call(context.Context, string, []byte) error { return nil }

// TestWhatIsMissingIsAnError is the proof that a server can't look fast by
// losing messages.
func TestWhatIsMissingIsAnError(t *testing.T) {
	p, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"60"}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	server := &lossy{p}
	if _, err := readAll(t.Context(), server, "t", 10, 2); err == nil || !strings.Contains(err.Error(), "read 0 messages") {
		t.Errorf("a reader that gets nothing: error %v", err)
	}
	c, err := follow(t.Context(), server, "t", 2)
	if err == nil {
		err = c.end(c.await(t.Context(), 1))
	}
	if err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("followers that are cut off: error %v", err)
	}
}

func TestDropCache(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Settle(dir), dropCache(dir)); err != nil {
		t.Error(err)
	}
	if err := dropCache(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for a folder that is not there")
	}
}
