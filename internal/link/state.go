package link

import "fmt"

// callState is how far a call has come.
type callState uint8

const (
	callNew       callState = iota // no connection has it yet
	callQueued                     // it waits for the writer
	callWriting                    // out is being written
	callAnswered                   // out is being written, and the answer is here, or there will be none
	callSent                       // out is written, or never will be, and the answer is awaited
	callOver                       // it is its caller's again, or nobody's
	callWithdrawn                  // it is its caller's again, who took it out of the queue
	callStates
)

// callEvent is what happens to a call.
type callEvent uint8

const (
	queued    callEvent = iota // a connection took it
	writing                    // out begins to be written
	written                    // out is not used any more
	answered                   // its answer is here, or there will be none
	withdrawn                  // its caller wants it back
	callEvents
)

// callSteps says what state an event leads to. A 0 stands for what can't happen.
var callSteps = [callStates][callEvents]callState{
	callNew:      {queued: callQueued, writing: callWriting}, // the latter for a direct call
	callQueued:   {writing: callWriting, answered: callOver, withdrawn: callWithdrawn},
	callWriting:  {written: callSent, answered: callAnswered},
	callAnswered: {written: callOver},
	callSent:     {answered: callOver},
}

// interest is what the caller of a call waits for.
type interest uint8

const (
	wantsAnswer  interest = iota
	wantsWritten          // its context has ended, but it can't leave while out is being written
	toldWritten           // it was told that out is not used any more, and comes to look whether the call is over
	orphaned              // nothing any more: whoever ends the call disposes of it
)

// step is the one place where a call's state changes, and from which its caller is
// told. Caller holds conn.mu.
func (cl *Call) step(event callEvent) {
	next := callSteps[cl.state][event]
	if next == callNew {
		panic(fmt.Sprintf("link: event %d of a call in state %d", event, cl.state))
	}
	cl.state = next
	switch {
	case next == callSent && cl.interest == wantsWritten:
		cl.interest = toldWritten
		cl.done <- struct{}{}
	case next == callOver && cl.interest == orphaned:
		cl.Release()
	case next == callOver && cl.interest != toldWritten:
		if cl.ended != nil {
			close(cl.ended)
		}
		cl.done <- struct{}{} // from here on cl is its caller's
	}
}

// role says who has the role of the reader, which is to read answers, and how far
// that has come. It is the reader goroutine's but for moments; see direct.go.
type role uint8

const (
	roleGoroutine   role = iota // the reader goroutine has it
	roleFree                    // nobody has it, and nothing is under way
	roleWriting                 // a caller has it, and writes the request
	roleAwaiting                // a caller has it, and the answer has not begun to arrive
	roleReading                 // a caller has it, and reads the answer
	roleInterrupted             // roleAwaiting, and the caller's context has ended: it leaves
	roleHurried                 // roleReading, and the caller's context has ended: the rest has cancelGrace
	roles
)

// roleSteps says which roles can follow a role.
var roleSteps = [roles][roles]bool{
	roleGoroutine:   {roleFree: true},
	roleFree:        {roleGoroutine: true, roleWriting: true},
	roleWriting:     {roleAwaiting: true},
	roleAwaiting:    {roleReading: true, roleInterrupted: true, roleFree: true},
	roleReading:     {roleHurried: true, roleFree: true},
	roleInterrupted: {roleHurried: true, roleFree: true},
	roleHurried:     {roleFree: true},
}

// setRole is the one place where the role changes. Caller holds mu.
func (cn *conn) setRole(next role) {
	if !roleSteps[cn.role][next] {
		panic(fmt.Sprintf("link: role %d after %d", next, cn.role))
	}
	cn.role = next
}

// interrupted reports whether the context of the caller who has the role has
// ended: the read deadline stays as it is then. Caller holds mu.
func (cn *conn) interrupted() bool { return cn.role == roleInterrupted || cn.role == roleHurried }
