// Package lines makes messages of the lines of a stream of bytes: of a file, a
// connection, a pipe.
//
// A line is the bytes before a LF. What happens to a line that is longer than a message
// may be is a setting: see [Long]. No line of any length needs more memory than the
// longest message and what was read at once.
//
// A [Splitter] works on bytes that the caller holds, and keeps only where it stands; a
// [Stream] holds what of a stream is no whole line yet. Neither is safe for concurrent
// use.
package lines

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// Long is what becomes of a line that is longer than Settings.Max.
type Long uint8

const (
	Split    Long = iota // messages of Max bytes, the last one of what is left; nothing is lost
	Truncate             // a message of the first Max bytes; what is behind them is a hole
	Skip                 // a hole
)

var longs = [...]string{"split", "truncate", "skip"}

// String returns the word for the settings: split, truncate or skip.
func (l Long) String() string {
	if int(l) < len(longs) {
		return longs[l]
	}
	return "Long(" + strconv.Itoa(int(l)) + ")"
}

// ParseLong reads what String returns.
func ParseLong(s string) (Long, error) {
	for i, name := range longs {
		if s == name {
			return Long(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of %s", s, strings.Join(longs[:], ", "))
}

// Settings say how lines are made of bytes. The same settings make the same lines of the
// same bytes.
type Settings struct {
	Max    int  // the most bytes of a message, at least 1
	Long   Long // what becomes of longer lines
	TrimCR bool // a CR at the end of a line is left out
	// LeadingNULs leaves the NULs out with which the stream begins: a file that was
	// truncated while a program without O_APPEND writes to it has them where its text was.
	LeadingNULs bool
}

// String returns the settings in one word, for Parse.
func (s Settings) String() string {
	word := s.Long.String() + ":" + strconv.Itoa(s.Max)
	if s.TrimCR {
		word += ":cr"
	}
	if s.LeadingNULs {
		word += ":nul"
	}
	return word
}

// Parse reads what String returns.
func Parse(word string) (Settings, error) {
	var s Settings
	fields := strings.Split(word, ":")
	if len(fields) < 2 {
		return s, fmt.Errorf("settings of lines %q: want LONG:MAX", word)
	}
	var err error
	if s.Long, err = ParseLong(fields[0]); err != nil {
		return s, fmt.Errorf("settings of lines %q: %w", word, err)
	}
	if s.Max, err = strconv.Atoi(fields[1]); err != nil || s.Max < 1 {
		return s, fmt.Errorf("settings of lines %q: %q is no length", word, fields[1])
	}
	for _, f := range fields[2:] {
		switch f {
		case "cr":
			s.TrimCR = true
		case "nul":
			s.LeadingNULs = true
		default:
			return s, fmt.Errorf("settings of lines %q: %q is unknown", word, f)
		}
	}
	return s, nil
}

// Window is how many bytes decide whether a line is too long: a line of Max bytes has an
// end of one or two more.
func (s Settings) Window() int {
	if s.TrimCR {
		return s.Max + 2
	}
	return s.Max + 1
}

// State is where in a stream a Splitter stands, and what it must know of the bytes before.
type State struct {
	At   int64 // the number of bytes before
	Part int64 // how many parts of the line at At stand before
	Cut  bool  // up to the next LF is a hole, which begins at Hole
	Hole int64
	NULs int64 // how many NULs were left out at the start
}

// Piece is a message, or a hole: what is too long for the settings. Its Body ends at the
// next call and is part of what the caller gave.
type Piece struct {
	Body     []byte
	From, To int64
	Part     int64 // as in feed.Message
	Last     bool
	TooLong  bool // a hole of kind TooLong; there is no message
}

// Message is the piece as a message of which no more is known.
func (p *Piece) Message() feed.Message {
	return feed.Message{Body: p.Body, Part: p.Part, Last: p.Last}
}

// Splitter makes pieces of bytes that the caller holds. The zero State is the start of a
// stream.
type Splitter struct {
	Settings
	State
	// Seen is how many of the bytes at At are known to have no LF: those of the last call of
	// Next that it left.
	Seen int
}

// Next returns the first piece of b, which is what stands at s.At. It has consumed the
// first n bytes of it, with a piece or without; s.At is behind them. If there is no piece,
// it needs to see more than b[n:], which is never more than Max bytes and two. final says
// that nothing comes behind b: what is left is a line without LF.
func (s *Splitter) Next(b []byte, final bool) (p Piece, n int, ok bool) {
	if s.LeadingNULs && s.At == s.NULs {
		n = len(b) - len(bytes.TrimLeft(b, "\x00"))
		s.NULs += int64(n)
		s.At += int64(n)
		b = b[n:]
	}
	if !s.Cut {
		w := b[:min(len(b), s.Window())]
		end, next := s.end(w, final && len(w) == len(b))
		switch {
		case end < 0 && len(w) < s.Window():
			s.Seen = len(w)
			return p, n, false
		case end < 0, end > s.Max:
			if s.Long == Skip {
				s.Cut, s.Hole = true, s.At
				break
			}
			p = s.piece(b[:s.Max], s.Max)
			if s.Long == Split {
				s.Part++
				p.Part = s.Part
			} else {
				s.Cut, s.Hole = true, s.At
			}
			return p, n + s.Max, true
		case next == 0:
			return p, n, false // the end, and nothing before it
		default:
			p = s.piece(b[:end], next)
			if s.Part > 0 {
				p.Part, p.Last = s.Part+1, true
				s.Part = 0
			}
			return p, n + next, true
		}
	}
	i := bytes.IndexByte(b, '\n')
	skip := i + 1
	if i < 0 {
		skip = len(b)
	}
	s.At += int64(skip)
	s.Seen = 0
	if i < 0 && !(final && s.At > s.Hole) {
		return p, n + skip, false
	}
	s.Cut = false
	return Piece{From: s.Hole, To: s.At, TooLong: true}, n + skip, true
}

// end returns where the first line of w ends and the next one begins, or -1. all says that
// there is nothing behind w.
func (s *Splitter) end(w []byte, all bool) (end, next int) {
	seen := min(s.Seen, len(w))
	end = bytes.IndexByte(w[seen:], '\n')
	switch {
	case end >= 0:
		end += seen
		next = end + 1
	case all:
		end, next = len(w), len(w)
	default:
		return -1, 0
	}
	if s.TrimCR && end > 0 && w[end-1] == '\r' {
		end--
	}
	return end, next
}

// piece is body as a message that ends n bytes behind At; At moves there.
func (s *Splitter) piece(body []byte, n int) Piece {
	p := Piece{From: s.At, To: s.At + int64(n)}
	p.Body = body
	s.At = p.To
	s.Seen = 0
	return p
}

// Before returns the state in which a Splitter of these settings gives p next.
func (s Settings) Before(p Piece) State {
	st := State{At: p.From}
	switch {
	case p.TooLong && s.Long == Truncate:
		st.Cut, st.Hole = true, p.From
	case p.Part > 0:
		st.Part = p.Part - 1
	}
	return st
}

// Stream makes pieces of bytes that come one after the other. The zero State is the start
// of a stream.
type Stream struct {
	Splitter
	rest []byte
}

// Write gives p and calls yield for each piece that ends in it; if yield returns an error,
// Write does, and the stream is at its end. Of p and the body of a piece nothing is kept
// behind the calls.
func (s *Stream) Write(p []byte, yield func(Piece) error) error {
	return s.write(p, false, yield)
}

// End says that nothing more comes: what is left is a line without LF.
func (s *Stream) End(yield func(Piece) error) error {
	return s.write(nil, true, yield)
}

func (s *Stream) write(p []byte, final bool, yield func(Piece) error) error {
	if len(s.rest) > 0 {
		// Only the line that was begun is put together; the others are made of p.
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			i = len(p)
		}
		s.rest = append(s.rest, p[:i]...)
		rest, err := s.split(s.rest, final && i == len(p), yield)
		s.rest = append(s.rest[:0], rest...)
		if err != nil || len(s.rest) > 0 {
			return err
		}
		if cap(s.rest) > 64<<10 {
			s.rest = nil
		}
		p = p[i:]
	}
	rest, err := s.split(p, final, yield)
	s.rest = append(s.rest, rest...)
	return err
}

// split calls yield for the pieces of b and returns what is none yet.
func (s *Stream) split(b []byte, final bool, yield func(Piece) error) ([]byte, error) {
	for {
		piece, n, ok := s.Next(b, final)
		b = b[n:]
		if !ok {
			return b, nil
		}
		if err := yield(piece); err != nil {
			return b, err
		}
	}
}

// Held returns how many bytes the stream holds that are no piece yet.
func (s *Stream) Held() int { return len(s.rest) }
