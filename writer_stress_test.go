package logd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

// TestWriterCountsAddUp: with any policy, whoever writes at once and whatever
// the server does, each message that was taken is called back once, and the
// counts say what became of all.
func TestWriterCountsAddUp(t *testing.T) {
	for _, policy := range []FullPolicy{Block, Fail, DropNewest, DropOldest} {
		for _, keeps := range []bool{true, false} {
			bothServers(t, fmt.Sprintf("%v, backlog %v", policy, keeps), func(t *testing.T, s *script.Log) {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				synctest.Test(t, func(t *testing.T) { countsAddUp(t, seed, s, policy, keeps) })
			})
		}
	}
}

func countsAddUp(t *testing.T, seed uint64, s *script.Log, policy FullPolicy, keeps bool) {
	var calm atomic.Bool
	rnd, mu := rand.New(rand.NewPCG(seed, 0)), sync.Mutex{}
	s.OnBatch = func(p *script.Peer, _ []string) string {
		mu.Lock()
		mood := rnd.IntN(30)
		mu.Unlock()
		switch {
		case calm.Load():
			return ""
		case mood == 0:
			p.Close()
			return "too late"
		case mood == 1:
			return "ERR read only\r\n"
		case mood < 10:
			time.Sleep(time.Millisecond)
		}
		return ""
	}
	_, ccfg := fake(t, s.Serve)
	cfg := WriterConfig{BatchMessages: 5, BatchBytes: 500, InFlight: 3, BufferBytes: 7 * 500, WhenFull: policy, Patience: time.Millisecond}
	if !keeps {
		cfg.Backlog = backlog.None{}
	}
	var taken, refused, newest, called, stored, dropped, lost, kept, unknown atomic.Int64
	cfg.OnBatch = func(r BatchResult) {
		if s.Producers == 0 && IsUnknown(r.Err) && errors.Is(r.Err, ErrBacklogged) {
			unknown.Add(r.Messages)
		}
	}
	w := openWriter(t, ccfg, cfg)

	var wg sync.WaitGroup
	for g := range 4 {
		rnd := rand.New(rand.NewPCG(seed, uint64(g+1)))
		wg.Go(func() {
			for i := range 1000 {
				var mine atomic.Int32
				err := w.WriteFunc(t.Context(), fmt.Append(nil, g, ":", i), func(r WriteResult) {
					called.Add(1)
					if mine.Add(1) > 1 {
						t.Error("called back twice")
					}
					switch {
					case r.Err == nil:
						stored.Add(1)
					case errors.Is(r.Err, ErrDropped):
						dropped.Add(1)
					case errors.Is(r.Err, ErrBacklogged):
						kept.Add(1)
					default:
						lost.Add(1)
					}
				})
				switch {
				case err == nil:
					taken.Add(1)
				case errors.Is(err, ErrDropped):
					newest.Add(1)
				default:
					refused.Add(1)
					if !IsNotStored(err) {
						t.Errorf("refused: %v", err)
					}
				}
				if rnd.IntN(10) == 0 {
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
				}
			}
		})
	}
	wg.Wait()
	calm.Store(true)
	time.Sleep(time.Minute)
	st := w.Stats()
	if err := w.Close(); (err != nil) != (st.Lost+st.Displaced > 0) {
		t.Errorf("Close: %v, with %d messages lost and %d dropped", err, st.Lost, st.Displaced)
	}
	st = w.Stats()
	want := WriterStats{
		Taken: taken.Load(), Refused: refused.Load(), Backlogged: kept.Load(), Lost: lost.Load(),
		Delivered: stored.Load() + kept.Load(), DeliveredBatches: st.DeliveredBatches, InDoubt: unknown.Load(), Dropped: dropped.Load() + newest.Load(), Displaced: dropped.Load(),
	}
	if st != want {
		t.Errorf("stats %+v, want %+v", st, want)
	}
	if called.Load() != taken.Load() || taken.Load()+refused.Load()+newest.Load() != 4000 {
		t.Errorf("%d taken, %d called back, %d refused, %d dropped at once", taken.Load(), called.Load(), refused.Load(), newest.Load())
	}
	for what, n := range map[string]int64{"kept": kept.Load(), "lost": lost.Load()} {
		if (n > 0) != ((what == "kept") == keeps) {
			t.Errorf("%d messages are %s", n, what)
		}
	}
	if drops := dropped.Load() + newest.Load(); (drops > 0) != (policy >= DropNewest) {
		t.Errorf("%d messages were dropped", drops)
	}
	t.Logf("%+v", st)
}
