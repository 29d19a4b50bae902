package logd

import "fmt"

// WriterState is what a [Writer] is doing; see there for what leads from one to
// another.
type WriterState uint8

const (
	// StateConnected: messages are taken, and sent as their batches are due.
	StateConnected WriterState = iota
	// StateFlushing: what is pending is delivered. After a failure, or in a new
	// Writer with something in its backlog, that is the backlog, before
	// anything newer; messages are taken. After Close it is everything.
	StateFlushing
	// StateFailing: something could not be delivered, and the server has not
	// answered since. Messages are refused with the cause, or go to the backlog
	// if WriterConfig.WriteWhileFailing says so.
	StateFailing
	// StateClosed: the Writer has ended.
	StateClosed
)

// String returns the state's name: connected, flushing, failing or closed.
func (s WriterState) String() string {
	if names := [...]string{"connected", "flushing", "failing", "closed"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("WriterState(%d)", uint8(s))
}

// WriterStats counts what became of the messages of a [Writer] since it was
// made. The counts of one Stats are of one moment, and add up:
//
//	Taken + what the backlog kept at first = Pending + Kept + Delivered + Lost + Displaced
type WriterStats struct {
	// Taken is how many messages Write took.
	Taken int64
	// Refused is how many it did not take, and returned an error for.
	Refused int64
	// Pending is how many of the taken ones are in the Writer's memory or on their
	// way to the server at this moment.
	Pending int64
	// Kept is how many are in the backlog at this moment.
	Kept int64
	// Delivered is how many the server has stored and answered, those from the
	// backlog included; DeliveredBatches is in how many batches.
	Delivered, DeliveredBatches int64
	// Backlogged is how many went to the backlog.
	Backlogged int64
	// Lost is how many could neither be delivered nor kept in the backlog. What a
	// Writer still has in a backlog of its own when it is closed is Lost, too.
	Lost int64
	// InDoubt is how many may be stored twice: they were sent once more, although they
	// may have been stored before, and the server could not know them again. See
	// [Writer].
	InDoubt int64
	// Dropped is how many were dropped because there was no room for them.
	// Displaced is how many of these were taken, and dropped later for newer ones
	// (DropOldest); the others were never taken.
	Dropped, Displaced int64
}
