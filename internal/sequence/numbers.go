// Package sequence is what a Writer knows of its batches between their making and
// their answers: which numbers they have, which of them must be sent again, and what
// a server's answers mean for that. So each is stored once and in order, over lost
// connections, other servers and other processes. The rules for numbers are those of
// docs/protocol.md, "numbered batches".
//
// [Numbers] gives batches their numbers. A [Line] is the batches that have no final
// answer yet, in the order in which they are to be stored:
//
//	l.Push(b)                                  // behind all others
//	for l.Next() finds one { send it; l.Sent() }
//	l.Answer(…)                                // to the oldest that is under way
//	for l.Settled() takes one { it is stored }
//	if l.Stopped() { switch l.Resume(numbers) … } // not all are: what was sent is sent again
//
// If one is refused, or its connection is lost, nothing more is sent before all that
// was sent is answered. Then the line begins again with the first one that is not
// stored. The server knows the others by their numbers.
//
// There is no clock here, no lock, no input or output. A Numbers and a Line are for
// one goroutine.
package sequence

// MaxUnanswered is how many numbered batches may be under way: as many as a server
// knows of each producer.
const MaxUnanswered = 32

// Number is the number of a batch: the Seq-th of its producer. The zero Number is
// that of a batch without one.
type Number struct {
	PID string
	Seq int64
}

// Numbers gives numbers to the batches of one Writer.
type Numbers struct {
	newPID func() string

	pid  string
	next int64 // what the next batch gets
	sent int64 // the highest one that was sent

	// lost is a producer whose numbers no server takes any more, since one of them
	// is missing there. Forgotten tells that the server does not know the producer.
	lost      string
	forgotten bool
	other     string // a producer's id that was met last, kept in one piece of memory
}

// New returns Numbers whose producers' ids are those of newPID. It is called for
// each new producer.
func New(newPID func() string) *Numbers {
	n := &Numbers{newPID: newPID}
	n.Renew()
	return n
}

// Take gives a batch its number.
func (n *Numbers) Take() Number {
	n.next++
	return Number{n.pid, n.next - 1}
}

// PID returns the producer's id that the next batch will have.
func (n *Numbers) PID() string { return n.pid }

// Sent notes that a batch with the number is sent.
func (n *Numbers) Sent(number Number) {
	if number.PID == n.pid {
		n.sent = max(n.sent, number.Seq)
	}
}

// Renew begins with a new producer. It is for a Writer that gives a numbered batch
// up: no server would take those behind it.
func (n *Numbers) Renew() { n.pid, n.next, n.sent = n.newPID(), 1, 0 }

// Read returns the number of a batch that was kept, as its envelope has it. If doubt
// is set, the batch may have been sent. Lost tells that the number is of no use any
// more: the batch needs another one.
func (n *Numbers) Read(pid []byte, seq int64) (number Number, doubt, lost bool) {
	if seq == 0 {
		return Number{}, false, false
	}
	switch string(pid) {
	case n.pid:
		return Number{n.pid, seq}, seq <= n.sent, false
	case n.lost:
		return Number{n.lost, seq}, n.forgotten, true
	case n.other:
	default:
		n.other = string(pid)
	}
	return Number{n.other, seq}, true, false
}
