// Package render makes topics and bodies of what the agent has taken.
//
// A [Template] gives the topic of a message: a name as it is, or one with {app}, {1} and
// the like in it. [AppendBody] gives the body: the bytes that came, or a JSON object with
// what is known of them. Nothing here fails once a template is parsed, and nothing
// allocates in buffers that are large enough. All of it is safe for concurrent use.
package render

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
)

// Vars are what the names in a template stand for. Empty is what is not known.
type Vars struct {
	Wild                          []string // what the wildcards of a glob stand for: {1}…
	Path                          string   // of a file, for {base}: its name up to the first dot
	App, Unit, Facility, Severity string
	Host                          string // ours
}

// names are the names in templates, but for numbers, in the order in which messages list
// them, and where their values are.
var names = []struct {
	name  string
	value func(*Vars) string
}{
	{"base", func(v *Vars) string { return base(v.Path) }},
	{"app", func(v *Vars) string { return v.App }},
	{"unit", func(v *Vars) string { return v.Unit }},
	{"facility", func(v *Vars) string { return v.Facility }},
	{"severity", func(v *Vars) string { return v.Severity }},
	{"host", func(v *Vars) string { return v.Host }},
}

// maxWild is the highest number of a wildcard.
const maxWild = 99

// Template is a parsed template of topics.
type Template struct {
	text  string
	parts []part // none for a name as it is
}

// part is text and the name behind it: at most one of name and wild is set.
type part struct {
	text  string
	name  string
	value func(*Vars) string
	wild  int // from 1
}

// ParseTemplate parses a name of a topic or a template of such names. What stands in it
// outside of braces has to be what a name may have.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			i = len(rest)
		}
		p := part{text: rest[:i]}
		if j := strings.IndexFunc(p.text, func(r rune) bool { return r >= 0x80 || !topicByte(byte(r)) }); j >= 0 {
			r := []rune(p.text[j:])[0]
			return nil, fmt.Errorf("%q is not in the names of topics, which are made of A-Z a-z 0-9 . _ -", r)
		}
		rest = rest[i:]
		if rest != "" {
			end := strings.IndexByte(rest, '}')
			if rest[0] == '}' || end < 0 || strings.IndexByte(rest[1:end], '{') >= 0 {
				return nil, errors.New("a brace without its other one: names stand between { and }")
			}
			if err := p.parse(rest[1:end]); err != nil {
				return nil, err
			}
			rest = rest[end+1:]
		} else if t.parts == nil {
			break
		}
		t.parts = append(t.parts, p)
	}
	switch {
	case t.parts == nil && !batch.ValidTopic(text), t.parts == nil && strings.HasPrefix(text, "__"):
		return nil, fmt.Errorf("not a name of a topic: 1 to %d bytes of A-Z a-z 0-9 . _ - that do not begin with . or __", batch.MaxTopicLen)
	case strings.HasPrefix(text, "."), strings.HasPrefix(text, "__"):
		return nil, errors.New("names of topics do not begin with . or __")
	}
	return t, nil
}

// parse sets what stands between braces.
func (p *part) parse(name string) error {
	for _, n := range names {
		if n.name == name {
			p.name, p.value = n.name, n.value
			return nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 1 && n <= maxWild && strconv.Itoa(n) == name {
		p.wild = n
		return nil
	}
	var b strings.Builder
	for _, n := range names {
		b.WriteString(", {" + n.name + "}")
	}
	return fmt.Errorf("{%s} is not known; there are {1} to {%d}%s", shorten(name), maxWild, b.String())
}

func shorten(s string) string {
	if len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(s[:40], "") + "…"
}

// String returns the text that was parsed.
func (t *Template) String() string { return t.text }

// Constant reports whether all topics are one name, that of the text.
func (t *Template) Constant() bool { return t.parts == nil }

// Wildcards returns the highest number of a wildcard that is in the template, 0 for none.
func (t *Template) Wildcards() (highest int) {
	for _, p := range t.parts {
		highest = max(highest, p.wild)
	}
	return highest
}

// Names returns the names that are in the template, each once, without numbers.
func (t *Template) Names() (used []string) {
	for _, p := range t.parts {
		if p.name != "" && !slices.Contains(used, p.name) {
			used = append(used, p.name)
		}
	}
	return used
}

// Topic appends the topic to dst. It is a valid name whatever the values are: bytes that
// no name has are _, an empty value is unknown, of what a name may not begin with one _
// is left, and a name that is too long ends in - and a sum of all of it.
func (t *Template) Topic(dst []byte, v *Vars) []byte {
	if t.parts == nil {
		return append(dst, t.text...)
	}
	start := len(dst)
	for i := range t.parts {
		p := &t.parts[i]
		dst = append(dst, p.text...)
		switch {
		case p.value != nil:
			dst = appendClean(dst, p.value(v))
		case p.wild > len(v.Wild):
			dst = appendClean(dst, "")
		case p.wild > 0:
			dst = appendClean(dst, v.Wild[p.wild-1])
		}
	}
	name := dst[start:]
	if name[0] == '.' {
		name[0] = '_'
	}
	extra := 0
	for name[0] == '_' && extra+1 < len(name) && name[extra+1] == '_' {
		extra++
	}
	dst = append(dst[:start], name[extra:]...)
	if name = dst[start:]; len(name) > batch.MaxTopicLen {
		dst = appendSum(dst[:start+batch.MaxTopicLen-sumLen], crc32.ChecksumIEEE(name))
	}
	return dst
}

// sumLen is the length of what appendSum appends.
const sumLen = 9

func appendSum(dst []byte, sum uint32) []byte {
	dst = append(dst, '-')
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[sum>>shift&15])
	}
	return dst
}

const hexDigits = "0123456789abcdef"

func appendClean(dst []byte, value string) []byte {
	if value == "" {
		return append(dst, "unknown"...)
	}
	for i := range len(value) {
		c := value[i]
		if !topicByte(c) {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

func topicByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// base returns the name of a file up to its first dot.
func base(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	name, _, _ = strings.Cut(name, ".")
	return name
}
