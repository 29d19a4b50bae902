package progress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

// stateKinds are the ways to make a state. What open returns for the second
// time is what a restarted program has.
var stateKinds = map[string]func(t *testing.T) (open func() logd.Progress){
	"memory": func(t *testing.T) func() logd.Progress {
		s := new(Memory)
		return func() logd.Progress { return s }
	},
	"file": func(t *testing.T) func() logd.Progress {
		return fileStates(t, FileConfig{SaveMessages: 1})
	},
	"file closed": func(t *testing.T) func() logd.Progress {
		open := fileStates(t, FileConfig{SaveInterval: time.Hour})
		var last logd.Progress
		return func() logd.Progress {
			if last != nil {
				if err := last.(*File).Close(); err != nil {
					t.Error(err)
				}
			}
			last = open()
			return last
		}
	},
}

// fileStates opens the same file again and again, without closing it before.
func fileStates(t *testing.T, cfg FileConfig) func() logd.Progress {
	cfg.Path = filepath.Join(t.TempDir(), "state")
	return func() logd.Progress {
		s, err := OpenFile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// stateLog is a log of three batches, as a Scanner tells it to a state: two,
// one and three messages.
type stateLog struct {
	names []logd.ID
	ends  map[logd.ID]int64
}

func newStateLog() stateLog {
	m := func(offset, delta int64) logd.ID { return logd.ID{Offset: offset, Delta: delta} }
	return stateLog{
		names: []logd.ID{m(0, 0), m(0, 10), m(50, 0), m(80, 0), m(80, 10), m(80, 20)},
		ends:  map[logd.ID]int64{m(0, 10): 50, m(50, 0): 80, m(80, 20): 140},
	}
}

// deliver starts the messages from the state's position on.
func (l stateLog) deliver(t *testing.T, s logd.Progress) (from int) {
	t.Helper()
	at, err := s.Position()
	if err != nil {
		t.Fatal(err)
	}
	from = l.find(t, at)
	for _, m := range l.names[from:] {
		if err := s.Started(m); err != nil {
			t.Fatal(err)
		}
		if next := l.ends[m]; next > 0 {
			if err := s.BatchEnd(m, next); err != nil {
				t.Fatal(err)
			}
		}
	}
	return from
}

// find returns the index of the message at the position.
func (l stateLog) find(t *testing.T, at logd.Position) int {
	t.Helper()
	switch {
	case at.IsZero():
		return 0
	case at == logd.AtOffset(140):
		return len(l.names)
	}
	id, named := at.ID()
	i := slices.Index(l.names, id)
	if i < 0 || !named {
		t.Fatalf("position %v is no message", at)
	}
	if at == logd.After(id) {
		i++
	}
	return i
}

// Each case: what is completed, or fails, of the messages 0 1 | 2 | 3 4 5, and
// from where on messages are delivered again after a restart.
func TestProgressRestarts(t *testing.T) {
	failed := errors.New("failed")
	for _, tt := range []struct {
		name     string
		complete []int
		fail     []int
		want     int
	}{
		{"nothing completed", nil, nil, 0},
		{"one message of a batch completed and the rest not", []int{0}, nil, 1},
		{"one message in the middle of a batch completed", []int{0, 1, 2, 4}, nil, 3},
		{"the last message of a batch completed", []int{1}, nil, 0},
		{"the last message of a batch completed after the others", []int{0, 1}, nil, 2},
		{"a batch of one", []int{0, 1, 2}, nil, 3},
		{"a batch of one and not what is before it", []int{2}, nil, 0},
		{"all of a batch completed except the first", []int{0, 1, 2, 4, 5}, nil, 3},
		{"across batches, in order", []int{0, 1, 2, 3}, nil, 4},
		{"across batches, backwards", []int{4, 3, 2, 1, 0}, nil, 5},
		{"across batches, the first last", []int{5, 4, 3, 2, 1}, nil, 0},
		{"all completed", []int{0, 1, 2, 3, 4, 5}, nil, 6},
		{"all completed, backwards", []int{5, 4, 3, 2, 1, 0}, nil, 6},
		{"the first failed", []int{1, 2, 3, 4, 5}, []int{0}, 0},
		{"the last failed", []int{0, 1, 2, 3, 4}, []int{5}, 5},
		{"one in the middle failed", []int{0, 1, 2, 3, 5}, []int{4}, 4},
		{"a batch of one failed", []int{0, 1, 3, 4, 5}, []int{2}, 2},
		{"failed and then completed", []int{2, 1, 0}, []int{1, 0}, 3},
		{"all failed", nil, []int{0, 1, 2, 3, 4, 5}, 0},
	} {
		for kind, kindOf := range stateKinds {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				log, open := newStateLog(), kindOf(t)
				s := open()
				if from := log.deliver(t, s); from != 0 {
					t.Fatalf("begins at message %d", from)
				}
				for _, i := range tt.fail {
					if err := s.Done(log.names[i], failed); err != nil {
						t.Fatal(err)
					}
				}
				for _, i := range tt.complete {
					if err := s.Done(log.names[i], nil); err != nil {
						t.Fatal(err)
					}
				}
				for restart := range 3 { // and nothing completed in between
					if from := log.deliver(t, open()); from != tt.want {
						t.Errorf("restart %d delivers from message %d on, want %d", restart, from, tt.want)
					}
				}
				// The rest is completed now: nothing is left.
				s = open()
				from := log.deliver(t, s)
				for _, m := range log.names[from:] {
					if err := s.Done(m, nil); err != nil {
						t.Fatal(err)
					}
				}
				if from := log.deliver(t, open()); from != len(log.names) {
					t.Errorf("after all is completed, messages from %d on are delivered", from)
				}
			})
		}
	}
}

// Without BatchEnd the position names the last message instead.
func TestProgressWithoutBatchEnd(t *testing.T) {
	for kind, kindOf := range stateKinds {
		open := kindOf(t)
		s := open()
		s.Position()
		if err := errors.Join(s.Started(logd.ID{Offset: 0, Delta: 0}), s.Started(logd.ID{Offset: 0, Delta: 9}), s.Done(logd.ID{Offset: 0, Delta: 9}, nil), s.Done(logd.ID{Offset: 0, Delta: 0}, nil)); err != nil {
			t.Error(err)
		}
		if at, err := open().Position(); at != logd.After(logd.ID{Offset: 0, Delta: 9}) || err != nil {
			t.Errorf("%s: position %v, %v", kind, at, err)
		}
	}
}

// Random completions, failures and restarts, against a plain set: a restart
// goes back to the oldest message that is not completed, whatever happened.
func TestProgressRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		s := &Memory{Begin: logd.AtOffset(0)}
		var started []logd.ID
		open := map[logd.ID]bool{}
		next := logd.ID{}
		want := logd.AtOffset(0)
		for range 200 {
			switch rng.IntN(10) {
			default:
				if err := s.Started(next); err != nil {
					t.Fatal(err)
				}
				started = append(started, next)
				open[next] = true
				if next.Delta += 10; rng.IntN(3) == 0 {
					end := next.Offset + 100
					s.BatchEnd(logd.ID{Offset: next.Offset, Delta: next.Delta - 10}, end)
					next = logd.ID{Offset: end}
				}
			case 0, 1, 2, 3, 4:
				if len(started) == 0 {
					continue
				}
				m := started[rng.IntN(len(started))]
				var failure error
				if rng.IntN(5) == 0 {
					failure = errors.New("failed")
				}
				if err := s.Done(m, failure); (err == nil) != open[m] || err != nil && !errors.Is(err, ErrNotStarted) {
					t.Fatalf("Done of %v, open %v: %v", m, open[m], err)
				}
				if failure == nil {
					delete(open, m)
				}
			case 5:
				if rng.IntN(10) == 0 {
					s.Position()
					started = nil
					if next, _ = want.ID(); want == logd.After(next) {
						next.Delta += 10
					}
					clear(open)
				}
			}
			oldest := slices.IndexFunc(started, func(m logd.ID) bool { return open[m] })
			switch {
			case oldest >= 0:
				want = logd.At(started[oldest])
			case len(started) > 0 && next.Delta == 0:
				want = logd.AtOffset(next.Offset)
			case len(started) > 0:
				want = logd.After(logd.ID{Offset: next.Offset, Delta: next.Delta - 10})
			}
			if got := s.Peek(); got != want {
				t.Fatalf("position %v, want %v", got, want)
			}
		}
	}
}

// The memory is for what is started and not completed, not for what was.
func TestProgressIsBounded(t *testing.T) {
	s := &Memory{MaxStarted: 1000}
	var offset int64
	start := func() error {
		offset++
		return s.Started(logd.ID{Offset: offset, Delta: 0})
	}
	// One message stays open; a million behind it come and go.
	for range 1000 {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	for range 1_000_000 {
		if err := s.Done(logd.ID{Offset: offset - 500, Delta: 0}, nil); err != nil {
			t.Fatal(err)
		}
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	if got := cap(s.tracker.messages); got > 4000 {
		t.Errorf("room for %d messages, with 1000 open", got)
	}
	err := start()
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "1000, from 1.0 on") {
		t.Errorf("one more: %v", err)
	}
	if got := s.Peek(); got != logd.At(logd.ID{Offset: 1, Delta: 0}) {
		t.Errorf("position %v", got)
	}
	s.Done(logd.ID{Offset: 1, Delta: 0}, nil)
	offset--
	if err := start(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if err := s.Started(logd.ID{Offset: offset, Delta: 0}); err == nil || errors.Is(err, ErrFull) {
		t.Errorf("the same message again: %v", err)
	}
}

// Workers complete while messages are started.
func TestProgressConcurrently(t *testing.T) {
	for kind, kindOf := range stateKinds {
		if kind == "file" {
			kindOf = func(t *testing.T) func() logd.Progress {
				return fileStates(t, FileConfig{SaveMessages: 100, Sync: SyncOnClose})
			}
		}
		t.Run(kind, func(t *testing.T) {
			const n, workers = 2000, 4
			open := kindOf(t)
			s := open()
			s.Position()
			queue := make(chan int64, 100)
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for i := range queue {
						if err := s.Done(logd.ID{Offset: i * 100, Delta: 0}, nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for i := range int64(n) {
				if err := errors.Join(s.Started(logd.ID{Offset: i * 100, Delta: 0}), s.BatchEnd(logd.ID{Offset: i * 100, Delta: 0}, i*100+100)); err != nil {
					t.Fatal(err)
				}
				queue <- i
			}
			close(queue)
			wg.Wait()
			if f, ok := s.(*File); ok {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Errorf("second Close: %v", err)
				}
				if err := f.Done(logd.ID{Offset: 0, Delta: 0}, nil); !errors.Is(err, logd.ErrClosed) {
					t.Errorf("Complete after Close: %v", err)
				}
			}
			if at, err := open().Position(); at != logd.AtOffset(n*100) || err != nil {
				t.Errorf("position %v, %v", at, err)
			}
		})
	}
}

// Each byte of the file changed, and each part of it missing, is refused; so
// is a newer version, as that.
func TestFileRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	good := encode(logd.After(logd.ID{Offset: 12345, Delta: 67}), "")
	if string(good) != "logd-state 1 after 12345.67 e8a7fd8f\n" {
		t.Errorf("the file is %q", good)
	}
	open := func(content []byte) error {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenFile(FileConfig{Path: name, Begin: logd.AtOldest()})
		if err == nil {
			at, _ := s.Position()
			if at != logd.After(logd.ID{Offset: 12345, Delta: 67}) {
				t.Errorf("%q is read as %v", content, at)
			}
		}
		return err
	}
	if err := open(good); err != nil {
		t.Fatal(err)
	}
	refused := func(content []byte) {
		t.Helper()
		err := open(content)
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", content, err)
		}
	}
	for i := range good {
		refused(good[:i])
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			refused(bad)
		}
	}
	refused(append(slices.Clone(good), '\n'))
	refused(append(slices.Clone(good), good...))
	refused(make([]byte, len(good)))
	refused(make([]byte, 10000))
	refused(encode(logd.Position{}, ""))
	if err := open([]byte("logd-state 3 whatever it is\n")); !errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) {
		t.Errorf("a newer version: %v", err)
	}
	if _, err := OpenFile(FileConfig{Path: t.TempDir()}); err == nil {
		t.Error("a folder is a state")
	}
}

func TestFileConfigValidate(t *testing.T) {
	for want, cfg := range map[string]FileConfig{
		`FileConfig.Path is "": want the name of a file`:       {},
		`FileConfig.FileMode is 0400: want 0 (the default)`:    {Path: "x", FileMode: 0o400},
		`FileConfig.FileMode is 01600`:                         {Path: "x", FileMode: 0o1600},
		`FileConfig.Sync is Sync(2)`:                           {Path: "x", Sync: 2},
		`FileConfig.SaveMessages is -1`:                        {Path: "x", SaveMessages: -1},
		`FileConfig.SaveInterval is -1ns`:                      {Path: "x", SaveInterval: -1},
		`FileConfig.SaveMessages is 2: want 0 with a SaveInte`: {Path: "x", SaveMessages: 2, SaveInterval: 1},
		`FileConfig.Begin is at -2.0`:                          {Path: "x", Begin: logd.AtOffset(-2)},
		`FileConfig.MaxStarted is -2`:                          {Path: "x", MaxStarted: -2},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate(%+v) = %v, want %s", cfg, err, want)
		}
		if _, err := OpenFile(cfg); err == nil {
			t.Errorf("OpenFile takes %+v", cfg)
		}
	}
}

// A state that knows nothing leaves no file.
func TestFileOfNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	s, err := OpenFile(FileConfig{Path: name})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := s.Position(); !at.IsZero() || err != nil {
		t.Errorf("Get = %v, %v", at, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
	if _, err := s.Position(); !errors.Is(err, logd.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	if fmt.Sprint(s.Started(logd.ID{Offset: 1, Delta: 2})) != errClosed.Error() {
		t.Error("Start after Close")
	}
}

// FuzzDecode: no bytes make reading a state panic, and what is read is what was
// written.
func FuzzDecode(f *testing.F) {
	for _, at := range []logd.Position{logd.AtOldest(), logd.AtNext(), logd.At(logd.ID{Offset: 70, Delta: 11}), logd.After(logd.ID{Offset: 70, Delta: 11}), logd.AtTime(time.Unix(1, 2).UTC()), {}} {
		f.Add(encode(at, ""))
		f.Add([]byte(at.String()))
	}
	f.Add(encode(logd.AtOffset(70), "0af"))
	f.Add([]byte("logd-state 2 x"))
	f.Add([]byte("logd-state "))
	f.Fuzz(func(t *testing.T, data []byte) {
		if at, topic, err := decode(data); err == nil && string(encode(at, topic)) != string(data) {
			t.Errorf("%q is read as %v", data, at)
		}
		var at logd.Position
		if err := at.UnmarshalText(data); err != nil {
			return
		}
		if back, err := at.MarshalText(); err != nil || string(back) != string(data) {
			t.Errorf("%q is read as %v", data, at)
		}
		if back, _, err := decode(encode(at, "")); err == nil && back.String() != at.String() || err != nil && !at.IsZero() {
			t.Errorf("%v comes back as %v, %v", at, back, err)
		}
	})
}
