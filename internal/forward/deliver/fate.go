package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// settle is for what is in flight after the first of it was not stored, or could not be
// sent: it waits for the answers to the others, and has them sent again.
func (l *lane) settle() {
	var first error
	var again []*batch
	for _, b := range l.flight {
		offset, err := b.pending.Wait(l.d.life)
		switch {
		case err == nil:
			l.stored(b, offset)
			continue
		case l.d.life.Err() != nil:
			l.flight = nil
			return
		case first == nil:
			first = err
		}
		b.doubt = b.doubt || logd.IsUnknown(err)
		again = append(again, b)
	}
	l.flight = nil
	if len(again) == 0 {
		return
	}
	l.failed(first, again)
}

// double counts a batch that may be stored twice.
func (l *lane) double(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubled++
	b.doubt = false
}

// failed decides what becomes of batches that are not stored, or perhaps, of which the
// first has met err.
func (l *lane) failed(err error, again []*batch) {
	b := again[0]
	var order *logd.OutOfOrderError
	switch {
	case errors.Is(err, logd.ErrConnectionLost): // though it may say that another lane's batch was refused
		l.back(again...)
		l.away(err)
	case errors.As(err, &order):
		l.outOfOrder(order.Next, again)
	case errors.Is(err, logd.ErrSequenceConflict):
		l.renumber(again)
		l.back(again...)
	case errors.Is(err, logd.ErrChecksumMismatch) && b.damaged < 3:
		b.damaged++
		l.back(again...)
		l.away(err)
	case errors.Is(err, logd.ErrTooLarge):
		l.connected = false // ask how much it takes
		l.halve(err, again)
	case refuses(err):
		if l.made && l.topic != l.d.cfg.Fallback {
			l.divert(err, again)
			return
		}
		l.back(again...)
		l.connected = false
		l.refuse(err)
	case logd.IsRetryable(err), logd.IsUnknown(err), errors.Is(err, logd.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		l.back(again...)
		l.away(err)
	case !errors.Is(err, logd.ErrInvalidRequest) && !errors.Is(err, logd.ErrInvalidProtocol) && !answered(err):
		l.back(again...)
		l.away(err)
	default:
		l.halve(err, again)
	}
}

// answered reports whether an error is the server's answer.
func answered(err error) bool {
	var reply *logd.ReplyError
	return errors.As(err, &reply) || errors.Is(err, logd.ErrChecksumMismatch) || errors.Is(err, logd.ErrUnsupportedCodec)
}

// outOfOrder is for batches of which the server wants another number.
func (l *lane) outOfOrder(next int64, again []*batch) {
	pid := again[0].key.PID
	for len(again) > 0 && again[0].key.PID == pid && again[0].key.Seq < next {
		l.stored(again[0], -1)
		again = again[1:]
	}
	if len(again) == 0 {
		return
	}
	if again[0].key.PID == pid && again[0].key.Seq != next {
		l.renumber(again)
	}
	l.back(again...)
}

// renumber gives batches, and what was sent of those behind them, new numbers under a new
// id: the server has forgotten the old one, or one of its numbers is missing.
func (l *lane) renumber(again []*batch) {
	l.pid, l.seq = newPID(), 0
	for _, b := range again {
		if b.doubt {
			l.double(b)
		}
		l.mu.Lock()
		b.sent, b.early = false, false
		l.mu.Unlock()
	}
}

// halve has the first batch sent in two parts. A single message that the server does not
// take is kept in the folder for such, and is a hole.
func (l *lane) halve(err error, again []*batch) {
	b := again[0]
	rest := again[1:]
	l.renumber(rest)
	if b.messages == 1 {
		l.bury(b, err)
		l.mu.Lock()
		l.flying = slices.DeleteFunc(l.flying, func(o *batch) bool { return o == b })
		l.mu.Unlock()
		l.giveUp(b, feed.Refused, err.Error())
		l.back(rest...)
		return
	}
	first, second := b.split()
	l.back(append([]*batch{first, second}, rest...)...)
	l.mu.Lock()
	l.flying = slices.DeleteFunc(l.flying, func(o *batch) bool { return o == b })
	l.mu.Unlock()
	switch {
	case b.rec != segment.Ref{}:
		poke(l.d.toSpool)
	case l.d.ledger != nil:
		// Both are known before one is sent: else a restart would take the lines of the
		// other for sent.
		var sent []*ledger.Sent
		for i, half := range []*batch{first, second} {
			half.key = ledger.Key{Topic: l.topic, PID: l.pid, Seq: int64(i) + 1}
			half.sent, half.numbered = true, l.numbers
			sent = append(sent, half.sentRecord(half.b.Raw(l.topic), nil))
		}
		l.seq = 2
		l.d.untilRoom(func() error { return l.d.ledger.Split(b.key, sent...) })
	}
}

// split returns two batches with the messages of one.
func (b *batch) split() (first, second *batch) {
	stored, _ := logd.ParseBatch(b.b.Raw(b.lane.topic))
	n := b.messages / 2
	halves := [2]*batch{}
	for i := range halves {
		halves[i] = &batch{lane: b.lane, taken: b.taken, spooling: b.spooling || b.rec != segment.Ref{}, windowed: b.windowed}
	}
	var before []int64 // bytes of bodies before the i-th message
	sum := int64(0)
	for m := range stored.All() {
		h := halves[0]
		if int64(len(before)) >= n {
			h = halves[1]
		}
		h.b.Add(m.Body)
		h.messages++
		before = append(before, sum)
		sum += int64(len(m.Body))
	}
	b.lane.mu.Lock()
	defer b.lane.mu.Unlock()
	left := n
	for i, r := range b.runs {
		m := b.marks[i]
		lines := r.Lines
		if left > 0 {
			part := min(left, lines)
			cut := r
			cut.Lines, cut.Bytes = part, r.Bytes*part/max(lines, 1)
			if first := n - left; r.Format == render.Raw.String() && part < lines {
				cut.Bytes = before[first+part] - before[first]
			}
			halves[0].runs, halves[0].marks = append(halves[0].runs, cut), append(halves[0].marks, m)
			halves[0].bytes += cut.Bytes
			if i == 0 {
				halves[0].skip = b.skip
			}
			if left -= part; part == lines {
				continue
			}
			r.Lines, r.Bytes = lines-part, r.Bytes-cut.Bytes
			halves[1].skip = part
			if i == 0 {
				halves[1].skip += b.skip
			}
			if m != nil && m.src != nil {
				m.src.mu.Lock()
				m.batches++
				m.src.mu.Unlock()
			} else if m != nil {
				m.batches++
			}
		}
		halves[1].runs, halves[1].marks = append(halves[1].runs, r), append(halves[1].marks, m)
		halves[1].bytes += r.Bytes
	}
	first, second = halves[0], halves[1]
	if b.rec != (segment.Ref{}) {
		b.replace(first, second)
	}
	first.cost = b.cost / 2
	second.cost = b.cost - first.cost
	b.cost = 0
	first.waiters, second.waiters, b.waiters = b.waiters, b.waiters, nil
	for _, w := range second.waiters {
		w.left.Add(1)
	}
	if len(second.waiters) > 0 {
		b.lane.d.waiting.Add(1)
	}
	first.safe, second.safe = b.safe, b.safe
	return first, second
}

// divert moves a lane that a template has made, and that the server does not take, to the
// fallback.
func (l *lane) divert(err error, again []*batch) {
	d := l.d
	d.log.Warn("the server does not take the topic: its messages go to the fallback", "topic", l.topic, "fallback", d.cfg.Fallback, "cause", err)
	d.mu.Lock()
	d.refused[l.topic] = true
	d.mu.Unlock()
	l.back(again...)
	to := d.lane(d.cfg.Fallback, false)
	for {
		l.closeOpen()
		l.writeSpool()
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.mu.Unlock()
			break
		}
		b := l.queue[0]
		l.mu.Unlock()
		if b.making || b.instead != nil {
			select {
			case <-l.wake: // also once it is made, or has taken its place
				continue
			case <-d.life.Done():
				return
			}
		}
		if !l.load(b) {
			continue
		}
		moved := b.moveTo(to)
		to.mu.Lock()
		to.mem += moved.cost
		if moved.windowed {
			to.lines += moved.cost
		}
		if b.rec != (segment.Ref{}) {
			b.replace(moved)
		}
		to.queue = append(to.queue, moved)
		to.mu.Unlock()
		poke(d.toSpool)
		poke(to.wake)
	}
	l.enter("refused", err.Error())
}

// moveTo returns the batch as one of another lane.
func (b *batch) moveTo(to *lane) *batch {
	l := b.lane
	l.mu.Lock()
	n := &batch{
		lane: to, b: b.b, runs: b.runs, marks: b.marks, skip: b.skip, messages: b.messages, bytes: b.bytes, cost: b.cost,
		windowed: b.windowed, taken: b.taken, spooling: b.spooling || b.rec != segment.Ref{}, key: b.key,
	}
	n.waiters, b.waiters, n.safe = b.waiters, nil, b.safe
	l.queue = slices.DeleteFunc(l.queue, func(o *batch) bool { return o == b })
	b.marks, b.b = nil, logd.Batch{} // its memory is the other's
	b.drop()
	l.mu.Unlock()
	if b.reserved > 0 {
		b.lane.d.spool.Release(b.lane.topic, b.reserved)
		b.reserved = 0
	}
	return n
}

// bury keeps a message that the server does not take.
func (l *lane) bury(b *batch, err error) {
	d := l.d
	d.mu.Lock()
	d.deadN++
	d.mu.Unlock()
	if d.dead == nil {
		return
	}
	raw := b.b.Raw(l.topic)
	if d.dead.Bytes()+int64(len(raw)) > d.deadBytes.Load() {
		return
	}
	if _, err := d.dead.Append(kindDead, fmt.Appendf(nil, "%s\n%s\n", time.Now().UTC().Format(time.RFC3339Nano), err), raw); err != nil {
		d.log.Error("a message that the server does not take could not be kept", "topic", l.topic, "error", err)
	}
}

const kindDead = 1
