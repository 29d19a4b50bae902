package web

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// idle closes connections that have been without a request for too long. How long
// that is may change, which an http.Server's own IdleTimeout must not.
type idle struct {
	after  func() time.Duration
	timers sync.Map // of idle connections, by net.Conn: *time.Timer
}

// changed is an http.Server's ConnState. A connection is active once the headers of a
// request are there.
func (i *idle) changed(c net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		i.timers.Store(c, time.AfterFunc(i.after(), func() { c.Close() }))
	} else if t, ok := i.timers.LoadAndDelete(c); ok {
		t.(*time.Timer).Stop()
	}
}
