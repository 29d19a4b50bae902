package logd

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
)

// stateKinds are the ways to make a state. What open returns for the second
// time is what a restarted program has.
var stateKinds = map[string]func(t *testing.T) (open func() StatePuller){
	"memory": func(t *testing.T) func() StatePuller {
		s := new(MemoryState)
		return func() StatePuller { return s }
	},
	"file": func(t *testing.T) func() StatePuller {
		return fileStates(t, FileStateConfig{SaveMessages: 1})
	},
	"file closed": func(t *testing.T) func() StatePuller {
		open := fileStates(t, FileStateConfig{SaveInterval: time.Hour})
		var last StatePuller
		return func() StatePuller {
			if last != nil {
				if err := last.(*FileState).Close(); err != nil {
					t.Error(err)
				}
			}
			last = open()
			return last
		}
	},
}

// fileStates opens the same file again and again, without closing it before.
func fileStates(t *testing.T, cfg FileStateConfig) func() StatePuller {
	cfg.Path = filepath.Join(t.TempDir(), "state")
	return func() StatePuller {
		s, err := OpenFileState(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// stateLog is a log of three batches, as a Scanner tells it to a state: two,
// one and three messages.
type stateLog struct {
	names []ID
	ends  map[ID]int64
}

func newStateLog() stateLog {
	m := func(offset, delta int64) ID { return ID{offset, delta} }
	return stateLog{
		names: []ID{m(0, 0), m(0, 10), m(50, 0), m(80, 0), m(80, 10), m(80, 20)},
		ends:  map[ID]int64{m(0, 10): 50, m(50, 0): 80, m(80, 20): 140},
	}
}

// deliver starts the messages from the state's position on.
func (l stateLog) deliver(t *testing.T, s StatePuller) (from int) {
	t.Helper()
	at, err := s.Get()
	if err != nil {
		t.Fatal(err)
	}
	from = l.find(t, at)
	for _, m := range l.names[from:] {
		if err := s.Start(m); err != nil {
			t.Fatal(err)
		}
		if next := l.ends[m]; next > 0 {
			if err := s.(BatchEnder).EndBatch(m, next); err != nil {
				t.Fatal(err)
			}
		}
	}
	return from
}

// find returns the index of the message at the position.
func (l stateLog) find(t *testing.T, at Position) int {
	t.Helper()
	switch {
	case at.IsZero():
		return 0
	case at == AtOffset(140):
		return len(l.names)
	}
	i := slices.IndexFunc(l.names, func(m ID) bool { return m == at.id })
	if i < 0 || !at.named() {
		t.Fatalf("position %v is no message", at)
	}
	if at.kind == afterMessage {
		i++
	}
	return i
}

// Each case: what is completed, or fails, of the messages 0 1 | 2 | 3 4 5, and
// from where on messages are delivered again after a restart.
func TestStateRestarts(t *testing.T) {
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
					if err := s.Complete(log.names[i], failed); err != nil {
						t.Fatal(err)
					}
				}
				for _, i := range tt.complete {
					if err := s.Complete(log.names[i], nil); err != nil {
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
					if err := s.Complete(m, nil); err != nil {
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

// Without EndBatch the state names the last message instead.
func TestStateWithoutEndBatch(t *testing.T) {
	for kind, kindOf := range stateKinds {
		open := kindOf(t)
		s := open()
		s.Get()
		if err := errors.Join(s.Start(ID{0, 0}), s.Start(ID{0, 9}), s.Complete(ID{0, 9}, nil), s.Complete(ID{0, 0}, nil)); err != nil {
			t.Error(err)
		}
		if at, err := open().Get(); at != After(ID{0, 9}) || err != nil {
			t.Errorf("%s: position %v, %v", kind, at, err)
		}
	}
}

// Random completions, failures and restarts, against a plain set: a restart
// goes back to the oldest message that is not completed, whatever happened.
func TestStateRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		s := &MemoryState{Begin: AtOffset(0)}
		var started []ID
		open := map[ID]bool{}
		next := ID{}
		want := AtOffset(0)
		for range 200 {
			switch rng.IntN(10) {
			default:
				if err := s.Start(next); err != nil {
					t.Fatal(err)
				}
				started = append(started, next)
				open[next] = true
				if next.Delta += 10; rng.IntN(3) == 0 {
					end := next.Offset + 100
					s.EndBatch(ID{next.Offset, next.Delta - 10}, end)
					next = ID{Offset: end}
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
				if err := s.Complete(m, failure); (err == nil) != open[m] || err != nil && !errors.Is(err, ErrNotStarted) {
					t.Fatalf("Complete of %v, open %v: %v", m, open[m], err)
				}
				if failure == nil {
					delete(open, m)
				}
			case 5:
				if rng.IntN(10) == 0 {
					s.Get()
					started, next = nil, want.id
					if want.kind == afterMessage {
						next.Delta += 10
					}
					clear(open)
				}
			}
			oldest := slices.IndexFunc(started, func(m ID) bool { return open[m] })
			switch {
			case oldest >= 0:
				want = At(started[oldest])
			case len(started) > 0 && next.Delta == 0:
				want = AtOffset(next.Offset)
			case len(started) > 0:
				want = After(ID{next.Offset, next.Delta - 10})
			}
			if got := s.Position(); got != want {
				t.Fatalf("position %v, want %v", got, want)
			}
		}
	}
}

// The memory is for what is started and not completed, not for what was.
func TestStateIsBounded(t *testing.T) {
	s := &MemoryState{MaxStarted: 1000}
	var offset int64
	start := func() error {
		offset++
		return s.Start(ID{offset, 0})
	}
	// One message stays open; a million behind it come and go.
	for range 1000 {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	for range 1_000_000 {
		if err := s.Complete(ID{offset - 500, 0}, nil); err != nil {
			t.Fatal(err)
		}
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	if got := cap(s.progress.messages); got > 4000 {
		t.Errorf("room for %d messages, with 1000 open", got)
	}
	err := start()
	if !errors.Is(err, ErrStateFull) || !strings.Contains(err.Error(), "1000, from 1.0 on") {
		t.Errorf("one more: %v", err)
	}
	if got := s.Position(); got != At(ID{1, 0}) {
		t.Errorf("position %v", got)
	}
	s.Complete(ID{1, 0}, nil)
	offset--
	if err := start(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if err := s.Start(ID{offset, 0}); err == nil || errors.Is(err, ErrStateFull) {
		t.Errorf("the same message again: %v", err)
	}
}

// Workers complete while messages are started.
func TestStateConcurrently(t *testing.T) {
	for kind, kindOf := range stateKinds {
		if kind == "file" {
			kindOf = func(t *testing.T) func() StatePuller {
				return fileStates(t, FileStateConfig{SaveMessages: 100, Sync: SyncOnClose})
			}
		}
		t.Run(kind, func(t *testing.T) {
			const n, workers = 2000, 4
			open := kindOf(t)
			s := open()
			s.Get()
			queue := make(chan int64, 100)
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for i := range queue {
						if err := s.Complete(ID{i * 100, 0}, nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for i := range int64(n) {
				if err := errors.Join(s.Start(ID{i * 100, 0}), s.(BatchEnder).EndBatch(ID{i * 100, 0}, i*100+100)); err != nil {
					t.Fatal(err)
				}
				queue <- i
			}
			close(queue)
			wg.Wait()
			if f, ok := s.(*FileState); ok {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Errorf("second Close: %v", err)
				}
				if err := f.Complete(ID{0, 0}, nil); !errors.Is(err, ErrStateClosed) {
					t.Errorf("Complete after Close: %v", err)
				}
			}
			if at, err := open().Get(); at != AtOffset(n*100) || err != nil {
				t.Errorf("position %v, %v", at, err)
			}
		})
	}
}

// Each byte of the file changed, and each part of it missing, is refused; so
// is a newer version, as that.
func TestFileStateRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	good := encodeState(After(ID{12345, 67}), "")
	if string(good) != "logd-state 1 after 12345.67 e8a7fd8f\n" {
		t.Errorf("the file is %q", good)
	}
	open := func(content []byte) error {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenFileState(FileStateConfig{Path: name, Begin: AtOldest()})
		if err == nil {
			at, _ := s.Get()
			if at != After(ID{12345, 67}) {
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
		if !errors.Is(err, ErrStateDamaged) && !errors.Is(err, ErrStateVersion) || !strings.Contains(err.Error(), name) {
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
	refused(encodeState(Position{}, ""))
	if err := open([]byte("logd-state 3 whatever it is\n")); !errors.Is(err, ErrStateVersion) || errors.Is(err, ErrStateDamaged) {
		t.Errorf("a newer version: %v", err)
	}
	if _, err := OpenFileState(FileStateConfig{Path: t.TempDir()}); err == nil {
		t.Error("a folder is a state")
	}
}

func TestFileStateConfigValidate(t *testing.T) {
	for want, cfg := range map[string]FileStateConfig{
		`FileStateConfig.Path is "": want the name of a file`:       {},
		`FileStateConfig.FileMode is 0400: want 0 (the default)`:    {Path: "x", FileMode: 0o400},
		`FileStateConfig.FileMode is 01600`:                         {Path: "x", FileMode: 0o1600},
		`FileStateConfig.Sync is StateSync(2)`:                      {Path: "x", Sync: 2},
		`FileStateConfig.SaveMessages is -1`:                        {Path: "x", SaveMessages: -1},
		`FileStateConfig.SaveInterval is -1ns`:                      {Path: "x", SaveInterval: -1},
		`FileStateConfig.SaveMessages is 2: want 0 with a SaveInte`: {Path: "x", SaveMessages: 2, SaveInterval: 1},
		`FileStateConfig.Begin is at -2.0`:                          {Path: "x", Begin: AtOffset(-2)},
		`FileStateConfig.MaxStarted is -1`:                          {Path: "x", MaxStarted: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate(%+v) = %v, want %s", cfg, err, want)
		}
		if _, err := OpenFileState(cfg); err == nil {
			t.Errorf("OpenFileState takes %+v", cfg)
		}
	}
}

// A state that knows nothing leaves no file.
func TestFileStateOfNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	s, err := OpenFileState(FileStateConfig{Path: name})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := s.Get(); !at.IsZero() || err != nil {
		t.Errorf("Get = %v, %v", at, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
	if _, err := s.Get(); !errors.Is(err, ErrStateClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	if fmt.Sprint(s.Start(ID{1, 2})) != ErrStateClosed.Error() {
		t.Error("Start after Close")
	}
}

// FuzzState: no bytes make reading a state panic, and what is read is what was
// written.
func FuzzState(f *testing.F) {
	for _, at := range []Position{AtOldest(), AtNext(), At(ID{70, 11}), After(ID{70, 11}), AtTime(time.Unix(1, 2).UTC()), {}} {
		f.Add(encodeState(at, ""))
		f.Add([]byte(at.String()))
	}
	f.Add(encodeState(AtOffset(70), "0af"))
	f.Add([]byte("logd-state 2 x"))
	f.Add([]byte("logd-state "))
	f.Fuzz(func(t *testing.T, data []byte) {
		if at, topic, err := decodeState(data); err == nil && string(encodeState(at, topic)) != string(data) {
			t.Errorf("%q is read as %v", data, at)
		}
		var at Position
		if err := at.UnmarshalText(data); err != nil {
			return
		}
		if back, err := at.MarshalText(); err != nil || string(back) != string(data) {
			t.Errorf("%q is read as %v", data, at)
		}
		if back, _, err := decodeState(encodeState(at, "")); err == nil && back != at || err != nil && !at.IsZero() {
			if !at.since.Equal(back.since) {
				t.Errorf("%v comes back as %v, %v", at, back, err)
			}
		}
	})
}
