package files

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/glob"
	"github.com/logd-dev/logd/internal/forward/identity"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// key is by what a file is known while it stays where it is.
type key struct{ device, inode uint64 }

// input is one input. But for what is said to be shared, all belongs to its goroutine.
type input struct {
	m    *Manager
	name string
	n    Counters
	*plan

	plans    atomic.Pointer[plan] // shared: the settings of the last Reload; nil to drain
	beat     atomic.Pointer[time.Time]
	room     chan struct{}
	wake     chan struct{} // something is in events, or plans
	requests chan func()
	done     chan struct{}
	scannedO sync.Once
	late     bool // it was added by a Reload: nothing waits for its first scan

	events struct {
		sync.Mutex
		all     bool
		missed  bool
		written map[string]struct{}
	}

	draining bool
	scans    int64
	tails    map[*tail]struct{} // all: those that are read, and those that are only known
	opened   map[*tail]struct{} // those that are open
	byKey    map[key]*tail      // those that are read
	byPath   map[string]*tail   // the file that a path had last
	pending  map[key]*pending   // files that are not decided
	cut      map[key]string     // files that were truncated, and what is left of them is not known yet, with their folders
	ready    []*tail            // those that may have something unread; the first one is next
	blocked  []*tail            // those that wait for room
	nextScan time.Time
	lastScan time.Duration
	took     time.Time // when the last scan ended
	buf      []byte
	lines    []feed.Line
	pieces   []lines.Piece
	folders  map[string]*listing // of this scan: what was looked up in folders
	walker   *glob.Walker
	blind    map[string]bool // folders where files grow and no event tells of it
	asleep   map[key]bool    // files of the ledger that could not be looked at by this scan
}

// pending is a file that may be a copy of one that is known.
type pending struct {
	first int64
	begun time.Time // when it was seen first
	grown time.Time // since it has this size
	found found
}

func newInput(m *Manager, p *plan) *input {
	in := &input{
		m: m, name: p.Name, plan: p,
		room: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		requests: make(chan func()), done: make(chan struct{}),
		tails: make(map[*tail]struct{}), opened: make(map[*tail]struct{}), byKey: make(map[key]*tail), byPath: make(map[string]*tail),
		pending: make(map[key]*pending), cut: make(map[key]string),
		walker: glob.NewWalker(p.find), blind: make(map[string]bool),
	}
	in.plans.Store(p)
	return in
}

var errEnded = errors.New("the input has ended")

// do calls f on the goroutine of the input.
func (in *input) do(ctx context.Context, f func()) error {
	called := make(chan struct{})
	select {
	case in.requests <- func() { f(); close(called) }:
		<-called
		return nil
	case <-in.done:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scanned tells that the first scan is done, or that there will be none.
func (in *input) scanned() {
	in.scannedO.Do(func() {
		if in.late {
			return
		}
		in.m.mu.Lock()
		defer in.m.mu.Unlock()
		if in.m.waiting--; in.m.waiting == 0 {
			close(in.m.ready)
		}
	})
}

func (in *input) run(ctx context.Context) {
	defer in.end()
	in.load()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		in.beat.Store(&now)
		in.reload()
		if in.heed(now) {
			in.scan()
			in.scanned()
			continue
		}
		worked := in.turn()
		if in.finished() {
			return
		}
		if worked {
			select {
			case f := <-in.requests:
				f()
			case <-in.room:
				in.unblock()
			default:
			}
			continue
		}
		timer.Reset(max(0, time.Until(in.nextScan)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-in.wake:
		case <-in.room:
			in.unblock()
		case f := <-in.requests:
			f()
		}
	}
}

// end leaves everything as the ledger has it.
func (in *input) end() {
	for t := range in.tails {
		in.shut(t)
		t.r.Close()
	}
	in.n.Files.Store(0)
	if in.m.watch != nil {
		in.m.watch.want(in, nil)
	}
}

// load begins with what the ledger has.
func (in *input) load() {
	for _, f := range in.m.o.Sink.Files(in.name) {
		t := in.newTail(f)
		wild, _ := in.find.Match(f.Path)
		t.file.Wild = wild
		t.state = dormant
		t.told = time.Now().Add(-time.Since(time.Unix(f.Seen, 0)))
		if !in.begin(t) {
			continue
		}
		in.byPath[f.Path] = t
	}
}

// begin opens the source of a file.
func (in *input) begin(t *tail) bool {
	t.replay.set(&t.file)
	r, err := in.m.o.Sink.File(t.file, t.replay)
	if err != nil {
		in.m.tell.say(sayAgain, slog.LevelError, t.file.Path, "file is not read: the sink does not take it", slog.String("input", in.name), slog.Any("error", err))
		return false
	}
	t.r = r
	t.file.ID = r.ID()
	t.setRead(r.Read().At)
	in.tails[t] = struct{}{}
	return true
}

// reload takes the settings of the last Reload.
func (in *input) reload() {
	p := in.plans.Load()
	if p == in.plan || in.draining {
		return
	}
	if p == nil {
		in.drain()
		return
	}
	in.plan = p
	in.walker = glob.NewWalker(p.find)
	for t := range in.tails {
		t.setLines(p.Lines)
		t.excluded = in.excludes(t.file.Path)
	}
	in.nextScan = time.Time{}
}

// drain lets the input end when what it has found is read.
func (in *input) drain() {
	in.draining = true
	for t := range in.tails {
		t.limit = t.size
		t.complete = t.complete || t.split.At >= t.limit
		t.after = nil
	}
	for k := range in.pending {
		delete(in.pending, k)
	}
}

// finished reports whether everything was read that should be, with Once or by draining.
func (in *input) finished() bool {
	if !in.draining && !(in.m.o.Once && in.scans > 0) || len(in.pending) > 0 {
		return false
	}
	for t := range in.tails {
		if t.state == active && !t.complete && !(t.atEnd && t.split.Seen == 0 && !t.unread()) {
			return false
		}
	}
	return true
}

// heed takes the events, and reports whether a scan is due.
func (in *input) heed(now time.Time) bool {
	in.events.Lock()
	all, written := in.events.all, in.events.written
	in.events.written = nil
	for path := range written {
		if !in.has(path) {
			all = true
		}
	}
	in.events.all = all
	in.events.Unlock()
	for path := range written {
		if in.has(path) {
			in.glance(in.byPath[path])
		}
	}
	if !now.Before(in.nextScan) {
		return true
	}
	if !all || in.draining {
		return false
	}
	// Scans that events ask for take a twentieth of the time at most.
	if due := in.took.Add(max(2*time.Millisecond, 20*in.lastScan)); due.Before(in.nextScan) {
		in.nextScan = due
	}
	return !now.Before(in.nextScan)
}

// has reports whether what is at a path is a file that is read.
func (in *input) has(path string) bool {
	t := in.byPath[path]
	return t != nil && t.state == active && t.file.Path == path && !t.outside && t.unlinked.IsZero()
}

// happened is told by the watcher of something at a path. It is shared.
func (in *input) happened(path string, written bool) {
	in.events.Lock()
	switch {
	case !written:
		in.events.all = true
	case len(in.events.written) > 10_000:
		in.events.all, in.events.missed = true, true
	case in.events.written == nil:
		in.events.written = map[string]struct{}{path: {}}
	default:
		in.events.written[path] = struct{}{}
	}
	in.events.Unlock()
	poke(in.wake)
}

// missedEvents is told by the watcher that there were events which it has not seen. It is
// shared.
func (in *input) missedEvents() {
	in.events.Lock()
	in.events.all, in.events.missed = true, true
	in.events.Unlock()
	poke(in.wake)
}

// queue lets a file have a turn.
func (in *input) queue(t *tail) {
	if !t.queued && !t.blocked {
		t.queued = true
		in.ready = append(in.ready, t)
	}
}

func (in *input) unblock() {
	for _, t := range in.blocked {
		t.blocked = false
		in.queue(t)
	}
	in.blocked = in.blocked[:0]
}

func (in *input) sources() []Source {
	var all []Source
	now := time.Now()
	for t := range in.tails {
		if t.state != active {
			continue
		}
		s := Source{Input: in.name, ID: t.file.ID, Path: t.file.Path, Wild: t.file.Wild, Size: t.size, Position: t.r.Position().At}
		if t.file.Real != "" {
			s.Path = t.file.Real
		}
		_, s.Lag = t.lag(now)
		all = append(all, s)
	}
	return all
}

// place is the path by which a file can be opened.
func place(f *feed.File) string {
	if f.Real != "" {
		return f.Real
	}
	return f.Path
}

func (in *input) record(t *tail) identity.Record {
	f := t.known()
	r := identity.Record{File: &f, First: t.first}
	if t.recentTo == f.Position {
		r.Recent = t.recent
	}
	switch {
	case t.state == replaced:
		r.State = identity.Truncated
	case t.state == lost:
		r.State = identity.Gone
	case t.f != nil:
		r.Content = t.f
	}
	return r
}
