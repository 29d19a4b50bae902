package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/topic"
)

// TestCrowdSavesTogether: what many consumers save, each at a moment of its own, is stored
// in few batches, and none waits for long.
func TestCrowdSavesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const consumers, seconds = 5000, 3
		k, store := newKeeper(t, Options{Rules: positions.Rules{Most: consumers, Stale: time.Hour}})
		begin := time.Now()
		var group sync.WaitGroup
		for i := range consumers {
			group.Go(func() {
				time.Sleep(time.Second * time.Duration(i) / consumers)
				for range seconds {
					asked := time.Now()
					if _, err := k.Change(t.Context(), change(fmt.Sprint("c", i), 0)); err != nil {
						t.Error(err)
					}
					if took := time.Since(asked); took > pace {
						t.Errorf("a save took %v", took)
					}
					time.Sleep(time.Until(asked.Add(time.Second)))
				}
			})
		}
		group.Wait()
		l, err := store.Log([]byte(topic.Positions))
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		most := int64(time.Since(begin)/pace) + crowd + 1
		if in.Messages != consumers*seconds || in.Batches > most {
			t.Errorf("%d saves in %d batches: want %d in at most %d", in.Messages, in.Batches, consumers*seconds, most)
		}
	})
}

// TestFewNeverWait: a few consumers that save as fast as they can wait for each other
// alone; so does one program that saves for many, but for once among a crowd of them.
func TestFewNeverWait(t *testing.T) {
	save := func(t *testing.T, k *Keeper, consumer string) {
		if _, err := k.Change(t.Context(), change(consumer, 0)); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		k, _ := newKeeper(t, Options{})
		begin := time.Now()
		var group sync.WaitGroup
		for i := range crowd - 1 {
			group.Go(func() {
				for range 100 {
					save(t, k, fmt.Sprint("c", i))
				}
			})
		}
		group.Wait()
		if took := time.Since(begin); took > 0 {
			t.Errorf("a few: %v", took)
		}
		time.Sleep(time.Second)
		begin = time.Now()
		for i := range 20 * crowd {
			save(t, k, fmt.Sprint("d", i))
		}
		if took := time.Since(begin); took > 20*pace {
			t.Errorf("one for many: %v", took)
		}
	})
}

// TestWaitingInACrowdEnds: who waits for the next batch waits no longer than his context
// says, nor beyond Close, and nothing of it is stored.
func TestWaitingInACrowdEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newKeeper(t, Options{})
		for i := range crowd {
			if _, err := k.Change(t.Context(), change(fmt.Sprint("c", i), 0)); err != nil {
				t.Fatal(err)
			}
		}
		if !k.crowd.is {
			t.Fatal("there is no crowd")
		}
		ctx, cancel := context.WithTimeout(t.Context(), pace/2)
		defer cancel()
		if _, err := k.Change(ctx, change("late", 0)); !errors.Is(err, topic.ErrBusy) {
			t.Errorf("a done context: %v", err)
		}
		failed := make(chan error)
		go func() {
			_, err := k.Change(t.Context(), change("closed", 0))
			failed <- err
		}()
		synctest.Wait()
		k.cancel()
		if err := <-failed; !errors.Is(err, topic.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
		k.Close()
		l, err := store.Log([]byte(topic.Positions))
		if err != nil {
			t.Fatal(err)
		}
		if in, err := l.Info(t.Context()); err != nil || in.Messages != crowd {
			t.Errorf("%d saves are stored, want %d (%v)", in.Messages, crowd, err)
		}
	})
}

// BenchmarkOpen reads the records of many positions.
func BenchmarkOpen(b *testing.B) {
	const consumers = 100_000
	store := newStore(b)
	k := New(Options{Store: store, Rules: positions.Rules{Most: consumers, Stale: time.Hour}})
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			for j := range consumers / 100 {
				if _, err := k.Change(b.Context(), change(fmt.Sprint("consumer-", i, "-", j), 0)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	k.Close()
	b.ReportAllocs()
	for b.Loop() {
		k := New(Options{Store: store})
		if err := k.Open(); err != nil {
			b.Fatal(err)
		}
		k.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/consumers, "ns/position")
}
