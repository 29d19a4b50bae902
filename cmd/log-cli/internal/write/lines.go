package write

import (
	"bytes"
	"context"
	"io"
)

const (
	// chunkSize is how much input is read at once.
	chunkSize = 256 << 10
	// chunks is how many of them there are: one is being read while another
	// is taken apart.
	chunks = 3
)

// chunk is a piece of the input.
type chunk struct {
	buf []byte // memory of the whole chunk
	n   int    // how much of it was read
	err error  // why there is nothing after it; io.EOF at the end
}

// pump reads the input ahead. It runs in a goroutine of its own because a read
// of a terminal or a pipe can neither be waited for together with other things
// nor be called off; it ends with the input or, at its next read, with ctx.
type pump struct {
	full chan chunk
	free chan []byte
}

func newPump(ctx context.Context, in io.Reader) *pump {
	p := &pump{full: make(chan chunk, chunks), free: make(chan []byte, chunks)}
	for range chunks {
		p.free <- make([]byte, chunkSize)
	}
	go func() {
		for {
			select {
			case buf := <-p.free:
				n, err := in.Read(buf)
				p.full <- chunk{buf, n, err} // has room for all chunks
				if err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

// lines takes input apart into lines.
//
// A line is the bytes up to the next '\n', which is not part of it; everything
// else is, a '\r' before the '\n' too. The last line need not have a '\n'. So
// the lines, each with a '\n' after it, are the input again, byte for byte,
// but for a '\n' that was missing at the very end.
type lines struct {
	max     int64  // how long a line may get before its end was seen
	partial []byte // what was seen of a line so far
}

// each calls f with every line that ends in data. The line is good until f
// returns. It stops at the first error, which is errTooLong for a line that is
// longer than max without an end in sight.
func (l *lines) each(data []byte, f func(line []byte) error) error {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			l.partial = append(l.partial, data...)
			if int64(len(l.partial)) > l.max {
				return errTooLong
			}
			return nil
		}
		line := data[:i]
		data = data[i+1:]
		if len(l.partial) > 0 {
			l.partial = append(l.partial, line...)
			line = l.partial
			l.partial = l.partial[:0]
		}
		if err := f(line); err != nil {
			return err
		}
	}
	return nil
}

// last calls f with the last line if that had no end.
func (l *lines) last(f func(line []byte) error) error {
	if len(l.partial) == 0 {
		return nil
	}
	return f(l.partial)
}
