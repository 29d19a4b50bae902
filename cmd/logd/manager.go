package main

import (
	"os"
	"sync"
	"time"
)

// takesRequests is what the service manager is told of a server that is ready.
const takesRequests = "takes requests"

// recovering returns what tells the service manager how far a start is, or nil if there is
// none. As long as the start moves on, it may take another while.
func (a *app) recovering() func(status string, moves bool) {
	if a.Manager == nil {
		return nil
	}
	return func(status string, moves bool) {
		const another = 30 * time.Second
		extend := time.Duration(0)
		if moves {
			extend = another
		}
		a.Tell(a.Manager.Status(status, extend))
	}
}

// beside is what runs beside a node from when it takes requests until it stops: reloads,
// and the watchdog. What it tells the service manager comes before what is told of the
// stop.
type beside struct {
	a       *app
	n       runningNode
	quit    chan struct{} // closed by end
	stopped chan struct{} // closed when nothing runs any more

	mu    sync.Mutex // held while the manager is told something
	ended bool
}

// startBeside begins to reload whenever a signal asks for it, and to answer for the node
// to the manager's watchdog.
func (a *app) startBeside(n runningNode, reload <-chan os.Signal) *beside {
	b := &beside{a: a, n: n, quit: make(chan struct{}), stopped: make(chan struct{})}
	var group sync.WaitGroup
	group.Go(func() { b.reloads(reload) })
	if every := a.Manager.Watchdog(); every > 0 {
		group.Go(func() { b.watchdog(every) })
	}
	go func() {
		group.Wait()
		close(b.stopped)
	}()
	return b
}

// end has no more begun, and nothing told any more.
func (b *beside) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	close(b.quit)
}

// wait waits, after end, for what is under way, but not for long: a reload waits for a
// file system, which may hang.
func (b *beside) wait() {
	select {
	case <-b.stopped:
	case <-time.After(lastTime):
	}
}

// tell has the manager told something, unless the end has come.
func (b *beside) tell(say func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.a.Tell(say())
	}
}

func (b *beside) reloads(signals <-chan os.Signal) {
	for {
		select {
		case <-b.quit:
			return
		case <-signals:
			b.tell(b.a.Manager.Reloading)
			b.a.reload(b.n)
			b.tell(func() error { return b.a.Manager.Ready(takesRequests) })
		}
	}
}

// watchdog tells the manager, as often as that wants to hear it, that the node answers a
// PING.
func (b *beside) watchdog(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := b.n.Ping(); err != nil {
			b.a.Logger.Error("a PING of the watchdog was not answered", "err", err)
		} else {
			b.tell(b.a.Manager.Alive)
		}
		select {
		case <-b.quit:
			return
		case <-tick.C:
		}
	}
}
