package inputs

import (
	"bytes"
	"errors"

	"github.com/logd-dev/logd/internal/forward/lines"
)

// maxFrame is the largest count that a message of syslog may have before it.
const maxFrame = 64 << 10

// errBadCount ends a stream whose messages can't be told apart.
var errBadCount = errors.New("a message of syslog begins with a digit, and with no count of bytes up to 65536")

// framing is where in a stream a framer stands.
type framing uint8

const (
	between   framing = iota // two messages
	counting                 // in the count of one
	counted                  // in one with a count
	delimited                // in one that ends with LF or NUL
)

// frame is a message of syslog, or a part of one, or what is left out of it.
type frame struct {
	body    []byte
	part    int64 // 1…, of a message that is split
	last    bool
	first   bool  // it has the beginning of the message
	left    int64 // so many bytes are left out; there is no body
	skipped bool  // all of the message is left out
}

// framer makes messages of a stream of syslog: of RFC 6587, one by one with a count of
// their bytes or up to LF or NUL. It holds no more than the longest message, and yields
// no more than that at a time. Bodies are good until yield returns.
type framer struct {
	max    int
	long   lines.Long
	trimCR bool

	state  framing
	digits int
	count  int // the number, and then the bytes that are missing

	rest []byte // of a message
	part int64  // the parts that were yielded
	cut  bool   // what follows is left out
	left int64  // bytes that were left out
}

// set sets how long messages are taken from now on.
func (f *framer) set(s lines.Settings) { f.max, f.long, f.trimCR = s.Max, s.Long, s.TrimCR }

// write yields the messages that end in p.
func (f *framer) write(p []byte, yield func(frame) error) error {
	for len(p) > 0 {
		switch f.state {
		case between:
			switch b := p[0]; {
			case b == '\n' || b == 0: // of an empty message, which is nothing
				p = p[1:]
			case b >= '0' && b <= '9':
				f.state, f.digits, f.count = counting, 0, 0
			default:
				f.state = delimited
			}
		case counting:
			b := p[0]
			p = p[1:]
			switch {
			case b >= '0' && b <= '9' && f.digits < 5:
				f.digits++
				f.count = 10*f.count + int(b-'0')
			case b == ' ' && f.count <= maxFrame:
				f.state = counted
				if f.count == 0 {
					f.state = between
				}
			default:
				return errBadCount
			}
		case counted:
			n := min(len(p), f.count)
			f.count -= n
			chunk := p[:n]
			p = p[n:]
			if err := f.take(chunk, f.count == 0, false, yield); err != nil {
				return err
			}
		case delimited:
			n := bytes.IndexByte(p, '\n')
			if n < 0 {
				n = len(p)
			}
			if i := bytes.IndexByte(p[:n], 0); i >= 0 {
				n = i
			}
			chunk, ends := p[:n], n < len(p)
			p = p[min(n+1, len(p)):]
			if err := f.take(chunk, ends, f.trimCR, yield); err != nil {
				return err
			}
		}
	}
	return nil
}

// end yields what is left at the end of the stream. Of a message with a count that is
// what there is of it.
func (f *framer) end(yield func(frame) error) error {
	if f.state != counted && f.state != delimited {
		return nil
	}
	return f.take(nil, true, f.trimCR && f.state == delimited, yield)
}

// whole yields a message that has come as a whole.
func (f *framer) whole(p []byte, yield func(frame) error) error {
	return f.take(p, true, false, yield)
}

// take takes bytes of a message, and its end.
func (f *framer) take(p []byte, ends, trimCR bool, yield func(frame) error) error {
	// One byte more than max is held: it may be a CR that is not of the message.
	for most := f.max + 1; !f.cut && len(f.rest)+len(p) > most; {
		n := most - len(f.rest)
		if n < 0 { // it was longer before
			n = 0
		}
		b := p[:n]
		if len(f.rest) > 0 {
			f.rest = append(f.rest, p[:n]...)
			b = f.rest
		}
		p = p[n:]
		if err := f.over(b, yield); err != nil {
			return err
		}
	}
	if f.cut {
		f.left += int64(len(p))
		if ends {
			return f.finishCut(yield)
		}
		return nil
	}
	if !ends {
		f.rest = append(f.rest, p...)
		return nil
	}
	b := p
	if len(f.rest) > 0 {
		f.rest = append(f.rest, p...)
		b = f.rest
	}
	if trimCR {
		b = bytes.TrimSuffix(b, []byte("\r"))
	}
	if len(b) > f.max {
		if err := f.over(b, yield); err != nil {
			return err
		}
		if f.cut {
			return f.finishCut(yield)
		}
		b = f.rest
	}
	f.state, f.rest = between, f.rest[:0]
	if cap(f.rest) > 2*readBuffer {
		f.rest = nil
	}
	part := f.part
	f.part = 0
	if part > 0 {
		return yield(frame{body: b, part: part + 1, last: true})
	}
	return yield(frame{body: b, first: true})
}

// over does what is to be done when a message is longer than max: b is what there is of
// it, and more may come. What goes on is held.
func (f *framer) over(b []byte, yield func(frame) error) error {
	if f.long == lines.Skip && f.part == 0 {
		f.cut, f.left = true, int64(len(b))
		f.rest = f.rest[:0]
		return nil
	}
	fr := frame{body: b[:f.max], first: f.part == 0}
	switch f.long {
	case lines.Split:
		f.part++
		fr.part = f.part
	default:
		if f.part > 0 { // it was split before
			f.part++
			fr.part, fr.last = f.part, true
		}
		f.cut, f.left = true, int64(len(b)-f.max)
	}
	if err := yield(fr); err != nil {
		return err
	}
	f.rest = append(f.rest[:0], b[f.max:]...)
	if f.cut {
		f.rest = f.rest[:0]
	}
	return nil
}

// finishCut yields what was left out.
func (f *framer) finishCut(yield func(frame) error) error {
	fr := frame{left: f.left, skipped: f.long == lines.Skip && f.part == 0}
	f.state, f.cut, f.left, f.part = between, false, 0, 0
	return yield(fr)
}
