package exportfile

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
)

// Writer writes a file. It is for one goroutine.
type Writer struct {
	out   *bufio.Writer
	sum   hash.Hash
	check checker
	to    int64
	line  []byte
}

// NewWriter begins a file. What it writes is buffered until Close.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(w, 256<<10)
	e := &Writer{out: out, sum: sum, check: checker{topic: h.Topic, next: h.From}, to: h.To}
	return e, e.write(h.append(nil))
}

// Batch writes a batch, which it checks as a Reader would.
func (e *Writer) Batch(offset, millis int64, raw []byte) error {
	if err := e.check.check(&Batch{Offset: offset, Raw: raw}, e.to); err != nil {
		return fmt.Errorf("the batch at %d: %w", offset, err)
	}
	e.line = appendAt(e.line[:0], offset, millis)
	if err := e.write(e.line); err != nil {
		return err
	}
	return e.write(raw)
}

// Close writes the last line. Without it the file is a torn one.
func (e *Writer) Close() (Summary, error) {
	s := e.check.sum
	if _, err := fmt.Fprintf(e.out, "END %d %d %d %x\r\n", s.Batches, s.Messages, s.Bytes, e.sum.Sum(nil)); err != nil {
		return s, err
	}
	return s, e.out.Flush()
}

func (e *Writer) write(p []byte) error {
	e.sum.Write(p)
	_, err := e.out.Write(p)
	return err
}
