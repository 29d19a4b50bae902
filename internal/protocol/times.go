package protocol

import (
	"bytes"
	"errors"
	"strconv"
)

// MaxTimes is how many lines an answer to TIMES has at most. Who gets so many
// asks again from the offset of the last.
const MaxTimes = 10_000

// TimeMark says that the batches from an offset on, up to the next mark's, were
// appended at a time.
type TimeMark struct {
	Offset int64
	Millis int64 // since 1970-01-01 UTC
}

// AppendTimes appends the body of an answer to TIMES.
func AppendTimes(dst []byte, marks []TimeMark) []byte {
	for _, m := range marks {
		dst = AppendTime(dst, m)
	}
	return dst
}

// AppendTime appends a line of such a body.
func AppendTime(dst []byte, m TimeMark) []byte {
	dst = strconv.AppendInt(dst, m.Offset, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, m.Millis, 10)
	return append(dst, '\r', '\n')
}

// errTimes is a body that is none of TIMES.
var errTimes = errors.New("protocol: no lines of an offset and a time, offsets ascending")

// ParseTimes appends the marks of a body that AppendTimes has made to marks. It
// is the inverse of AppendTimes and refuses all other bodies.
func ParseTimes(marks []TimeMark, body []byte) ([]TimeMark, error) {
	before := int64(-1)
	for len(body) > 0 {
		i := bytes.Index(body, []byte("\r\n"))
		if i < 0 {
			return marks, errTimes
		}
		w := words{body[:i], true}
		offset, ok := w.int()
		millis, ok2 := w.int()
		if !ok || !ok2 || w.more || offset <= before {
			return marks, errTimes
		}
		marks = append(marks, TimeMark{offset, millis})
		body, before = body[i+2:], offset
	}
	return marks, nil
}

// TimesRange asks for the times of all batches between two offsets, in as many
// requests as it takes.
type TimesRange struct {
	// Marks are those of the answers so far. None has the time of the one before.
	Marks []TimeMark

	req Request
}

// NewTimesRange returns the range from an offset to before another one. Negative
// ones stand for 0.
func NewTimesRange(topic string, from, to int64) *TimesRange {
	return &TimesRange{req: Request{Command: Times, Topic: []byte(topic), Offset: max(from, 0), To: max(to, 0)}}
}

// Request returns the next request. It is good until Add.
func (r *TimesRange) Request() *Request { return &r.req }

// Add takes the body of the answer to the request, and reports whether one more has
// to be sent. The error is for a body that is none of such an answer.
func (r *TimesRange) Add(body []byte) (more bool, err error) {
	start := len(r.Marks)
	if r.Marks, err = ParseTimes(r.Marks, body); err != nil {
		return false, err
	}
	page := r.Marks[start:]
	n := len(page)
	if n == 0 {
		return false, nil
	}
	last := page[n-1].Offset
	if page[0].Offset < r.req.Offset || last >= r.req.To {
		return false, errors.New("times from offset " + offsets(page[0].Offset, last) + ", asked for " + offsets(r.req.Offset, r.req.To))
	}
	// Where the answer begins with the mark that the one before ended with, nothing
	// is new.
	kept := r.Marks[:start]
	for _, m := range page {
		if len(kept) == 0 || kept[len(kept)-1].Millis != m.Millis {
			kept = append(kept, m)
		}
	}
	r.Marks, r.req.Offset = kept, last
	return n >= MaxTimes, nil
}

func offsets(from, to int64) string {
	return strconv.FormatInt(from, 10) + " to " + strconv.FormatInt(to, 10)
}
