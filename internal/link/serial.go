package link

import (
	"sync"
	"time"
)

// inOrder returns the options with callbacks that come one after another, in order,
// also when there are several connections.
func (o Options) inOrder() Options {
	var all serial
	onConnect, onDisconnect, onConnectFailed := o.OnConnect, o.OnDisconnect, o.OnConnectFailed
	o.OnConnect = func(addr string) { all.do(func() { onConnect(addr) }) }
	o.OnDisconnect = func(addr string, reason error) { all.do(func() { onDisconnect(addr, reason) }) }
	o.OnConnectFailed = func(err error, pause time.Duration) { all.do(func() { onConnectFailed(err, pause) }) }
	return o
}

// serial calls functions one after another, in order, with no lock held. If another
// goroutine is in such a function, it calls the next ones, too.
type serial struct {
	mu    sync.Mutex
	calls []func()
	busy  bool
}

func (s *serial) do(call func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	if s.busy {
		return
	}
	s.busy = true
	for len(s.calls) > 0 {
		next := s.calls[0]
		s.calls = s.calls[1:]
		s.mu.Unlock()
		next()
		s.mu.Lock()
	}
	s.busy = false
}
