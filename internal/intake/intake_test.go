package intake

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small returns a Buffer of three batches of two messages each.
func small(change func(*Config)) *Buffer[string] {
	cfg := Config{Topic: "t", Max: 128, Target: 128, Messages: 2, Age: time.Second, Slots: 3, Rouse: func() {}}
	if change != nil {
		change(&cfg)
	}
	b := new(Buffer[string])
	b.Init(cfg)
	return b
}

// take takes messages, one batch for each two.
func take(t *testing.T, b *Buffer[string], messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := b.Take(t.Context(), []byte(m), nil); err != nil {
			t.Fatalf("%s: %v", m, err)
		}
	}
}

// bodies returns the messages of a batch.
func bodies(s *Slot[string]) (all []string) {
	s.Encode("t", s.Num.Number)
	h, _, _ := batch.Parse(s.Raw)
	messages := batch.Messages{Data: s.Raw[h.Len():]}
	for messages.Next() {
		all = append(all, string(messages.Body()))
	}
	return all
}

// What there is no room for is treated as the policy says.
func TestFull(t *testing.T) {
	for policy, want := range map[Policy]struct {
		err     error
		next    string // the batch that is the oldest then
		dropped int64
		counts  Counts
	}{
		Fail:       {ErrFull, "a", 0, Counts{Taken: 6, Pending: 6, Refused: 1}},
		DropNewest: {ErrDropped, "a", 1, Counts{Taken: 6, Pending: 6, Dropped: 1}},
		DropOldest: {nil, "c", 2, Counts{Taken: 7, Pending: 5, Dropped: 2, Displaced: 2}},
	} {
		b := small(func(cfg *Config) { cfg.Full = policy })
		take(t, b, "a", "b", "c", "d", "e", "f")
		if err := b.Take(t.Context(), []byte("g"), nil); err != want.err {
			t.Errorf("policy %d: %v, want %v", policy, err, want.err)
		}
		b.Lock()
		dropped, _ := b.TakeDropped()
		if again, _ := b.TakeDropped(); dropped != want.dropped || again != 0 {
			t.Errorf("policy %d: %d are dropped, and then %d, want %d", policy, dropped, again, want.dropped)
		}
		if b.Counts() != want.counts {
			t.Errorf("policy %d: %+v, want %+v", policy, b.Counts(), want.counts)
		}
		if first := bodies(b.Next())[0]; first != want.next {
			t.Errorf("policy %d: %s is the oldest, want %s", policy, first, want.next)
		}
		b.Unlock()
	}
}

// Who waits for room is woken by room, by a refusal, and by the end of his context.
func TestAwaitRoom(t *testing.T) {
	gone := errors.New("gone")
	for name, tt := range map[string]struct {
		wake func(b *Buffer[string])
		want error
	}{
		"room": {func(b *Buffer[string]) {
			for s := b.Next(); s != nil; s = b.Next() {
				b.Deliver(s)
				b.Settle(s, nil, nil)
			}
		}, nil},
		"refusal": {func(b *Buffer[string]) { b.Refuse(gone) }, gone},
		"context": {func(*Buffer[string]) {}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := small(nil)
				take(t, b, "a", "b", "c", "d", "e", "f")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() {
						if err := b.Take(ctx, []byte("g"), nil); !errors.Is(err, tt.want) {
							t.Errorf("%v, want %v", err, tt.want)
						}
					})
				}
				synctest.Wait()
				b.Lock()
				tt.wake(b)
				b.Unlock()
				wg.Wait()
			})
		})
	}
}

// A message that fits into no batch is refused, to the byte; what fits is taken.
func TestTooLarge(t *testing.T) {
	most := 0
	for n := range 128 {
		var alone batch.Builder
		alone.Add(make([]byte, n))
		if len(alone.Finish("t")) <= 128 {
			most = n
		}
	}
	b := small(nil)
	if err := b.Take(t.Context(), make([]byte, most), nil); err != nil {
		t.Errorf("%d bytes: %v", most, err)
	}
	if err := b.Take(t.Context(), make([]byte, most+1), nil); !errors.Is(err, protocol.ErrTooLarge) {
		t.Errorf("%d bytes: %v", most+1, err)
	}
	b.Lock()
	defer b.Unlock()
	if want := (Counts{Taken: 1, Pending: 1, Refused: 1}); b.Counts() != want {
		t.Errorf("%+v, want %+v", b.Counts(), want)
	}
}

// A batch is due by its age, and not before.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		roused := 0
		b := small(func(cfg *Config) { cfg.Rouse = func() { roused++ } })
		take(t, b, "a")
		b.Lock()
		if roused != 1 || b.Next() != nil {
			t.Errorf("roused %d times, and it is ready at once", roused)
		}
		b.Unlock()
		start := time.Now()
		<-b.Due.C
		b.Lock()
		defer b.Unlock()
		b.Look()
		if s := b.Next(); s == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", s, time.Since(start))
		}
	})
}

// A Flush ends when all before it is settled and the backlog is empty, tells of losses
// once, and one whose context has ended is forgotten.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := small(nil)
		take(t, b, "a")
		begin := func() *Flush[string] {
			b.Lock()
			defer b.Unlock()
			return b.BeginFlush()
		}
		f := begin()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || len(b.flushes) != 0 {
			t.Errorf("%v, and %d wait", err, len(b.flushes))
		}
		f = begin()
		b.Lock()
		s := b.Next()
		b.Backlogged = true
		b.Lose(s, errors.New("no room"))
		b.Settle(s, nil, nil)
		if len(b.flushes) != 1 {
			t.Error("it has ended before the backlog was empty")
		}
		b.Backlogged = false
		b.EndFlushes()
		b.Unlock()
		if err := f.Wait(t.Context()); err == nil || err.Error() != "1 messages are lost: no room" {
			t.Errorf("%v", err)
		}
		if err := begin().Wait(t.Context()); err != nil || b.Untold() != nil {
			t.Errorf("told again: %v", err)
		}
	})
}

// Whatever the owner does with batches, the counts add up, and no message is lost
// sight of.
func TestCountsAddUp(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := small(func(cfg *Config) { cfg.Full = Policy(1 + rnd.IntN(3)) })
		told := make(map[string]int)
		var line []*Slot[string]
		taken := 0
		for i := range 200 {
			if rnd.IntN(3) > 0 {
				m := fmt.Sprint(i)
				if b.Take(t.Context(), []byte(m), func(string) { told[m]++ }) == nil {
					taken++
				}
			}
			b.Lock()
			if s := b.Next(); s != nil {
				line = append(line, s)
			}
			if len(line) > 0 && rnd.IntN(2) == 0 {
				s := line[0]
				line = line[1:]
				switch rnd.IntN(3) {
				case 0:
					b.Deliver(s)
				case 1:
					b.Keep(s)
				case 2:
					b.Lose(s, errors.New("lost"))
				}
				for _, done := range s.Calls {
					done("")
				}
				b.Settle(s, line, nil)
			}
			_, orphans := b.TakeDropped()
			for _, o := range orphans {
				o.Done("")
			}
			c := b.Counts()
			if c.Taken != int64(taken) || c.Taken != c.Pending+c.Kept+c.Delivered+c.Lost+c.Displaced || c.Pending != int64(taken-len(told)) {
				t.Fatalf("seed %d, step %d: %d are taken, %d told of: %+v", seed, i, taken, len(told), c)
			}
			if i := slices.IndexFunc(line, func(s *Slot[string]) bool { return s.ticket != 0 }); i >= 0 && b.out != line[i].ticket {
				t.Fatalf("seed %d: %d is said to be the oldest, it is %d", seed, b.out, line[i].ticket)
			}
			b.Unlock()
		}
		for m, n := range told {
			if n != 1 {
				t.Errorf("seed %d: message %s is told of %d times", seed, m, n)
			}
		}
	}
}
