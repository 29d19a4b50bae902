// Package pattern has the patterns of topics' names that rules and settings are for: in
// them * stands for any bytes, also none, and all else for itself.
package pattern

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxLen is the length of the longest pattern, in bytes, and MaxStars how many stars one
// may have.
const (
	MaxLen   = 255
	MaxStars = 8
)

// reserved begins the names of topics that are the server's own.
const reserved = "__"

// Pattern is what names match. Names that begin with __ match only patterns that begin
// so. The zero Pattern matches nothing.
type Pattern struct {
	parts [][]byte // what stands before, between and after the stars
	own   bool     // names that begin with __ may match
}

// Parse parses a pattern. It refuses what no topic could match. An error repeats at most
// what quote makes of the text; nil quotes all of it.
func Parse(text string, quote func(string) string) (p Pattern, err error) {
	if quote == nil {
		quote = strconv.Quote
	}
	switch {
	case text == "":
		return p, errors.New("no pattern")
	case len(text) > MaxLen:
		return p, fmt.Errorf("a pattern of %d bytes; there may be %d", len(text), MaxLen)
	case strings.Count(text, "*") > MaxStars:
		return p, fmt.Errorf("a pattern with %d stars; there may be %d", strings.Count(text, "*"), MaxStars)
	}
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '*' {
			return p, fmt.Errorf("the pattern %s matches no topic: names are of A-Z a-z 0-9 . _ -", quote(text))
		}
	}
	return Pattern{bytes.Split([]byte(text), []byte("*")), strings.HasPrefix(text, reserved)}, nil
}

// OfAnyName returns the pattern for names that are not topics': one that begins with __ is
// any other there.
func (p Pattern) OfAnyName() Pattern {
	p.own = true
	return p
}

// All reports whether the pattern is *, or as good as that.
func (p *Pattern) All() bool {
	for _, part := range p.parts {
		if len(part) > 0 {
			return false
		}
	}
	return len(p.parts) > 1
}

// Exact reports whether the pattern has no star: it is a name.
func (p *Pattern) Exact() bool { return len(p.parts) == 1 }

// Literal returns how many bytes of the pattern stand for themselves.
func (p *Pattern) Literal() (n int) {
	for _, part := range p.parts {
		n += len(part)
	}
	return n
}

// Match reports whether a name matches. It takes time in proportion to the length
// of the name times that of the pattern at most, and allocates nothing.
func (p *Pattern) Match(name []byte) bool {
	if len(p.parts) == 0 || bytes.HasPrefix(name, []byte(reserved)) && !p.own {
		return false
	}
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(p.parts) == 1 {
		return bytes.Equal(name, first)
	}
	if len(name) < len(first)+len(last) || !bytes.HasPrefix(name, first) || !bytes.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		i := bytes.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
