package deliver

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/render"
)

// mark is a range of a source that was offered and is not settled: it belongs to the
// batches that have lines of it, or is a hole.
type mark struct {
	src      *source
	from, to feed.Position
	anchor   uint64 // at to
	batches  int    // that are not settled
	hole     *ledger.Hole
}

// moves are what positions move by.
type moves struct {
	pos   []ledger.Pos
	holes []*ledger.Hole // to be written down afterwards, with the positions behind them
}

func (m *moves) add(o moves) {
	m.pos = append(m.pos, o.pos...)
	m.holes = append(m.holes, o.holes...)
}

// source is a file or the journal. It is a feed.Replayed.
type source struct {
	d       *Delivery
	id      int64
	input   string
	journal bool
	replay  feed.Replay

	mu       sync.Mutex
	in       Input
	file     feed.File
	topic    string // of all lines, empty if it depends on the line
	made     bool   // the topic is made by a template
	read     feed.Position
	position feed.Position
	marks    []*mark // in the order in which they were offered, the settled ones gone as far as all before are
	// covered is what is behind the position and was sent by an earlier run.
	covered []ledger.TopicRun
	ended   bool
	forget  bool
}

// set has the source's lines become messages of a topic as its input says.
func (s *source) set(in Input, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = in
	s.made = !in.Topic.Constant()
	s.topic = ""
	for _, name := range in.Topic.Names() {
		if name != "base" && name != "host" {
			return
		}
	}
	s.topic = string(in.Topic.Topic(nil, &render.Vars{Wild: s.file.Wild, Path: s.file.Path, Host: host}))
}

// ID implements feed.Replayed.
func (s *source) ID() int64 { return s.id }

// Read implements feed.Replayed.
func (s *source) Read() feed.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// Position implements feed.Replayed.
func (s *source) Position() feed.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position
}

// Offer implements feed.Replayed.
func (s *source) Offer(lines []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	return s.offer(lines, anchor, false)
}

// Spill implements feed.Replayed.
func (s *source) Spill(lines []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	if s.d.spool == nil {
		return s.offer(lines, anchor, false)
	}
	for _, l := range s.d.allLanes() {
		l.spill(s)
	}
	return s.offer(lines, anchor, true)
}

func (s *source) offer(lines []feed.Line, anchor func(feed.Position) feed.Anchor, spill bool) int {
	if s.d.closing.Load() {
		return 0
	}
	s.mu.Lock()
	in, topic, made, path, wild, how := s.in, s.topic, s.made, s.file.Path, s.file.Wild, s.file.How
	s.mu.Unlock()
	n := 0
	for n < len(lines) {
		to := topic
		run := len(lines) - n // lines of one topic
		if topic == "" {
			name := s.topicOf(nil, &in, &lines[n].Message, path, wild)
			to = string(name)
			for run = 1; n+run < len(lines); run++ {
				if name = s.topicOf(name[:0], &in, &lines[n+run].Message, path, wild); string(name) != to {
					break
				}
			}
		}
		if done := s.skip(to, lines[n:n+run]); done > 0 {
			n += done
			continue
		}
		lane := s.d.lane(to, made)
		wanted := ""
		if lane.topic != to {
			wanted = to
		}
		took := lane.offer(s, &in, path, how, lines[n:n+run], anchor, wanted, spill)
		if n += took; took < run {
			break
		}
	}
	return n
}

// topicOf appends the topic of a line to dst.
func (s *source) topicOf(dst []byte, in *Input, m *feed.Message, path string, wild []string) []byte {
	return in.Topic.Topic(dst, &render.Vars{
		Wild: wild, Path: path, App: m.App, Unit: m.Unit, Facility: m.Facility, Severity: m.Severity, Host: s.d.cfg.Host,
	})
}

// skip returns how many of the lines, from the first one on, an earlier run has sent.
func (s *source) skip(topic string, lines []feed.Line) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.covered) == 0 {
		return 0
	}
	n := 0
	for _, line := range lines {
		has := func(r ledger.TopicRun) bool {
			return r.Topic == topic && r.From.At <= line.From.At && line.To.At <= r.To.At
		}
		if !slices.ContainsFunc(s.covered, has) {
			break
		}
		s.read = line.To
		n++
	}
	s.covered = slices.DeleteFunc(s.covered, func(r ledger.TopicRun) bool { return r.To.At <= s.read.At })
	return n
}

// mark notes that a batch has lines of the source. lane.mu is held. Lines that follow those
// of the batch before it are one mark.
func (s *source) mark(last *mark, from, to feed.Position) *mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = to
	if last != nil {
		last.to = to
		return last
	}
	m := &mark{src: s, from: from, to: to, batches: 1}
	s.marks = append(s.marks, m)
	return m
}

// settled notes that a batch which has lines of the mark is stored, a hole, or safe in the
// spool, and returns how the position moves.
func (m *mark) settled() moves {
	s := m.src
	s.mu.Lock()
	defer s.mu.Unlock()
	m.batches--
	return s.move()
}

// move moves the position behind the marks that are settled, if no unsettled one begins
// before it. s.mu is held.
//
// A position behind a hole is written down with the hole, in one record: else a kill between
// two would have it listed twice, or never.
func (s *source) move() (all moves) {
	var p *ledger.Pos
	least := int64(-1)
	for _, m := range s.marks {
		if m.batches > 0 && (least < 0 || m.from.At < least) {
			least = m.from.At
		}
	}
	pass := 0
	for i, m := range s.marks {
		if m.batches > 0 || least >= 0 && m.to.At > least || m.to.At > s.read.At {
			break // what an earlier run has sent may stand behind lines that were not offered yet
		}
		if m.hole == nil || m.to.At > m.from.At { // else it waits for a place behind it
			pass = i + 1
		}
	}
	for _, m := range s.marks[:pass] {
		if m.to.At > s.position.At {
			s.position = m.to
			p = &ledger.Pos{Source: s.id, Position: m.to, Anchor: m.anchor}
		}
		if m.hole == nil {
			continue
		}
		if n := len(all.holes); n > 0 && all.holes[n-1].Kind == m.hole.Kind && m.hole.Kind.Taken() {
			merge(all.holes[n-1], m.hole)
		} else {
			all.holes = append(all.holes, m.hole)
		}
	}
	s.marks = slices.Delete(s.marks, 0, pass)
	if p != nil {
		if n := len(all.holes); n > 0 {
			all.holes[n-1].Pos = []ledger.Pos{*p}
		} else {
			all.pos = []ledger.Pos{*p}
		}
		s.file.Anchors = [2]feed.Anchor{{At: p.Position.At, Hash: p.Anchor}, s.file.Anchors[0]}
		s.file.Position = p.Position.At
	}
	if s.forget && len(s.marks) == 0 {
		s.d.forget(s.id)
		s.forget = false
	}
	return all
}

// Hole implements feed.Replayed.
func (s *source) Hole(h feed.Hole, anchor uint64) {
	s.mu.Lock()
	all := s.pass(h, anchor)
	s.mu.Unlock()
	for _, hole := range all.holes {
		s.d.writeHole(hole)
	}
	if len(all.pos) > 0 && s.d.ledger != nil {
		s.d.fail(s.d.ledger.Moved(all.pos...))
	}
}

// pass has reading go on behind a hole. s.mu is held.
func (s *source) pass(h feed.Hole, anchor uint64) moves {
	if h.Topic == "" {
		h.Topic = s.topic
	}
	from, to := s.read, s.read
	if h.To > s.read.At {
		to = feed.Position{At: h.To}
	}
	s.read = to
	parts := []feed.Hole{h}
	if h.To > h.From && !h.Kind.Taken() {
		parts = s.uncovered(h)
	}
	for _, part := range parts {
		s.d.counted(s.input, &part)
		hole := &ledger.Hole{Hole: part, Input: s.input, Source: s.id, Time: time.Now().UnixNano()}
		if n := len(s.marks); n > 0 && to == from && s.marks[n-1].hole != nil && s.marks[n-1].from == from && s.marks[n-1].to == to && s.marks[n-1].hole.Kind == h.Kind {
			merge(s.marks[n-1].hole, hole) // there is no place between them
			continue
		}
		s.marks = append(s.marks, &mark{src: s, from: from, to: to, anchor: anchor, hole: hole})
	}
	if len(parts) == 0 {
		s.marks = append(s.marks, &mark{src: s, from: from, to: to, anchor: anchor})
	}
	return s.move()
}

// uncovered returns what is left of a hole without what an earlier run has sent: that is
// stored, or it becomes a hole of its own. s.mu is held.
func (s *source) uncovered(h feed.Hole) (parts []feed.Hole) {
	runs := slices.Clone(s.covered)
	slices.SortFunc(runs, func(a, b ledger.TopicRun) int { return cmp.Compare(a.From.At, b.From.At) })
	at := h.From
	part := func(to int64) {
		if to > at {
			p := h
			p.From, p.To, p.Bytes = at, to, to-at
			parts = append(parts, p)
		}
	}
	for _, r := range runs {
		part(min(r.From.At, h.To))
		at = max(at, r.To.At)
	}
	part(h.To)
	return parts
}

// Seen implements feed.Replayed.
func (s *source) Seen(f feed.File) {
	s.mu.Lock()
	if s.journal {
		s.file.How = f.How
		s.mu.Unlock()
		return
	}
	f.ID, f.Input, f.Position, f.Anchors = s.id, s.input, s.file.Position, s.file.Anchors
	if f.Wild == nil {
		f.Wild = s.file.Wild
	}
	same := f.Path == s.file.Path && f.Device == s.file.Device && f.Inode == s.file.Inode && f.PrefixLen == s.file.PrefixLen &&
		f.Prefix == s.file.Prefix && f.Text == s.file.Text && f.Size == s.file.Size && f.Seen == s.file.Seen && f.How == s.file.How && slices.Equal(f.Wild, s.file.Wild)
	s.file = f
	s.mu.Unlock()
	if !same && s.d.ledger != nil {
		_, err := s.d.ledger.Found(f, false)
		s.d.fail(err)
	}
}

// Close implements feed.Replayed.
func (s *source) Close() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.sources[s.id] == s {
		delete(s.d.sources, s.id)
	}
}

// Forget implements feed.Replayed.
func (s *source) Forget() {
	s.mu.Lock()
	if s.forget = len(s.marks) > 0; !s.forget {
		s.d.forget(s.id)
	}
	s.mu.Unlock()
	s.Close()
}

// Files implements feed.Sink.
func (d *Delivery) Files(input string) (all []feed.File) {
	if d.ledger == nil {
		return nil
	}
	d.ledger.Look(func(s *ledger.State) {
		for _, src := range s.Sources {
			if src.Input == input && !src.Journal {
				all = append(all, src.File)
			}
		}
	})
	slices.SortFunc(all, func(a, b feed.File) int { return int(a.ID - b.ID) })
	return all
}

// File implements feed.Sink.
func (d *Delivery) File(f feed.File, replay feed.Replay) (feed.Replayed, error) {
	s := &source{d: d, input: f.Input, replay: replay, file: f}
	if d.ledger == nil {
		d.mu.Lock()
		if s.id = f.ID; s.id == 0 {
			s.id = int64(len(d.sources)) + 1
			for d.sources[s.id] != nil {
				s.id++
			}
		}
		d.mu.Unlock()
		s.file.ID = s.id
		s.read = feed.Position{At: f.Position}
		s.position = s.read
		d.register(s)
		return s, nil
	}
	fresh := false
	d.ledger.Look(func(state *ledger.State) {
		known := state.Sources[f.ID]
		fresh = known != nil && known.Position != f.Position
	})
	got, err := d.ledger.Found(f, fresh)
	if err != nil {
		d.fail(err)
		return nil, err
	}
	s.id, s.file = got.ID, got
	s.read = feed.Position{At: got.Position}
	s.position = s.read
	if !fresh {
		d.cover(s)
	}
	d.register(s)
	return s, nil
}

// Journal implements feed.Sink.
func (d *Delivery) Journal(input string, replay feed.Replay) (feed.Replayed, bool, error) {
	s := &source{d: d, input: input, replay: replay, journal: true}
	if d.ledger == nil {
		s.id = -1
		d.register(s)
		return s, false, nil
	}
	id, at, known, err := d.ledger.Journal(input)
	if err != nil {
		d.fail(err)
		return nil, false, err
	}
	s.id, s.read, s.position = id, at, at
	s.file = feed.File{ID: id, Input: input}
	d.cover(s)
	d.register(s)
	return s, known, nil
}

// cover has lines left out that an earlier run has sent, and keeps the position before
// those of them that are not stored.
func (d *Delivery) cover(s *source) {
	d.ledger.Look(func(state *ledger.State) {
		if src := state.Sources[s.id]; src != nil {
			s.covered = slices.Clone(src.Done)
			for _, r := range src.Done {
				s.marks = append(s.marks, &mark{src: s, from: r.From, to: r.To, anchor: r.Anchor})
			}
		}
	})
	d.mu.Lock()
	for _, o := range d.olds[s.id] {
		for _, r := range o.b.runs {
			if r.Source == s.id && r.To.At > s.position.At {
				s.covered = append(s.covered, ledger.TopicRun{Topic: o.b.lane.topic, Run: r})
			}
		}
		if o.m.src == nil && o.m.batches > 0 {
			o.m.src = s
			s.marks = append(s.marks, o.m)
		}
	}
	d.mu.Unlock()
	slices.SortStableFunc(s.marks, func(a, b *mark) int { return int(min(max(a.from.At-b.from.At, -1), 1)) })
}

func (d *Delivery) register(s *source) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sources[s.id] = s
	if in, ok := d.inputs[s.input]; ok {
		s.set(in, d.cfg.Host)
	}
}

// live is a source that can't be read again. It is a feed.Live.
type live struct {
	d     *Delivery
	input string
}

// Live implements feed.Sink.
func (d *Delivery) Live(input, name string) feed.Live { return &live{d, input} }

// Close implements feed.Live.
func (s *live) Close() {}

// Hole implements feed.Live.
func (s *live) Hole(h feed.Hole) { s.d.told(s.input, h) }

// Put implements feed.Live.
func (s *live) Put(ctx context.Context, messages []feed.Message, full feed.Full, safe func()) error {
	w := &waiter{f: safe}
	w.left.Store(1)
	if safe == nil {
		w = nil
	}
	d := s.d
	d.mu.Lock()
	in := d.inputs[s.input]
	d.mu.Unlock()
	groups := s.groups(&in, messages)
	for {
		if d.closing.Load() {
			return feed.ErrClosing
		}
		room := d.nextRoom()
		if s.put(&in, groups, w) {
			break
		}
		switch full {
		case feed.Refuse:
			return feed.ErrFull
		case feed.Drop:
			s.putOrDrop(&in, groups, w)
			w.done()
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.done()
	return nil
}

// group is messages of one topic.
type group struct {
	topic    string
	made     bool
	messages []feed.Message
	bytes    int64
}

// groups has the messages by topic, in the order in which they came.
func (s *live) groups(in *Input, messages []feed.Message) (all []group) {
	constant := in.Topic.Constant()
	var name []byte
	for i := range messages {
		m := &messages[i]
		made := false
		switch {
		case m.Topic != "":
			name = append(name[:0], m.Topic...)
		case constant:
			name = append(name[:0], in.Topic.String()...)
		default:
			made = true
			name = in.Topic.Topic(name[:0], &render.Vars{App: m.App, Unit: m.Unit, Facility: m.Facility, Severity: m.Severity, Host: s.d.cfg.Host})
		}
		j := slices.IndexFunc(all, func(g group) bool { return g.topic == string(name) })
		if j < 0 {
			if len(all) == 1 { // what it has is the caller's, and so is what stands behind
				all[0].messages = slices.Clone(all[0].messages)
			}
			j = len(all)
			all = append(all, group{topic: string(name), made: made})
		}
		g := &all[j]
		if len(all) == 1 { // as good as always
			g.messages = messages[:i+1]
		} else {
			g.messages = append(g.messages, *m)
		}
		g.bytes += int64(len(m.Body))
	}
	return all
}

// put takes all, if there is room for all.
func (s *live) put(in *Input, groups []group, w *waiter) bool {
	lanes := make([]*lane, len(groups))
	for i, g := range groups {
		lanes[i] = s.d.lane(g.topic, g.made)
		if !lanes[i].reserve(&g) {
			for k := range i {
				lanes[k].unreserve(&groups[k])
			}
			return false
		}
	}
	for i, g := range groups {
		wanted := ""
		if lanes[i].topic != g.topic {
			wanted = g.topic
		}
		lanes[i].put(in, &g, wanted, w)
	}
	return true
}

// putOrDrop takes what there is room for.
func (s *live) putOrDrop(in *Input, groups []group, w *waiter) {
	for _, g := range groups {
		for i := range g.messages {
			m := &g.messages[i]
			one := group{g.topic, g.made, g.messages[i : i+1], int64(len(m.Body))}
			if !s.put(in, []group{one}, w) {
				s.d.told(s.input, feed.Hole{Kind: feed.Dropped, Topic: g.topic, Messages: 1, Bytes: one.bytes, Cause: feed.ErrFull.Error()})
			}
		}
	}
}
