package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// Take takes a message with a copy of p; done, unless it is nil, is its callback. The
// error is Refusal, as it is, or else why it was not taken: ErrFull, ErrDropped,
// protocol.ErrTooLarge, or that of ctx, until which Take waits with the policy Block.
func (b *Buffer[R]) Take(ctx context.Context, p []byte, done func(R)) error {
	if n := len(p); b.cfg.TrimNewline && n > 0 && p[n-1] == '\n' {
		p = p[:n-1]
	}
	n := batch.MessageLen(len(p))
	b.Lock()
	if n > b.surely && !b.fitsAlone(p) {
		b.counts.Refused++
		most := b.cfg.Max
		b.Unlock()
		return tooLarge(len(p), most)
	}
	s := b.open
	rouse := false
	if s == nil || b.Refusal != nil || !b.shares(s, len(p), n) {
		var err error
		if s, err = b.slot(ctx, len(p), n); err != nil {
			if err != ErrDropped {
				b.counts.Refused++
			}
			b.Unlock()
			return err
		}
		rouse = b.opened(s)
	}
	delta := s.batch.Add(p)
	if done != nil {
		s.Calls = append(s.Calls, done)
		s.Deltas = append(s.Deltas, delta)
	}
	b.take()
	if s.batch.Messages() == b.cfg.Messages {
		b.Seal()
		rouse = true
	}
	b.Unlock()
	if rouse {
		b.cfg.Rouse()
	}
	return nil
}

// tooLarge returns the error of a message of so many bytes that fits into no batch.
func tooLarge(message int, most int64) error {
	return fmt.Errorf("%w: a message of %d bytes and its envelope are over %d, the length of the largest batch", protocol.ErrTooLarge, message, most)
}

// opened notes when the open batch gets its first message, and reports whether the
// owner has to know: of its age, or of the batch before it.
func (b *Buffer[R]) opened(s *Slot[R]) (rouse bool) {
	if s.batch.Messages() == 0 && b.cfg.Age >= 0 {
		b.since = time.Now()
		rouse = !b.armed
	}
	rouse = rouse || b.sealed
	b.sealed = false
	return rouse
}

// shares reports whether a message of so many bytes, which takes n bytes of data,
// shares the batch with those that are in it.
func (b *Buffer[R]) shares(s *Slot[R], body int, n int64) bool {
	return s.batch.Size()+n <= b.target || s.batch.Messages() > 0 && s.batch.Fits(b.cfg.Topic, body, b.cfg.Target-b.cfg.NumberLen)
}

// fitsAlone reports whether a message fits into a batch of its own, to the byte.
func (b *Buffer[R]) fitsAlone(body []byte) bool {
	var alone batch.Builder
	most := b.cfg.Max - b.cfg.NumberLen
	if alone.Fits(b.cfg.Topic, len(body), most) {
		return true
	}
	if int64(len(body)) > most {
		return false
	}
	alone.Add(body)
	return int64(len(alone.Finish(b.cfg.Topic))) <= most
}

// slot returns the slot for a message of so many bytes, which takes n bytes of
// data. The lock is not held while it waits.
func (b *Buffer[R]) slot(ctx context.Context, body int, n int64) (*Slot[R], error) {
	for {
		if b.Refusal != nil {
			b.passRoom() // whoever else waits for it shall learn that, too
			return nil, b.Refusal
		}
		if s := b.open; s != nil && b.shares(s, body, n) {
			return s, nil
		} else if s != nil {
			b.Seal()
		}
		if s := b.begin(); s != nil {
			b.passRoom()
			return s, nil
		}
		switch b.cfg.Full {
		case Fail:
			return nil, ErrFull
		case DropOldest:
			if b.dropOldest() {
				continue
			}
			fallthrough
		case DropNewest:
			b.counts.Dropped++
			b.dropped++
			b.cfg.Rouse()
			return nil, ErrDropped
		}
		if err := b.await(ctx); err != nil {
			return nil, err
		}
	}
}

// await waits for room, or for a reason to look whether there is any.
func (b *Buffer[R]) await(ctx context.Context) error {
	b.waiting++
	b.Unlock()
	b.cfg.Rouse() // something may have been sealed
	var err error
	select {
	case <-b.room:
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.Lock()
	b.waiting--
	return err
}

// dropOldest drops the oldest batch that is not on its way, and reports whether
// there was one that can be dropped.
func (b *Buffer[R]) dropOldest() bool {
	s := b.ready.Peek()
	if s == nil || len(b.orphans)+len(s.Calls) > maxOrphans {
		return false
	}
	b.ready.Pop()
	b.displace(s)
	b.dropped += s.Messages
	for i, done := range s.Calls {
		b.orphans = append(b.orphans, Orphan[R]{done, s.Deltas[i]})
	}
	b.recycle(s)
	b.cfg.Rouse()
	return true
}

// TakeDropped returns how many messages were dropped since it was called last, and
// the callbacks of those that had been taken.
func (b *Buffer[R]) TakeDropped() (messages int64, orphans []Orphan[R]) {
	messages, orphans = b.dropped, b.orphans
	b.dropped, b.orphans = 0, nil
	return messages, orphans
}
