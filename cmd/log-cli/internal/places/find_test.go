package places

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// The last messages are found whatever the batches are like.
func TestLast(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	client := logdtest.Start(t).Client(t)
	for _, batches := range []int{1, 2, 300} {
		topic := fmt.Sprint("t", batches)
		type name struct{ offset, delta int64 }
		var all []name
		for range batches {
			var b logd.Batch
			var deltas []int64
			for range 1 + rnd.IntN(5) {
				// Few are long, so that the mean says little of most places.
				n := rnd.IntN(20)
				if rnd.IntN(20) == 0 {
					n = rnd.IntN(20000)
				}
				deltas = append(deltas, b.Add(make([]byte, n)))
			}
			// Appended one by one: their times differ.
			offset, err := client.Append(t.Context(), topic, &b)
			if err != nil {
				t.Fatal(err)
			}
			for _, delta := range deltas {
				all = append(all, name{offset, delta})
			}
		}
		f := &Finder{Client: client, Topic: topic}
		for _, n := range []int{1, 2, 3, 7, 50, 100, len(all) - 1, len(all), len(all) + 1, 10 * len(all)} {
			if n < 1 {
				continue
			}
			offset, delta, err := f.last(t.Context(), int64(n))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := (name{offset, delta}), all[max(len(all)-n, 0)]; got != want {
				t.Errorf("the last %d of %d messages begin at %d, want %d", n, len(all), got, want)
			}
		}
	}
}
