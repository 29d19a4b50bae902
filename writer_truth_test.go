package logd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

// truth is a run of many callers on one Writer, to a server that refuses, stalls
// and hangs up. It checks what they are told against what the server stores.
type truth struct {
	t      *testing.T
	server *script.Log
	w      *Writer
	clock  atomic.Int64 // orders what happens
	calm   atomic.Bool

	mu    sync.Mutex
	taken []string          // in the order of the Writes' returns
	begun map[string]int64  // when its Write began
	fates map[string]string // what a callback said: stored, kept, lost, dropped
	told  []lossTold        // Flushes that told of losses
	nils  []flushNil
	seen  map[string]int
}

// lossTold is a Flush that told of a loss.
type lossTold struct{ began, ended int64 }

// flushNil is a Flush that returned nil although messages were not stored.
type flushNil struct {
	began   int64
	missing []string
}

// serve makes the server moody until it is calm.
func (r *truth) serve(seed uint64) {
	rnd, mu := rand.New(rand.NewPCG(seed, 0)), sync.Mutex{}
	mood := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	r.server.OnBatch = func(p *script.Peer, _ []string) string {
		if r.calm.Load() {
			return ""
		}
		switch m := mood(40); {
		case m == 0:
			p.Close()
			return "too late"
		case m < 4:
			return "ERR busy\r\n"
		case m < 6:
			time.Sleep(time.Duration(mood(20)) * time.Millisecond)
		}
		return ""
	}
	r.server.OnStored = func(_ *script.Peer, _ []string, answer string) string {
		if !r.calm.Load() && mood(60) == 0 {
			return answer[:len(answer)/2]
		}
		return answer
	}
}

func (r *truth) isStored(messages []string) (missing []string) {
	stored := make(map[string]bool)
	for _, m := range r.server.Messages() {
		stored[m] = true
	}
	for _, m := range messages {
		if !stored[m] {
			missing = append(missing, m)
		}
	}
	return missing
}

// write writes the message until it is taken.
func (r *truth) write(rnd *rand.Rand, message string) {
	r.mu.Lock()
	r.begun[message] = r.clock.Add(1)
	r.mu.Unlock()
	for {
		err := r.w.WriteFunc(r.t.Context(), []byte(message), func(res WriteResult) { r.called(message, res) })
		switch {
		case err == nil:
			r.mu.Lock()
			r.taken = append(r.taken, message)
			r.mu.Unlock()
			return
		case errors.Is(err, ErrDropped): // in place of an older one
			return
		case !errors.Is(err, ErrFailing) || !IsNotStored(err):
			r.t.Errorf("Write: %v", err)
		}
		time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
	}
}

// called checks that what a callback is told is so.
func (r *truth) called(message string, res WriteResult) {
	fate := "lost"
	switch {
	case res.Err == nil:
		fate = "stored"
		if len(r.isStored([]string{message})) > 0 {
			r.t.Errorf("%s is not stored, and its callback says so", message)
		}
	case errors.Is(res.Err, ErrDropped):
		fate = "dropped"
	case errors.Is(res.Err, ErrBacklogged):
		fate = "kept"
	}
	if s := r.w.State(); (fate == "kept" || fate == "lost") && s != StateFailing {
		r.t.Errorf("%s is %s, and the Writer %v", message, fate, s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.fates[message]; was != "" {
		r.t.Errorf("%s is %s, and was %s before", message, fate, was)
	}
	r.fates[message] = fate
	r.seen[fate]++
	st := r.stats()
	for fate, n := range map[string]int64{
		"stored": st.Delivered, "kept": st.Backlogged, "lost": st.Lost, "dropped": st.Displaced,
	} {
		if n < int64(r.seen[fate]) {
			r.t.Errorf("%d messages are %s, and the stats are %+v", r.seen[fate], fate, st)
		}
	}
}

// stats returns the Writer's counts, which add up at any moment.
func (r *truth) stats() WriterStats {
	st := r.w.Stats()
	if sum := st.Pending + st.Kept + st.Delivered + st.Lost + st.Displaced; sum != st.Taken || st.Pending < 0 || st.Kept < 0 {
		r.t.Errorf("the stats do not add up: %+v", st)
	}
	return st
}

// flush flushes, or closes, and notes what that says.
func (r *truth) flush(end func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	began := r.clock.Add(1)
	r.mu.Lock()
	taken := slices.Clone(r.taken)
	r.mu.Unlock()
	err := end(ctx)
	missing := r.isStored(taken)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.seen["nil"]++
		if len(missing) > 0 {
			r.nils = append(r.nils, flushNil{began, missing})
		}
	case strings.Contains(err.Error(), "messages are lost"):
		r.told = append(r.told, lossTold{began, r.clock.Add(1)})
		r.seen["told"]++
	case errors.Is(err, ErrFailing):
		r.seen["failing"]++
	default:
		r.t.Errorf("Flush: %v", err)
	}
}

// check returns the nils that were wrong: of messages that are not lost, or whose
// loss no Flush has told of that began before.
func (r *truth) check() (wrong []string) {
	for _, f := range r.nils {
		for _, m := range f.missing {
			fate := r.fates[m]
			told := slices.ContainsFunc(r.told, func(t lossTold) bool { return t.began < f.began && t.ended > r.begun[m] })
			if fate != "lost" && fate != "dropped" || !told {
				wrong = append(wrong, fmt.Sprintf("Flush returned nil although %s, which is %q, was not stored and no other Flush had told of it", m, fate))
			}
		}
	}
	return wrong
}

// TestWriterTellsTheTruth: whoever asks in whatever way at whatever moment is
// told what is so. A Flush returns nil only if all messages taken before it are
// stored, or another one has told of those that are lost; a callback is called
// when state and counts agree with it; counts add up.
func TestWriterTellsTheTruth(t *testing.T) {
	for name, cfg := range map[string]WriterConfig{
		"backlog":       {},
		"small backlog": {BatchBytes: 500},
		"no backlog":    {Backlog: backlog.None{}},
		"drops":         {WhenFull: DropOldest, BatchBytes: 500},
	} {
		bothServers(t, name, func(t *testing.T, server *script.Log) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			synctest.Test(t, func(t *testing.T) {
				cfg := cfg
				cfg.BatchMessages, cfg.BatchAge, cfg.InFlight, cfg.Patience = 3, time.Millisecond, 2, 1 // it fails soon
				switch name {
				case "small backlog":
					cfg.Backlog, _ = backlog.NewMemory(backlog.MemoryConfig{MaxBytes: 600})
				case "drops":
					cfg.BufferBytes = 4 * cfg.BatchBytes
				}
				r := tellTheTruth(t, seed, server, cfg)
				for _, problem := range r.check() {
					t.Error(problem)
				}
				t.Logf("%v, %+v", r.seen, r.w.Stats())
				want := []string{"nil", "failing", "stored"}
				switch name {
				case "backlog":
					want = append(want, "kept")
				case "drops":
					want = append(want, "told", "dropped")
					if server.Producers > 0 {
						want = slices.DeleteFunc(want, func(w string) bool { return w == "failing" }) // few batches come to that
					}
				default:
					want = append(want, "told", "lost")
				}
				for _, what := range want {
					if r.seen[what] == 0 {
						t.Errorf("nothing is %s: the test does not test it", what)
					}
				}
				r.control()
			})
		})
	}
}

// bothServers runs a test against a server that knows numbers, and one that does not.
func bothServers(t *testing.T, name string, test func(t *testing.T, server *script.Log)) {
	t.Run(name, func(t *testing.T) { test(t, &script.Log{}) })
	t.Run(name+", numbered", func(t *testing.T) { test(t, &script.Log{Producers: 1 << 18}) })
}

func tellTheTruth(t *testing.T, seed uint64, server *script.Log, cfg WriterConfig) *truth {
	r := &truth{t: t, server: server, begun: map[string]int64{}, fates: map[string]string{}, seen: map[string]int{}}
	r.serve(seed)
	_, ccfg := fake(t, r.server.Serve)
	ccfg.ReconnectMin, ccfg.ReconnectMax = time.Millisecond, 10*time.Millisecond
	r.w = openWriter(t, ccfg, cfg)
	var callers sync.WaitGroup
	for g := range 6 {
		rnd := rand.New(rand.NewPCG(seed, uint64(g+1)))
		callers.Go(func() {
			for i := range 150 {
				r.write(rnd, fmt.Sprintf("%d:%d %060d", g, i, 0))
				r.stats()
				switch rnd.IntN(8) {
				case 0:
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
				case 1, 2, 3:
					r.flush(r.w.Flush)
				}
			}
		})
	}
	callers.Wait()
	r.calm.Store(true)
	r.mu.Lock()
	wait := r.seen["stored"]%2 == 0 // Close is to do all, or nothing
	r.mu.Unlock()
	if wait {
		time.Sleep(time.Minute)
	}
	r.flush(r.w.CloseContext)
	if st := r.stats(); st.Pending != 0 {
		t.Errorf("after Close: %+v", st)
	}
	for _, m := range r.taken {
		if r.fates[m] == "" {
			t.Errorf("%s: the callback was not called", m)
		}
	}
	stored := r.server.Messages()
	slices.Sort(stored)
	if n := len(stored) - len(slices.Compact(stored)); n > 0 && server.Producers > 0 {
		t.Errorf("%d messages are stored twice", n)
	}
	return r
}

// control makes sure that check would notice a Flush that returned nil too early,
// and one that did not tell of a loss.
func (r *truth) control() {
	m := r.taken[0]
	nils, fate := r.nils, r.fates[m]
	for _, fate := range []string{"stored", "kept", "lost", "dropped", ""} {
		r.fates[m] = fate
		r.nils = append(slices.Clone(nils), flushNil{0, []string{m}})
		if len(r.check()) == 0 {
			r.t.Errorf("a Flush returned nil before a message was stored that is %q in the end, and check does not notice", fate)
		}
	}
	r.nils, r.fates[m] = nils, fate
}
