package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// newStore returns a store in memory with a topic t of three batches.
func newStore(t testing.TB) *topictest.Memory {
	t.Helper()
	store := topictest.NewMemory()
	l, err := store.Create(t.Context(), []byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var b batch.Builder
		b.Add([]byte("one"))
		b.Add([]byte("two"))
		wire := append([]byte(nil), b.Finish("t")...)
		if _, err := l.Append(t.Context(), wire, []batch.Extent{{Len: int64(len(wire)), Messages: 2}}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// newKeeper returns a keeper of such a store.
func newKeeper(t *testing.T, o Options) (*Keeper, *topictest.Memory) {
	t.Helper()
	store := newStore(t)
	o.Store = store
	if o.Rules.Most == 0 {
		o.Rules = positions.Rules{Most: 1000, Stale: time.Hour}
	}
	k := New(o)
	t.Cleanup(k.Close)
	return k, store
}

func change(consumer string, offset int64) positions.Change {
	return positions.Change{Key: positions.Key{Consumer: consumer}, Topic: "t", At: batch.Place{Offset: offset}}
}

// TestWaitingEnds: who waits for a commit that does not come waits no longer than his
// context says, and Close ends the keeper then.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newKeeper(t, Options{})
		hang := make(chan struct{})
		store.OnCommit = func(string) error { <-hang; return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := k.Change(ctx, change("c", 0)); !errors.Is(err, topic.ErrInDoubt) || ctx.Err() == nil {
			t.Errorf("Change: %v", err)
		}
		// The next one does not even get to its turn.
		if _, err := k.Change(ctx, change("c", 0)); !errors.Is(err, topic.ErrBusy) {
			t.Errorf("Change: %v", err)
		}
		close(hang)
		k.Close()
		if _, err := k.Change(t.Context(), change("c", 0)); !errors.Is(err, topic.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestTogetherInABatch: changes that come while another is being stored are stored in one
// batch.
func TestTogetherInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newKeeper(t, Options{})
		store.OnCommit = func(string) error { time.Sleep(time.Millisecond); return nil }
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() {
				if _, err := k.Change(t.Context(), change(fmt.Sprint("c", i), 0)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		l, err := store.Log([]byte(topic.Positions))
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Info(t.Context())
		if err != nil || in.Messages != 200 || in.Batches > 4 {
			t.Errorf("%d records in %d batches, %v", in.Messages, in.Batches, err)
		}
		all, err := k.List("", "", "", 1000, true, nil)
		if err != nil || len(all) != 200 || all[0].LagMessages != 6 {
			t.Errorf("%d positions, %+v, %v", len(all), all[0], err)
		}
	})
}

// TestReadsOn: what another one has appended, who led before, is read before anything is
// judged.
func TestReadsOn(t *testing.T) {
	k, store := newKeeper(t, Options{})
	if _, err := k.Change(t.Context(), change("c", 0)); err != nil {
		t.Fatal(err)
	}
	other := New(Options{Store: store, Rules: positions.Rules{Most: 1000}})
	defer other.Close()
	c := change("c", 5)
	c.Versioned, c.Version = true, 1
	v, err := other.Change(t.Context(), c)
	if err != nil || v <= positions.Jump {
		t.Fatalf("version %d, %v", v, err)
	}
	var conflict *positions.VersionError
	if _, err := k.Change(t.Context(), c); !errors.As(err, &conflict) || conflict.Present != v {
		t.Errorf("the first keeper: %v, want version %d", err, v)
	}
	if s, err := k.Get(t.Context(), "t", "c", false); err != nil || s.At.Offset != 5 || s.Version != v {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestSnapshots: old records go when all that counts is in a snapshot, and a keeper that
// begins then has it all.
func TestSnapshots(t *testing.T) {
	k, store := newKeeper(t, Options{SnapshotAfter: 2000})
	for i := range 300 {
		if _, err := k.Change(t.Context(), change(fmt.Sprint("c", i%10), int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	forget := change("c3", 0)
	forget.What = positions.Forget
	if _, err := k.Change(t.Context(), forget); err != nil {
		t.Fatal(err)
	}
	k.Close() // after which no snapshot is under way
	l, err := store.Log([]byte(topic.Positions))
	if err != nil {
		t.Fatal(err)
	}
	if l.Oldest() == 0 || l.Readable()-l.Oldest() > 10_000 {
		t.Errorf("the topic has offsets %d to %d", l.Oldest(), l.Readable())
	}
	again := New(Options{Store: store, Rules: positions.Rules{Most: 1000}})
	defer again.Close()
	all, err := again.List("", "", "", 1000, false, nil)
	if err != nil || len(all) != 9 {
		t.Fatalf("%d positions, %v", len(all), err)
	}
	for _, s := range all {
		var n int64
		fmt.Sscanf(s.Consumer, "c%d", &n)
		if s.At.Offset != 290+n || s.Version != 291+n {
			t.Errorf("%s is at %v, version %d", s.Consumer, s.At, s.Version)
		}
	}
}

// TestStates: how positions stand to their topic.
func TestStates(t *testing.T) {
	k, store := newKeeper(t, Options{})
	l, err := store.Log([]byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	next := l.Readable()
	third := next / 3
	if _, err := l.Trim(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	for consumer, c := range map[string]struct {
		at       batch.Place
		state    positions.State
		bytes    int64
		messages int64
		lost     int64
	}{
		"gone":    {batch.Place{Offset: 0, Delta: 12}, positions.Gone, next - third, 4, third},
		"oldest":  {batch.Place{Offset: third}, positions.OK, next - third, 4, 0},
		"inside":  {batch.Place{Offset: third, Delta: 12}, positions.OK, next - third, 3, 0},
		"last":    {batch.Place{Offset: 2 * third}, positions.OK, third, 2, 0},
		"end":     {batch.Place{Offset: next}, positions.OK, 0, 0, 0},
		"ahead":   {batch.Place{Offset: next + 1}, positions.Ahead, 0, 0, 0},
		"nowhere": {batch.Place{Offset: third + 1}, positions.OK, next - third - 1, -1, 0},
	} {
		ch := change(consumer, 0)
		ch.At = c.at
		if _, err := k.Change(t.Context(), ch); err != nil {
			t.Fatal(err)
		}
		s, err := k.Get(t.Context(), "t", consumer, false)
		if err != nil || s.State != c.state || s.LagBytes != c.bytes || s.LagMessages != c.messages || s.LostBytes != c.lost {
			t.Errorf("%s: %s, %d bytes, %d messages, %d lost, %v; want %+v", consumer, s.State, s.LagBytes, s.LagMessages, s.LostBytes, err, c)
		}
	}
}
