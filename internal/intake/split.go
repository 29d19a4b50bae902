package intake

import (
	"iter"

	"github.com/logd-dev/logd/internal/batch"
)

// fits reports whether a batch with so many messages in so many bytes of data is sure to
// have at most limit bytes.
func (b *Buffer[R]) fits(messages, size, limit int64) bool {
	return b.overhead(messages, size)+size <= limit
}

// overhead returns the length at most of a batch's envelope.
func (b *Buffer[R]) overhead(messages, size int64) int64 {
	h := batch.Header{Size: size, CRC: 1<<32 - 1, Messages: messages}
	return int64(h.Len()+len(b.cfg.Topic)) + b.cfg.NumberLen
}

// Half returns a Config.Target for which a batch is cut in two, so many messages in so
// many bytes of data.
func (b *Buffer[R]) Half(messages, size int64) int64 { return b.overhead(messages, size) + size/2 }

// Whole reports whether a batch is not cut, so many messages in so many bytes of data:
// it has at most Config.Target bytes, or one message.
func (b *Buffer[R]) Whole(messages, size int64) bool {
	return messages == 1 || b.fits(messages, size, b.cfg.Target)
}

// TooLarge returns the error of a batch of one message that is longer than batches may be
// now, and nil for any other.
func (b *Buffer[R]) TooLarge(s *Slot[R]) error {
	if s.Record != 0 || s.most <= b.cfg.Max || s.Messages > 1 {
		return nil
	}
	s.made = false // Raw is in the same memory
	if int64(len(s.batch.Finish(b.cfg.Topic))) <= b.cfg.Max-b.cfg.NumberLen {
		return nil
	}
	m := batch.Messages{Data: s.batch.Data()}
	m.Next()
	return tooLarge(len(m.Body()), b.cfg.Max)
}

// Split makes batches of up to Config.Target bytes of one that was begun when batches
// could be longer, in the order of its messages: nil if it is not too long. A message that
// is longer has a batch of its own. The last of them is s itself, and the first one has
// its number.
func (b *Buffer[R]) Split(s *Slot[R]) (pieces []*Slot[R]) {
	if s.Record != 0 || s.most <= b.cfg.Target || b.Whole(s.Messages, s.batch.Size()) {
		return nil
	}
	data := s.batch.Data()
	var begin int64
	for run, messages := range b.Runs(data) {
		end := begin + int64(len(run))
		piece := s
		if end < int64(len(data)) {
			piece = &Slot[R]{ticket: s.ticket, most: s.most, extra: true}
		}
		piece.Messages, piece.made = messages, false
		calls := 0
		for calls < len(s.Deltas) && s.Deltas[calls] < end {
			s.Deltas[calls] -= begin
			calls++
		}
		if piece != s {
			piece.Calls, piece.Deltas = s.Calls[:calls:calls], s.Deltas[:calls:calls]
			s.Calls, s.Deltas = s.Calls[calls:], s.Deltas[calls:]
		}
		piece.batch.Load(&batch.Header{Messages: messages}, run)
		pieces = append(pieces, piece)
		begin = end
	}
	if first := pieces[0]; first != s {
		first.Num, s.Num = s.Num, first.Num
	}
	return pieces
}

// Runs ranges over the data of a batch in the runs of messages that share one of up to
// Config.Target bytes, with how many there are.
func (b *Buffer[R]) Runs(data []byte) iter.Seq2[[]byte, int64] {
	return func(yield func([]byte, int64) bool) {
		var begin, end, messages int64
		for m := (batch.Messages{Data: data}); m.Next(); {
			size := batch.MessageLen(len(m.Body()))
			if messages > 0 && !b.fits(messages+1, end-begin+size, b.cfg.Target) {
				if !yield(data[begin:end], messages) {
					return
				}
				begin, messages = end, 0
			}
			end, messages = end+size, messages+1
		}
		if messages > 0 {
			yield(data[begin:end], messages)
		}
	}
}
