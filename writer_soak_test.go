package logd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

// soak is one run of a program that writes, and is restarted and crashes, to a
// server that is killed again and again.
type soak struct {
	t      *testing.T
	rnd    *rand.Rand // of the program
	server *script.Log
	net    *downtime
	fake   *fakeNet
	client ClientConfig
	config WriterConfig
	dir    string
	files  int

	backlog *backlog.Disk
	wrap    func(*backlog.Disk) backlog.Backlog // what the Writer has, if it is not nil
	path    string                              // of the backlog
	w       *Writer

	mu      sync.Mutex
	fate    []fate // of each message
	unknown int    // batches that failed, unknown
	counts  map[string]int
	found   [4]int // by check
	calm    bool   // the server is well
	frozen  bool
}

// fate is what the program was told of a message.
type fate struct {
	told   bool
	result WriteResult
	gone   bool // the program crashed before it was told
}

// failure counts what may be stored more than once.
func (s *soak) failure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := errors.AsType[*BatchError](err); ok && IsUnknown(err) {
		s.unknown += int(e.Batches)
	}
	if _, ok := errors.AsType[*BatchError](err); ok && !errors.Is(err, ErrBacklogged) {
		s.t.Errorf("a batch is lost: %v", err)
	}
}

// start starts the program, with the backlog in the file.
func (s *soak) start(path string) {
	var err error
	s.path = path
	s.backlog, err = backlog.OpenDisk(backlog.DiskConfig{Path: path, NoSync: true})
	if err != nil {
		s.t.Fatal(err)
	}
	client, err := NewClient(s.client)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := s.config
	cfg.Backlog, cfg.OnError = s.backlog, s.failure
	if s.wrap != nil {
		cfg.Backlog = s.wrap(s.backlog)
	}
	for {
		s.w, err = NewWriter(s.t.Context(), client, "t", cfg)
		if err == nil {
			return
		}
		if !IsRetryable(err) {
			s.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stop ends the program in an orderly way, without waiting for the server.
func (s *soak) stop() {
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	s.w.CloseContext(ctx)
	s.w.client.Close()
	s.backlog.Close()
}

// crash ends the program at once: the next one gets the file as it is now.
func (s *soak) crash() {
	s.freeze(true)
	s.mu.Lock()
	raw, err := os.ReadFile(s.path)
	for i := range s.fate {
		s.fate[i].gone = !s.fate[i].told
	}
	s.mu.Unlock()
	if err != nil {
		s.t.Fatal(err)
	}
	s.w.client.Close()
	s.stop()
	s.freeze(false)
	s.files++
	path := filepath.Join(s.dir, "backlog"+strconv.Itoa(s.files))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.start(path)
}

// freeze keeps the server from storing anything more, for what the program does
// between its crash and its end.
func (s *soak) freeze(frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = frozen
}

func (s *soak) isFrozen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen
}

// write writes the next message, again and again until it is taken.
func (s *soak) write(i int) {
	s.mu.Lock()
	s.fate = append(s.fate, fate{})
	s.mu.Unlock()
	for {
		err := s.w.WriteFunc(s.t.Context(), []byte(strconv.Itoa(i)), func(r WriteResult) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.fate[i].told && !s.fate[i].gone {
				s.t.Errorf("message %d is called back twice", i)
			}
			if !s.fate[i].gone {
				s.fate[i].told, s.fate[i].result = true, r
			}
		})
		if err == nil {
			return
		}
		if !errors.Is(err, ErrFailing) || !IsNotStored(err) {
			s.t.Fatalf("message %d: %v", i, err)
		}
		s.count("refused")
		time.Sleep(time.Duration(s.rnd.IntN(50)) * time.Millisecond)
	}
}

func (s *soak) isCalm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calm
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// serve makes the server die: before or after it has stored a batch, or in the
// middle of an answer; and refuse.
func (s *soak) serve(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	die := func(odds int) bool {
		mu.Lock()
		defer mu.Unlock()
		if s.isCalm() || rnd.IntN(odds) > 0 {
			return false
		}
		if rnd.IntN(2) == 0 {
			s.net.down.Store(true)
			time.AfterFunc(time.Duration(rnd.IntN(1000))*time.Millisecond, func() { s.net.down.Store(false) })
		}
		return true
	}
	s.server.OnBatch = func(p *script.Peer, _ []string) string {
		// What the client has given up, and perhaps sent again, is not stored late.
		if s.isFrozen() || p.Number() < s.fake.count() || die(50) {
			s.count("killed before")
			p.Close()
			return "too late"
		}
		mu.Lock()
		defer mu.Unlock()
		if !s.isCalm() && rnd.IntN(60) == 0 {
			s.count("busy")
			return "ERR busy\r\n"
		}
		return ""
	}
	s.server.OnStored = func(_ *script.Peer, _ []string, answer string) string {
		if die(50) {
			s.count("killed after")
			return answer[:len(answer)/2]
		}
		return answer
	}
}

// check compares what the program was told with the messages that are stored and
// their names, and returns what does not agree.
func (s *soak) check(messages, ids []string) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	clear(s.found[:])
	copies := make([][]string, len(s.fate))
	for i, m := range messages {
		n, err := strconv.Atoi(m)
		if err != nil || n < 0 || n >= len(copies) {
			bad("stored %q", m)
			continue
		}
		copies[n] = append(copies[n], ids[i])
	}
	for i, f := range s.fate {
		n := len(copies[i])
		name := fmt.Sprintf("%d.%d", f.result.Offset, f.result.Delta)
		switch err := f.result.Err; {
		case f.gone:
			s.found[crashed]++
		case !f.told:
			bad("message %d: the program was told nothing", i)
		case err == nil:
			s.found[acknowledged]++
			if n != 1 || copies[i][0] != name {
				bad("message %d: acknowledged as %s, stored as %v", i, name, copies[i])
			}
		default:
			s.found[inBacklog]++
			if n == 0 {
				bad("message %d: not stored, although %v", i, err)
			}
		}
		if n > 1 {
			s.found[twice] += n - 1
		}
	}
	// A batch is one message here: each copy too many has a failure that may
	// have stored it, or a crash with so many on their way.
	may := s.unknown + s.counts["crash"]*(s.config.InFlight+1)
	if s.server.Producers > 0 {
		may = 0
	}
	if s.found[twice] > may {
		bad("%d copies too many, with %d failures that are unknown and %d crashes", s.found[twice], s.unknown, s.counts["crash"])
	}
	for i := 1; i < len(messages) && (s.config.InFlight == 1 || s.server.Producers > 0); i++ {
		a, _ := strconv.Atoi(messages[i-1])
		b, _ := strconv.Atoi(messages[i])
		if a > b {
			bad("message %d is stored behind %d", b, a)
		}
	}
	return problems
}

// What check finds.
const (
	acknowledged = iota // messages that are stored
	inBacklog           // messages that were kept in the backlog
	crashed             // messages of which a crash took the word
	twice               // copies of messages beyond the first
)

// control makes sure that check would notice.
func (s *soak) control(messages, ids []string) {
	acked := slices.IndexFunc(messages, func(m string) bool {
		i, _ := strconv.Atoi(m)
		return s.fate[i].told && s.fate[i].result.Err == nil
	})
	for name, change := range map[string]func() (messages, ids []string){
		"an acknowledged message is missing": func() ([]string, []string) {
			return slices.Delete(slices.Clone(messages), acked, acked+1), slices.Delete(slices.Clone(ids), acked, acked+1)
		},
		"an acknowledged message is there twice": func() ([]string, []string) {
			return append(slices.Clone(messages), messages[acked]), append(slices.Clone(ids), ids[acked])
		},
		"two are exchanged": func() ([]string, []string) {
			changed := slices.Clone(messages)
			changed[acked], changed[acked+1] = changed[acked+1], changed[acked]
			return changed, ids
		},
	} {
		if len(s.check(change())) == 0 {
			s.t.Errorf("%s, and check does not notice", name)
		}
	}
}

// TestWriterSoak: whatever is killed whenever, what was acknowledged is stored
// once, where it was said to be; what was kept is stored in the end; and with
// one batch in flight, all in order.
func TestWriterSoak(t *testing.T) {
	messages := 4000
	if testing.Short() {
		messages = 1000
	}
	for _, inFlight := range []int{1, 4} {
		bothServers(t, fmt.Sprintf("inFlight=%d", inFlight), func(t *testing.T, server *script.Log) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := &soak{
					t: t, rnd: rand.New(rand.NewPCG(seed, 1)), server: server, net: &downtime{}, dir: dir,
					config: WriterConfig{BatchMessages: 1, InFlight: inFlight, Patience: 20 * time.Millisecond}, counts: map[string]int{},
				}
				s.serve(seed)
				s.fake, s.client = fake(t, s.server.Serve)
				s.net.install(&s.client)
				s.start(filepath.Join(dir, "backlog"))
				for i := range messages {
					s.write(i)
					switch s.rnd.IntN(400) {
					case 0:
						s.stop()
						s.start(s.path)
						s.count("restart")
					case 1:
						// A message that the crash takes was perhaps taken, not more.
						s.crash()
						s.count("crash")
					case 2, 3, 4:
						s.w.Flush(t.Context())
					case 5, 6, 7, 8, 9, 10:
						time.Sleep(time.Duration(s.rnd.IntN(2000)) * time.Millisecond)
					}
				}
				s.mu.Lock()
				s.calm = true
				s.mu.Unlock()
				time.Sleep(time.Minute)
				if err := s.w.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				s.w.client.Close()
				if s.backlog.Len() != 0 {
					t.Errorf("%d batches in the backlog", s.backlog.Len())
				}
				s.backlog.Close()
				for _, problem := range s.check(s.server.Messages(), s.server.IDs()) {
					t.Error(problem)
				}
				t.Logf("%d messages acknowledged, %d kept, %d of a crash; %d copies too many; %d failures unknown; %v",
					s.found[acknowledged], s.found[inBacklog], s.found[crashed], s.found[twice], s.unknown, s.counts)
				for what, n := range s.found {
					if n == 0 && !testing.Short() && (what != twice || server.Producers == 0) {
						t.Errorf("none of the messages is of kind %d: the test does not test it", what)
					}
				}
				s.control(s.server.Messages(), s.server.IDs())
			})
		})
	}
}
