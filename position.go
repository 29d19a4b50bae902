package logd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/fetch"
)

// Position is a place in a topic. The zero Position is none.
//
// A Position is a text to encoding packages: "oldest", "next", "last 10", "at
// 70.11" or "after 70.11" with offset and delta, "since 2026-01-02T15:04:05Z", and
// the empty text for none.
type Position struct {
	kind  positionKind
	id    ID // of atMessage and afterMessage
	since time.Time
	n     int64 // of fromEnd
}

type positionKind uint8

const (
	nowhere positionKind = iota
	atOldest
	atNext
	atMessage
	afterMessage
	atTime
	fromEnd
)

// AtOldest is the oldest message that the topic has when it is first read.
func AtOldest() Position { return Position{kind: atOldest} }

// AtNext is the end of the log: the next message that comes is the first.
func AtNext() Position { return Position{kind: atNext} }

// AtOffset is the first message of the batch at the offset.
func AtOffset(offset int64) Position { return At(ID{Offset: offset}) }

// At is the message of the ID.
func At(id ID) Position { return Position{kind: atMessage, id: id} }

// After is the message that follows the one of the ID, in its batch or the next
// one.
func After(id ID) Position { return Position{kind: afterMessage, id: id} }

// AtTime is the first batch stored at or after the time, by the server's
// clock.
func AtTime(since time.Time) Position { return Position{kind: atTime, since: since} }

// Last is the n-th message from the end that the log has when it is first read, or
// the oldest if there are not so many: what follows are the last n messages, and
// those that come later. Damaged messages do not count. Last(0) is AtNext.
//
// The server is asked for messages by their number only in that it says how many
// a topic has. So a Scanner may read several times as many messages to find the
// place, and keeps none of them.
func Last(n int64) Position { return Position{kind: fromEnd, n: n} }

// begin makes f begin at the position, for which it may ask the server as long as ctx
// allows.
func (p Position) begin(ctx context.Context, f *fetch.Fetcher) error {
	switch p.kind {
	case atNext:
		return f.AtNext(ctx)
	case atTime:
		return f.AtTime(ctx, p.since)
	case fromEnd:
		return f.AtLast(ctx, p.n)
	case atOldest:
		f.AtOldest()
	default:
		f.At(p.id.Offset, p.id.Delta, p.kind == afterMessage)
	}
	return nil
}

// IsZero reports whether p is no position.
func (p Position) IsZero() bool { return p.kind == nowhere }

// ID returns the ID that p was made of, if p is At, After or AtOffset: such a
// Position never means another message.
func (p Position) ID() (id ID, ok bool) {
	return p.id, p.kind == atMessage || p.kind == afterMessage
}

func (p Position) valid() bool { return p.id.Offset >= 0 && p.id.Delta >= 0 && p.n >= 0 }

// String returns the Position's text.
func (p Position) String() string {
	switch p.kind {
	case atOldest:
		return "oldest"
	case atNext:
		return "next"
	case atMessage:
		return "at " + p.id.String()
	case afterMessage:
		return "after " + p.id.String()
	case atTime:
		return "since " + p.since.Format(time.RFC3339Nano)
	case fromEnd:
		return "last " + strconv.FormatInt(p.n, 10)
	}
	return ""
}

// MarshalText implements encoding.TextMarshaler. It fails if a number in p is
// negative: there is no such position.
func (p Position) MarshalText() ([]byte, error) {
	if !p.valid() {
		return nil, fmt.Errorf("logd: %q is no position in a topic", p.String())
	}
	return []byte(p.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Position) UnmarshalText(text []byte) error {
	kind, value, _ := strings.Cut(string(text), " ")
	var q Position
	var err error
	switch kind {
	case "oldest":
		q = AtOldest()
	case "next":
		q = AtNext()
	case "at":
		q.kind = atMessage
		q.id, err = parseID(value)
	case "after":
		q.kind = afterMessage
		q.id, err = parseID(value)
	case "since":
		q.kind = atTime
		q.since, err = time.Parse(time.RFC3339Nano, value)
	case "last":
		q.kind = fromEnd
		q.n, err = strconv.ParseInt(value, 10, 64)
	}
	if err != nil || !q.valid() || q.String() != string(text) {
		return fmt.Errorf("logd: %s is no position in a topic", strconv.Quote(string(text)))
	}
	*p = q
	return nil
}
