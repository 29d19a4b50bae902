package files

import (
	"bytes"
	"io"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
	"github.com/logd-dev/logd/internal/forward/lines"
)

const (
	turnBytes = 1 << 20
	turnTime  = 250 * time.Millisecond
	readBytes = 256 << 10
	// So many lines are offered at once, rather than all that were read: what is said of
	// them is as long as they are, and so it is in the cache of the processor when it is read.
	groupLines = 128
	// A begun line of more than this is not read again for each few bytes that come.
	peekBytes = 4 << 10
)

// turn gives the next file that has something unread a turn, and reports whether there was
// one.
func (in *input) turn() bool {
	for len(in.ready) > 0 {
		t := in.ready[0]
		in.ready = in.ready[1:]
		t.queued = false
		if !in.may(t) {
			continue
		}
		begun := time.Now()
		for n := 0; n < turnBytes && time.Since(begun) < turnTime; {
			got := in.chunk(t)
			if got == 0 || !in.may(t) {
				break
			}
			n += got
		}
		t.turned = begun
		if in.may(t) {
			in.queue(t)
		}
		return true
	}
	in.ready = nil
	return false
}

// may reports whether the file has a turn now.
func (in *input) may(t *tail) bool {
	return t.state == active && !t.changed && !t.failed && !t.blocked && !t.complete && t.unread() &&
		(t.after == nil || t.after.ended || t.after.state != active)
}

// chunk reads once, and offers the lines of it. It returns how many bytes it has come
// further.
func (in *input) chunk(t *tail) int {
	if !in.open(t) {
		return 0
	}
	if !t.resumed {
		if err := in.resume(t); err != nil {
			in.fail(t, err)
			return 0
		}
	}
	if t.split.Seen > peekBytes && !t.finishing && !in.m.o.Once && in.peek(t) {
		return 0
	}
	at := t.split.At
	// What is before is read with it, so that it is the anchor of these very bytes.
	before := min(at, identity.AnchorMost)
	from := at - before
	if need := identity.AnchorMost + max(readBytes, t.split.Window()); len(in.buf) < need {
		in.buf = make([]byte, need)
	}
	n, err := t.f.ReadAt(in.buf, from)
	end := err == io.EOF
	if err != nil && !end {
		in.fail(t, err)
		return 0
	}
	b := in.buf[:n]
	c := cut{in: in, t: t, b: b, from: from}
	same := int64(n) >= before && (at == 0 || identity.Hash(b[:before]) == t.check.Hash)
	if same {
		known := t.file.Text
		if known.At == 0 {
			t.file.Text = c.text(at)
		}
		// If it was truncated while it was read, the end of b is of what it has now.
		if same, err = t.still(b, from); !same || err != nil {
			t.file.Text = known
		}
		if err != nil {
			in.fail(t, err)
			return 0
		}
		t.tell = t.tell || t.file.Text != known
	}
	if !same {
		t.changed = true
		in.hurry()
		return 0
	}
	now := time.Now()
	t.grew(from+int64(n), now)
	var head []byte
	if from == 0 {
		head = b
	}
	if err := t.extend(head); err != nil {
		in.fail(t, err)
		return 0
	}
	if t.tell { // before a position behind it: without it a restart would not know the file
		in.notice(t, now)
	}
	taken := c.offer(b[before:], end && (t.finishing || in.m.o.Once))
	if t.split.At > at {
		t.keepRecent(b[before:t.split.At-from], at, t.split.At)
	}
	if !taken {
		t.blocked = true
		in.blocked = append(in.blocked, t)
		if t.spoolFull {
			in.bound()
		}
		return 0
	}
	t.check = c.anchor(t.split.At)
	t.atEnd = end
	if end {
		in.ended(t)
		if from+int64(n) < t.size { // its end was cut off
			t.failed, t.stat = true, -1
			in.hurry()
			return 0
		}
	}
	if in.m.o.Once || in.draining {
		t.complete = end || t.limit >= 0 && t.split.At >= t.limit
	}
	if t.finishing && end {
		in.finish(t)
	}
	return int(t.split.At - at)
}

// peek looks only at what came behind a line that was begun, and reports whether it is
// still no whole one.
func (in *input) peek(t *tail) bool {
	if len(in.buf) < readBytes {
		return false
	}
	n, err := t.f.ReadAt(in.buf[:readBytes], t.split.At+int64(t.split.Seen))
	if err != io.EOF || t.split.Seen+n >= t.split.Window() || bytes.IndexByte(in.buf[:n], '\n') >= 0 {
		return false
	}
	if ok, err := t.holds(t.f); !ok || err != nil {
		return false // reading finds out what it is
	}
	t.split.Seen += n
	t.grew(t.split.At+int64(t.split.Seen), time.Now())
	t.atEnd = true
	in.ended(t)
	return true
}

// ended says that a file was at its end: the one that has its path now may begin.
func (in *input) ended(t *tail) {
	if !t.ended {
		t.ended = true
		if t.next != nil {
			in.queue(t.next)
			t.next.after = nil
			t.next = nil
		}
	}
}

// resume looks up how lines go on where reading begins.
func (in *input) resume(t *tail) error {
	if !t.anchorAt {
		a, err := identity.Anchor(t.f, t.read)
		if err == io.ErrUnexpectedEOF {
			t.check = feed.Anchor{At: t.read} // no content has this: a scan decides
			t.resumed = true
			return nil
		}
		if err != nil {
			return err
		}
		t.check = a
		t.moved(a)
		t.anchorAt = true
	}
	st, err := t.split.Settings.Resume(t.f, t.read)
	if err == io.ErrUnexpectedEOF {
		st, err = lines.State{At: t.read}, nil // it is shorter now, which the check finds
	}
	if err != nil {
		return err
	}
	t.split.State = st
	t.split.Seen = 0
	t.resumed = true
	return nil
}

// cut makes lines of what was read of a file, and offers them.
type cut struct {
	in   *input
	t    *tail
	b    []byte // what was read, from the place from on
	from int64
}

// anchor returns the anchor at a place in what was read.
func (c *cut) anchor(at int64) feed.Anchor {
	if at == 0 {
		return feed.Anchor{}
	}
	i := at - c.from
	return feed.Anchor{At: at, Hash: identity.Hash(c.b[max(0, i-identity.AnchorMost):i])}
}

// text returns an anchor in the first text of a file that begins with so many NULs that they
// don't tell it from another one. What is read next stands at a place.
func (c *cut) text(at int64) feed.Anchor {
	if at > c.t.split.NULs { // there is text before
		return feed.Anchor{}
	}
	nuls := int64(len(c.b) - len(bytes.TrimLeft(c.b, "\x00")))
	if nuls == int64(len(c.b)) || c.from+nuls < identity.PrefixMost {
		return feed.Anchor{}
	}
	return c.anchor(c.from + min(nuls+identity.AnchorMost, int64(len(c.b))))
}

// offer offers the lines of b, which stands where the splitter does. It reports whether all
// were taken; if not, the splitter is back before the first one that was not.
func (c *cut) offer(b []byte, final bool) bool {
	in, t := c.in, c.t
	in.lines, in.pieces = in.lines[:0], in.pieces[:0]
	for {
		nuls := t.split.NULs
		p, n, ok := t.split.Next(b, final)
		in.n.NULs.Add(t.split.NULs - nuls)
		b = b[n:]
		if !ok {
			return c.flush()
		}
		if !p.TooLong {
			in.lines = append(in.lines, feed.Line{Message: p.Message(), From: feed.Position{At: p.From}, To: feed.Position{At: p.To}})
			in.pieces = append(in.pieces, p)
			if len(in.lines) < groupLines {
				continue
			}
		}
		state := t.split.State
		if !c.flush() {
			return false
		}
		t.split.State = state
		if !p.TooLong {
			continue
		}
		h := feed.Hole{Kind: feed.TooLong, From: p.From, To: p.To, Bytes: p.To - p.From, Cause: "the line is longer than max-line"}
		if t.split.Long == lines.Skip { // else its beginning is the message
			h.Messages = 1
		}
		a := c.anchor(p.To)
		t.r.Hole(h, a.Hash)
		t.moved(a)
	}
}

// flush offers the lines that were made.
func (c *cut) flush() bool {
	in, t := c.in, c.t
	if len(in.lines) == 0 {
		return true
	}
	offer := t.r.Offer
	if !t.unlinked.IsZero() {
		offer = t.r.Spill
	}
	n := offer(in.lines, func(to feed.Position) feed.Anchor { return c.anchor(to.At) })
	t.spoolFull = n < len(in.lines) && !t.unlinked.IsZero()
	for _, p := range in.pieces[:n] {
		if p.Last {
			in.n.Split.Add(1)
		}
	}
	if n > 0 {
		t.moved(c.anchor(in.lines[n-1].To.At))
	}
	if n < len(in.lines) {
		nuls := t.split.NULs
		t.split.State = t.split.Settings.Before(in.pieces[n])
		if t.split.At == nuls { // nothing but NULs is before it, and there may be more
			t.split.NULs = nuls
		}
		t.split.Seen = 0
		t.check = c.anchor(t.split.At)
		return false
	}
	in.lines, in.pieces = in.lines[:0], in.pieces[:0]
	return true
}
