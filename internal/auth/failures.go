package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// What who tries wrong tokens has to wait for.
const (
	failureDelay = 250 * time.Millisecond
	manyDelay    = 2 * time.Second
	manyFailures = 30 // of one address within failureWindow
	maxAddresses = 4096

	failureWindow = time.Minute
)

// Failures tells how long to wait before a wrong token is answered. It knows the
// newest 4,096 addresses that have failed, or networks that count as one. The zero
// value is ready for use.
//
// A right token is not its business: who guesses can keep nobody out.
type Failures struct {
	mu    sync.Mutex
	known map[netip.Addr]*list.Element // of *failing
	order list.List                    // the one that failed last is the first
}

// failing is an address that has failed.
type failing struct {
	addr  netip.Addr
	since time.Time // when its minute began
	count int
}

// Failed notes a wrong token from an address, and returns how long to wait before
// that is answered, and whether that is to be the last answer of the connection.
func (f *Failures) Failed(addr netip.Addr, now time.Time) (delay time.Duration, last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = make(map[netip.Addr]*list.Element)
	}
	e := f.known[addr]
	if e == nil {
		if len(f.known) >= maxAddresses {
			oldest := f.order.Back()
			delete(f.known, oldest.Value.(*failing).addr)
			f.order.Remove(oldest)
		}
		e = f.order.PushFront(&failing{addr: addr, since: now})
		f.known[addr] = e
	}
	f.order.MoveToFront(e)
	a := e.Value.(*failing)
	if now.Sub(a.since) >= failureWindow {
		a.since, a.count = now, 0
	}
	if a.count++; a.count > manyFailures {
		return manyDelay, true
	}
	return failureDelay, false
}
