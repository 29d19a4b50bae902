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
