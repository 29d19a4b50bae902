package logd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

// rewritten is a Disk that counts how often its batches are split.
type rewritten struct {
	*backlog.Disk
	count func()
}

func (r rewritten) Rewrite(remake func(raw []byte) [][]byte) error {
	r.count()
	return r.Disk.Rewrite(remake)
}

// TestWriterSoakLimits: while the server and the program are killed, the topic takes less
// and more again. Each message is stored once, in order and where the program was told, and
// none is lost.
func TestWriterSoakLimits(t *testing.T) {
	messages := 20000
	if testing.Short() {
		messages = 1500
	}
	large, split := 0, 0
	for _, inFlight := range []int{1, 4} {
		t.Run(fmt.Sprintf("inFlight=%d", inFlight), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				server := &script.Log{Producers: 1 << 18, TopicLimit: DefaultMaxBatchSize}
				s := &soak{
					t: t, rnd: rand.New(rand.NewPCG(seed, 1)), server: server, net: &downtime{}, dir: dir, counts: map[string]int{},
					config: WriterConfig{BatchMessages: 40, InFlight: inFlight, Patience: 20 * time.Millisecond},
				}
				s.wrap = func(disk *backlog.Disk) backlog.Backlog { return rewritten{disk, func() { s.count("kept are split") }} }
				s.serve(seed)
				s.fake, s.client = fake(t, s.server.Serve)
				s.net.install(&s.client)
				s.start(filepath.Join(dir, "backlog"))
				over := make(chan struct{})
				go func() {
					rnd := rand.New(rand.NewPCG(seed, 3))
					for !s.isCalm() {
						server.SetTopicLimit([...]int64{130, 170, 300, DefaultMaxBatchSize}[rnd.IntN(4)])
						time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
					}
					server.SetTopicLimit(300)
					time.Sleep(time.Minute)
					server.SetTopicLimit(DefaultMaxBatchSize)
					close(over)
				}()
				for i := range messages {
					s.config.WriteWhileFailing = s.rnd.IntN(2) == 0 // of the next Writer
					s.write(i)
					switch s.rnd.IntN(500) {
					case 0, 1:
						s.stop()
						s.start(s.path)
						s.count("restart")
					case 2:
						s.crash()
						s.count("crash")
					case 3, 4, 5:
						s.w.Flush(t.Context())
					case 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
						time.Sleep(time.Duration(s.rnd.IntN(500)) * time.Millisecond)
					}
				}
				s.mu.Lock()
				s.calm = true
				s.mu.Unlock()
				<-over
				time.Sleep(time.Minute)
				if err := s.w.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if st := s.w.Stats(); st.Lost != 0 || st.InDoubt != 0 {
					t.Errorf("%+v", st)
				}
				s.w.client.Close()
				if s.backlog.Len() != 0 {
					t.Errorf("%d batches in the backlog", s.backlog.Len())
				}
				s.backlog.Close()
				for _, problem := range s.check(server.Messages(), server.IDs()) {
					t.Error(problem)
				}
				t.Logf("%d batches are too large; %d messages acknowledged, %d kept, %d of a crash; %v",
					server.Large(), s.found[acknowledged], s.found[inBacklog], s.found[crashed], s.counts)
				large, split = large+server.Large(), split+s.counts["kept are split"]
				s.control(server.Messages(), server.IDs())
			})
		})
	}
	if !testing.Short() && (large < 20 || split == 0) {
		t.Errorf("%d batches were too large, and %d times those of the backlog: the test does not test it", large, split)
	}
}

// numbers returns the numbers from a to b, each a message.
func numbers(a, b int) (all []string) {
	for i := a; i <= b; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func openDisk(t *testing.T, path string) *backlog.Disk {
	t.Helper()
	disk, err := backlog.OpenDisk(backlog.DiskConfig{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	return disk
}

// keep has a Writer keep the messages in one batch, which it does not send.
func keep(t *testing.T, f *fakeNet, ccfg ClientConfig, cfg WriterConfig, messages ...string) *Writer {
	t.Helper()
	f.serve(fakeAddr, nil)
	c, err := NewClient(ccfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cfg.WriteWhileFailing, cfg.BatchMessages = true, int64(len(messages))
	w, err := NewWriter(t.Context(), c, "t", cfg)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, messages...)
	for cfg.Backlog.Len() == 0 {
		time.Sleep(time.Second)
	}
	return w
}

// A batch that was kept and not sent, and is too large by then, is split on disk: the
// process may end when some of it is stored, and the next one sends the rest, also if the
// whole would be taken again.
func TestWriterSplitsKept(t *testing.T) {
	for _, told := range []bool{true, false} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("told=%v, restart=%v", told, restart), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "backlog")
				disk := openDisk(t, path)
				synctest.Test(t, func(t *testing.T) {
					s := &script.Log{Producers: 100, TopicLimit: 200, Untold: !told}
					f, ccfg := fake(t, s.Serve)
					w := keep(t, f, ccfg, WriterConfig{Backlog: disk}, numbers(1, 50)...)
					if restart {
						s.OnStored = func(_ *script.Peer, _ []string, answer string) string {
							if len(s.Batches()) == 3 {
								f.serve(fakeAddr, nil)
								return ""
							}
							return answer
						}
					}
					f.serve(fakeAddr, s.Serve)
					time.Sleep(time.Minute)
					if restart {
						if kept := disk.Messages(); kept >= 50 || kept == 0 || len(s.Batches()) != 3 {
							t.Errorf("%d messages are kept, and %v stored", kept, s.Batches())
						}
						ctx, cancel := context.WithCancel(t.Context())
						cancel()
						w.CloseContext(ctx)
						disk.Close()
						disk = openDisk(t, path)
						s.OnStored = nil
						s.SetTopicLimit(DefaultMaxBatchSize)
						f.serve(fakeAddr, s.Serve)
						w = openWriter(t, ccfg, WriterConfig{Backlog: disk})
					}
					if err := w.Close(); err != nil {
						t.Error(err)
					}
					if st := w.Stats(); st.Kept != 0 || st.Lost != 0 || st.InDoubt != 0 || !restart && st.Delivered != 50 {
						t.Errorf("%+v", st)
					}
					if !slices.Equal(s.Messages(), numbers(1, 50)) || disk.Len() != 0 {
						t.Errorf("stored %v, and %d batches are kept", s.Messages(), disk.Len())
					}
				})
			})
		}
	}
}

// A kept batch that may be stored is not split, nor is one message that is too large by
// itself, nor one of a backlog that can't: they stay where they are, the Writer says so, and
// delivers them when the topic takes more.
func TestWriterDoesNotSplitKept(t *testing.T) {
	type plain struct{ backlog.Backlog }
	for name, test := range map[string]struct {
		messages []string
		again    bool // in another process
		wrap     func(backlog.Backlog) backlog.Backlog
	}{
		"it may be stored":        {numbers(1, 50), true, nil},
		"one message":             {[]string{strings.Repeat("x", 300)}, false, nil},
		"a backlog of the user's": {numbers(1, 50), false, func(b backlog.Backlog) backlog.Backlog { return plain{b} }},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "backlog")
			var kept backlog.Backlog = openDisk(t, path)
			if test.wrap != nil {
				kept = test.wrap(kept)
			}
			synctest.Test(t, func(t *testing.T) {
				s := &script.Log{Producers: 100, TopicLimit: 200}
				f, ccfg := fake(t, s.Serve)
				w := keep(t, f, ccfg, WriterConfig{Backlog: kept}, test.messages...)
				if test.again {
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					w.CloseContext(ctx)
					kept.Close()
					kept = openDisk(t, path)
					f.serve(fakeAddr, s.Serve)
					w = openWriter(t, ccfg, WriterConfig{Backlog: kept})
				}
				f.serve(fakeAddr, s.Serve)
				for range 3 {
					time.Sleep(time.Minute)
					if w.State() == StateConnected || kept.Len() != 1 || len(s.Messages()) != 0 {
						t.Fatalf("%v, %d batches are kept, stored %v", w.State(), kept.Len(), s.Messages())
					}
				}
				if err := w.Flush(t.Context()); !errors.Is(err, ErrTooLarge) {
					t.Errorf("Flush: %v", err)
				}
				s.SetTopicLimit(1000)
				time.Sleep(time.Minute)
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if !slices.Equal(s.Messages(), test.messages) {
					t.Errorf("stored %v", s.Messages())
				}
			})
		})
	}
}

// A message that no batch can hold any more is given up alone, and told of in its place.
// With StopOnError nothing behind it is sent.
func TestWriterRefusesOneMessage(t *testing.T) {
	for _, stop := range []bool{false, true} {
		for _, untold := range []bool{false, true} {
			t.Run(fmt.Sprintf("stop=%v, untold=%v", stop, untold), func(t *testing.T) {
				s := &script.Log{Producers: 100, TopicLimit: DefaultMaxBatchSize, Untold: untold}
				kept, _ := backlog.NewMemory(backlog.MemoryConfig{})
				cfg := WriterConfig{StopOnError: stop, BatchAge: Unlimited, InFlight: 4, Backlog: kept}
				var batches []string
				cfg.OnBatch = func(r BatchResult) { batches = append(batches, fmt.Sprint(r.Messages, r.Err == nil)) }
				bubble(t, s, cfg, func(t *testing.T, w *Writer) {
					s.SetTopicLimit(300)
					var told []string
					for i, m := range []string{"a", strings.Repeat("x", 300), "b", "c"} {
						if err := w.WriteFunc(t.Context(), []byte(m), func(r WriteResult) {
							what := "stored"
							switch {
							case errors.Is(r.Err, ErrBacklogged):
								what = "kept"
							case errors.Is(r.Err, ErrTooLarge) && IsNotStored(r.Err):
								what = "refused"
							case r.Err != nil:
								what = r.Err.Error()
							}
							told = append(told, fmt.Sprint(i, " ", what))
						}); err != nil {
							t.Fatal(err)
						}
					}
					if err := w.Flush(t.Context()); !errors.Is(err, ErrTooLarge) {
						t.Errorf("Flush: %v", err)
					}
					synctest.Wait()
					want, stored, lost := "[0 stored 1 refused 2 stored 3 stored]", "a b c", int64(1)
					if stop {
						want, stored, lost = "[0 stored 1 kept 2 kept 3 kept]", "a", 0
					}
					if fmt.Sprint(told) != want || s.String() != stored || w.Stats().Lost != lost || (w.State() == StateFailing) != stop {
						t.Errorf("told %v, stored %v, %v: %+v; %v", told, s, w.State(), w.Stats(), batches)
					}
					if !stop {
						write(t, w, "d")
						flush(t, w)
					}
				})
			})
		}
	}
}

// Without numbers nothing is split while a batch behind may be stored: all of them fail and
// are kept, and then sent one by one.
func TestWriterSplitsWithoutNumbers(t *testing.T) {
	s := &script.Log{TopicLimit: 200}
	lost := false
	s.OnBatch = func(p *script.Peer, messages []string) string {
		if messages[0] == "b" && !lost {
			lost = true
			p.Close()
			return "too late"
		}
		return ""
	}
	cfg := WriterConfig{InFlight: 2, BatchMessages: 20, BatchAge: Unlimited}
	var n notes
	n.install(&cfg)
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, s.Serve)
		s.SetTopicLimit(DefaultMaxBatchSize)
		w := openWriter(t, ccfg, cfg)
		s.SetTopicLimit(200)
		write(t, w, numbers(1, 20)...)
		write(t, w, "b")
		w.Flush(t.Context()) // both are under way together
		time.Sleep(time.Minute)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := s.Messages(); !slices.Equal(got, append(numbers(1, 20), "b")) || !lost {
			t.Errorf("stored %v; states %s", got, n.seen())
		}
		if !strings.HasPrefix(n.seen(), "failing") {
			t.Errorf("states %s", n.seen())
		}
	})
}
