package deliver

import (
	"errors"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// holeKey is what holes have in common that are written down as one.
type holeKey struct {
	ledger.TotalKey
	kind feed.Kind
	from int64 // of what was never read: each range by itself
}

// counted counts a hole of what was in no batch: if it was taken, it counts as that here.
func (d *Delivery) counted(input string, h *feed.Hole) {
	c := d.Counters(input)
	if h.Kind.Taken() {
		c.took(max(h.Messages, 0), h.Bytes)
	}
	c.hole(h)
}

// told notes a hole of what can't be read again, which is written down within a second.
func (d *Delivery) told(input string, h feed.Hole) {
	d.counted(input, &h)
	d.later(input, h)
}

// later has a hole be written down within a second.
func (d *Delivery) later(input string, h feed.Hole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(&ledger.Hole{Hole: h, Input: input, Time: time.Now().UnixNano()})
}

// writeHole writes down a hole, now if there is room for it.
func (d *Delivery) writeHole(h *ledger.Hole) {
	if d.ledger != nil {
		if err := d.ledger.Hole(h); err != nil {
			d.fail(err)
			d.mu.Lock()
			d.note(h)
			d.mu.Unlock()
			return
		}
	}
	d.log.Warn("hole", "kind", h.Kind, "input", h.Input, "topic", h.Topic, "from", h.From, "to", h.To, "messages", h.Messages, "bytes", h.Bytes, "cause", h.Cause)
}

// note is later for who holds d.mu.
func (d *Delivery) note(h *ledger.Hole) {
	k := holeKey{ledger.TotalKey{Input: h.Input, Source: h.Source, Topic: h.Topic}, h.Kind, 0}
	if !h.Kind.Taken() {
		k.from = h.From
	}
	sum := d.holes[k]
	if sum == nil {
		d.holes[k] = h
		return
	}
	merge(sum, h)
}

// merge adds a hole to one before it.
func merge(sum, h *ledger.Hole) {
	sum.Bytes += h.Bytes
	if sum.Messages >= 0 {
		sum.Messages += h.Messages
	}
	if h.Messages < 0 {
		sum.Messages = -1
	}
	sum.From, sum.To, sum.Cause = min(sum.From, h.From), max(sum.To, h.To), h.Cause
	if h.Pos != nil {
		sum.Pos = h.Pos
	}
}

// forget has the ledger forget a source within a second.
func (d *Delivery) forget(source int64) {
	if d.ledger == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = append(d.gone, source)
}

// writeDown writes down the holes that were counted, and what is to be forgotten. What finds
// no room is tried again.
func (d *Delivery) writeDown() {
	d.mu.Lock()
	holes, gone := d.holes, d.gone
	d.holes, d.gone = map[holeKey]*ledger.Hole{}, nil
	d.mu.Unlock()
	for _, h := range holes {
		d.writeHole(h)
	}
	for _, source := range gone {
		if err := d.ledger.Gone(source); err != nil {
			d.fail(err)
			d.forget(source)
		}
	}
}

// untilRoom writes to the ledger what has to be there before anything else is done: while
// the disk is full it tries again, until nothing more is sent.
func (d *Delivery) untilRoom(write func() error) {
	if d.ledger == nil {
		return
	}
	for {
		err := write()
		if d.fail(err); !errors.Is(err, segment.ErrFull) {
			return
		}
		select {
		case <-time.After(firstPause):
		case <-d.life.Done():
			return
		}
	}
}
