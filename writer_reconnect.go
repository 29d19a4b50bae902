package logd

// reconnect is what a Writer does to reach its server again.
//
//	idle     an attempt can begin at once
//	pausing  the next attempt waits for the end of a pause
//	probing  an attempt is under way
//	last     an attempt is under way, and none follows it
//	over     there are no more attempts
//
// Attempts end for good when Close has had its one more, when the Client is closed,
// and with StopOnError at the first failure. A Writer that is not failing may find
// its connection lost all the same, and makes an attempt even then.
type reconnect uint8

const (
	reconnectIdle reconnect = iota
	reconnectPausing
	reconnectProbing
	reconnectLast
	reconnectOver
)

// running reports whether an attempt is under way.
func (r reconnect) running() bool { return r == reconnectProbing || r == reconnectLast }

// reconnectEvent is what leads from one reconnect to another.
type reconnectEvent uint8

const (
	pauseBegins reconnectEvent = iota
	pauseEnds
	probeBegins
	probeEnds
	noneFollows // no attempt is to follow the one that is under way, if one is
)

// on changes r as the event says. An event that means nothing to it changes nothing.
func (r *reconnect) on(event reconnectEvent) {
	switch event {
	case pauseBegins:
		if *r == reconnectIdle {
			*r = reconnectPausing
		}
	case pauseEnds:
		if *r == reconnectPausing {
			*r = reconnectIdle
		}
	case probeBegins:
		if *r == reconnectOver {
			*r = reconnectLast
		} else if !r.running() {
			*r = reconnectProbing
		}
	case probeEnds:
		switch *r {
		case reconnectProbing:
			*r = reconnectIdle
		case reconnectLast:
			*r = reconnectOver
		}
	case noneFollows:
		if r.running() {
			*r = reconnectLast
		} else {
			*r = reconnectOver
		}
	}
}
