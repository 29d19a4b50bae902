package countback

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// TestFind compares with counting from the beginning, over logs of batches of all sizes,
// with and without damage, whatever Near finds.
func TestFind(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		type stored struct{ offset, messages int64 }
		var batches []stored
		l := Log{}
		var readable int64
		for range rng.IntN(3000) {
			b := stored{l.Next, 1 + rng.Int64N(20)}
			l.Next += 20 + rng.Int64N(400)*b.messages
			l.Messages += b.messages
			if rng.IntN(500) == 0 {
				l.Damaged = true // and it is not among those that are read
				continue
			}
			batches = append(batches, b)
			readable += b.messages
		}
		l.Near = func(target int64) (int64, error) {
			best := l.Oldest
			for _, b := range batches {
				if b.offset <= target && rng.IntN(3) > 0 {
					best = b.offset
				}
			}
			return best, nil
		}
		l.Each = func(from int64, yield func(offset, messages int64) bool) error {
			for _, b := range batches {
				if b.offset >= from && !yield(b.offset, b.messages) {
					break
				}
			}
			return nil
		}
		n := rng.Int64N(readable + 10)
		from, skip, err := l.Find(n)
		if err != nil {
			t.Fatal(err)
		}
		var behind int64
		for _, b := range batches {
			if b.offset >= from {
				behind += b.messages
			}
		}
		if want := min(n, readable); behind-skip != want || skip < 0 {
			t.Fatalf("seed %d: the last %d of %d: from %d on there are %d, and %d are skipped", seed, n, readable, from, behind, skip)
		}
	}
}

// TestFindFails: what goes wrong is told.
func TestFindFails(t *testing.T) {
	failed := errors.New("failed")
	l := Log{Next: 1 << 20, Messages: 1000}
	l.Near = func(int64) (int64, error) { return 0, failed }
	l.Each = func(int64, func(int64, int64) bool) error { return failed }
	if _, _, err := l.Find(1); !errors.Is(err, failed) {
		t.Errorf("Near: %v", err)
	}
	if _, _, err := l.Find(999); !errors.Is(err, failed) {
		t.Errorf("Each: %v", err)
	}
}

// The memory of what is counted has a bound.
func TestTail(t *testing.T) {
	count := tail{n: 1 << 16}
	for i := range int64(1 << 17) {
		count.add(i*10, 1)
		if len(count.runs) > maxRuns {
			t.Fatalf("%d runs", len(count.runs))
		}
	}
	skip := count.messages - count.n
	if first := count.runs[0].offset/10 + skip; first != 1<<16 || skip < 0 {
		t.Errorf("the last 1<<16 of 1<<17 begin at %d", first)
	}
}
