package intake

import (
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/sequence"
)

// Slot is a batch on its way through a Writer, and its memory. It is guarded by the
// Buffer's lock until it is ready, and then its owner's.
type Slot[R any] struct {
	Messages int64
	Record   int64  // for a batch from the backlog: its number there
	Raw      []byte // its bytes: see Encode
	Num      sequence.Batch
	Pending  link.Pending
	Via      *link.Link // over which it was sent last

	// The callbacks of those messages that have one, in order.
	Calls  []func(R)
	Deltas []int64

	batch   batch.Builder
	ticket  int64           // its number in the order of sealing; 0 for one from the backlog
	made    bool            // Raw has the batch's bytes
	encoded sequence.Number // which Raw has
}

// Numbered is for sequence.Line.
func (s *Slot[R]) Numbered() *sequence.Batch { return &s.Num }

// Kept makes the slot a batch of the backlog, whose bytes it has.
func (s *Slot[R]) Kept(record, messages int64, number sequence.Number) {
	s.Record, s.Messages = record, messages
	s.made, s.encoded = true, number
}

// Encode makes the bytes of the batch, with the number.
func (s *Slot[R]) Encode(topic string, number sequence.Number) {
	switch {
	case s.made && s.encoded == number:
	case s.Record != 0:
		s.Raw = batch.Renumber(s.Raw, number.PID, number.Seq)
	default:
		s.Raw = s.batch.FinishNumbered(topic, number.PID, number.Seq)
	}
	s.made, s.encoded = true, number
}

// Reset makes the slot empty and keeps its memory.
func (s *Slot[R]) Reset() {
	s.batch.Reset()
	clear(s.Calls)
	s.Calls, s.Deltas = s.Calls[:0], s.Deltas[:0]
	s.ticket, s.Record = 0, 0
	s.Num, s.encoded = sequence.Batch{}, sequence.Number{}
	s.made = false
}
