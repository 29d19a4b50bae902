// Package glob finds files by patterns of paths, and says what the wildcards stand for.
//
// In a pattern, * stands for any number of bytes but a slash, ? for one, [a-z] and [^a-z]
// for one of some, and ** between slashes for any number of folders, also none. \ before a
// byte takes its meaning away. Where several wildcards of one name could share bytes, the
// earlier one stands for as few as possible.
package glob

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Glob is a pattern. It does not change, and is safe for concurrent use.
type Glob struct {
	pattern string
	parts   []part
	wild    int // how many wildcards
}

// part is what stands between two slashes.
type part struct {
	any     bool   // **
	literal string // if there are no tokens
	tokens  []token
	wild    int // its wildcards
}

type token struct {
	kind   byte   // * ? [ or 0 for literal
	text   string // of a literal
	not    bool
	ranges []byte // pairs: from, to
}

// Compile reads a pattern. A relative one is below the working directory, but for one that
// begins with **, which matches anywhere.
func Compile(pattern string) (*Glob, error) {
	if pattern == "" {
		return nil, fmt.Errorf("a pattern of paths is empty")
	}
	if strings.HasSuffix(pattern, "/") {
		return nil, fmt.Errorf("pattern %q names a folder, not files", pattern)
	}
	whole := pattern
	if strings.HasPrefix(whole, "**/") {
		whole = "/" + whole
	}
	whole, err := filepath.Abs(whole)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	g := &Glob{pattern: pattern}
	for name := range strings.SplitSeq(whole[1:], "/") {
		p, err := compilePart(name)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		g.wild += p.wild
		if p.any && len(g.parts) > 0 && g.parts[len(g.parts)-1].any {
			g.wild--
			continue
		}
		g.parts = append(g.parts, p)
	}
	if last := len(g.parts) - 1; g.parts[last].any {
		g.parts = append(g.parts, part{tokens: []token{{kind: '*'}}, wild: 1})
		g.wild++
	}
	return g, nil
}

// String returns the pattern.
func (g *Glob) String() string { return g.pattern }

// Wildcards returns how many wildcards the pattern has; a ** at its end counts as **/*.
func (g *Glob) Wildcards() int { return g.wild }

func compilePart(name string) (part, error) {
	if name == "**" {
		return part{any: true, wild: 1}, nil
	}
	var p part
	var text []byte
	flush := func() {
		if len(text) > 0 {
			p.tokens = append(p.tokens, token{text: string(text)})
			text = nil
		}
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '*':
			for i+1 < len(name) && name[i+1] == '*' {
				i++
			}
			fallthrough
		case '?':
			flush()
			p.tokens = append(p.tokens, token{kind: c})
			p.wild++
		case '[':
			flush()
			t, n, err := compileClass(name[i:])
			if err != nil {
				return p, err
			}
			p.tokens = append(p.tokens, t)
			p.wild++
			i += n - 1
		case '\\':
			i++
			if i == len(name) {
				return p, fmt.Errorf("a \\ at the end of %q", name)
			}
			text = append(text, name[i])
		default:
			text = append(text, c)
		}
	}
	if p.wild == 0 {
		p.literal = string(text)
		p.tokens = nil
		return p, nil
	}
	flush()
	return p, nil
}

// compileClass reads the [...] with which s begins, and returns its length.
func compileClass(s string) (token, int, error) {
	t := token{kind: '['}
	i := 1
	if i < len(s) && (s[i] == '^' || s[i] == '!') {
		t.not = true
		i++
	}
	one := func() (byte, bool) {
		if i < len(s) && s[i] == '\\' {
			i++
		}
		if i >= len(s) {
			return 0, false
		}
		i++
		return s[i-1], true
	}
	for first := true; ; first = false {
		if i < len(s) && s[i] == ']' && !first {
			return t, i + 1, nil
		}
		from, ok := one()
		to := from
		if ok && i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			i++
			to, ok = one()
		}
		if !ok {
			return t, 0, fmt.Errorf("a [ in %q has no ]", s)
		}
		if to < from {
			return t, 0, fmt.Errorf("%c-%c in %q is no range", from, to, s)
		}
		t.ranges = append(t.ranges, from, to)
	}
}

func (t token) matches(c byte) bool {
	if t.kind == '?' {
		return true
	}
	in := false
	for i := 0; i < len(t.ranges); i += 2 {
		in = in || t.ranges[i] <= c && c <= t.ranges[i+1]
	}
	return in != t.not
}

// match reports whether a name matches; wild gets what each wildcard stands for.
func (p *part) match(name string, wild []string) ([]string, bool) {
	if p.wild == 0 {
		return wild, name == p.literal
	}
	had := len(wild)
	at, star, starAt, starWild := 0, -1, 0, 0
	for i := 0; ; {
		switch {
		case i == len(p.tokens):
			if at == len(name) {
				return wild, true
			}
		case p.tokens[i].kind == '*':
			star, starAt, starWild = i, at, len(wild)
			wild = append(wild, name[at:at])
			i++
			if i == len(p.tokens) { // the last one takes what is left
				wild[starWild] = name[at:]
				return wild, true
			}
			continue
		case p.tokens[i].kind == 0:
			if strings.HasPrefix(name[at:], p.tokens[i].text) {
				at += len(p.tokens[i].text)
				i++
				continue
			}
		case at < len(name) && p.tokens[i].matches(name[at]):
			wild = append(wild, name[at:at+1])
			at++
			i++
			continue
		}
		// The last star takes one more.
		if star < 0 {
			return wild[:had], false
		}
		end := starAt + len(wild[starWild]) + 1
		if end > len(name) {
			return wild[:had], false
		}
		wild = append(wild[:starWild], name[starAt:end])
		at, i = end, star+1
	}
}

// Match reports whether a whole path matches, and what each wildcard stands for: names
// with slashes between them for **.
func (g *Glob) Match(path string) (wild []string, ok bool) {
	if !strings.HasPrefix(path, "/") {
		return nil, false
	}
	return match(g.parts, path[1:], make([]string, 0, g.wild))
}

func match(parts []part, path string, wild []string) ([]string, bool) {
	for i := range parts {
		p := &parts[i]
		if p.any {
			for end := -1; ; {
				had := wild[:len(wild):len(wild)]
				if got, ok := match(parts[i+1:], path[end+1:], append(had, path[:max(end, 0)])); ok {
					return got, true
				}
				next := strings.IndexByte(path[end+1:], '/')
				if next < 0 {
					return nil, false
				}
				end += 1 + next
			}
		}
		name, rest, more := strings.Cut(path, "/")
		if more != (i+1 < len(parts)) {
			return nil, false
		}
		var ok bool
		if wild, ok = p.match(name, wild); !ok {
			return nil, false
		}
		path = rest
	}
	return wild, true
}
