package files

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
	"github.com/logd-dev/logd/internal/testkit"
)

// generation is what a file held between two truncations. Of each of its lines it is known
// where it stood.
type generation struct {
	name    string
	content []byte
	ends    []int64 // of the lines
	start   int64   // of the first one: a program without O_APPEND leaves NULs before it
	copied  int64   // up to here a copy had it when it was truncated
	over    bool    // it was truncated
	free    bool    // its lines may be lost: the copy was removed, or nobody could know of it
	seen    int64   // up to here the agent is known to have seen it
	killed  bool    // the agent was, since it began
	blank   bool    // no text of it is known to have been read when it was truncated
}

func (g *generation) line(i int) (from, to int64) {
	if from = g.start; i > 0 {
		from = g.ends[i-1]
	}
	return from, g.ends[i]
}

// has reports whether it has an anchor.
func (g *generation) has(a feed.Anchor) bool {
	ok, err := identity.Holds(bytes.NewReader(g.content), a)
	return ok && err == nil
}

// copytruncate is a program that writes to a file, what rotates it by a copy, and an agent
// that reads it, is blocked, or is killed. Each takes its next step at any time, also
// while the agent is at work.
type copytruncate struct {
	w   *world
	r   *rand.Rand
	did func(format string, args ...any)

	f       *os.File
	appends bool
	off     int64
	at      *generation
	gens    []*generation
	byName  map[string]*generation

	from, to *os.File // while a copy is being made
	copied   int64
	whole    bool // the copy is made
	begun    time.Time
	copies   []*copied
	numbers  int
	shifts   bool   // copies are renamed to make room for the next one, else each has a name of its own
	copyName string // with %d
	narrow   bool   // the copies are not found by the pattern

	up, inside bool
	odds       int // of steps while the agent is at work: 1 of so many
	left       int // how many times more, until the next step
}

type copied struct {
	name string
	of   *generation
}

func (c *copytruncate) begin() {
	c.at = &generation{name: fmt.Sprint("g", len(c.gens)), start: -1}
	c.gens = append(c.gens, c.at)
	c.byName[c.at.name] = c.at
}

// write writes whole lines.
func (c *copytruncate) write(n int) {
	g := c.at
	var b strings.Builder
	if g.start < 0 {
		if !c.appends && c.off > int64(len(g.content)) {
			g.content = append(g.content, make([]byte, c.off-int64(len(g.content)))...)
		}
		g.start = int64(len(g.content))
	}
	for range n {
		fmt.Fprintf(&b, "%s %d %s\n", g.name, len(g.ends), strings.Repeat("x", c.r.IntN(60)))
		g.ends = append(g.ends, g.start+int64(b.Len()))
		if len(g.ends) > 1 {
			g.ends[len(g.ends)-1] = int64(len(g.content)) + int64(b.Len())
		}
	}
	var err error
	if c.appends {
		_, err = c.f.WriteString(b.String())
	} else {
		_, err = c.f.WriteAt([]byte(b.String()), c.off)
	}
	c.w.must(err)
	c.off += int64(b.Len())
	g.content = append(g.content, b.String()...)
	c.did("write %d lines of %s, up to %d", n, g.name, len(g.content))
}

// rotate takes the next step of a rotation by a copy.
func (c *copytruncate) rotate() {
	switch {
	case c.to == nil && (len(c.at.ends) == 0 || c.gens[0].seen == 0):
	case c.to == nil:
		if c.narrow && c.at.seen == 0 {
			c.at.free = true // nobody knew that there was one
		}
		name := fmt.Sprintf(c.copyName, 1)
		if c.shifts {
			for i := range c.copies {
				to := fmt.Sprintf(c.copyName, len(c.copies)-i+1)
				c.w.rename(c.copies[i].name, to)
				c.copies[i].name = to
			}
		} else {
			c.numbers++
			name = fmt.Sprintf(c.copyName, c.numbers)
		}
		var err error
		c.from, err = os.Open(c.w.path("a.log"))
		c.w.must(err)
		c.to, err = os.OpenFile(c.w.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		c.w.must(err)
		c.copied, c.whole, c.begun = 0, false, time.Now()
		c.copies = append(c.copies, &copied{name, c.at})
		c.did("copy %s to %s", c.at.name, name)
		c.shift()
		// Of two files that are found at once, none is a copy of the other.
		for at := c.at; at.seen == 0 && c.at == at; {
			c.rotate()
		}
	case !c.whole:
		c.shift()
	default:
		c.from.Close()
		c.to.Close()
		c.from, c.to = nil, nil
		c.at.copied, c.at.over = c.copied, true
		c.at.blank = !slices.ContainsFunc(c.w.sink.sources(), func(r *source) bool {
			return r.file.Text.At > 0 && c.at.has(r.file.Text)
		})
		c.did("truncate %s, of which %d are copied", c.at.name, c.copied)
		c.w.must(os.Truncate(c.w.path("a.log"), 0))
		c.begin()
	}
}

// shift copies some.
func (c *copytruncate) shift() {
	n := int64(identity.PrefixMost + c.r.IntN(8000))
	// NULs alone don't tell of which file they are.
	if c.r.IntN(2) == 0 || c.at.start >= identity.PrefixMost {
		n = 1 << 20
	}
	b := make([]byte, n)
	got, err := c.from.ReadAt(b, c.copied)
	if _, err := c.to.Write(b[:got]); err != nil {
		c.w.must(err)
	}
	c.copied += int64(got)
	c.whole = err != nil
	c.did("%d are copied", c.copied)
}

// remove removes the oldest copy.
func (c *copytruncate) remove() {
	if len(c.copies) == 0 || c.to != nil && len(c.copies) == 1 {
		return
	}
	c.did("remove %s", c.copies[0].name)
	c.w.remove(c.copies[0].name)
	c.copies[0].of.free = true
	c.copies = c.copies[1:]
}

// outside is a step of the others.
func (c *copytruncate) outside() {
	switch op := c.r.IntN(12); {
	case op < 5:
		if c.to != nil && len(c.at.content) < 2*identity.PrefixMost {
			return // of less than the prefix a copy is not known, if that is all it gets
		}
		c.write(1 + c.r.IntN(100))
	case op < 11:
		c.rotate()
	case c.r.IntN(3) == 0:
		c.remove()
	}
}

// meanwhile lets others take steps while the agent looks.
func (c *copytruncate) meanwhile() {
	if c.inside || c.left == 0 || c.r.IntN(c.odds) > 0 {
		return
	}
	c.left--
	c.did("meanwhile")
	if c.r.IntN(20) == 0 {
		c.did("kill")
		c.w.sink.kill()
	}
	for range 1 + c.r.IntN(4) {
		c.outside()
	}
}

// looked is a file that changes while it is looked at.
type looked struct {
	content
	c *copytruncate
}

func (l *looked) Stat() (os.FileInfo, error) {
	l.c.meanwhile()
	return l.content.Stat()
}

func (l *looked) ReadAt(p []byte, at int64) (int, error) {
	l.c.meanwhile()
	if len(p) < 2 || l.c.r.IntN(2) == 0 {
		return l.content.ReadAt(p, at)
	}
	n, err := l.content.ReadAt(p[:len(p)/2], at)
	if err != nil {
		return n, err
	}
	l.c.meanwhile()
	more, err := l.content.ReadAt(p[n:], at+int64(n))
	return n + more, err
}

// note notes what the agent has seen of each generation.
func (c *copytruncate) note(known func(r *source) int64) {
	seen := make(map[*generation]int64)
	for _, r := range c.w.sink.sources() {
		if gens := c.of(r); len(gens) == 1 && !r.unborn {
			seen[gens[0]] = max(seen[gens[0]], known(r))
		}
	}
	for _, g := range c.gens {
		g.seen = seen[g]
	}
}

// of returns the generations that a source may be of: one if it has lines.
func (c *copytruncate) of(r *source) (all []*generation) {
	if len(r.lines) > 0 {
		name, _, _ := strings.Cut(string(r.lines[0].Body), " ")
		if g := c.byName[name]; g != nil {
			return append(all, g)
		}
		return nil
	}
	for _, g := range c.gens {
		if n := r.file.PrefixLen; n > 0 && int64(len(g.content)) >= n && identity.Hash(g.content[:n]) == r.file.Prefix && g.has(r.file.Text) {
			all = append(all, g)
		}
	}
	return all
}

func (c *copytruncate) start() {
	if !c.up {
		c.did("up")
		c.inside = true // what it does at the start, the sink does, too
		c.w.wrap = func(f content) content { return &looked{f, c} }
		c.inside = false
		c.w.up()
		c.up = true
	}
}

func (c *copytruncate) kill() {
	if c.up {
		c.did("down")
		c.inside = true
		c.w.down()
		c.inside = false
		c.up = false
		for _, g := range c.gens {
			g.killed = true
		}
		c.note(func(r *source) int64 { return r.file.Size })
	}
}

// TestCopytruncate rotates a file by copy and truncation, at any time, while the agent
// reads, is blocked, or is killed. Each line must come once, or be lost for a reason: it was
// written between copy and truncation, or its copy was removed. If the agent had seen a line
// that is lost, it is in a hole; and no hole has a line that came.
func TestCopytruncate(t *testing.T) {
	first, rounds := seeds(t, 100, 20)
	for i := range rounds {
		t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
			if err := copytruncates(t, first+i, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// seeds returns the seed of a test's first round, and how many there are, of which each has
// the next one. They are the same each time, but for what the file system and the scheduler
// do: FILES_SEED asks for one, or for the first of FILES_ROUNDS.
func seeds(t *testing.T, rounds, short uint64) (first, n uint64) {
	t.Helper()
	first, n = 1, rounds
	if testing.Short() {
		n = short
	}
	for _, from := range []struct {
		name string
		to   *uint64
	}{{"FILES_SEED", &first}, {"FILES_ROUNDS", &n}} {
		s := os.Getenv(from.name)
		if s == "" {
			continue
		}
		var err error
		if *from.to, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", from.name, err)
		}
		if from.name == "FILES_SEED" {
			n = 1
		}
	}
	return first, n
}

// copytruncates has the agent look while a bubble's time lets it, and others write before and
// behind that. The race detector does not know that this is an order.
func copytruncates(t *testing.T, seed uint64, spoil func(*copytruncate)) (result error) {
	if testkit.Race {
		t.Skip("the race detector does not see the order that a bubble's time gives")
	}
	inOne(t, seed%2 == 0, func(w *world) {
		c := &copytruncate{w: w, r: rand.New(rand.NewPCG(seed, 11)), byName: make(map[string]*generation)}
		c.did = func(format string, args ...any) {
			fmt.Fprintf(&w.logs, "%s: %s\n", time.Now().Format("04:05.000"), fmt.Sprintf(format, args...))
		}
		c.appends = c.r.IntN(2) == 0
		c.shifts = c.r.IntN(2) == 0
		c.copyName = "a.log.%d"
		if c.narrow = c.r.IntN(3) == 0; c.narrow {
			w.conf.Glob = w.dir + "/*.log"
		}
		c.odds = []int{5, 20, 100}[c.r.IntN(3)]
		most := c.r.IntN(3) // changes while it is at work
		w.sink.lazy = c.r.IntN(2) == 0
		flags := os.O_CREATE | os.O_WRONLY
		if c.appends {
			flags |= os.O_APPEND
		}
		var err error
		c.f, err = os.OpenFile(w.path("a.log"), flags, 0o600)
		w.must(err)
		defer c.f.Close()
		defer func() {
			if c.to != nil {
				c.from.Close()
				c.to.Close()
			}
		}()
		c.begin()
		c.start()
		for range 80 {
			c.left = most
			switch op := c.r.IntN(24); {
			case op < 10:
				c.outside()
			case op < 16:
				d := time.Duration(c.r.IntN(3000)) * time.Millisecond
				for c.to != nil && time.Since(c.begun)+d > 4*time.Second {
					c.rotate() // a copy that is there for longer is another file
				}
				w.pass(d)
				if w.sink.lazy {
					n := c.r.IntN(100)
					w.sink.send(2 * n)
					w.sink.store(n)
				}
			case op < 18:
				n := c.r.IntN(200)
				c.did("room for %d", n)
				w.sink.setRoom(int64(n))
			case op < 21:
				c.did("room")
				w.sink.setRoom(-1)
			case c.up && c.r.IntN(2) == 0:
				c.kill()
			default:
				c.start()
			}
			if w.sink.dead { // in the middle of something
				c.kill()
			}
			if c.up {
				w.pass(0)
				in := w.m.inputs["in"]
				sizes := make(map[int64]int64)
				for tail := range in.tails {
					sizes[tail.file.ID] = tail.size
				}
				c.note(func(r *source) int64 { return max(sizes[r.file.ID], r.file.Size) })
			}
		}
		c.left = 0
		for c.to != nil {
			c.rotate()
		}
		c.kill()
		c.start()
		w.sink.setRoom(-1)
		for range 60 {
			w.pass(time.Second)
			w.sink.store(-1)
		}
		if spoil != nil {
			spoil(c)
		}
		result = c.check()
		if in := w.m.inputs["in"]; result == nil && (len(in.pending) > 0 || len(in.blocked) > 0) {
			result = fmt.Errorf("%d files are not decided, %d blocked", len(in.pending), len(in.blocked))
		}
		if result != nil && spoil == nil {
			t.Logf("log:\n%s", w.logs.String())
		}
	})
	return result
}

// check looks what became of each line.
func (c *copytruncate) check() error {
	var errs []error
	wrong := func(format string, args ...any) {
		if len(errs) < 10 {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	// What begins with as many NULs as the beginning of a file that is known, and of which
	// nothing was read, can't be told from another such. Nor then can be what became of
	// either; but that no NUL is taken for text still holds.
	blank := slices.ContainsFunc(c.gens, func(g *generation) bool { return g.blank && g.start >= identity.PrefixMost })
	same := func(g *generation) bool { return blank && g.start >= identity.PrefixMost }
	came := make(map[string]int) // by generation and number
	for _, r := range c.w.sink.sources() {
		last := make(map[string]int)
		for _, l := range r.lines {
			name, rest, _ := strings.Cut(string(l.Body), " ")
			number, _, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(number)
			g := c.byName[name]
			if err != nil || g == nil || n >= len(g.ends) {
				wrong("line %.60q of %s [%d,%d) was never written; it is NULs and %.60q", l.Body, r.file.Path, l.From.At, l.To.At, bytes.TrimLeft(l.Body, "\x00"))
				continue
			}
			if from, to := g.line(n); !bytes.Equal(l.Body, g.content[from:to-1]) {
				wrong("line %q was %q", l.Body, g.content[from:to])
			}
			id := fmt.Sprint(name, " ", n)
			// What was read behind the end of a copy is in doubt behind the last anchor that
			// is in it, if the agent does not know any more what it was.
			if came[id]++; same(g) {
				continue
			}
			if came[id] > 2 || came[id] > 1 && !(g.killed && g.copied < int64(len(g.content))) {
				wrong("line %s came %d times, now by source %d", id, came[id], r.file.ID)
			}
			if before, ok := last[name]; ok && n < before {
				wrong("line %s came behind %d", id, before)
			}
			last[name] = n
		}
	}
	// By generation.
	holes := make(map[string][]feed.Hole)
	for _, r := range c.w.sink.sources() {
		gens := c.of(r)
		var told []feed.Hole
		for _, h := range r.holes {
			told = append(told, h.Hole)
		}
		for _, l := range r.unsure { // it was not stored, or it was
			told = append(told, feed.Hole{Kind: feed.Unknown, From: l.From.At, To: l.To.At, Bytes: l.To.At - l.From.At})
		}
		for _, h := range told {
			if len(gens) == 0 {
				wrong("source %d (%s) has hole %+v, and is of no generation", r.file.ID, r.file.Path, h)
			}
			for _, g := range gens {
				holes[g.name] = append(holes[g.name], h)
			}
			if len(gens) != 1 || h.Kind == feed.Unknown || same(gens[0]) {
				continue
			}
			g := gens[0]
			if h.To > int64(len(g.content)) {
				wrong("source %d has hole %+v, and %s has %d bytes", r.file.ID, h, g.name, len(g.content))
			}
			for n := range g.ends {
				if g.killed && g.copied < int64(len(g.content)) {
					break // it may come from the copy, too
				}
				if from, to := g.line(n); came[fmt.Sprint(g.name, " ", n)] > 0 && from < h.To && to > h.From {
					wrong("%s %d came, and is in hole %+v of source %d", g.name, n, h, r.file.ID)
					break
				}
			}
			for _, o := range r.holes {
				if o.Hole != h && o.From < h.To && o.To > h.From {
					wrong("source %d has holes %+v and %+v", r.file.ID, o.Hole, h)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		g := c.byName[name]
		if same(g) {
			continue
		}
		for n := range g.ends {
			from, to := g.line(n)
			if came[fmt.Sprint(name, " ", n)] > 0 {
				continue
			}
			if !g.free && !(g.over && to > g.copied) {
				wrong("%s %d is lost", name, n)
			}
			if to <= g.seen && !slices.ContainsFunc(holes[name], func(h feed.Hole) bool { return h.From <= from && to <= h.To }) {
				wrong("%s %d [%d,%d) is lost, which the agent had seen, and no hole has it", name, n, from, to)
			}
		}
	}
	return errors.Join(errs...)
}

// What the storm is judged by sees a line that is lost, one that comes twice, one that is
// changed, a hole that nobody lists, and one that has what came.
func TestCopytruncateCanFail(t *testing.T) {
	for name, spoil := range map[string]func(*source){
		"lost": func(r *source) { r.lines = slices.Delete(r.lines, 1, 2) },
		"twice": func(r *source) {
			r.lines = slices.Insert(r.lines, 1, r.lines[0])
		},
		"changed": func(r *source) { r.lines[1].Body = append([]byte{0}, r.lines[1].Body...) },
		"hole": func(r *source) {
			from, to := r.lines[0].From.At, r.lines[1].To.At
			r.holes = append(r.holes, hole{Hole: feed.Hole{Kind: feed.Gone, From: from, To: to, Bytes: to - from}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); ; seed++ { // of one where it must show
				spoiled := false
				err := copytruncates(t, seed, func(c *copytruncate) {
					for _, r := range c.w.sink.sources() {
						gens := c.of(r)
						if !c.appends || len(r.lines) < 2 || len(gens) != 1 || gens[0].free || gens[0].killed {
							continue
						}
						if to := r.lines[1].To.At; !gens[0].over || to <= gens[0].copied {
							spoil(r)
							spoiled = true
							return
						}
					}
				})
				if spoiled && err == nil {
					t.Error("the test does not see it")
				}
				if spoiled {
					return
				}
			}
		})
	}
}
