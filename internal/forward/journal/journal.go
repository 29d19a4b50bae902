// Package journal reads the journal of systemd, by a child: journalctl. It can be read
// again, so nothing of it is kept but how far it is stored: a cursor.
//
// [Start] begins an input. A child that ends, or prints what is no entry, is started again
// behind the last entry that was read. No entry is taken twice; those that are missing by
// their numbers are told as holes.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// ErrNoProgram says that there is no journalctl.
var ErrNoProgram = errors.New("there is no journalctl: the journal is read by it")

// Config says how the journal is read.
type Config struct {
	Name  string   // of the input
	Units []string // only entries of those; all if empty
	// FromEnd begins, the first time, behind what is there. If nothing comes before the
	// agent is started again, that is the first time still.
	FromEnd bool
	Once    bool // up to what is there, and no further

	MaxLine   int // the longest message, as inputs.DefaultMaxLine
	LongLines lines.Long

	Program string // journalctl

	pause time.Duration // for tests: the shortest between two children
}

func (c Config) withDefaults() Config {
	if c.MaxLine == 0 {
		c.MaxLine = inputs.DefaultMaxLine
	}
	if c.Program == "" {
		c.Program = "journalctl"
	}
	if c.pause == 0 {
		c.pause = leastPause
	}
	c.Units = slices.Clone(c.Units)
	return c
}

// Times between two children.
const (
	leastPause = time.Second
	mostPause  = 30 * time.Second
)

// maxRubbish is how often the same may be printed behind the same entry before it is
// left out: else the entries behind it would never be read.
const maxRubbish = 3

// Input is an input that runs. Its methods are safe for concurrent use.
type Input struct {
	log      *slog.Logger
	room     <-chan struct{}
	to       feed.Replayed
	counters *inputs.Counters
	sparse   inputs.Sparse

	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	config  Config
	changed context.CancelFunc // ends the child: the units are others

	// Of the goroutine that reads.
	how     string // what was told of the settings of pending
	place   place
	sought  bool // the end was sought, because of FromEnd
	pending []feed.Line
	bytes   int    // of them
	rubbish uint32 // the checksum of what was printed behind the place
	again   int    // how often
}

// Start begins reading the journal behind the position that the sink has. Its error is
// ErrNoProgram, or the sink's. Counters and log may be nil.
func Start(c Config, sink feed.Sink, counters *inputs.Counters, log *slog.Logger) (*Input, error) {
	c = c.withDefaults()
	if _, err := exec.LookPath(c.Program); err != nil {
		return nil, fmt.Errorf("input %q: %w (%w)", c.Name, ErrNoProgram, err)
	}
	if counters == nil {
		counters = new(inputs.Counters)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	in := &Input{config: c, room: sink.Room(), counters: counters, log: log.With("input", c.Name), done: make(chan struct{})}
	var err error
	if in.to, _, err = sink.Journal(c.Name, in); err != nil {
		return nil, fmt.Errorf("input %q: %w", c.Name, err)
	}
	in.ctx, in.stop = context.WithCancel(context.Background())
	in.place = placeOf(in.to.Read())
	go func() {
		defer close(in.done)
		defer in.to.Close()
		in.run()
	}()
	return in, nil
}

// Done returns a channel that is closed when the input has ended: after Stop, or with Once
// when all that was there is taken.
func (in *Input) Done() <-chan struct{} { return in.done }

// Stop ends the reading. What was not taken is read when it begins again.
func (in *Input) Stop(ctx context.Context) error {
	in.stop()
	select {
	case <-in.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Update has the journal be read by another Config from now on, and loses nothing. The
// name, and whether to read once, do not change.
func (in *Input) Update(c Config) error {
	c = c.withDefaults()
	in.mu.Lock()
	defer in.mu.Unlock()
	if c.Name != in.config.Name || c.Once != in.config.Once {
		return fmt.Errorf("input %q: a change of its name takes another input", in.config.Name)
	}
	others := !slices.Equal(c.Units, in.config.Units) || c.Program != in.config.Program
	in.config = c
	if others && in.changed != nil {
		in.changed()
	}
	return nil
}

func (in *Input) now() Config {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.config
}

// args are those of a child.
func (c *Config) args(cursor string, follow bool, more ...string) []string {
	args := []string{"-o", "json", "--all"}
	if follow {
		args = append(args, "-f")
	}
	if cursor != "" {
		args = append(args, "--after-cursor="+cursor)
	}
	for _, unit := range c.Units {
		args = append(args, "--unit="+unit)
	}
	return append(args, more...)
}

// how returns what lines are made by: by the same, the same are made of the same entries.
func (c *Config) how() string {
	set := lines.Settings{Max: c.MaxLine, Long: c.LongLines}
	return strings.Join(append([]string{set.String()}, c.Units...), " ")
}

// parseHow sets in c what how returned.
func (c *Config) parseHow(how string) error {
	words := strings.Split(how, " ") // names of units have no spaces
	set, err := lines.Parse(words[0])
	if err != nil {
		return err
	}
	c.MaxLine, c.LongLines, c.Units = set.Max, set.Long, words[1:]
	return nil
}

// tell tells by what lines are made from now on. Those made before are offered before.
func (in *Input) tell(ctx context.Context, c *Config) error {
	how := c.how()
	if how == in.how {
		return nil
	}
	if err := in.offer(ctx); err != nil {
		return err
	}
	in.how = how
	in.to.Seen(feed.File{How: how})
	return nil
}

// run runs one child after the other.
func (in *Input) run() {
	for pause := in.now().pause; ; {
		took, err := in.child()
		if in.ctx.Err() != nil || err == nil && in.now().Once {
			return
		}
		if took {
			pause = in.now().pause
		}
		if !errors.Is(err, errChanged) {
			in.sparse.Log(in.log, slog.LevelWarn, "journalctl ended: it is started again", "after", pause, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-in.ctx.Done():
			return
		}
		pause = min(2*pause, mostPause)
	}
}

// errChanged ends a child because of Update.
var errChanged = errors.New("the units are others")

// child runs a child, and takes what it prints. took says that it printed an entry.
func (in *Input) child() (took bool, err error) {
	ctx, cancel := context.WithCancel(in.ctx)
	defer cancel()
	in.mu.Lock()
	c := in.config
	in.changed = cancel
	in.mu.Unlock()
	if c.FromEnd && !in.sought && in.place == (place{}) {
		if err := in.toEnd(ctx, &c); err != nil {
			return false, err
		}
	}
	in.sought = true
	if err := in.tell(ctx, &c); err != nil {
		return false, err
	}
	// All lines, since those of a -f are ten.
	child, err := start(ctx, c.Program, c.args(in.place.cursor, !c.Once, "--lines=all")...)
	if err != nil {
		return false, err
	}
	for {
		line, size, err := child.line()
		switch {
		case err == nil:
			if now := in.now(); now.MaxLine != c.MaxLine || now.LongLines != c.LongLines {
				c.MaxLine, c.LongLines = now.MaxLine, now.LongLines
				err = in.tell(ctx, &c)
			}
			var repeated bool
			if err == nil {
				repeated, err = in.line(line, size, &c)
			}
			if err == nil {
				took = took || !repeated
				if len(in.pending) >= 256 || in.bytes >= 1<<20 || !child.more() {
					err = in.offer(ctx)
				}
			}
			if err == nil {
				continue
			}
			child.end()
		case errors.Is(err, io.EOF):
			if err = child.wait(); err == nil && !c.Once {
				err = fmt.Errorf("it ended by itself: %s", child.stderr.String())
			}
		default:
			child.end()
		}
		// What was read is not read again.
		if e := in.offer(ctx); e != nil {
			err = e
		}
		if ctx.Err() != nil && in.ctx.Err() == nil {
			err = errChanged
			if e := in.offer(in.ctx); e != nil {
				err = e
			}
		}
		return took, err
	}
}

// toEnd moves the place behind the last entry that is there.
func (in *Input) toEnd(ctx context.Context, c *Config) error {
	child, err := start(ctx, c.Program, c.args("", false, "--lines=1")...)
	if err != nil {
		return err
	}
	for {
		line, _, err := child.line()
		if errors.Is(err, io.EOF) {
			return child.wait()
		}
		var e *entry
		if err == nil {
			e, err = parseEntry(line)
		}
		if err != nil {
			child.end()
			return err
		}
		in.place = place{cursor: e.cursor, id: e.id, seq: e.seq, sent: e.Sent}
	}
}

// line takes a line. repeated says that it was taken before.
func (in *Input) line(line []byte, size int64, c *Config) (repeated bool, err error) {
	var e *entry
	if size > maxEntry {
		if e = beginning(line); e == nil {
			err = errors.New("a line is longer than any entry")
		}
	} else {
		e, err = parseEntry(line)
	}
	if err != nil {
		sum := crc32.ChecksumIEEE(line)
		if sum != in.rubbish {
			in.rubbish, in.again = sum, 0
		}
		if in.again++; in.again < maxRubbish {
			return true, err
		}
		in.rubbish, in.again = 0, 0
		in.hole(feed.Hole{Kind: feed.Damaged, Messages: -1, Bytes: size, Cause: "journalctl prints what is no entry: " + err.Error()})
		return true, nil
	}
	if in.place.repeats(e) {
		return true, nil
	}
	in.rubbish, in.again = 0, 0
	if n := in.place.missing(e); n > 0 && len(c.Units) == 0 {
		in.hole(feed.Hole{
			Kind: feed.Vacuumed, Messages: n,
			Cause: fmt.Sprintf("entries %d to %d of the journal were removed before they were read", in.place.seq+1, e.seq-1),
		})
	}
	if size > maxEntry {
		in.place.next(e, c.MaxLine, c.LongLines)
		in.tooLong(1, size)
		return false, nil
	}
	all, left := in.place.next(e, c.MaxLine, c.LongLines)
	if left > 0 {
		messages := int64(0)
		if len(all) == 0 {
			messages = 1
		}
		in.tooLong(messages, left)
	}
	if len(all) > 1 {
		in.counters.LinesSplit.Add(1)
	}
	in.pending = append(in.pending, all...)
	in.bytes += len(e.Body)
	return false, nil
}

// tooLong tells of what is left out of an entry.
func (in *Input) tooLong(messages, size int64) {
	in.hole(feed.Hole{Kind: feed.TooLong, Messages: messages, Bytes: size, Cause: "an entry is longer than max-line"})
}

// hole tells of a hole. Its range is empty: a position behind it would have no cursor, so
// it moves with the next entry.
func (in *Input) hole(h feed.Hole) {
	h.From = in.to.Read().At
	h.To = h.From
	in.to.Hole(h, 0)
}

// beginning returns the cursor of an entry that is longer than what is read of one, if it
// is in that.
func beginning(line []byte) *entry {
	// In a string the quotes would not be these.
	_, after, ok := bytes.Cut(line, []byte(`"__CURSOR":"`))
	text, _, ended := bytes.Cut(after, []byte(`"`))
	if !ok || !ended || bytes.ContainsAny(text, "\\#") || len(text) == 0 {
		return nil
	}
	e := &entry{cursor: string(text)}
	e.id, e.seq, e.Sent = parseCursor(e.cursor)
	return e
}

// offer offers what was read until it is taken.
func (in *Input) offer(ctx context.Context) error {
	take := func() bool {
		n := in.to.Offer(in.pending, func(to feed.Position) feed.Anchor { return feed.Anchor{At: to.At} })
		in.pending = slices.Delete(in.pending, 0, n)
		if len(in.pending) > 0 {
			return false
		}
		in.bytes = 0
		return true
	}
	if len(in.pending) == 0 || take() {
		return nil
	}
	return in.counters.Blocked.During(func() error {
		for {
			select {
			case <-in.room:
			case <-time.After(100 * time.Millisecond): // the room may be somebody else's
			case <-ctx.Done():
				return ctx.Err()
			}
			if take() {
				return nil
			}
		}
	})
}

// Replay implements feed.Replay.
func (in *Input) Replay(ctx context.Context, how string, from, to feed.Position, yield func(*feed.Line) error) error {
	c := in.now()
	if err := c.parseHow(how); err != nil {
		return err
	}
	child, err := start(ctx, c.Program, c.args(placeOf(from).cursor, false, "--lines=all")...)
	if err != nil {
		return err
	}
	defer child.end()
	at, reached := placeOf(from), int64(-1)
	for at.at < to.At {
		line, size, err := child.line()
		if err != nil {
			return fmt.Errorf("the journal ends before what is to be read again does: %w", err)
		}
		var e *entry
		if size > maxEntry {
			e = beginning(line)
		} else if e, err = parseEntry(line); err != nil {
			return err
		}
		if e == nil || at.repeats(e) {
			continue
		}
		all, _ := at.next(e, c.MaxLine, c.LongLines)
		for i := range all {
			if l := &all[i]; size <= maxEntry && l.To.At <= to.At {
				if err := yield(l); err != nil {
					return err
				}
				reached = l.To.At
			}
		}
	}
	if reached != to.At {
		return errors.New("what is to be read again is not in the journal any more")
	}
	return nil
}
