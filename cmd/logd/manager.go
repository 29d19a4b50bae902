package main

import (
	"time"
)

// takesRequests is what the service manager is told of a server that is ready.
const takesRequests = "takes requests"

// tell notes that the service manager could not be told something, which changes nothing
// here.
func (a *app) tell(err error) {
	if err != nil {
		a.logger.Debug("the service manager was not told", "err", err)
	}
}

// recovering returns what tells the service manager how far a start is, or nil if there is
// none. As long as the start moves on, it may take another while.
func (a *app) recovering() func(status string, moves bool) {
	if a.manager == nil {
		return nil
	}
	return func(status string, moves bool) {
		const another = 30 * time.Second
		extend := time.Duration(0)
		if moves {
			extend = another
		}
		a.tell(a.manager.Status(status, extend))
	}
}

// watchdog tells the service manager, as often as that wants to hear it, that the server
// answers a PING, until the function that it returns is called.
func (a *app) watchdog(n runningNode) (end func()) {
	every := a.manager.Watchdog()
	if every == 0 {
		return func() {}
	}
	quit := make(chan struct{})
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := n.Ping(); err != nil {
				a.logger.Error("a PING of the watchdog was not answered", "err", err)
			} else {
				a.tell(a.manager.Alive())
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(quit) }
}
