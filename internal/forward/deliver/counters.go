package deliver

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
)

// Counters are what became of the messages of an input, since the start: of those that were
// taken then, and those that earlier runs have left. The ones taken are the ones stored,
// those that wait, and the holes of kinds that count as taken.
type Counters struct {
	TakenMessages, TakenBytes   atomic.Int64
	StoredMessages, StoredBytes atomic.Int64

	mu    sync.Mutex
	holes map[feed.Kind]ledger.Lost
}

// Holes returns the sums of the holes of each kind.
func (c *Counters) Holes() map[feed.Kind]ledger.Lost {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.holes)
}

// Waiting returns how many bytes were taken and are neither stored nor a hole.
func (c *Counters) Waiting() int64 {
	n := -c.StoredBytes.Load()
	for kind, l := range c.Holes() {
		if kind.Taken() {
			n -= l.Bytes
		}
	}
	return max(n+c.TakenBytes.Load(), 0)
}

func (c *Counters) took(messages, bytes int64) {
	c.TakenMessages.Add(messages)
	c.TakenBytes.Add(bytes)
}

func (c *Counters) hole(h *feed.Hole) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holes == nil {
		c.holes = map[feed.Kind]ledger.Lost{}
	}
	l := c.holes[h.Kind]
	l.Holes++
	l.Messages += max(h.Messages, 0)
	l.Bytes += h.Bytes
	c.holes[h.Kind] = l
}

// Counters returns those of an input.
func (d *Delivery) Counters(input string) *Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.countersOf(input)
}

// countersOf is Counters for who holds mu.
func (d *Delivery) countersOf(input string) *Counters {
	c := d.counters[input]
	if c == nil {
		c = new(Counters)
		d.counters[input] = c
	}
	return c
}
