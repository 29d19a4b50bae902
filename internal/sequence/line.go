package sequence

import "slices"

// Kind is what an answer says of a batch.
type Kind uint8

// The kinds of answers.
const (
	Stored     Kind = iota // it is stored
	OutOfOrder             // all of its producer are stored before Answer.Next, and none from that on
	Again                  // this sending was in vain: it is to be sent again
)

// Answer is the answer to a batch, or what is known of one that gets none.
type Answer struct {
	Kind   Kind
	Offset int64 // where it is stored
	Next   int64 // of OutOfOrder
	Doubt  bool  // of Again: it may be stored all the same
	Err    error // why it is not stored; not for Stored
}

// Batch is what a Line knows of a batch. It is part of what the batch is for its
// owner.
type Batch struct {
	Number Number
	// Doubt tells that it was sent, and that nobody knows whether it is stored. Assumed
	// tells that this is not known of it, but may be so: it was kept meanwhile.
	Doubt, Assumed bool
	// Plain tells that it was sent without its number.
	Plain bool
	// Err is why it was not stored when it was last sent.
	Err error

	offset  int64 // where it is stored, Unplaced if nobody says
	settled bool  // it has its final answer: it is stored, or refused
	refused bool
	tried   bool // it was sent
	late    bool // it was in doubt under its number: it may still get to the server by another way
}

// Unplaced is the offset of a batch that is stored, nobody says where.
const Unplaced = -1

// Stored reports whether the batch is stored, and where.
func (b *Batch) Stored() (offset int64, stored bool) { return b.offset, b.settled && !b.refused }

// Refuse gives the batch up, because of err: it is not sent, and keeps its place until
// those before it are settled.
func (b *Batch) Refuse(err error) {
	b.settled, b.refused, b.Err = true, true, err
	b.Number = Number{} // those behind it have the numbers that follow
}

// Refused reports whether the batch is given up.
func (b *Batch) Refused() bool { return b.refused }

// Absent reports whether a batch that was refused is certainly not stored under its
// number, and will not be.
func (b *Batch) Absent() bool { return !b.settled && !b.Doubt && !b.late }

// Settled reports whether the batch is stored or given up.
func (b *Batch) Settled() bool { return b.settled }

// Carrier is the owner's type of batches, a pointer.
type Carrier interface {
	comparable
	Numbered() *Batch // which is always the same one
}

// Line is the batches without a final answer, in order. The zero Line is empty.
//
//	stored, or to be sent again   under way   to be sent
//	[0, answered)                 … sent)     … len)
//
// Batches that are stored or refused stay where they are while one before them is not.
type Line[T Carrier] struct {
	items          []T
	answered, sent int
	next           int64 // of the answer OutOfOrder that the first one has had; 0 for none
}

// Len returns how many batches there are.
func (l *Line[T]) Len() int { return len(l.items) }

// All returns the batches, in order. They may not be changed meanwhile.
func (l *Line[T]) All() []T { return l.items }

// First returns the first batch. There must be one.
func (l *Line[T]) First() T { return l.items[0] }

// Push adds a batch at the end, to be sent.
func (l *Line[T]) Push(c T) { l.items = append(l.items, c) }

// Takes reports whether a batch with such a number may be in the line together with
// those that are there. Batches of two producers, or with and without numbers, may
// not: if one is refused, those of others would still be stored, and overtake it.
func (l *Line[T]) Takes(n Number) bool {
	for _, c := range slices.Backward(l.items) {
		if b := c.Numbered(); !b.settled {
			return b.Number.PID == n.PID
		}
	}
	return true
}

// Exact reports whether each batch can be sent again and is stored once: none was
// sent without a number, nor is to be.
func (l *Line[T]) Exact() bool {
	for _, c := range l.items {
		if b := c.Numbered(); !b.refused && (b.Number.Seq == 0 || b.Plain) {
			return false
		}
	}
	return true
}

// Next returns the batch that is to be sent next, and false if there is none, or
// answers are to be awaited first.
func (l *Line[T]) Next() (c T, ok bool) {
	if l.answered > 0 {
		return c, false
	}
	for l.sent < len(l.items) && l.items[l.sent].Numbered().settled {
		l.sent++
	}
	if l.sent == len(l.items) {
		return c, false
	}
	return l.items[l.sent], true
}

// Sent notes that what Next has returned is under way.
func (l *Line[T]) Sent() {
	l.items[l.sent].Numbered().tried = true
	l.sent++
}

// TakeBack takes the last batch out of the line, if it was never sent.
func (l *Line[T]) TakeBack() (c T, ok bool) {
	last := len(l.items) - 1
	if last < 0 || l.sent > last {
		return c, false
	}
	if b := l.items[last].Numbered(); b.tried || b.settled {
		return c, false
	}
	c = l.items[last]
	clear(l.items[last:])
	l.items = l.items[:last]
	return c, true
}

// UnderWay returns the oldest batch that is under way, and false if none is.
func (l *Line[T]) UnderWay() (c T, ok bool) {
	for l.answered < l.sent && l.items[l.answered].Numbered().settled {
		l.answered++ // which is not the first one: that would be settled
	}
	if l.answered == l.sent {
		return c, false
	}
	return l.items[l.answered], true
}

// Answer takes the answer to the batch that UnderWay has returned.
func (l *Line[T]) Answer(a Answer) {
	b := l.items[l.answered].Numbered()
	b.Err = a.Err
	switch {
	case a.Kind == Stored:
		b.settled, b.offset = true, a.Offset
	case a.Kind == OutOfOrder && a.Next > b.Number.Seq:
		b.settled, b.offset = true, Unplaced
	case a.Kind == OutOfOrder:
		b.late = b.late || b.Doubt
		if a.Next > 1 {
			b.Doubt = false // of a producer that is forgotten some may be stored
		}
		if l.answered == 0 {
			l.next = a.Next
		}
	default:
		b.Doubt = b.Doubt || a.Doubt
		b.Assumed = b.Assumed && !a.Doubt
		if l.answered == 0 {
			l.next = 0
		}
	}
	l.answered++
}

// Settled takes the first batch out of the line if it is stored or refused.
func (l *Line[T]) Settled() (c T, ok bool) {
	if len(l.items) == 0 || !l.items[0].Numbered().settled {
		return c, false
	}
	return l.Shift(), true
}

// Shift takes the first batch out of the line, whatever is known of it. It must not
// be under way.
func (l *Line[T]) Shift() T {
	c := l.items[0]
	copy(l.items, l.items[1:]) // few, and most often one
	clear(l.items[len(l.items)-1:])
	l.items = l.items[:len(l.items)-1]
	l.answered, l.sent = max(l.answered-1, 0), max(l.sent-1, 0)
	return c
}

// Awaiting returns how many batches are under way.
func (l *Line[T]) Awaiting() int { return l.sent - l.answered }

// Answered reports whether the first batches have had answers that did not settle
// them.
func (l *Line[T]) Answered() bool { return l.answered > 0 }

// Stopped reports whether the first batch is to be sent again, and nothing is under
// way any more.
func (l *Line[T]) Stopped() bool {
	_, waits := l.UnderWay()
	return l.answered > 0 && !waits
}

// Resume makes the line begin again with its first batch, which is not stored. If it
// can, it returns nil.
//
// If the server does not take the first number because one before it is missing
// there, all batches get numbers of a new producer. It returns how many of them may
// then be stored twice, since the server has forgotten what it may have of them, and
// true.
func (l *Line[T]) Resume(n *Numbers) (doubtful []T, renumbered bool) {
	next := l.next
	l.answered, l.sent, l.next = 0, 0, 0
	first := l.items[0].Numbered().Number
	if next == 0 || next == first.Seq { // in the latter case the server contradicts itself
		return nil, false
	}
	n.lost, n.forgotten = first.PID, next == 1
	n.Renew()
	for _, c := range l.items {
		b := c.Numbered()
		if b.settled {
			continue
		}
		if b.Doubt {
			doubtful = append(doubtful, c)
		}
		b.Doubt, b.late = false, false
		b.Number = n.Take()
	}
	return doubtful, true
}

// Withdraw takes all batches out of a line whose first one is Absent. They are to get
// other numbers. If they have numbers none of them is stored, since no server
// takes one before those before it. False is for batches without numbers of which one may
// be stored: they stay.
func (l *Line[T]) Withdraw() (all []T, ok bool) {
	for _, c := range l.items {
		if b := c.Numbered(); !b.settled && b.Doubt && (b.Number.Seq == 0 || b.Plain) {
			return nil, false
		}
	}
	all = slices.Clone(l.items)
	clear(l.items)
	l.items, l.answered, l.sent, l.next = l.items[:0], 0, 0, 0
	return all, true
}
