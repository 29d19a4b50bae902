package positions

import "time"

// Status is a position, and how it stands to the topic as this server has it.
type Status struct {
	Position
	State       State
	LagBytes    int64         // from the position to the end, of what is stored
	LagMessages int64         // -1 if it can't be told exactly
	Lag         time.Duration // age of the message at the position; -1 if that is not known
	LostBytes   int64         // that were removed before they were done
	Holder      string        // empty: nobody holds it
	HoldLeft    time.Duration
}

// State says in a word how a position stands.
type State string

// The states.
const (
	OK    State = "ok"
	Gone  State = "gone"  // before the oldest offset
	Ahead State = "ahead" // of what this server has
	Stale State = "stale" // not saved for long
)
