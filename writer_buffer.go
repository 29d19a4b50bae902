package logd

import (
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/sequence"
)

// slot is a batch on its way through a Writer, and its memory.
type slot struct {
	batch   Batch
	ticket  int64 // its number in the order of sealing; 0 for one from the backlog
	pending Pending

	// The callbacks of those messages that have one, in order.
	calls  []func(WriteResult)
	deltas []int64

	record int64 // for a batch from the backlog: its number there
	num    sequence.Batch

	made    bool            // raw has the batch's bytes
	raw     []byte          // from when it is to be sent
	encoded sequence.Number // which raw has

	messages int64 // set when it is sealed
}

// Numbered is for sequence.Line.
func (s *slot) Numbered() *sequence.Batch { return &s.num }

// reset makes the slot empty and keeps its memory.
func (s *slot) reset() {
	s.batch.Reset()
	clear(s.calls)
	s.calls, s.deltas = s.calls[:0], s.deltas[:0]
	s.ticket, s.record = 0, 0
	s.num, s.encoded = sequence.Batch{}, sequence.Number{}
	s.made = false
}

// buffer holds the batches of a Writer that are being filled or wait to be
// sent. Guarded by Writer.mu.
type buffer struct {
	max   int // slots that there may be
	made  int // slots that there are
	free  []*slot
	open  *slot            // takes messages; nil if none does
	since time.Time        // when the open batch got its first message
	ready link.Queue[slot] // sealed, oldest first

	tickets    int64    // the last ticket given out
	sealed     bool     // something became ready that the goroutine may not know of
	waiting    int      // callers who wait for room
	unreported int64    // messages dropped since the last DropError
	orphans    []orphan // callbacks of messages that were dropped
}

// orphan is the callback of a message that was dropped after it was taken.
type orphan struct {
	done  func(WriteResult)
	delta int64
}

// maxOrphans bounds the callbacks that wait for the Writer's goroutine beside
// the batches. Beyond it, new messages are dropped in place of old ones.
const maxOrphans = 1 << 16

// room returns how many slots can be begun.
func (b *buffer) room() int { return b.max - b.made + len(b.free) }

// begin opens a slot, or returns nil if there is none.
func (b *buffer) begin() *slot {
	if n := len(b.free); n > 0 {
		b.open, b.free = b.free[n-1], b.free[:n-1]
		return b.open
	}
	if b.made == b.max {
		return nil
	}
	b.made++
	b.open = new(slot)
	return b.open
}

// seal makes the open batch ready, if there are messages in it.
func (b *buffer) seal() {
	if b.open == nil || b.open.batch.Messages() == 0 {
		return
	}
	b.tickets++
	b.open.ticket, b.open.messages = b.tickets, b.open.batch.Messages()
	b.ready.Push(b.open)
	b.open, b.sealed = nil, true
}

// recycle takes a slot back.
func (b *buffer) recycle(s *slot) {
	s.reset()
	b.free = append(b.free, s)
}

// oldest returns the ticket of the oldest batch that was sealed, 0 if there is
// none.
func (b *buffer) oldest() int64 {
	if s := b.ready.Peek(); s != nil {
		return s.ticket
	}
	return 0
}
