// Package quota says how long a request has to wait whose sender has used up its
// share of bytes.
//
// A [Bucket] is such a share: so many bytes a second, of which those of one second
// are saved up while nothing is taken.
//
//	c, wait := b.Take(size, 5*time.Second) // wait > 5s: nothing was taken
//	for b.Wait(c) > 0 {
//		// sleep, and look again when somebody has called SetRate
//	}
//
// Nobody waits in here, and nothing runs: who asks is told, and waits as it likes.
package quota

import (
	"math"
	"sync"
	"time"
)

// Bucket is a share of bytes. The zero value has no rate: it lets all through, and
// remembers none of it. All methods are safe for concurrent use, and none blocks.
type Bucket struct {
	mu   sync.Mutex
	rate int64     // bytes a second; the bucket holds those of one; 0: no limit
	left float64   // bytes that may be taken; those that are owed if negative
	at   time.Time // when left was that

	// taken is how many bytes were ever taken. With it a claim says for which byte that
	// the bucket has ever earned it waits, and that stays true whatever is taken later,
	// and at what rate.
	taken int64
}

// Claim is what a request waits for: see [Bucket.Wait]. The zero value waits for
// nothing.
type Claim struct{ byte int64 }

// SetRate has the bucket earn so many bytes a second from now on; 0 is no limit. What is owed
// stays, and also what is saved up, but for more than the bytes of a second. A bucket
// that had no limit is full. It reports whether the rate was another.
func (b *Bucket) SetRate(rate int64) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case rate == b.rate:
		return false
	case b.rate == 0:
		b.left, b.at = float64(rate), time.Now()
	default:
		b.settle()
		b.left = min(b.left, float64(rate))
	}
	b.rate = rate
	return true
}

// settle adds what was earned since. Caller holds mu; there is a rate.
func (b *Bucket) settle() {
	now := time.Now()
	b.left = min(b.left+now.Sub(b.at).Seconds()*float64(b.rate), float64(b.rate))
	b.at = now
}

// until returns how long it takes to earn the byte. Caller holds mu and has settled.
func (b *Bucket) until(byte int64) time.Duration {
	missing := float64(byte-b.taken) - b.left
	if missing <= 0 {
		return 0
	}
	ns := math.Ceil(missing / float64(b.rate) * float64(time.Second))
	return time.Duration(min(ns, float64(math.MaxInt64/2)))
}

// Take takes n bytes, which the request that they are of may use once Wait says so: wait
// tells how long that is as things are. If it is more than most, nothing is taken. Requests
// get their turn in the order in which they came.
//
// A request that is larger than what the bucket holds waits until it is full, and what
// is missing is owed by those after it.
func (b *Bucket) Take(n int64, most time.Duration) (c Claim, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate == 0 {
		return Claim{}, 0
	}
	b.settle()
	c = Claim{b.taken + min(n, b.rate)}
	if wait = b.until(c.byte); wait <= most {
		b.take(n)
	}
	return c, wait
}

// Owe takes n bytes that were used already.
func (b *Bucket) Owe(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate > 0 {
		b.settle()
		b.take(n)
	}
}

// GiveBack undoes a Take, or a part of it, for a request that is not let do what it was for.
// Who has come after it may wait for longer than it would have without.
func (b *Bucket) GiveBack(n int64) { b.Owe(-n) }

func (b *Bucket) take(n int64) {
	b.taken += n
	b.left -= float64(n)
}

// Wait returns how long the request still has to wait, as things are: 0 once it may
// go on.
func (b *Bucket) Wait(c Claim) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate == 0 {
		return 0
	}
	b.settle()
	return b.until(c.byte)
}

// Full reports whether the bucket is as if nothing had ever been taken.
func (b *Bucket) Full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate == 0 {
		return true
	}
	b.settle()
	return b.left >= float64(b.rate)
}
