package quota

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestBucket is a table of what is done with a bucket of 1000 bytes a second, and how
// long each request has to wait.
func TestBucket(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		after time.Duration // since the last step
		rate  int64         // SetRate, unless 0; -1: no limit
		owe   int64
		take  int64
		want  time.Duration // of the take
	}
	const refused = 5001 * ms // and more
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"a burst of a second", []step{{take: 500}, {take: 500}, {take: 500, want: 500 * ms}}},
		{"what is saved up is no more than that", []step{{after: time.Hour, take: 1000}, {take: 1, want: ms}}},
		{"a full bucket admits any one request", []step{{take: 4000}, {take: 500, want: 3500 * ms}}},
		{"and only a full one", []step{{take: 1}, {take: 4000, want: ms}, {take: 1, want: 3002 * ms}}},
		{"a second of the rate earns it again", []step{{take: 1000}, {after: time.Second, take: 1000}}},
		{"half of one half", []step{{take: 1000}, {after: 500 * ms, take: 500}, {take: 250, want: 250 * ms}}},
		{"each waits for those before it", []step{{take: 1000}, {take: 100, want: 100 * ms}, {take: 100, want: 200 * ms}}},
		{"as long as most", []step{{take: 6000}, {take: 1000, want: 6000 * ms}, {after: ms, take: 1, want: 5000 * ms}}},
		{"what is refused costs nothing", []step{{take: 10_000}, {take: 1000, want: refused}, {take: 1000, want: refused}, {after: 9 * time.Second, take: 1000, want: time.Second}}},
		{"what is owed is paid first", []step{{owe: 3000}, {take: 500, want: 2500 * ms}}},
		{"a higher rate pays what is owed sooner", []step{{take: 3000}, {rate: 4000}, {take: 1000, want: 750 * ms}}},
		{"a lower one later", []step{{take: 3000}, {rate: 500}, {take: 500, want: 5 * time.Second}}},
		{"what was earned before was earned at the old rate", []step{{take: 3000}, {after: time.Second, rate: 100}, {take: 50, want: 10500 * ms}}},
		{"a lower rate saves less", []step{{rate: 100}, {take: 100}, {take: 100, want: time.Second}}},
		{"a higher one is not full at once", []step{{rate: 2000}, {take: 1000}, {take: 1000, want: 500 * ms}}},
		{"the same rate changes nothing", []step{{take: 1000}, {rate: 1000}, {take: 100, want: 100 * ms}}},
		{"no limit", []step{{rate: -1}, {take: math.MaxInt64}, {take: math.MaxInt64}}},
		{"no limit forgets", []step{{take: 5000}, {rate: -1}, {take: 5000}, {rate: 1000}, {take: 1000}}},
		{"a byte a second", []step{{rate: 1}, {take: 1 << 30}, {take: 1, want: 1000 * time.Hour}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b Bucket
				b.SetRate(1000)
				for i, s := range test.steps {
					time.Sleep(s.after)
					if s.rate != 0 {
						b.SetRate(max(s.rate, 0))
					}
					if s.owe > 0 {
						b.Owe(s.owe)
					}
					if s.take == 0 {
						continue
					}
					c, wait := b.Take(s.take, 5*time.Second)
					if s.want > 5*time.Second {
						if wait < s.want && s.want != refused || wait <= 5*time.Second {
							t.Errorf("step %d: wait %v, want at least %v", i, wait, s.want)
						}
						continue
					}
					if wait.Round(ms/1000) != s.want {
						t.Errorf("step %d: wait %v, want %v", i, wait, s.want)
					}
					if again := b.Wait(c); again != wait {
						t.Errorf("step %d: Wait returns %v, want %v", i, again, wait)
					}
				}
			})
		})
	}
}

// TestClaims has requests wait while others come, and while the rate changes.
func TestClaims(t *testing.T) {
	const second = time.Second
	synctest.Test(t, func(t *testing.T) {
		var b Bucket
		b.SetRate(1000)
		b.Take(1000, 0)
		c, _ := b.Take(2000, 5*second)
		want := func(d time.Duration) {
			t.Helper()
			if got := b.Wait(c).Round(time.Microsecond); got != d {
				t.Errorf("wait %v, want %v", got, d)
			}
		}
		want(second) // the rest is owed
		b.Take(100, 5*second)
		b.Owe(1 << 40)
		want(second)
		time.Sleep(second / 2)
		want(second / 2)
		b.SetRate(100)
		want(5 * second)
		b.SetRate(10_000)
		want(second / 20)
		b.SetRate(0)
		want(0)
	})
}

// TestGiveBack shows that a request which takes nothing in the end has cost nothing.
func TestGiveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bucket
		b.SetRate(1000)
		b.Take(800, 0)
		b.GiveBack(800)
		if !b.Full() {
			t.Error("the bucket is not full")
		}
		b.GiveBack(800)
		if b.Take(1000, 0); b.Full() {
			t.Error("what was given back twice is saved up")
		}
		if _, wait := b.Take(1, 0); wait == 0 {
			t.Error("more than the bytes of a second were saved up")
		}
	})
}

// TestFull is what a bucket may be forgotten by.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bucket
		if !b.Full() {
			t.Error("one without a rate is not")
		}
		b.SetRate(1000)
		if b.Take(1, 0); b.Full() {
			t.Error("one that was taken from is")
		}
		if time.Sleep(time.Second); !b.Full() {
			t.Error("one that has earned it again is not")
		}
	})
}
