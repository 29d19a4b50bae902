package logd_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/progress"
)

// Programs that come and go, with workers that complete in any order, that
// fail, and that are cut off, together work off all of a topic: nothing is left
// out, and what is delivered again begins with a message that is not completed.
func TestProgressAcrossPartitions(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	const n = 300
	server := logdtest.Start(t, logdtest.PartitionSize(200), logdtest.Partitions(1000))
	client := server.Client(t)
	names := fill(t, client, "t", 0, n)

	path := filepath.Join(t.TempDir(), "state")
	completed := make([]bool, n)
	for run := 0; slices.Contains(completed, false); run++ {
		if run > 20*n {
			t.Fatal("it comes to no end")
		}
		state, err := progress.OpenFile(progress.FileConfig{Path: path, SaveMessages: 1, Sync: progress.SyncOnClose})
		if err != nil {
			t.Fatal(err)
		}
		s := newScanner(t, client, "t", logd.ScannerConfig{Progress: state, Limit: rng.Int64N(40) + 1, ReadBytes: rng.Int64N(500) + 1})
		var got []int
		for want := slices.Index(completed, false); s.Scan(); want++ {
			m := s.Message()
			if nameOf(m) != names[want] || string(m.Body) != fmt.Sprint(want) {
				t.Fatalf("run %d: message %v %s, want %v", run, nameOf(m), m.Body, names[want])
			}
			got = append(got, want)
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		rng.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		for _, i := range got {
			var failure error
			switch rng.IntN(10) {
			case 0:
				failure = errors.New("failed")
			case 1:
				continue // cut off while it was worked on
			}
			if err := state.Done(logd.ID{Offset: names[i].offset, Delta: names[i].delta}, failure); err != nil {
				t.Fatal(err)
			}
			completed[i] = completed[i] || failure == nil
		}
		// What is delivered again is to be completed again.
		for i := slices.Index(completed, false); i >= 0 && i < n; i++ {
			completed[i] = false
		}
		if rng.IntN(2) == 0 {
			if err := state.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
	}
}

// The last batch of a partition is completed and the partition removed: nothing
// that is wanted is gone, and nothing is said to be.
func TestProgressOutlivesPartition(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(128), logdtest.Partitions(1))
	client := server.Client(t)
	add(t, client, "t", "a", "b")
	var state progress.Memory
	s := newScanner(t, client, "t", logd.ScannerConfig{Progress: &state})
	for s.Scan() {
		m := s.Message()
		if err := state.Done(m.ID(), nil); err != nil {
			t.Fatal(err)
		}
	}
	large := string(make([]byte, 60))
	next := add(t, client, "t", large)
	if info := removed(t, client, "t", 1); info.Oldest != next {
		t.Fatalf("the oldest is %d, not %d", info.Oldest, next)
	}
	s = newScanner(t, client, "t", logd.ScannerConfig{Progress: &state})
	if got := rest(s); !slices.Equal(got, []string{large}) || s.Err() != nil {
		t.Errorf("got %q, %v", got, s.Err())
	}
}

// Workers complete at the same time as Scan reads, and a server that restarts
// disturbs neither.
func TestProgressWithWorkers(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(512), logdtest.Partitions(1000))
	client := server.Client(t)
	const n, workers = 500, 4
	fill(t, client, "t", 0, n)
	var state progress.Memory
	s := newScanner(t, client, "t", logd.ScannerConfig{Progress: &state, Follow: true, Limit: n, ReadBytes: 200})
	queue := make(chan logd.Message, workers)
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for m := range queue {
				mu.Lock()
				seen[string(m.Body)]++
				mu.Unlock()
				if err := state.Done(m.ID(), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := 0; s.Scan(); i++ {
		if i == n/2 {
			server.Restart()
		}
		queue <- s.Message().Copy()
	}
	close(queue)
	wg.Wait()
	if len(seen) != n || s.End() != logd.EndLimit {
		t.Errorf("%d messages, %v, %v", len(seen), s.End(), s.Err())
	}
	for body, times := range seen {
		if times != 1 {
			t.Errorf("message %s came %d times", body, times)
		}
	}
	info, err := client.Info(t.Context(), "t")
	if got := state.Peek(); got != logd.AtOffset(info.Next) || err != nil {
		t.Errorf("position %v, the next is %d", got, info.Next)
	}
}

// failingProgress refuses to be told.
type failingProgress struct {
	progress.Memory
	get, start error
}

func (s *failingProgress) Position() (logd.Position, error) { return logd.Position{}, s.get }

func (s *failingProgress) Started(logd.ID) error { return s.start }

// The errors of a state end the Scanner before anything is delivered.
func TestProgressFails(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	add(t, client, "t", "a")
	oops := errors.New("oops")
	if _, err := logd.NewScanner(t.Context(), client, "t", logd.ScannerConfig{Progress: &failingProgress{get: oops}}); !errors.Is(err, oops) {
		t.Errorf("Get: %v", err)
	}
	s := newScanner(t, client, "t", logd.ScannerConfig{Progress: &failingProgress{start: oops}})
	if s.Scan() || !errors.Is(s.Err(), oops) || s.Message().Body != nil {
		t.Errorf("Start: %v", s.Err())
	}
	full := &progress.Memory{MaxStarted: 2}
	fill(t, client, "more", 0, 10)
	s = newScanner(t, client, "more", logd.ScannerConfig{Progress: full})
	if got := rest(s); !slices.Equal(got, numbers(0, 2)) || !errors.Is(s.Err(), progress.ErrFull) {
		t.Errorf("full: %q, %v", got, s.Err())
	}
}
