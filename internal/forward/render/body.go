package render

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// Format is a form of bodies.
type Format uint8

// The formats.
const (
	Raw  Format = iota // the bytes that came
	JSON               // an object: see AppendBody
)

// String returns the word for the format in settings.
func (f Format) String() string {
	if f == JSON {
		return "json"
	}
	return "raw"
}

// Facts are what an envelope says of a message besides what is in it. Empty is what is
// not known.
type Facts struct {
	Time   time.Time // when the message was taken
	Host   string    // ours
	Input  string
	File   string // its path
	Offset int64  // of the line in the file; it counts only if there is a File
	Topic  string // the one that was wanted, if the message goes to another
}

// timeLen is the length of a time in an envelope. All have the same, so that the time
// has no influence on what fits.
const timeLen = len("2006-01-02T15:04:05.000000000Z")

// AppendBody appends the body of a message to dst. In JSON it is one object on one line,
// without line end, with these keys in this order, those that are not known left out:
// time, sent, host, input, file, offset, remote, app, procid, unit, facility, severity,
// part, last, topic, and either body or, if it is not UTF-8, body_base64. Times have
// nanoseconds and are UTC. In other values than the body, bytes that are not UTF-8 are
// U+FFFD.
//
// The same arguments give the same bytes, in each version of the program.
func AppendBody(dst []byte, format Format, f *Facts, m *feed.Message) []byte {
	if format == Raw {
		return append(dst, m.Body...)
	}
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, f.Time)
	dst = append(dst, '"')
	if showsTime(m.Sent) {
		dst = append(dst, `,"sent":"`...)
		dst = appendTime(dst, m.Sent)
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"host":"`, f.Host)
	dst = appendText(dst, `,"input":"`, f.Input)
	if f.File != "" {
		dst = appendText(dst, `,"file":"`, f.File)
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendInt(dst, f.Offset, 10)
	}
	dst = appendText(dst, `,"remote":"`, m.Remote)
	dst = appendText(dst, `,"app":"`, m.App)
	dst = appendText(dst, `,"procid":"`, m.ProcID)
	dst = appendText(dst, `,"unit":"`, m.Unit)
	dst = appendText(dst, `,"facility":"`, m.Facility)
	dst = appendText(dst, `,"severity":"`, m.Severity)
	if m.Part != 0 {
		dst = append(dst, `,"part":`...)
		dst = strconv.AppendInt(dst, m.Part, 10)
		if m.Last {
			dst = append(dst, `,"last":true`...)
		}
	}
	dst = appendText(dst, `,"topic":"`, f.Topic)
	if utf8.Valid(m.Body) {
		dst = append(dst, `,"body":"`...)
		dst = appendEscaped(dst, m.Body)
	} else {
		dst = append(dst, `,"body_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, m.Body)
	}
	return append(dst, `"}`...)
}

// BodyLen returns the length of what AppendBody appends, so that limits count what an
// envelope adds.
func BodyLen(format Format, f *Facts, m *feed.Message) int {
	if format == Raw {
		return len(m.Body)
	}
	n := len(`{"time":""`) + timeLen
	if showsTime(m.Sent) {
		n += len(`,"sent":""`) + timeLen
	}
	n += textLen("host", f.Host) + textLen("input", f.Input)
	if f.File != "" {
		n += textLen("file", f.File) + len(`,"offset":`) + intLen(f.Offset)
	}
	n += textLen("remote", m.Remote) + textLen("app", m.App) + textLen("procid", m.ProcID) + textLen("unit", m.Unit) +
		textLen("facility", m.Facility) + textLen("severity", m.Severity)
	if m.Part != 0 {
		n += len(`,"part":`) + intLen(m.Part)
		if m.Last {
			n += len(`,"last":true`)
		}
	}
	n += textLen("topic", f.Topic)
	if utf8.Valid(m.Body) {
		n += len(`,"body":"`) + escapedLen(m.Body)
	} else {
		n += len(`,"body_base64":"`) + base64.StdEncoding.EncodedLen(len(m.Body))
	}
	return n + len(`"}`)
}

// showsTime reports whether there is a time and it can be written: RFC 3339 has years of
// four digits.
func showsTime(t time.Time) bool {
	if t.IsZero() {
		return false
	}
	year := t.UTC().Year()
	return 0 <= year && year <= 9999
}

func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(appendDigits(dst, year, 4), '-')
	dst = append(appendDigits(dst, int(month), 2), '-')
	dst = append(appendDigits(dst, day, 2), 'T')
	dst = append(appendDigits(dst, hour, 2), ':')
	dst = append(appendDigits(dst, minute, 2), ':')
	dst = append(appendDigits(dst, second, 2), '.')
	return append(appendDigits(dst, t.Nanosecond(), 9), 'Z')
}

// appendDigits appends the last n digits of a number.
func appendDigits(dst []byte, number, n int) []byte {
	var digits [9]byte
	for i := n - 1; i >= 0; i-- {
		digits[i] = byte('0' + number%10)
		number /= 10
	}
	return append(dst, digits[:n]...)
}

func intLen(v int64) int {
	var digits [20]byte
	return len(strconv.AppendInt(digits[:0], v, 10))
}

// appendText appends a key as it is written, up to the quote that begins its value, and
// the value; nothing if that is empty.
func appendText(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, key...)
	if utf8.ValidString(value) {
		return append(appendEscaped(dst, []byte(value)), '"')
	}
	for _, r := range value {
		if r < utf8.RuneSelf {
			dst = appendByte(dst, byte(r))
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// textLen is the length of what appendText appends for the key of that name.
func textLen(name, value string) int {
	if value == "" {
		return 0
	}
	n := len(`,"":""`) + len(name)
	if utf8.ValidString(value) {
		return n + escapedLen([]byte(value))
	}
	for _, r := range value {
		if r < utf8.RuneSelf {
			n += int(byteLen[r])
		} else {
			n += utf8.RuneLen(r)
		}
	}
	return n
}

// byteLen are the lengths of bytes in a JSON string: 1 for those that stand there as they
// are.
var byteLen = func() (lens [256]uint8) {
	for c := range lens {
		lens[c] = uint8(len(appendByte(nil, byte(c))))
	}
	return lens
}()

func appendByte(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, `\n`...)
	case c == '\r':
		return append(dst, `\r`...)
	case c == '\t':
		return append(dst, `\t`...)
	case c < ' ':
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, c)
}

// appendEscaped appends UTF-8 as it stands in a JSON string.
func appendEscaped(dst, s []byte) []byte {
	for {
		i := escaped(s)
		dst = append(dst, s[:i]...)
		if i == len(s) {
			return dst
		}
		dst = appendByte(dst, s[i])
		s = s[i+1:]
	}
}

func escapedLen(s []byte) int {
	n := len(s)
	for {
		i := escaped(s)
		if i == len(s) {
			return n
		}
		n += int(byteLen[s[i]]) - 1
		s = s[i+1:]
	}
}

// escaped returns the index of the first byte that does not stand in a JSON string as it
// is, or the length. Eight bytes at a time are most of its speed.
func escaped(s []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		// The top bit of a byte is set in w-n*ones where the byte is below n, which is up
		// to 128, and perhaps behind such a byte, by the borrow: never too few.
		w := binary.LittleEndian.Uint64(s[i:])
		quote, slash := w^'"'*ones, w^'\\'*ones
		if ((w-' '*ones)|(quote-ones)|(slash-ones))&^w&tops != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		if byteLen[s[i]] != 1 {
			break
		}
	}
	return i
}
