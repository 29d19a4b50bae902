package auth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// verbs are the words that rules begin with, a bit each.
var verbs = map[string]uint8{"read": 1, "write": 2, "create": 4, "admin": 8, "monitor": 16, "position": 32}

const (
	monitor  = "monitor"  // is about the server alone
	position = "position" // may be about some consumers alone
)

// rule allows verbs for the topics of a pattern.
type rule struct {
	text      string
	verbs     uint8
	pattern   pattern
	consumers *pattern // of position; nil: all
}

// parseRule parses VERB[,VERB…] PATTERN, or position PATTERN/PATTERN, of topics and
// consumers.
func parseRule(text string) (r rule, err error) {
	words, pattern, ok := strings.Cut(text, " ")
	if !ok {
		return r, errors.New("not VERB[,VERB…] PATTERN")
	}
	for word := range strings.SplitSeq(words, ",") {
		v, ok := verbs[word]
		switch {
		case !ok:
			return r, fmt.Errorf("no verb is %s", quote(word))
		case r.verbs&v != 0:
			return r, fmt.Errorf("%s twice", word)
		}
		r.verbs |= v
	}
	r.text = text
	if topics, consumers, ok := strings.Cut(pattern, "/"); ok {
		if r.verbs != verbs[position] {
			return r, errors.New("a pattern of consumers, behind a /, is for the verb position alone")
		}
		c, err := parsePattern(consumers)
		if err != nil {
			return r, fmt.Errorf("consumers: %w", err)
		}
		c.own = true // to consumers a name that begins with __ is any other
		pattern, r.consumers = topics, &c
	}
	if r.pattern, err = parsePattern(pattern); err != nil {
		return r, err
	}
	if r.verbs&verbs[monitor] != 0 && !r.pattern.all() {
		return r, errors.New("monitor is about the server as a whole: its pattern is *")
	}
	return r, nil
}

const (
	maxPattern = 255
	maxStars   = 8
)

// reserved begins the names of topics that are the server's own.
const reserved = "__"

// pattern is what names of topics match: in it * stands for any bytes, also none.
// Names that begin with __ match only patterns that begin so.
type pattern struct {
	parts [][]byte // what stands before, between and after the stars
	own   bool     // it begins with __
}

// parsePattern parses a pattern. It refuses what no topic could match.
func parsePattern(text string) (p pattern, err error) {
	switch {
	case text == "":
		return p, errors.New("no pattern")
	case len(text) > maxPattern:
		return p, fmt.Errorf("a pattern of %d bytes; there may be %d", len(text), maxPattern)
	case strings.Count(text, "*") > maxStars:
		return p, fmt.Errorf("a pattern with %d stars; there may be %d", strings.Count(text, "*"), maxStars)
	}
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '*' {
			return p, fmt.Errorf("the pattern %s matches no topic: names are of A-Z a-z 0-9 . _ -", quote(text))
		}
	}
	return pattern{bytes.Split([]byte(text), []byte("*")), strings.HasPrefix(text, reserved)}, nil
}

// all reports whether the pattern is *, or as good as that.
func (p *pattern) all() bool {
	for _, part := range p.parts {
		if len(part) > 0 {
			return false
		}
	}
	return len(p.parts) > 1
}

// match reports whether a name matches. It takes time in proportion to the length
// of the name times that of the pattern at most, and allocates nothing.
func (p *pattern) match(name []byte) bool {
	if bytes.HasPrefix(name, []byte(reserved)) && !p.own {
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
