package logd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// errDropped is what take returns for a message that it has dropped.
var errDropped = errors.New("dropped")

// take takes a message.
func (w *Writer) take(ctx context.Context, p []byte, done func(WriteResult)) error {
	if n := len(p); w.cfg.TrimNewline && n > 0 && p[n-1] == '\n' {
		p = p[:n-1]
	}
	n := batch.MessageLen(len(p))
	if n > w.maxData && !fitsAlone(w.topic, p, w.cfg.BatchBytes-w.numberLen) {
		w.mu.Lock()
		w.account.stats.Refused++
		w.mu.Unlock()
		return w.notTaken("write", fmt.Errorf("%w: a message of %d bytes and its envelope are over WriterConfig.BatchBytes, %d", ErrTooLarge, len(p), w.cfg.BatchBytes))
	}
	w.mu.Lock()
	s := w.buffer.open
	rouse := false
	if s == nil || w.refusal != nil || !w.shares(s, len(p), n) {
		var err error
		if s, err = w.slot(ctx, len(p), n); err != nil {
			if err != errDropped {
				w.account.stats.Refused++
			}
			w.mu.Unlock()
			return err
		}
		rouse = w.opened(s)
	}
	delta := s.batch.Add(p)
	if done != nil {
		s.calls = append(s.calls, done)
		s.deltas = append(s.deltas, delta)
	}
	w.account.take()
	if s.batch.Messages() == w.cfg.BatchMessages {
		w.buffer.seal()
		rouse = true
	}
	w.mu.Unlock()
	if rouse {
		w.rouse()
	}
	return nil
}

// opened notes when the open batch gets its first message, and reports whether
// the goroutine has to know: of its age, or of the batch before it. Caller
// holds mu.
func (w *Writer) opened(s *slot) (rouse bool) {
	if s.batch.Messages() == 0 && w.cfg.BatchAge >= 0 {
		w.buffer.since = time.Now()
		rouse = !w.armed
	}
	rouse = rouse || w.buffer.sealed
	w.buffer.sealed = false
	return rouse
}

// shares reports whether a message of so many bytes, which takes n bytes of data,
// shares the batch with those that are in it.
func (w *Writer) shares(s *slot, body int, n int64) bool {
	return s.batch.Size()+n <= w.target || s.batch.Messages() > 0 && s.batch.Fits(w.topic, body, w.cfg.BatchTarget-w.numberLen)
}

// fitsAlone reports whether a message fits into a batch of its own, to the byte.
func fitsAlone(topic string, body []byte, max int64) bool {
	var b Batch
	if b.Fits(topic, len(body), max) {
		return true
	}
	if int64(len(body)) > max {
		return false
	}
	b.Add(body)
	return b.Len(topic) <= max
}

// slot returns the slot for a message of so many bytes, which takes n bytes of
// data. Caller holds mu, which is not held while waiting.
func (w *Writer) slot(ctx context.Context, body int, n int64) (*slot, error) {
	for {
		if w.refusal != nil {
			w.passRoom() // whoever else waits for it shall learn that, too
			return nil, w.refusal
		}
		if s := w.buffer.open; s != nil && w.shares(s, body, n) {
			return s, nil
		} else if s != nil {
			w.buffer.seal()
		}
		if s := w.buffer.begin(); s != nil {
			w.passRoom()
			return s, nil
		}
		switch w.cfg.WhenFull {
		case Fail:
			return nil, w.notTaken("write", ErrBufferFull)
		case DropNewest:
			w.dropNewest()
			return nil, errDropped
		case DropOldest:
			if !w.dropOldest() {
				w.dropNewest()
				return nil, errDropped
			}
			continue
		}
		w.buffer.waiting++
		w.mu.Unlock()
		w.rouse() // something may have been sealed
		var err error
		select {
		case <-w.room:
		case <-ctx.Done():
			err = w.notTaken("write", ctx.Err())
		}
		w.mu.Lock()
		w.buffer.waiting--
		if err != nil {
			return nil, err
		}
	}
}

// wakeForRoom wakes a caller who waits, for new room or for the news that there
// will be none. A quarter of all room is waited for, so that nobody wakes for
// each batch that is answered; in the end all of it comes back. Caller holds
// mu.
func (w *Writer) wakeForRoom() {
	if w.refusal != nil || w.buffer.room() >= max(1, w.buffer.max/4) {
		w.passRoom()
	}
}

// passRoom wakes a caller who waits, if there is any and he need not wait any
// longer. The woken one passes it on. Caller holds mu.
func (w *Writer) passRoom() {
	if w.buffer.waiting == 0 || w.refusal == nil && w.buffer.room() == 0 {
		return
	}
	select {
	case w.room <- struct{}{}:
	default:
	}
}

// dropNewest drops a message that was not taken. Caller holds mu.
func (w *Writer) dropNewest() {
	w.account.stats.Dropped++
	w.buffer.unreported++
	w.rouse()
}

// dropOldest drops the oldest batch that is not on its way, and reports whether
// there was one that can be dropped. Caller holds mu.
func (w *Writer) dropOldest() bool {
	s := w.buffer.ready.Peek()
	if s == nil || len(w.buffer.orphans)+len(s.calls) > maxOrphans {
		return false
	}
	w.buffer.ready.Pop()
	w.account.displace(s)
	w.buffer.unreported += s.messages
	for i, done := range s.calls {
		w.buffer.orphans = append(w.buffer.orphans, orphan{done, s.deltas[i]})
	}
	w.buffer.recycle(s)
	w.rouse()
	return true
}

// sealDue makes the open batch ready if it is old enough, and otherwise sets
// the timer for when it will be. Caller holds mu.
func (w *Writer) sealDue() {
	s := w.buffer.open
	if w.armed || w.cfg.BatchAge < 0 || s == nil || s.batch.Messages() == 0 {
		return
	}
	left := w.cfg.BatchAge - time.Since(w.buffer.since)
	if left <= 0 {
		w.buffer.seal()
		return
	}
	w.armed = true
	w.age.Reset(left)
}
