package deliver

import (
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// lane is a topic's queue, and the goroutine that sends it.
type lane struct {
	d       *Delivery
	topic   string
	made    bool // by a template
	started time.Time
	wake    chan struct{} // there may be something to send

	spoolMu sync.Mutex // held while the queue is written to the spool

	mu      sync.Mutex
	open    [2]*batch // the one that lines which can be read again go to, and the other
	queue   []*batch  // closed, in the order in which they go out
	mem     int64     // bytes of messages in memory
	lines   int64     // of them, those that can be read again
	now     bool      // it need not wait to try again
	state   string
	why     string
	since   time.Time
	scratch []byte

	// Counters, under mu.
	batches, resent, doubled int64
	flying                   []*batch // as flight, for others

	// The goroutine's.
	flight    []*batch // sent and not answered
	pid       string
	seq       int64
	connected bool // the server's limits are known
	numbers   bool // it takes numbered batches
	pause     time.Duration
	retry     time.Time
}

const (
	replayed = 0
	spooled  = 1

	firstPause, lastPause = 50 * time.Millisecond, 30 * time.Second
	refusedPause          = 30 * time.Second

	// spoolAge is how long messages wait for others to share a batch with while the server
	// is away.
	spoolAge = 100 * time.Millisecond
)

// window is how much that can be read again is held in memory.
func (l *lane) window() int64 { return int64(l.d.cfg.InFlight+4) * l.d.cfg.BatchSize }

// offer takes lines for which there is room.
func (l *lane) offer(s *source, in *Input, path, how string, lines []feed.Line, anchor func(feed.Position) feed.Anchor, wanted string, spill bool) int {
	c := l.d.Counters(in.Name)
	l.mu.Lock()
	defer l.mu.Unlock()
	kind := replayed
	if spill {
		kind = spooled
	}
	file := path
	if s.journal {
		path, file = "", ""
	} else if in.Format == render.Raw {
		file = "" // the bodies don't have it
	}
	n, bytes := 0, int64(0)
	var last *batch
	var p part
	// Before another batch, and at the end, the one before gets what was added to it.
	end := func() {
		if last != nil {
			last.run(in, s, how, file, &p)
			last.anchored(anchor(p.to).Hash)
			bytes += p.bytes
		}
		p = part{}
	}
	for i := range lines {
		line := &lines[i]
		cost := costs(1, int64(len(line.Body)))
		if l.mem > 0 && (l.mem+cost > l.d.memory.Load()/4 || l.d.mem.Load()+cost > l.d.memory.Load()) {
			break
		}
		reserve := int64(0)
		if spill {
			reserve = spoolCost(1, int64(len(line.Body)))
			if !l.d.spool.Reserve(l.topic, reserve) {
				break
			}
		} else if l.lines > 0 && l.lines+cost > l.window() {
			break
		}
		b := l.batchFor(kind, len(line.Body))
		facts := render.Facts{Time: b.taken, Host: l.d.cfg.Host, Input: in.Name, File: path, Offset: line.From.At, Topic: wanted}
		b = l.add(b, kind, in.Format, &facts, &line.Message)
		if last != b {
			end()
			last, p.from = b, line.From
		}
		p.to = line.To
		p.lines++
		p.bytes += int64(len(line.Body))
		b.cost += cost
		b.reserved += reserve
		l.mem += cost
		if !spill {
			b.windowed = true
			l.lines += cost
		}
		l.d.mem.Add(cost)
		n++
	}
	if n > 0 {
		end()
		c.took(int64(n), bytes)
	}
	return n
}

// anchored sets the anchor at the end of the last run.
func (b *batch) anchored(hash uint64) {
	n := len(b.runs)
	b.runs[n-1].Anchor = hash
	if m := b.marks[n-1]; m != nil {
		m.src.mu.Lock()
		m.anchor = hash
		m.src.mu.Unlock()
	}
}

// spoolCost is the room in the spool for messages, at most.
func spoolCost(n int, bytes int64) int64 { return bytes*4/3 + int64(n)*600 }

// fits reports whether a message goes into the batch, too.
func (b *batch) fits(n int) bool {
	return b.b.Messages() == 0 || b.b.Fits(b.lane.topic, n, b.lane.d.MaxBatch()-numberLen)
}

// batchFor returns the open batch for a body of n bytes, which it begins if need be. l.mu
// is held.
func (l *lane) batchFor(kind, n int) *batch {
	if b := l.open[kind]; b != nil && b.fits(n) {
		return b
	}
	l.closeBatch(kind)
	b := &batch{lane: l, b: l.d.emptyBatch(), taken: time.Now(), spooling: kind == spooled && l.d.spool != nil}
	b.age = time.AfterFunc(l.d.cfg.BatchAge, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case l.open[kind] != b:
		case l.state == "retrying" && len(b.waiters) == 0 && time.Since(b.taken) < spoolAge:
			b.age.Reset(spoolAge) // nobody waits for it, and a large one costs less
		default:
			l.closeBatch(kind)
		}
	})
	l.open[kind] = b
	return b
}

// add adds a message to a batch, or to the next one if it does not fit as it is written.
func (l *lane) add(b *batch, kind int, format render.Format, facts *render.Facts, m *feed.Message) *batch {
	if format == render.Raw {
		b.b.Add(m.Body)
		return b
	}
	l.scratch = render.AppendBody(l.scratch[:0], format, facts, m)
	if !b.fits(len(l.scratch)) {
		b = l.batchFor(kind, len(l.scratch))
		if kind == replayed { // the time in the envelope is that of the batch
			facts.Time = b.taken
			l.scratch = render.AppendBody(l.scratch[:0], format, facts, m)
		}
	}
	b.b.Add(l.scratch)
	return b
}

// closeBatch puts the open batch in the queue. l.mu is held.
func (l *lane) closeBatch(kind int) {
	b := l.open[kind]
	l.open[kind] = nil
	if b == nil || b.b.Messages() == 0 {
		return
	}
	b.age.Stop()
	l.queue = append(l.queue, b)
	if b.spooling {
		poke(l.d.toSpool)
	} else {
		poke(l.wake)
	}
}

// closeOpen has what was taken go out now.
func (l *lane) closeOpen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeBatch(replayed)
	l.closeBatch(spooled)
}

// reserve keeps room for messages that are about to be put.
func (l *lane) reserve(g *group) bool {
	cost := costs(len(g.messages), g.bytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mem > 0 && (l.mem+cost > l.d.memory.Load()/4 || l.d.mem.Load()+cost > l.d.memory.Load()) {
		return false
	}
	if l.d.spool != nil && !l.d.spool.Reserve(l.topic, spoolCost(len(g.messages), g.bytes)) {
		return false
	}
	l.mem += cost
	l.d.mem.Add(cost)
	return true
}

func (l *lane) unreserve(g *group) {
	cost := costs(len(g.messages), g.bytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.d.spool != nil {
		l.d.spool.Release(l.topic, spoolCost(len(g.messages), g.bytes))
	}
	l.mem -= cost
	l.d.mem.Add(-cost)
}

// put takes messages for which there is room.
func (l *lane) put(in *Input, g *group, wanted string, w *waiter) {
	c := l.d.Counters(in.Name)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var last *batch
	var p part
	for i := range g.messages {
		m := &g.messages[i]
		facts := render.Facts{Time: now, Host: l.d.cfg.Host, Input: in.Name, Topic: wanted}
		b := l.add(l.batchFor(spooled, len(m.Body)), spooled, in.Format, &facts, m)
		if last != nil && b != last {
			last.run(in, nil, "", "", &p)
			p = part{}
		}
		p.lines++
		p.bytes += int64(len(m.Body))
		b.cost += costs(1, int64(len(m.Body)))
		if l.d.spool != nil {
			b.reserved += spoolCost(1, int64(len(m.Body)))
		}
		if w != nil && b != last {
			w.left.Add(1)
			if len(b.waiters) == 0 {
				l.d.waiting.Add(1)
			}
			b.waiters = append(b.waiters, w)
		}
		last = b
	}
	if last != nil {
		last.run(in, nil, "", "", &p)
	}
	c.took(int64(len(g.messages)), g.bytes)
}

// waiting returns how many messages are not settled, and how many only memory has.
func (l *lane) waiting() (all, memory int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range slices.Concat(l.flying, l.queue, l.open[:]) {
		if b == nil {
			continue
		}
		all += b.messages
		if (b.rec == segment.Ref{}) && !b.early && !slices.ContainsFunc(b.marks, func(m *mark) bool { return m != nil }) {
			memory += b.messages
		}
	}
	return all, memory
}

func (l *lane) snapshot() LaneState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LaneState{Topic: l.topic, State: l.state, Why: l.why, Since: l.since, Batches: l.batches, Resent: l.resent, Doubled: l.doubled}
	if s.State == "" {
		s.State, s.Since = "ok", l.started
	}
	for _, b := range slices.Concat(l.flying, l.queue, l.open[:]) {
		if b == nil {
			continue
		}
		s.Messages += b.messages
		if s.Oldest.IsZero() || b.taken.Before(s.Oldest) {
			s.Oldest = b.taken
		}
	}
	return s
}

// enter notes how the lane stands, and logs a change.
func (l *lane) enter(state, why string) {
	l.mu.Lock()
	was := l.state
	if was == "" {
		was = "ok"
	}
	l.why = why
	if was != state {
		l.state, l.since = state, time.Now()
	}
	l.mu.Unlock()
	switch {
	case was == state || l.d.life.Err() != nil:
	case state == "ok":
		l.d.log.Info("lane goes on", "topic", l.topic)
	default:
		l.d.log.Warn("lane can't go on", "topic", l.topic, "state", state, "cause", why)
	}
}
