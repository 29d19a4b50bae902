// Package outage is what a Writer does while its server is away: its attempts to
// reconnect and to send again, as states ([Reconnect], [Trial]), and how often it tells
// of what fails ([Reports]).
// It knows nothing of batches and connections.
package outage

// Reconnect is what a Writer does to reach its server again.
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
type Reconnect uint8

// The states.
const (
	Idle Reconnect = iota
	Pausing
	Probing
	Last
	Over
)

// Running reports whether an attempt is under way.
func (r Reconnect) Running() bool { return r == Probing || r == Last }

// Event is what leads from one Reconnect to another.
type Event uint8

// The events.
const (
	PauseBegins Event = iota
	PauseEnds
	ProbeBegins
	ProbeEnds
	NoneFollows // no attempt is to follow the one that is under way, if one is
)

// On changes r as the event says. An event that means nothing to it changes nothing.
func (r *Reconnect) On(event Event) {
	switch event {
	case PauseBegins:
		if *r == Idle {
			*r = Pausing
		}
	case PauseEnds:
		if *r == Pausing {
			*r = Idle
		}
	case ProbeBegins:
		if *r == Over {
			*r = Last
		} else if !r.Running() {
			*r = Probing
		}
	case ProbeEnds:
		switch *r {
		case Probing:
			*r = Idle
		case Last:
			*r = Over
		}
	case NoneFollows:
		if r.Running() {
			*r = Last
		} else {
			*r = Over
		}
	}
}
