package storage

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestSetProducers: what is known of numbered batches is what the newest so many say, also
// after that was changed.
func TestSetProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openMem(t, vfstest.New(), Options{Producers: 4 * producers.MinWindow})
		defer s.Close()
		l := mustCreate(t, s, "t")
		number := func(pid string, seq int64) (r run) {
			r.number("t", pid, seq, "x")
			return r
		}
		want := func(when, pid string, seq int64, want string) {
			t.Helper()
			if got := told(sent(l, number(pid, seq))); got != want {
				t.Errorf("%s: %s %d is answered %q, want %q", when, pid, seq, got, want)
			}
		}
		var first int64 // where the newest of a is
		for seq := range int64(producers.MinWindow) {
			first = l.Next()
			mustAppend(t, l, number("a", seq+1))
		}
		for seq := range int64(producers.MinWindow) {
			mustAppend(t, l, number("b", seq+1))
		}
		again := fmt.Sprint(first)
		want("at first", "a", producers.MinWindow, again)
		s.SetProducers(producers.MinWindow)
		want("with fewer", "a", producers.MinWindow, "want 1")
		s.SetProducers(3 * producers.MinWindow)
		want("with more", "a", producers.MinWindow, again)
		s.SetProducers(0)
		next := l.Next()
		want("off", "a", producers.MinWindow, fmt.Sprint(next)) // it is stored as one without a number is
		s.SetProducers(3 * producers.MinWindow)
		want("on again", "b", producers.MinWindow, fmt.Sprint(next-int64(len(number("b", 32).data))))
		want("on again", "a", producers.MinWindow+1, fmt.Sprint(l.Next()))
	})
}
