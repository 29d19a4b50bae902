package exportfile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
)

// DamageError is what a file is that no export has left so.
type DamageError struct {
	// Position is where in the file it shows.
	Position int64
	// Why is what is wrong there.
	Why string
}

// Error says where, and what.
func (e *DamageError) Error() string { return fmt.Sprintf("position %d: %s", e.Position, e.Why) }

// Reader reads a file, or a partition file, and checks it. It is for one goroutine.
type Reader struct {
	in       *bufio.Reader
	position int64     // of what is read next
	sum      hash.Hash // of all before it; nil for a partition file
	header   Header
	check    checker
	raw      bytes.Buffer
	batch    Batch
	ended    bool
}

// NewReader reads the beginning of a file. An error is a *DamageError, or one of r.
func NewReader(r io.Reader) (*Reader, error) {
	e := &Reader{in: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	h := &e.header
	var err error
	text := func(prefix string) (value string) {
		if err == nil {
			value, err = e.line(prefix)
		}
		return value
	}
	offset := func(prefix string) int64 {
		digits := text(prefix)
		n, ok := batch.ParseInt([]byte(digits))
		if err == nil && !ok {
			err = e.damage("%q is no offset", digits)
		}
		return n
	}
	if text(magic) != "" && err == nil {
		err = e.damage("a newer version, or no export")
	}
	h.Topic, h.ID, h.From, h.To = text("Topic: "), text("Id: "), offset("From: "), offset("To: ")
	if text("") != "" && err == nil {
		err = e.damage("no empty line behind To")
	}
	if err == nil {
		if bad := h.check(); bad != nil {
			err = e.damage("%v", bad)
		}
	}
	e.check = checker{topic: h.Topic, next: h.From}
	return e, err
}

// NewPartitionReader reads a partition file of so many bytes: nothing but stored batches,
// the first one of which stands at the offset base. The Id is the caller's.
func NewPartitionReader(r io.Reader, base, size int64, id string) (*Reader, error) {
	e := &Reader{in: bufio.NewReaderSize(r, 256<<10)}
	line, err := e.in.Peek(batch.MaxHeaderLen)
	if err != nil && err != io.EOF {
		return nil, err
	}
	h, _, err := batch.Parse(line)
	if err != nil || size > math.MaxInt64-base {
		return nil, e.damage("no batch begins the file")
	}
	e.header = Header{Topic: string(h.Topic), ID: id, From: base, To: base + size}
	e.check = checker{topic: e.header.Topic, next: base}
	return e, nil
}

// Header returns what the file says of itself.
func (e *Reader) Header() Header { return e.header }

// Summary returns what was read so far.
func (e *Reader) Summary() Summary { return e.check.sum }

// Position returns how many bytes were read.
func (e *Reader) Position() int64 { return e.position }

// Next returns the next batch, which is good until the call after it. The error is io.EOF
// behind the last one, if the whole file is as it was written; a *DamageError; or one of
// the io.Reader.
func (e *Reader) Next() (*Batch, error) {
	if e.ended {
		return nil, io.EOF
	}
	b := &e.batch
	if e.sum == nil {
		if _, err := e.in.Peek(1); err == io.EOF {
			e.ended = true
			return nil, io.EOF
		}
		b.Offset, b.Millis = e.check.next, NoTime
	} else {
		if word, _ := e.in.Peek(len(endWord)); string(word) == endWord {
			return nil, e.end()
		}
		line, err := e.line("")
		if err != nil {
			return nil, err
		}
		var ok bool
		if b.Offset, b.Millis, ok = parseAt(line); !ok {
			return nil, e.damage("%.40q is neither AT nor END", line)
		}
	}
	begins := e.position
	if err := e.readBatch(); err != nil {
		return nil, err
	}
	b.Raw = e.raw.Bytes()
	if err := e.check.check(b, e.header.To); err != nil {
		return nil, &DamageError{begins, err.Error()}
	}
	return b, nil
}

// parseAt parses the line before a batch.
func parseAt(line string) (offset, millis int64, ok bool) {
	rest, is := strings.CutPrefix(line, "AT ")
	name, when, two := strings.Cut(rest, " ")
	offset, isOffset := batch.ParseInt([]byte(name))
	millis, isTime := batch.ParseInt([]byte(when))
	if when == "-" {
		millis, isTime = NoTime, true
	}
	return offset, millis, is && two && isOffset && isTime
}

// end looks at the last line, and whether it is the last one.
func (e *Reader) end() error {
	s, sum := e.check.sum, e.sum.Sum(nil)
	numbers, err := e.line(endWord)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d %d %d %x", s.Batches, s.Messages, s.Bytes, sum); numbers != want {
		return e.damage("the file was changed: it says END %.120s, what is before that is END %s", numbers, want)
	}
	if _, err := e.in.ReadByte(); err == nil {
		return e.damage("something is behind the END")
	} else if err != io.EOF {
		return err
	}
	e.ended = true
	return io.EOF
}

// line reads a line that begins with the prefix, and returns the rest of it.
func (e *Reader) line(prefix string) (string, error) {
	line, err := e.in.ReadSlice('\n')
	switch {
	case err == io.EOF:
		return "", e.damage("the file is torn: it ends before its END")
	case errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) > maxLine:
		return "", e.damage("a line that is too long")
	case err != nil:
		return "", err
	}
	text, crlf := strings.CutSuffix(string(line), "\r\n")
	rest, is := strings.CutPrefix(text, prefix)
	if !crlf || !is {
		return "", e.damage("%.40q, where %q is to be", line, prefix+"…")
	}
	e.took(line)
	return rest, nil
}

// readBatch reads a batch into raw: never more memory than there are bytes.
func (e *Reader) readBatch() error {
	e.raw.Reset()
	line, err := e.in.Peek(batch.MaxHeaderLen)
	if err != nil && err != io.EOF {
		return err
	}
	_, n, err := batch.Parse(line)
	if errors.Is(err, batch.ErrShort) {
		return e.damage("the file is torn: it ends inside a batch")
	} else if err != nil {
		return e.damage("no batch begins there")
	}
	switch _, err := io.CopyN(&e.raw, e.in, n); {
	case err == io.EOF:
		return e.damage("the file is torn: it ends inside a batch")
	case err != nil:
		return err
	}
	e.took(e.raw.Bytes())
	return nil
}

func (e *Reader) took(p []byte) {
	e.position += int64(len(p))
	if e.sum != nil {
		e.sum.Write(p)
	}
}

func (e *Reader) damage(format string, args ...any) error {
	return &DamageError{e.position, fmt.Sprintf(format, args...)}
}
