package files

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// sink is a feed.Sink that keeps what it gets, and whose records outlive the agent. What
// is offered is stored at once, unless lazy is set; then it is when store is called.
type sink struct {
	t testing.TB

	mu    sync.Mutex
	next  int64
	known map[int64]*source
	order []int64 // of the sources, as they began
	room  int64   // how many lines there is room for; -1 for all
	spool int64   // and in the spool
	lazy  bool
	dead  bool // the agent is killed, and does not know it yet: nothing counts any more
	chan_ chan struct{}
}

// source is what the sink knows of one file.
type source struct {
	s      *sink
	file   feed.File
	replay feed.Replay
	read   int64
	lines  []feed.Line
	anchor []feed.Anchor
	stored int   // of lines
	sent   int   // of lines, which may be more: those are not offered again after a crash
	done   int64 // up to there all was sent before a crash
	holes  []hole
	spilt  int
	open   bool
	leaves bool // it is forgotten when all is stored
	forgot atomic.Bool
	unborn bool // it began when the agent was dead

	unsure []feed.Line // sent before a crash, and could not be read again
}

// hole is one that counts when the lines before it are stored.
type hole struct {
	feed.Hole
	anchor uint64
	behind int // how many lines are before it
	known  bool
}

func newSink(t testing.TB) *sink {
	return &sink{t: t, known: make(map[int64]*source), room: -1, spool: -1, chan_: make(chan struct{}, 1)}
}

func (s *sink) Live(string, string) feed.Live { panic("files have no live source") }
func (s *sink) Journal(string, feed.Replay) (feed.Replayed, bool, error) {
	panic("files have no journal")
}
func (s *sink) Room() <-chan struct{} { return s.chan_ }

func (s *sink) Files(input string) []feed.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []feed.File
	for _, id := range s.order {
		r := s.known[id]
		if r.forgot.Load() || r.file.Input != input {
			continue
		}
		f := r.file
		f.Wild = nil
		all = append(all, f)
	}
	return all
}

func (s *sink) File(f feed.File, replay feed.Replay) (feed.Replayed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.known[f.ID]
	switch {
	case f.ID == 0:
		s.next++
		f.ID = s.next
		r = &source{s: s, file: f, read: f.Position, unborn: s.dead}
		s.known[f.ID] = r
		s.order = append(s.order, f.ID)
	case r == nil || r.forgot.Load():
		return nil, fmt.Errorf("source %d is not known", f.ID)
	case r.open:
		s.t.Errorf("source %d is open twice", f.ID)
	}
	r.open = true
	r.replay = replay
	return r, nil
}

// crash forgets what a new run of the agent does not know: what was not stored, nor sent.
func (s *sink) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.known {
		n := max(r.sent, r.stored)
		r.lines, r.anchor = r.lines[:n], r.anchor[:n]
		r.holes = slices.DeleteFunc(r.holes, func(h hole) bool { return !h.known })
		r.read, r.done = r.file.Position, r.file.Position
		if n > 0 {
			r.done = max(r.done, r.lines[n-1].To.At)
		}
		r.open, r.leaves = false, false
		if r.unborn {
			r.forgot.Store(true)
		}
	}
	s.dead = false
}

// kill lets nothing count that the agent does from now on.
func (s *sink) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

// recover reads again what was sent and not answered before a crash. Whether that can be
// done or not: the server may have it.
func (s *sink) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		r := s.known[id]
		n := slices.IndexFunc(r.lines, func(l feed.Line) bool { return l.To.At > r.done })
		if n < 0 {
			n = len(r.lines)
		}
		if n <= r.stored || r.forgot.Load() {
			continue
		}
		waiting := r.lines[r.stored:n]
		i := 0
		err := r.replay.Replay(context.Background(), r.file.How, waiting[0].From, waiting[len(waiting)-1].To, func(l *feed.Line) error {
			if i == len(waiting) || !bytes.Equal(l.Body, waiting[i].Body) || l.To != waiting[i].To {
				return fmt.Errorf("line %d is %q", i, l.Body)
			}
			i++
			return nil
		})
		if err != nil || i < len(waiting) {
			r.unsure = append(r.unsure, waiting...)
		}
		r.store(len(waiting))
	}
}

func (s *sink) setRoom(room int64) {
	s.mu.Lock()
	s.room = room
	s.mu.Unlock()
	s.wake()
}

func (s *sink) setSpool(spool int64) {
	s.mu.Lock()
	s.spool = spool
	s.mu.Unlock()
	s.wake()
}

func (s *sink) wake() { poke(s.chan_) }

// store stores n lines of each source that were offered, -1 for all.
func (s *sink) store(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		s.known[id].store(n)
	}
}

// send sends n lines of each source that were offered.
func (s *sink) send(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.known {
		r.sent = min(len(r.lines), max(r.sent, r.stored)+n)
	}
}

// store stores n lines, -1 for all. mu is held.
func (r *source) store(n int) {
	if n < 0 {
		n = len(r.lines)
	}
	r.stored = min(len(r.lines), r.stored+n)
	r.move()
}

// move moves the position behind what is stored, and the holes that follow. mu is held.
func (r *source) move() {
	a := feed.Anchor{At: r.file.Position}
	for i := r.stored - 1; i >= 0; i-- {
		if l := r.lines[i]; l.To.At <= r.read { // else it was sent before a crash, and is not offered yet
			if l.To.At > a.At {
				a = r.anchor[i]
			}
			break
		}
	}
	for i := range r.holes {
		h := &r.holes[i]
		if h.behind > r.stored {
			continue
		}
		if h.known = true; h.To > a.At {
			a = feed.Anchor{At: h.To, Hash: h.anchor}
		}
	}
	if a.At > r.file.Position {
		r.file.Position = a.At
		r.file.Anchors = [2]feed.Anchor{a, r.file.Anchors[0]}
	}
	if r.leaves && r.stored == len(r.lines) {
		r.forgot.Store(true)
	}
}

func (r *source) ID() int64 { return r.file.ID }

func (r *source) take(lines []feed.Line, anchor func(feed.Position) feed.Anchor, room *int64) int {
	if !r.open {
		r.s.t.Errorf("source %d (%s) is used behind its end", r.file.ID, r.file.Path)
	}
	n := 0
	for _, l := range lines {
		if l.From.At < r.read || l.To.At <= l.From.At {
			r.s.t.Errorf("%s: line [%d,%d) behind %d", r.file.Path, l.From.At, l.To.At, r.read)
		}
		if l.To.At > r.done {
			if *room == 0 {
				break
			}
			if *room > 0 {
				*room--
			}
			l.Body = slices.Clone(l.Body)
			r.lines = append(r.lines, l)
			a := anchor(l.To)
			if a.At != l.To.At {
				r.s.t.Errorf("%s: anchor at %d, want %d", r.file.Path, a.At, l.To.At)
			}
			r.anchor = append(r.anchor, a)
		}
		r.read = l.To.At
		n++
	}
	return n
}

func (r *source) Offer(lines []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.dead {
		return len(lines)
	}
	n := r.take(lines, anchor, &r.s.room)
	if !r.s.lazy {
		r.store(-1)
	}
	return n
}

func (r *source) Spill(lines []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.dead {
		return len(lines)
	}
	for r.stored < len(r.lines) { // what was offered before goes first
		if r.s.spool == 0 {
			return 0
		}
		r.s.spool--
		r.store(1)
	}
	n := r.take(lines, anchor, &r.s.spool)
	r.spilt += n
	r.store(-1)
	return n
}

func (r *source) Read() feed.Position {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return feed.Position{At: r.read}
}

func (r *source) Position() feed.Position {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return feed.Position{At: r.file.Position}
}

func (r *source) Hole(h feed.Hole, anchor uint64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.dead {
		return
	}
	if h.From < r.read || h.To <= h.From || h.Bytes != h.To-h.From || h.Cause == "" {
		r.s.t.Errorf("%s: hole %+v, read up to %d", r.file.Path, h, r.read)
	}
	if r.file.PrefixLen == 0 {
		r.s.t.Errorf("%s: hole %+v, and it is not known what the file began with", r.file.Path, h)
	}
	r.read = h.To
	if h.Kind != feed.TooLong {
		h.From = max(h.From, r.done)
		h.Bytes = h.To - h.From
	}
	if h.Bytes > 0 {
		r.holes = append(r.holes, hole{Hole: h, anchor: anchor, behind: len(r.lines)})
	}
	r.move()
}

func (r *source) Seen(f feed.File) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.dead {
		return
	}
	position, anchors := r.file.Position, r.file.Anchors
	r.file = f
	r.file.Position, r.file.Anchors = position, anchors
}

func (r *source) Close() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.open = false
}

func (r *source) Forget() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.open = false
	if !r.s.dead {
		r.leaves = true
		r.move()
	}
}

// bodies are all that was taken, each source after the other.
func (s *sink) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, id := range s.order {
		for _, l := range s.known[id].lines {
			all = append(all, string(l.Body))
		}
	}
	return all
}

// holes are those of all sources: kind and bytes.
func (s *sink) holes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, id := range s.order {
		for _, h := range s.known[id].holes {
			all = append(all, fmt.Sprintf("%s %d", h.Kind, h.Bytes))
		}
	}
	return all
}

func (s *sink) sources() []*source {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*source
	for _, id := range s.order {
		all = append(all, s.known[id])
	}
	return all
}

// devNull takes everything and keeps nothing.
type devNull struct {
	feed.Sink
	at feed.Position
}

func (d *devNull) Room() <-chan struct{}                              { return nil }
func (d *devNull) Files(string) []feed.File                           { return nil }
func (d *devNull) File(feed.File, feed.Replay) (feed.Replayed, error) { return nullSource{d}, nil }

type nullSource struct{ d *devNull }

func (s nullSource) ID() int64               { return 1 }
func (s nullSource) Read() feed.Position     { return s.d.at }
func (s nullSource) Position() feed.Position { return s.d.at }
func (s nullSource) Hole(feed.Hole, uint64)  {}
func (s nullSource) Seen(feed.File)          {}
func (s nullSource) Close()                  { s.d.at = feed.Position{} }
func (s nullSource) Forget()                 {}
func (s nullSource) Offer(l []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	s.d.at = l[len(l)-1].To
	return len(l)
}
func (s nullSource) Spill(l []feed.Line, anchor func(feed.Position) feed.Anchor) int { return len(l) }
