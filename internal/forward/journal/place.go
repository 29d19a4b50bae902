package journal

import (
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// step is the distance of the positions of two entries whose numbers follow each other:
// those of the parts of one stand in between.
const step = 4096

// place is where a reading of the journal stands: behind an entry. Positions are such
// that an entry that is read again has the same ones, also if what stood before it is
// gone: they go by the numbers of the entries.
//
// A position behind an entry has its cursor. One in front of an entry whose number does
// not follow, or in the middle of one, has the cursor of the entry before, # and the number
// of parts that stand before.
type place struct {
	at     int64
	cursor string // empty at the beginning
	id     string
	seq    uint64
	sent   time.Time

	// The position of the next entry is fixed: it is known which one that is. So many
	// parts of it were read before.
	fixed bool
	parts int64
}

// placeOf returns the place of a position.
func placeOf(p feed.Position) place {
	cursor, parts, fixed := strings.Cut(p.Cursor, "#")
	n, err := strconv.ParseInt(parts, 10, 64)
	if err != nil || n < 0 || n >= step || n > p.At {
		n = 0
	}
	l := place{at: p.At - n, cursor: cursor, fixed: fixed, parts: n}
	l.id, l.seq, l.sent = parseCursor(cursor)
	return l
}

// repeats reports whether an entry was read before.
func (l *place) repeats(e *entry) bool {
	if l.cursor == "" {
		return false
	}
	return e.cursor == l.cursor || l.id != "" && e.id == l.id && e.seq <= l.seq && !e.Sent.IsZero() && !l.sent.IsZero() && !e.Sent.After(l.sent)
}

// missing returns how many entries there were between the place and an entry.
func (l *place) missing(e *entry) int64 {
	// Of an entry of which parts were read it was told with them.
	if !e.numbered || l.fixed || l.id != e.id || l.seq == 0 || e.seq <= l.seq {
		return 0
	}
	return int64(e.seq - l.seq - 1)
}

// next moves the place behind an entry, and returns its lines, and how many of its bytes
// are left out because it is too long.
func (l *place) next(e *entry, most int, long lines.Long) (all []feed.Line, left int64) {
	from := l.at
	if !l.fixed && l.id != "" && e.id == l.id && e.seq > l.seq {
		from += int64(e.seq-l.seq-1) * step
	}
	to := feed.Position{At: from + step, Cursor: e.cursor}
	at := func(part int64) feed.Position {
		if part == 0 && from == l.at && !l.fixed {
			return feed.Position{At: from, Cursor: l.cursor}
		}
		return feed.Position{At: from + part, Cursor: l.cursor + "#" + strconv.FormatInt(part, 10)}
	}
	body := e.Body
	most = max(most, len(body)/(step-1)+1)
	switch {
	case len(body) <= most:
		all = []feed.Line{{Message: e.Message, From: at(0), To: to}}
	case long == lines.Skip:
		left = int64(len(body))
	case long == lines.Truncate:
		line := feed.Line{Message: e.Message, From: at(0), To: to}
		line.Body, left = body[:most], int64(len(body)-most)
		all = []feed.Line{line}
	default:
		for part := int64(0); len(body) > 0; part++ {
			line := feed.Line{Message: e.Message, From: at(part), To: at(part + 1)}
			n := min(most, len(body))
			line.Body, body = body[:n], body[n:]
			line.Part, line.Last = part+1, len(body) == 0
			if line.Last {
				line.To = to
			}
			all = append(all, line)
		}
	}
	all = all[min(l.parts, int64(len(all))):]
	*l = place{at: to.At, cursor: e.cursor, id: e.id, seq: e.seq, sent: e.Sent}
	return all, left
}
