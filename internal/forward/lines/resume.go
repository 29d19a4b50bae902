package lines

import (
	"bytes"
	"io"
)

// Resume returns the state of a Splitter at a place of a stream that can be read again,
// from the bytes before it: behind a LF there is nothing to know, but within a long line
// there is how many parts of it stand before, or that the rest is left out. A line that
// was ended without a LF, because its file was at its end, is not continued.
//
// It reads back to the beginning of the line, a block at a time.
func (s Settings) Resume(r io.ReaderAt, at int64) (State, error) {
	st := State{At: at}
	begin, err := s.begin(r, at)
	if err != nil {
		return st, err
	}
	before := at - begin
	switch {
	case before == 0:
	case s.Long == Split && before%int64(s.Max) == 0:
		st.Part = before / int64(s.Max)
	case s.Long == Truncate && before >= int64(s.Max), s.Long == Skip && before > int64(s.Max):
		st.Cut, st.Hole = true, at
	}
	return st, nil
}

// begin returns where the line begins that has the byte at at, or at if one begins there.
func (s Settings) begin(r io.ReaderAt, at int64) (int64, error) {
	const block = 32 << 10
	var buf []byte
	text := at // the first byte known to be no NUL, or at
	size := int64(256)
	for end := at; end > 0; size = min(2*size, block) {
		from := max(0, end-size)
		if int64(cap(buf)) < end-from {
			buf = make([]byte, end-from)
		}
		b := buf[:end-from]
		if n, err := r.ReadAt(b, from); n < len(b) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		if rest := bytes.TrimLeft(b, "\x00"); len(rest) > 0 {
			text = end - int64(len(rest))
		}
		// Further back than this it makes no difference where it begins.
		if s.Long != Split && !s.LeadingNULs && at-from > int64(s.Max) {
			return from, nil
		}
		end = from
	}
	if s.LeadingNULs {
		return text, nil
	}
	return 0, nil
}
