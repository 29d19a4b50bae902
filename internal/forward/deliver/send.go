package deliver

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// run sends what comes until the delivery ends.
func (l *lane) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for l.d.life.Err() == nil {
		l.mu.Lock()
		if l.now {
			l.now, l.retry = false, time.Time{}
		}
		l.mu.Unlock()
		l.send()
		var answered <-chan struct{}
		if len(l.flight) > 0 {
			answered = l.flight[0].pending.Done()
		}
		if wait := time.Until(l.retry); wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-answered:
			l.answers()
		case <-l.wake:
		case <-timer.C:
		case <-l.d.life.Done():
		}
	}
	for _, b := range l.flight { // the client ends them
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if offset, err := b.pending.Wait(ctx); err == nil {
			l.stored(b, offset)
		}
		cancel()
	}
}

// take returns the batch that is to be sent next, nil if none can be.
func (l *lane) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	b := l.queue[0]
	if b.making || b.instead != nil || b.spooling && b.rec == (segment.Ref{}) {
		return nil
	}
	l.queue = slices.Delete(l.queue, 0, 1)
	l.flying = append(l.flying, b)
	return b
}

// back puts batches in front of the queue.
func (l *lane) back(all ...*batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying = slices.DeleteFunc(l.flying, func(b *batch) bool { return slices.Contains(all, b) })
	l.queue = append(slices.Clone(all), l.queue...)
	for _, b := range all {
		if b.spill {
			l.toSpool(b)
		}
	}
}

// send sends what can be sent.
func (l *lane) send() {
	for len(l.flight) < l.d.cfg.InFlight && !time.Now().Before(l.retry) && l.d.life.Err() == nil {
		b := l.take()
		if b == nil {
			return
		}
		if b.stored != nil { // the ledger had no room
			l.back(b)
			if !l.write(b) {
				return
			}
			continue
		}
		if !l.connect() {
			l.back(b)
			return
		}
		if l.overtakes(b) {
			l.back(b)
			return
		}
		if !l.load(b) {
			continue
		}
		if err := l.note(b); err != nil { // a ledger that can't grow stops the sending
			l.d.fail(err)
			l.back(b)
			l.later(err)
			return
		}
		if b.sends++; b.sends > 1 || b.early {
			l.mu.Lock()
			l.resent++
			l.mu.Unlock()
		}
		if b.doubt && !(b.numbered && l.numbers) {
			l.double(b)
		}
		l.flight = append(l.flight, b)
		if err := l.d.Client().StartAppend(l.d.life, l.topic, &b.b, &b.pending); err != nil {
			l.settle()
		}
	}
}

// overtakes reports whether a batch could be stored before one that is in flight: numbers
// keep the order of one id's batches only.
func (l *lane) overtakes(b *batch) bool {
	if len(l.flight) == 0 || !l.numbers {
		return false
	}
	pid, last := l.pid, l.flight[len(l.flight)-1]
	if b.sent {
		pid = b.key.PID
	}
	return last.key.PID != pid
}

// connect asks the server what it takes, if that is not known.
func (l *lane) connect() bool {
	if l.connected {
		return true
	}
	limits, err := l.d.Client().Limits(l.d.life, l.topic)
	if err != nil {
		l.away(err)
		return false
	}
	l.connected = true
	l.numbers = limits.Producers > 0 && !l.d.cfg.NoSequence
	if limits.MaxBatchSize > 0 {
		l.d.largest.Store(limits.MaxBatchSize)
	}
	return true
}

// load has the messages of a batch in memory. One that can't be had is a hole.
func (l *lane) load(b *batch) bool {
	if b.b.Messages() > 0 {
		return true
	}
	raw, err := l.d.spool.Get(b.rec, nil)
	if err == nil {
		loaded := l.d.emptyBatch()
		if err = loaded.SetRaw(raw); err == nil {
			b.b = loaded
			return true
		}
	}
	l.giveUp(b, feed.Damaged, err.Error())
	return false
}

// note has the ledger know of the batch before it is sent, under its number.
func (l *lane) note(b *batch) error {
	if b.sent {
		return l.number(b)
	}
	b.numbered = l.numbers
	var was *ledger.Key
	if b.key.Seq > 0 {
		was = new(ledger.Key)
		*was = b.key
	}
	b.key = ledger.Key{Topic: l.topic, PID: l.pid, Seq: l.seq + 1}
	if err := l.number(b); err != nil {
		return err
	}
	raw := b.b.Raw(l.topic)
	if l.d.ledger != nil {
		if err := l.d.ledger.Sent(b.sentRecord(raw, was)); err != nil {
			if b.key = (ledger.Key{}); was != nil {
				b.key = *was
			}
			return err
		}
	}
	l.seq++
	b.sent = true
	return nil
}

// number puts the number in the batch's envelope, if the server is told it.
func (l *lane) number(b *batch) error {
	if !b.numbered || !l.numbers {
		return b.b.SetNumber("", 0)
	}
	return b.b.SetNumber(b.key.PID, b.key.Seq)
}

// answers takes the answers that are there, in order.
func (l *lane) answers() {
	for len(l.flight) > 0 && l.flight[0].pending.Ready() {
		offset, err := l.flight[0].pending.Wait(l.d.life)
		if err != nil {
			l.settle()
			return
		}
		b := l.flight[0]
		l.flight = l.flight[1:]
		l.stored(b, offset)
	}
}

// stored notes that a batch is stored; at -1 if it is not known where.
func (l *lane) stored(b *batch, offset int64) {
	l.pause = 0
	l.enter("ok", "")
	b.stored = &ledger.Stored{Key: b.key, Offset: offset, Time: time.Now().UnixNano()}
	l.write(b)
}

// write notes in the ledger that a batch is stored. If there is no room it is to be tried
// again, and nothing else is sent meanwhile.
func (l *lane) write(b *batch) bool {
	moved := b.settle()
	b.stored.Pos = append(b.stored.Pos, moved.pos...)
	b.holes = append(b.holes, moved.holes...)
	if l.d.ledger != nil {
		if err := l.d.ledger.Stored(b.stored); err != nil {
			l.d.fail(err)
			l.mu.Lock()
			queued := slices.Contains(l.queue, b)
			l.mu.Unlock()
			if !queued {
				l.back(b)
			}
			l.later(err)
			return false
		}
	}
	for _, h := range b.holes {
		l.d.writeHole(h)
	}
	b.holes = nil
	for _, r := range b.runs {
		c := l.d.Counters(r.Input)
		c.StoredMessages.Add(r.Lines)
		c.StoredBytes.Add(r.Bytes)
	}
	l.over(b)
	l.mu.Lock()
	l.batches++
	l.mu.Unlock()
	return true
}

// over ends a batch of which the ledger knows what became of it.
func (l *lane) over(b *batch) {
	l.mu.Lock()
	l.flying = slices.DeleteFunc(l.flying, func(o *batch) bool { return o == b })
	l.queue = slices.DeleteFunc(l.queue, func(o *batch) bool { return o == b })
	rec := b.rec
	freed := b.drop()
	l.mu.Unlock()
	if rec != (segment.Ref{}) {
		l.d.fail(l.d.spool.Done(rec))
	} else if b.reserved > 0 && l.d.spool != nil {
		l.d.spool.Release(l.topic, b.reserved)
		b.reserved = 0
	}
	b.saved()
	l.d.freed(freed)
	l.d.stored.Add(1)
}

// giveUp makes a hole of a batch.
func (l *lane) giveUp(b *batch, kind feed.Kind, cause string) {
	moved := b.settle()
	for i, r := range b.runs {
		h := ledger.Hole{
			Hole:  feed.Hole{Kind: kind, Topic: l.topic, From: r.From.At, To: r.To.At, Messages: r.Lines, Bytes: r.Bytes, Cause: cause},
			Input: r.Input, Source: r.Source, Time: time.Now().UnixNano(),
		}
		l.d.Counters(r.Input).hole(&h.Hole)
		l.d.log.Warn("hole", "kind", kind, "input", r.Input, "topic", l.topic, "from", r.From.At, "to", r.To.At, "messages", r.Lines, "bytes", r.Bytes, "cause", cause)
		if i == len(b.runs)-1 {
			h.Pos = moved.pos
			if b.rec != (segment.Ref{}) {
				h.Spool = &b.rec
			}
			if b.key.Seq > 0 {
				h.Key = &b.key
			}
		}
		l.d.untilRoom(func() error { return l.d.ledger.Hole(&h) })
	}
	for _, h := range moved.holes {
		l.d.writeHole(h)
	}
	l.over(b)
}

// later has the lane wait before it goes on.
func (l *lane) later(err error) {
	l.pause = min(max(2*l.pause, firstPause), lastPause)
	l.retry = time.Now().Add(l.pause/2 + rand.N(l.pause/2+1))
	if err != nil {
		l.enter("retrying", err.Error())
	}
}

// away has the lane ask again what the server takes, after a pause.
func (l *lane) away(err error) {
	l.connected = false
	l.later(err)
	if refuses(err) {
		l.refuse(err)
	}
}

// refuses reports whether the server will not take the topic.
func refuses(err error) bool {
	if errors.Is(err, logd.ErrConnectionLost) { // because of another request
		return false
	}
	return errors.Is(err, logd.ErrMaxTopics) || errors.Is(err, logd.ErrTopicNotAllowed) || errors.Is(err, logd.ErrUnauthorized)
}

// refuse has the lane wait until the server may have changed its mind.
func (l *lane) refuse(err error) {
	l.retry = time.Now().Add(refusedPause)
	l.enter("refused", err.Error())
}

// Connected has lanes that wait go on at once: there is a new connection.
func (d *Delivery) Connected() {
	for _, l := range d.allLanes() {
		l.mu.Lock()
		l.now = l.now || l.state == "refused"
		l.mu.Unlock()
		poke(l.wake)
	}
}
