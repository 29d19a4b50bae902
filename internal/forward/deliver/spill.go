package deliver

import (
	"slices"

	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/spool"
)

// writeSpool writes what is to go to the spool, and reports whether there was room.
func (l *lane) writeSpool() bool {
	if l.d.spool == nil {
		return true
	}
	l.spoolMu.Lock()
	defer l.spoolMu.Unlock()
	for {
		l.mu.Lock()
		i := slices.IndexFunc(l.queue, func(b *batch) bool { return b.spooling && b.rec == segment.Ref{} })
		if i < 0 {
			l.mu.Unlock()
			return true
		}
		b := l.queue[i]
		l.mu.Unlock()
		if !l.spoolOne(b) {
			l.mu.Lock()
			b.spooling = !b.spill // it can still be sent without
			l.mu.Unlock()
			poke(l.wake)
			return false
		}
		l.mu.Lock()
		if len(b.waiters) > 0 {
			poke(l.d.toSync)
		}
		freed := int64(0)
		if l.crowded() && slices.Index(l.queue, b) > l.d.cfg.InFlight { // it is read again when its turn comes
			freed = b.drop()
		}
		l.mu.Unlock()
		if freed > 0 {
			l.d.freed(freed)
		}
		poke(l.wake)
	}
}

// crowded reports whether what is in the spool should not stay in memory, too: as much as
// it may be, most of it is left for what comes. l.mu is held.
func (l *lane) crowded() bool {
	memory := l.d.memory.Load()
	return l.mem > memory/8 || l.d.mem.Load() > memory/2
}

// spoolOne writes a batch to the spool. Nobody else touches it meanwhile; l.spoolMu is held.
func (l *lane) spoolOne(b *batch) bool {
	h := &spool.Head{Topic: l.topic, Messages: b.messages, Time: b.taken.UnixNano(), Runs: b.runs, Place: b.place}
	if b.sent {
		h.Sent = &b.key
	}
	raw := b.b.Raw(l.topic)
	if b.reserved > 0 {
		l.d.spool.Release(l.topic, b.reserved)
		b.reserved = 0
	}
	r, err := l.d.spool.Put(h, raw)
	if err != nil {
		l.d.fail(err)
		l.mu.Lock()
		l.why = err.Error()
		l.mu.Unlock()
		return false
	}
	if b.sent { // a restart finds it in the spool
		sent := b.sentRecord(raw, nil)
		sent.Spool = &r.Ref
		l.d.fail(l.d.ledger.Sent(sent))
	}
	l.mu.Lock()
	b.rec, b.put = r.Ref, l.d.spool.Written()
	instead := b.instead
	l.mu.Unlock() // from here on it may be sent, if it takes nothing's place
	if instead == nil {
		return true
	}
	if instead.left--; instead.left > 0 {
		return true
	}
	l.d.untilRoom(func() error { return l.d.ledger.Replaced(instead.rec, instead.key, len(instead.by)) })
	l.d.fail(l.d.spool.Done(instead.rec))
	l.mu.Lock()
	for _, o := range instead.by {
		o.instead = nil
	}
	l.mu.Unlock()
	return true
}

// synced tells that the first n records that were put are durable.
func (l *lane) synced(n int64) {
	l.mu.Lock()
	var safe []*batch
	for _, all := range [...][]*batch{l.flying, l.queue} {
		for _, b := range all {
			if b.put > 0 && b.put <= n && !b.safe {
				safe = append(safe, b)
			}
		}
	}
	l.mu.Unlock()
	for _, b := range safe {
		moved := b.settle()
		if len(moved.pos) > 0 {
			l.d.fail(l.d.ledger.Moved(moved.pos...))
		}
		for _, h := range moved.holes {
			l.d.writeHole(h)
		}
		b.saved()
	}
}

// spill has what is not stored of a source go to the spool, as soon as nobody is sending
// it.
func (l *lane) spill(s *source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	has := func(b *batch) bool {
		return slices.ContainsFunc(b.runs, func(r ledger.Run) bool { return r.Source == s.id })
	}
	if b := l.open[replayed]; b != nil && has(b) {
		l.closeBatch(replayed)
	}
	for _, b := range l.flying { // once it is back, if it comes back
		b.spill = b.spill || has(b)
	}
	for _, b := range l.queue {
		if b.spill = b.spill || has(b); b.spill {
			l.toSpool(b)
		}
	}
}

// toSpool has a batch of the queue, which could be read again, go to the spool before it is
// sent: in the order of the queue, so that it is the order after a restart, too. l.mu is
// held.
func (l *lane) toSpool(b *batch) {
	if b.spooling || b.making || b.stored != nil || b.rec != (segment.Ref{}) || l.d.spool == nil {
		return
	}
	n := spoolCost(int(b.messages), b.bytes)
	if !l.d.spool.Reserve(l.topic, n) {
		return // it is asked again
	}
	b.reserved, b.spooling = n, true
	poke(l.d.toSpool)
}
