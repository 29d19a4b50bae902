// Package batch builds, parses and checks the bytes of batches and messages.
//
// A batch is the unit of writing, storing and sending. On the wire and on
// disk it is the same bytes (docs/protocol.md):
//
//	BATCH <size> <topic> <crc> <messages> [codec=<name>] [pid=<id> seq=<n>]\r\n<data>
//	data = <messages> times:  MSG <len>\r\n<body>\r\n
//
// The first line is the envelope: size is the length of data in bytes, crc
// the CRC-32 (IEEE) of data, both decimal without leading zeros. A batch with pid
// and seq is numbered: it is the n-th that this producer has sent to the topic. One
// with a codec is compressed: its data is that of the messages, packed by the codec,
// and so are size and crc. What it unpacks to is not looked at here.
//
// Everything here is a pure function on []byte: no input or output, no
// allocation except where a result grows a caller's slice, and for the name of a
// codec that is not known, no limits of its
// own beyond what the format says. Functions are safe for concurrent use;
// [Builder] and [Messages] are not.
package batch

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"strconv"
)

// MaxTopicLen is the length of the longest topic name, in bytes.
const MaxTopicLen = 255

// MaxPIDLen is the length of the longest producer id, in bytes.
const MaxPIDLen = 32

// MaxHeaderLen bounds the length of a canonical envelope line with its CRLF:
// five words, of which two are int64 and one is a uint32, the codec and the number.
const MaxHeaderLen = len("BATCH ") + 19 + 1 + MaxTopicLen + 1 + 10 + 1 + 19 + MaxCodecLen + MaxNumberLen + len("\r\n")

// MaxNumberLen bounds what the number of a numbered batch takes in the envelope.
const MaxNumberLen = len(pidKey) + MaxPIDLen + len(seqKey) + 19

const (
	codecKey = " codec="
	pidKey   = " pid="
	seqKey   = " seq="
)

// Prefix and MessagePrefix are how every batch and every message begin.
const (
	Prefix        = "BATCH "
	MessagePrefix = "MSG "
)

// MaxMessageLine bounds the length of the line that a message begins with, with
// its CRLF.
const MaxMessageLine = len(MessagePrefix) + 19 + len("\r\n")

// MessageLine reads the line that a message begins with, and reports false if b
// does not begin with one: how long the line is with its CRLF, and the size of
// the body that follows.
func MessageLine(b []byte) (n int, size int64, ok bool) {
	rest, isMessage := bytes.CutPrefix(b, []byte(MessagePrefix))
	num, _, ended := bytes.Cut(rest, []byte("\r\n"))
	size, isNumber := ParseInt(num)
	return len(MessagePrefix) + len(num) + len("\r\n"), size, isMessage && ended && isNumber
}

// MinMessageLen is the length of an empty message in a batch's data.
const MinMessageLen = len("MSG 0\r\n\r\n")

// Errors of parsing and checking. Callers test for them with errors.Is.
var (
	// ErrHeader is an envelope line that is not in the canonical form.
	ErrHeader = errors.New("batch: invalid envelope")
	// ErrChecksum is data whose CRC-32 is not the envelope's.
	ErrChecksum = errors.New("batch: checksum mismatch")
	// ErrFraming is data that is not exactly the announced messages.
	ErrFraming = errors.New("batch: invalid message framing")
	// ErrShort is input that ends before the batch does: a prefix of a batch
	// as far as it can be told.
	ErrShort = errors.New("batch: incomplete")
)

// Header is a parsed envelope line.
type Header struct {
	Size     int64  // length of data in bytes
	Topic    []byte // aliases the parsed line
	CRC      uint32 // CRC-32 (IEEE) of data
	Messages int64  // at least 1

	// Codec is how the data of a compressed batch is packed. Else it is empty.
	Codec string

	// The number of a numbered batch: which producer's it is, and which of its
	// batches, from 1. Else they are empty and 0.
	PID []byte // aliases the parsed line
	Seq int64
}

// Len returns the length of the canonical envelope line, CRLF included.
func (h *Header) Len() int {
	n := len("BATCH ") + digits(uint64(h.Size)) + 1 + len(h.Topic) + 1 +
		digits(uint64(h.CRC)) + 1 + digits(uint64(h.Messages)) + len("\r\n")
	if h.Codec != "" {
		n += len(codecKey) + len(h.Codec)
	}
	if h.Seq > 0 {
		n += len(pidKey) + len(h.PID) + len(seqKey) + digits(uint64(h.Seq))
	}
	return n
}

// Extent returns what a log has to know of the batch that h is the canonical
// envelope of.
func (h *Header) Extent() Extent {
	return Extent{Len: int64(h.Len()) + h.Size, Messages: int32(h.Messages), Numbered: h.Seq > 0, Codec: CodecOf(h.Codec)}
}

// ParseHeader parses an envelope line given without its line end. Topic
// and PID of what is returned alias line.
//
// The error is ErrHeader for anything but a canonical line. Size is then
// still the announced size where that word could be read, so that the caller
// can skip the data, and -1 where it could not.
func ParseHeader(line []byte) (Header, error) { return parseHeader(line, false) }

// ParseTypedHeader parses an envelope line that has "-" for the checksum, as a
// person writes it, and leaves CRC at 0. Requests may have such a line; what is
// stored never does. It is otherwise like ParseHeader.
func ParseTypedHeader(line []byte) (Header, error) { return parseHeader(line, true) }

func parseHeader(line []byte, typed bool) (Header, error) {
	h := Header{Size: -1}
	rest, ok := bytes.CutPrefix(line, []byte("BATCH "))
	if !ok {
		return h, ErrHeader
	}
	word, rest, more := cut(rest)
	size, ok := ParseInt(word)
	if !ok {
		return h, ErrHeader
	}
	h.Size = size
	if !more {
		return h, ErrHeader
	}
	h.Topic, rest, more = cut(rest)
	if !more || !ValidTopic(h.Topic) {
		return h, ErrHeader
	}
	word, rest, more = cut(rest)
	crc, ok := ParseInt(word)
	if typed {
		ok = string(word) == "-"
	}
	if !more || !ok || crc > math.MaxUint32 {
		return h, ErrHeader
	}
	h.CRC = uint32(crc)
	word, rest, more = cut(rest)
	h.Messages, ok = ParseInt(word)
	if !ok || h.Messages < 1 || more && !parseAttributes(rest, &h) {
		return h, ErrHeader
	}
	return h, nil
}

// parseAttributes parses the words that make a batch a compressed one, a numbered
// one, or both.
func parseAttributes(words []byte, h *Header) bool {
	rest, ok := bytes.CutPrefix(words, []byte(codecKey[1:]))
	if !ok {
		return parseNumber(words, h)
	}
	name, rest, more := cut(rest)
	if !ValidCodec(name) || h.Messages > MaxPacked || more && !parseNumber(rest, h) {
		return false
	}
	h.Codec = codecName(name)
	return true
}

// parseNumber parses the words that make a batch a numbered one.
func parseNumber(words []byte, h *Header) bool {
	pid, seq, both := cut(words)
	pid, isPID := bytes.CutPrefix(pid, []byte(pidKey[1:]))
	seq, isSeq := bytes.CutPrefix(seq, []byte(seqKey[1:]))
	n, ok := ParseInt(seq)
	if !both || !isPID || !isSeq || !ok || n < 1 || !ValidPID(pid) {
		return false
	}
	h.PID, h.Seq = pid, n
	return true
}

// AppendHeader appends the canonical envelope line of h, CRLF included.
func AppendHeader(dst []byte, h *Header) []byte {
	return appendHeader(dst, h.Size, h.Topic, h.CRC, h.Messages, h.Codec, h.PID, h.Seq)
}

// AppendTypedHeader appends the envelope line of h with "-" for the checksum,
// CRLF included: the inverse of ParseTypedHeader.
func AppendTypedHeader(dst []byte, h *Header) []byte {
	dst = appendStart(dst, h.Size, h.Topic)
	dst = append(dst, '-')
	return appendRest(dst, h.Messages, h.Codec, h.PID, h.Seq)
}

func appendHeader[T, P ~string | ~[]byte](dst []byte, size int64, topic T, crc uint32, messages int64, codec string, pid P, seq int64) []byte {
	dst = appendStart(dst, size, topic)
	dst = strconv.AppendUint(dst, uint64(crc), 10)
	return appendRest(dst, messages, codec, pid, seq)
}

func appendStart[T ~string | ~[]byte](dst []byte, size int64, topic T) []byte {
	dst = append(dst, "BATCH "...)
	dst = strconv.AppendInt(dst, size, 10)
	dst = append(dst, ' ')
	dst = append(dst, topic...)
	return append(dst, ' ')
}

func appendRest[P ~string | ~[]byte](dst []byte, messages int64, codec string, pid P, seq int64) []byte {
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, messages, 10)
	if codec != "" {
		dst = append(dst, codecKey...)
		dst = append(dst, codec...)
	}
	if seq > 0 {
		dst = append(dst, pidKey...)
		dst = append(dst, pid...)
		dst = append(dst, seqKey...)
		dst = strconv.AppendInt(dst, seq, 10)
	}
	return append(dst, '\r', '\n')
}

// Parse reads the envelope of the batch that p begins with and returns it
// with the batch's whole length, envelope and data. It does not look at the
// data, which may reach beyond p.
//
// The error is ErrShort when p ends inside what may still be an envelope, and
// ErrHeader when p does not begin with one. Only the canonical form (CRLF) is
// accepted: Parse reads what was stored.
func Parse(p []byte) (h Header, n int64, err error) {
	const prefix = "BATCH "
	if len(p) < len(prefix) {
		if string(p) == prefix[:len(p)] {
			return h, 0, ErrShort
		}
		return h, 0, ErrHeader
	}
	if string(p[:len(prefix)]) != prefix {
		return h, 0, ErrHeader
	}
	window := p[:min(len(p), MaxHeaderLen)]
	i := bytes.IndexByte(window, '\n')
	if i < 0 {
		if len(window) == MaxHeaderLen {
			return h, 0, ErrHeader
		}
		return h, 0, ErrShort
	}
	if p[i-1] != '\r' {
		return h, 0, ErrHeader
	}
	h, err = ParseHeader(p[:i-1])
	if err != nil {
		return h, 0, err
	}
	if h.Size > math.MaxInt64-int64(i)-1 {
		return h, 0, ErrHeader
	}
	return h, int64(i) + 1 + h.Size, nil
}

// Check reports whether data is what the envelope h announces: ErrChecksum if
// its CRC-32 differs, else ErrFraming if it is not exactly h.Messages
// well-formed messages. len(data) must be h.Size. Of a compressed batch the checksum is
// all that is looked at.
func Check(h *Header, data []byte) error {
	if Checksum(data) != h.CRC {
		return ErrChecksum
	}
	if h.Codec != "" {
		return nil
	}
	return checkFraming(data, h.Messages)
}

// Checksum returns the CRC-32 (IEEE 802.3) of a batch's data.
func Checksum(data []byte) uint32 { return crc32.ChecksumIEEE(data) }

func checkFraming(data []byte, messages int64) error {
	// Each message takes at least MinMessageLen bytes, so an absurd count is
	// refused before the walk.
	if messages < 1 || messages > int64(len(data)/MinMessageLen) {
		return ErrFraming
	}
	pos := 0
	for range messages {
		_, end, ok := message(data, pos)
		if !ok {
			return ErrFraming
		}
		pos = end
	}
	if pos != len(data) {
		return ErrFraming
	}
	return nil
}

// message finds the message at data[pos:] and returns the start of its body
// and the end of the message; the body ends two bytes before that.
func message(data []byte, pos int) (body, end int, ok bool) {
	const prefix = "MSG "
	if len(data)-pos < MinMessageLen || string(data[pos:pos+len(prefix)]) != prefix {
		return 0, 0, false
	}
	i := pos + len(prefix)
	start, n := i, 0
	for i < len(data) && data[i] >= '0' && data[i] <= '9' {
		n = n*10 + int(data[i]-'0')
		if n > len(data) {
			return 0, 0, false
		}
		i++
	}
	if i == start || (data[start] == '0' && i > start+1) {
		return 0, 0, false
	}
	// i+2+n+2 cannot overflow: n and i are at most len(data).
	body = i + 2
	end = body + n + 2
	if end > len(data) || data[i] != '\r' || data[i+1] != '\n' || data[end-2] != '\r' || data[end-1] != '\n' {
		return 0, 0, false
	}
	return body, end, true
}

// BareLF reports whether data begins with a message whose first line ends with a
// bare LF: however it goes on, it is no data of a batch.
func BareLF(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte("MSG "))
	if !ok {
		return false
	}
	i := 0
	for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
		i++
	}
	return i > 0 && i < len(rest) && rest[i] == '\n'
}

// Messages walks the messages of one batch's data.
//
//	m := batch.Messages{Data: data}
//	for m.Next() {
//		use(m.Delta(), m.Body())
//	}
//	err := m.Err()
//
// Body aliases Data.
type Messages struct {
	Data []byte

	next, delta, body int
	bad               bool
}

// Next advances to the next message and reports whether there is one.
func (m *Messages) Next() bool {
	if m.bad || m.next == len(m.Data) {
		return false
	}
	body, end, ok := message(m.Data, m.next)
	if !ok {
		m.bad = true
		return false
	}
	m.delta, m.body, m.next = m.next, body, end
	return true
}

// Delta returns the position of the message's first byte in the data.
func (m *Messages) Delta() int64 { return int64(m.delta) }

// Body returns the message's body. It aliases Data.
func (m *Messages) Body() []byte { return m.Data[m.body : m.next-2 : m.next-2] }

// Err returns ErrFraming if the walk ended at bytes that are no message.
func (m *Messages) Err() error {
	if m.bad {
		return ErrFraming
	}
	return nil
}

// ValidTopic reports whether name may be a topic: 1 to 255 bytes of
// A-Z a-z 0-9 . _ - and not beginning with a dot. A valid name is a plain
// file name on every file system: it has no separator and is neither "." nor
// "..".
func ValidTopic[T ~string | ~[]byte](name T) bool {
	if len(name) == 0 || len(name) > MaxTopicLen || name[0] == '.' {
		return false
	}
	for i := 0; i < len(name); i++ {
		if !topicByte[name[i]] {
			return false
		}
	}
	return true
}

// ValidPID reports whether id may be a producer's: 1 to 32 of the bytes that
// topics have.
func ValidPID[T ~string | ~[]byte](id T) bool {
	if len(id) == 0 || len(id) > MaxPIDLen {
		return false
	}
	for i := 0; i < len(id); i++ {
		if !topicByte[id[i]] {
			return false
		}
	}
	return true
}

var topicByte = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") {
		t[c] = true
	}
	return t
}()

// ParseInt parses the protocol's form of a number: decimal digits, 0 to
// 9223372036854775807, without sign or leading zeros.
func ParseInt(word []byte) (int64, bool) {
	if len(word) == 0 || len(word) > 19 || (word[0] == '0' && len(word) > 1) {
		return 0, false
	}
	var n uint64 // 19 digits fit: 9999999999999999999 < 1<<64
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if n > math.MaxInt64 {
		return 0, false
	}
	return int64(n), true
}

// cut splits s at its first space; more tells whether there was one.
func cut(s []byte) (word, rest []byte, more bool) {
	if i := bytes.IndexByte(s, ' '); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, nil, false
}

func digits(n uint64) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

// Extent describes one batch in a run of batches that stand one after another
// in memory: what a log has to know of it beside its bytes.
type Extent struct {
	Len      int64 // envelope and data
	Messages int32 // each takes bytes, and packed there are at most MaxPacked: no batch has more
	Numbered bool  // the envelope has a pid and a seq
	Codec    Codecs
}
