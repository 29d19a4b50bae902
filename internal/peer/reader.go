package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strconv"
)

// Reader reads what a peer says. It is for one goroutine. An error is the
// connection's end: nothing is known of what follows. Between two requests, replies
// or frames the end is io.EOF, and elsewhere io.ErrUnexpectedEOF.
type Reader struct {
	r       *bufio.Reader
	header  [headerLen]byte
	message []byte
	body    uint32 // what is left to read of the body of the last frame
}

// chunk is how much memory is taken before the bytes arrive that are to fill it.
const chunk = 64 << 10

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 4096)} }

// line reads a line and returns it without its CRLF. It is good until the next call.
func (r *Reader) line() ([]byte, error) {
	b, err := r.r.ReadSlice('\n')
	switch {
	case len(b) > maxLine || errors.Is(err, bufio.ErrBufferFull):
		return nil, ErrTooLong
	case err == io.EOF && len(b) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case len(b) < 2 || b[len(b)-2] != '\r':
		return nil, ErrInvalid
	}
	return b[:len(b)-2], nil
}

// Request reads a request. Other versions are a [VersionError].
func (r *Reader) Request() (Request, error) {
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	return ParseRequest(line)
}

// answer reads the line of an answer and returns the numbers behind OK, of which
// there must be as many as asked for, or another word.
func (r *Reader) answer(numbers int, word string) (n [3]uint64, other bool, err error) {
	line, err := r.line()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, false, err
	}
	s := string(line)
	if len(s) > 4 && s[:4] == "ERR " {
		return n, false, &Refused{s[4:]}
	}
	want := "OK"
	if word != "" && len(s) > len(word) && s[:len(word)] == word {
		want, numbers, other = word, 1, true
	}
	if len(s) < len(want) || s[:len(want)] != want {
		return n, false, ErrInvalid
	}
	s = s[len(want):]
	for i := range numbers {
		end := 1
		for end < len(s) && s[end] != ' ' {
			end++
		}
		if s == "" || s[0] != ' ' {
			return n, false, ErrInvalid
		}
		v, err := strconv.ParseUint(s[1:end], 10, 63)
		if err != nil || strconv.FormatUint(v, 10) != s[1:end] {
			return n, false, ErrInvalid
		}
		n[i], s = v, s[end:]
	}
	if s != "" {
		return n, false, ErrInvalid
	}
	return n, other, nil
}

// Accepted reads the answer to a Hello or Replace: nil, a [*Refused], or another error.
func (r *Reader) Accepted() error {
	_, _, err := r.answer(0, "")
	return err
}

// Welcome reads the answer to a Join.
func (r *Reader) Welcome() (*Welcome, error) {
	n, _, err := r.answer(3, "")
	if err != nil {
		return nil, err
	}
	if n[0] == 0 || n[2] == 0 || n[2] > maxGroups {
		return nil, ErrInvalid
	}
	if n[1] > MaxMembers {
		return nil, ErrTooLong
	}
	w := &Welcome{ID: n[0], Groups: int(n[2])}
	for range n[1] {
		line, err := r.line()
		if err != nil {
			return nil, unexpected(err)
		}
		m, err := parseMember(line)
		if err != nil {
			return nil, err
		}
		w.Members = append(w.Members, m)
	}
	return w, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next reads a frame, on a connection of the use, with a body of at most so many
// bytes. Its message is good until the next call. What is left of the body of the
// frame before is skipped.
func (r *Reader) Next(use Use, maxBody uint32) (f Frame, err error) {
	if r.body > 0 {
		n, err := io.CopyN(io.Discard, r.r, int64(r.body))
		r.body -= uint32(n)
		if err != nil {
			return f, unexpected(err)
		}
	}
	header := r.header[:]
	if _, err := io.ReadFull(r.r, header); err != nil {
		return f, err
	}
	size := binary.LittleEndian.Uint32(header[0:])
	f.Kind = Kind(header[8])
	f.Group = binary.LittleEndian.Uint16(header[10:])
	f.Body = binary.LittleEndian.Uint32(header[12:])
	if header[9] != 0 {
		return f, ErrInvalid
	}
	if err := f.Kind.fits(use, size, f.Body, maxBody); err != nil {
		return f, err
	}
	if r.message, err = r.read(r.message[:0], int(size)); err != nil {
		return f, err
	}
	if binary.LittleEndian.Uint32(header[4:]) != checksum(header, r.message) {
		return f, ErrInvalid
	}
	f.Message, r.body = r.message, f.Body
	if cap(r.message) > MaxMessage {
		r.message = nil // a table's is not kept
	}
	return f, nil
}

// read appends n bytes to dst, beyond whose capacity it takes memory as they arrive.
func (r *Reader) read(dst []byte, n int) ([]byte, error) {
	for n > 0 {
		start := len(dst)
		part := min(n, max(chunk, start, cap(dst)-start))
		if cap(dst)-start < part {
			dst = append(make([]byte, 0, start+part), dst...)
		}
		dst = dst[:start+part]
		if _, err := io.ReadFull(r.r, dst[start:]); err != nil {
			return dst, unexpected(err)
		}
		n -= part
	}
	return dst, nil
}

// Wait waits until something has arrived, or the connection ends.
func (r *Reader) Wait() error {
	_, err := r.r.Peek(1)
	return err
}

// Body appends what is left of the body of the last frame to dst. Beyond the
// capacity of dst, memory is taken as bytes arrive.
func (r *Reader) Body(dst []byte) ([]byte, error) {
	n := int(r.body)
	r.body = 0 // after an error nothing more is read
	return r.read(dst, n)
}

// Part is where something begins in a range of a topic: batches of another append
// time, or with Roll a partition.
type Part struct {
	Offset int64
	Time   int64 // of the append, milliseconds since 1970
	Roll   bool
}

// Parts are what is told of a range before its bytes. The first begins where the
// range does, and the others follow in order. Encoded each is 8 offset · 8 time ·
// 1 roll, and 4 CRC-32C follow the last.
type Parts struct {
	From  int64
	Bytes int64
	Parts []Part
}

const (
	partLen  = 17
	maxParts = 1 << 16
)

// MaxSums is how many sums an answer may have: those of 64 GiB.
const MaxSums = 1 << 16

// SumBytes is of how many bytes each sum is, but for the last of a range.
const SumBytes = 1 << 20

func (p *Parts) valid() bool {
	if p.From < 0 || p.Bytes <= 0 || p.From+p.Bytes < 0 || len(p.Parts) == 0 || len(p.Parts) > maxParts || p.Parts[0].Offset != p.From {
		return false
	}
	for i := range p.Parts {
		part := &p.Parts[i]
		if part.Time < 0 || part.Offset >= p.From+p.Bytes || i > 0 && part.Offset <= p.Parts[i-1].Offset {
			return false
		}
	}
	return true
}

// Append appends the answer to a Fetch up to the bytes, which follow. It panics if
// it is not valid.
func (p *Parts) Append(dst []byte) []byte {
	if !p.valid() {
		panic(ErrInvalid)
	}
	dst = strconv.AppendInt(append(dst, "OK "...), p.Bytes, 10)
	dst = append(strconv.AppendInt(append(dst, ' '), int64(len(p.Parts)), 10), "\r\n"...)
	start := len(dst)
	for i := range p.Parts {
		part := &p.Parts[i]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(part.Offset))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(part.Time))
		roll := byte(0)
		if part.Roll {
			roll = 1
		}
		dst = append(dst, roll)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// AppendGone appends the answer that what is before oldest was trimmed.
func AppendGone(dst []byte, oldest int64) []byte {
	return append(strconv.AppendInt(append(dst, "GONE "...), oldest, 10), "\r\n"...)
}

// GoneError is a range of which the log says that it was trimmed, up to Oldest.
type GoneError struct{ Oldest int64 }

func (e *GoneError) Error() string { return "peer: trimmed up to " + strconv.FormatInt(e.Oldest, 10) }

// Fetched reads the answer to a Fetch up to the bytes, which are to be read with
// Body: the parts, a [*GoneError], a [*Refused], or another error. There are at most
// as many bytes as were asked for.
func (r *Reader) Fetched(f *Fetch) (*Parts, error) {
	n, gone, err := r.answer(2, "GONE")
	if err != nil {
		return nil, err
	}
	if gone {
		return nil, goneError(n[0], f.From)
	}
	if n[1] > maxParts || n[0] > uint64(f.To-f.From) || n[0] > 1<<31 {
		return nil, ErrTooLong
	}
	b, err := r.checked(int(n[1]) * partLen)
	if err != nil {
		return nil, err
	}
	p := &Parts{From: f.From, Bytes: int64(n[0]), Parts: make([]Part, n[1])}
	for i := range p.Parts {
		e := b[i*partLen:]
		if e[16] > 1 {
			return nil, ErrInvalid
		}
		p.Parts[i] = Part{int64(binary.LittleEndian.Uint64(e)), int64(binary.LittleEndian.Uint64(e[8:])), e[16] == 1}
	}
	if !p.valid() {
		return nil, ErrInvalid
	}
	r.body = uint32(p.Bytes)
	return p, nil
}

// goneError checks that what is gone was asked for.
func goneError(oldest uint64, from int64) error {
	if int64(oldest) <= from {
		return ErrInvalid
	}
	return &GoneError{int64(oldest)}
}

// checked reads n bytes and their checksum.
func (r *Reader) checked(n int) ([]byte, error) {
	b, err := r.read(nil, n+4)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, ErrInvalid
	}
	return b[:n], nil
}

// AppendSums appends the answer to a Sum. It panics if there are too many, or none.
func AppendSums(dst []byte, sums []uint32) []byte {
	if len(sums) == 0 || len(sums) > MaxSums {
		panic(ErrTooLong)
	}
	dst = append(strconv.AppendInt(append(dst, "OK "...), int64(len(sums)), 10), "\r\n"...)
	start := len(dst)
	for _, sum := range sums {
		dst = binary.LittleEndian.AppendUint32(dst, sum)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// Sums reads the answer to a Sum: at most as many sums as the range has, or an error
// as of Fetched.
func (r *Reader) Sums(s *Sum) ([]uint32, error) {
	n, gone, err := r.answer(1, "GONE")
	if err != nil {
		return nil, err
	}
	if gone {
		return nil, goneError(n[0], s.From)
	}
	if n[0] > MaxSums || int64(n[0]) > (s.To-s.From-1)/SumBytes+1 {
		return nil, ErrTooLong
	}
	if n[0] == 0 {
		return nil, ErrInvalid
	}
	b, err := r.checked(4 * int(n[0]))
	if err != nil {
		return nil, err
	}
	sums := make([]uint32, n[0])
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return sums, nil
}
