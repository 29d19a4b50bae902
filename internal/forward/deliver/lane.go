package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/spool"
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
	spare   []logd.Batch // empty ones, for their memory

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
		if last != nil && last != b {
			last.anchored(anchor(lines[i-1].To).Hash)
		}
		last = b
		b.run(in, s, how, file, line.From, line.To, int64(len(line.Body)))
		b.cost += cost
		b.reserved += reserve
		l.mem += cost
		if !spill {
			b.windowed = true
			l.lines += cost
		}
		l.d.mem.Add(cost)
		bytes += int64(len(line.Body))
		n++
	}
	if n > 0 {
		last.anchored(anchor(lines[n-1].To).Hash)
		c.TakenMessages.Add(int64(n))
		c.TakenBytes.Add(bytes)
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
	return b.messages == 0 || b.b.Fits(b.lane.topic, n, b.lane.d.MaxBatch()-numberLen)
}

// batchFor returns the open batch for a body of n bytes, which it begins if need be. l.mu
// is held.
func (l *lane) batchFor(kind, n int) *batch {
	if b := l.open[kind]; b != nil && b.fits(n) {
		return b
	}
	l.closeBatch(kind)
	b := &batch{lane: l, taken: time.Now(), spooling: kind == spooled && l.d.spool != nil}
	if i := len(l.spare) - 1; i >= 0 {
		b.b, l.spare = l.spare[i], l.spare[:i]
	}
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
	if b == nil || b.messages == 0 {
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
	for i := range g.messages {
		m := &g.messages[i]
		facts := render.Facts{Time: now, Host: l.d.cfg.Host, Input: in.Name, Topic: wanted}
		b := l.add(l.batchFor(spooled, len(m.Body)), spooled, in.Format, &facts, m)
		b.run(in, nil, "", "", feed.Position{}, feed.Position{}, int64(len(m.Body)))
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
	c.TakenMessages.Add(int64(len(g.messages)))
	c.TakenBytes.Add(g.bytes)
}

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
			return false
		}
		l.mu.Lock()
		if len(b.waiters) > 0 {
			poke(l.d.toSync)
		}
		freed := int64(0)
		if slices.Index(l.queue, b) > l.d.cfg.InFlight { // it is read again when its turn comes
			freed = b.drop()
		}
		l.mu.Unlock()
		if freed > 0 {
			l.d.freed(freed)
		}
		poke(l.wake)
	}
}

// spoolOne writes a batch to the spool. Nobody else touches it meanwhile.
func (l *lane) spoolOne(b *batch) bool {
	h := &spool.Head{Topic: l.topic, Messages: b.messages, Time: b.taken.UnixNano(), Runs: b.runs}
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
	l.mu.Lock()
	b.rec, b.put = r.Ref, l.d.spool.Written()
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
		if moved := b.settle(); len(moved) > 0 {
			l.d.fail(l.d.ledger.Moved(moved...))
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
	for _, b := range slices.Concat(l.flying, l.queue) {
		if has(b) && (b.rec == segment.Ref{}) {
			b.spill = true
		}
	}
	poke(l.wake)
}

// spillQueued writes to the spool what is to go there of what can soon not be read again.
func (l *lane) spillQueued() {
	l.mu.Lock()
	var all []*batch
	for _, b := range l.queue {
		if b.spill && !b.making && (b.rec == segment.Ref{}) && b.stored == nil {
			all = append(all, b)
		}
	}
	l.mu.Unlock()
	for _, b := range all {
		if b.reserved = spoolCost(int(b.messages), b.bytes); !l.d.spool.Reserve(l.topic, b.reserved) {
			b.reserved = 0
			return
		}
		if !l.spoolOne(b) {
			return
		}
		if b.sent && l.d.ledger != nil { // a restart finds it in the spool
			l.d.fail(l.d.ledger.Sent(b.sentRecord(b.b.Raw(l.topic), nil)))
		}
	}
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
	if b.making || b.spooling && b.rec == (segment.Ref{}) {
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
}

// send sends what can be sent.
func (l *lane) send() {
	if l.d.spool != nil {
		l.spillQueued()
	}
	for len(l.flight) < l.d.cfg.InFlight && time.Now().After(l.retry) && l.d.life.Err() == nil {
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
		var stored logd.StoredBatch
		if stored, err = logd.ParseBatch(raw); err == nil {
			for m := range stored.All() {
				b.b.Add(m.Body)
			}
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
	b.raw = int64(len(raw))
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
	b.stored.Pos = append(b.stored.Pos, b.settle()...)
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
			h.Pos = moved
			if b.rec != (segment.Ref{}) {
				h.Spool = &b.rec
			}
			if b.key.Seq > 0 {
				h.Key = &b.key
			}
		}
		if l.d.ledger != nil {
			l.d.fail(l.d.ledger.Hole(&h))
		}
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
		b.sent, b.early = false, false
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
		if l.spoolOne(first) && l.spoolOne(second) { // else they wait for room
			l.replaced(b)
		}
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
		if err := l.d.ledger.Split(b.key, sent...); err != nil {
			l.d.fail(err)
			l.later(err)
		}
	}
}

// replaced says that others have the messages of a batch in the spool.
func (l *lane) replaced(b *batch) {
	l.d.fail(l.d.ledger.Replaced(b.rec, b.key))
	l.d.fail(l.d.spool.Done(b.rec))
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
		if b.making {
			time.Sleep(10 * time.Millisecond)
			if d.life.Err() != nil {
				return
			}
			continue
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
		to.queue = append(to.queue, moved)
		to.mu.Unlock()
		if b.rec != (segment.Ref{}) {
			if to.spoolOne(moved) {
				l.replaced(b)
			}
		}
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
	b.marks = nil
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
