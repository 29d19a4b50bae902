package server

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// strangers are the connections that have not shown who they are, where that is
// needed: there may be so many of them, and so many of one address.
type strangers struct {
	count atomic.Int64

	mu     sync.Mutex
	most   int
	byAddr map[netip.Addr]int
}

// strangersOfOne is how many there may be of one address.
const strangersOfOne = 64

// enter counts another one, if there may be another or it is here already.
func (s *strangers) enter(network netip.Addr, already bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !already && (int(s.count.Load()) >= s.most || network.IsValid() && s.byAddr[network] >= strangersOfOne) {
		return false
	}
	if s.byAddr == nil {
		s.byAddr = make(map[netip.Addr]int)
	}
	s.byAddr[network]++
	s.count.Add(1)
	return true
}

// leave counts one less.
func (s *strangers) leave(network netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr[network]--; s.byAddr[network] <= 0 {
		delete(s.byAddr, network)
	}
	s.count.Add(-1)
}

// setMost says how many there may be.
func (s *strangers) setMost(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = n
}
