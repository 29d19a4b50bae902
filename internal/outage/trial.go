package outage

// Trial is how far it has come that what was sent in vain is sent again.
//
//	calm     nothing is: what was sent is stored, or was given up
//	waiting  it is to be sent again when the server is reached
//	trying   it is being sent again
type Trial uint8

// The states.
const (
	Calm Trial = iota
	Waiting
	Trying
	trials
)

// TrialEvent is what leads from one Trial to another.
type TrialEvent uint8

// The events.
const (
	Vain    TrialEvent = iota // something was sent in vain
	Reached                   // the server is reached
	Ended                     // something is stored, or what was sent is given up
	trialEvents
)

// trialSteps says what state an event leads to.
var trialSteps = [trials][trialEvents]Trial{
	Calm:    {Vain: Waiting, Reached: Calm, Ended: Calm},
	Waiting: {Vain: Waiting, Reached: Trying, Ended: Calm},
	Trying:  {Vain: Waiting, Reached: Trying, Ended: Calm},
}

// On changes t as the event says.
func (t *Trial) On(event TrialEvent) { *t = trialSteps[*t][event] }
