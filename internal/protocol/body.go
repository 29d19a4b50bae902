package protocol

import (
	"bytes"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// The bodies of answers are lines. Each has a type, a function that appends it
// and one that parses it: what was appended parses to an equal value. Parsing
// takes lines that it does not know, which a newer server may send, and passes
// over them. Its errors name the line.

// Field is one line "name: value" of INFO, CONFIG and STATS.
type Field struct{ Name, Value string }

// AppendField appends a line. The value must have no line end in it.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// AppendFields appends a body of such lines.
func AppendFields(dst []byte, fields []Field) []byte {
	for _, f := range fields {
		dst = AppendField(dst, f.Name, f.Value)
	}
	return dst
}

// ParseFields parses a body of lines "name: value".
func ParseFields(body []byte) ([]Field, error) {
	var fields []Field
	for line := range bodyLines(body) {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, errors.New(strconv.Quote(line) + " is not a name and a value")
		}
		fields = append(fields, Field{name, strings.TrimSpace(value)})
	}
	return fields, nil
}

// badField is the error for a line whose value can't be parsed.
func badField(f Field) error {
	return errors.New(strconv.Quote(f.Name+": "+f.Value) + " has no value that makes sense")
}

// AppendTopics appends the body of TOPICS.
func AppendTopics(dst []byte, names []string) []byte {
	for _, name := range names {
		dst = append(dst, name...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// ParseTopics parses the body of TOPICS.
func ParseTopics(body []byte) ([]string, error) {
	var names []string
	for line := range bodyLines(body) {
		if !batch.ValidTopic([]byte(line)) {
			return nil, errors.New(strconv.Quote(line) + " is no name of a topic")
		}
		names = append(names, line)
	}
	return names, nil
}

// bodyLines yields the lines of a body without their ends, copied.
func bodyLines(body []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(body) {
			if !yield(string(bytes.TrimRight(line, "\r\n"))) {
				return
			}
		}
	}
}

// oneLine makes text fit in a line of a body.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// formatTime formats a time, nothing for none.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// pairs appends words of the form key=value, separated by spaces.
type pairs struct{ dst []byte }

func (p *pairs) text(key, value string) {
	p.key(key)
	p.dst = append(p.dst, value...)
}

func (p *pairs) number(key string, n int64) {
	p.key(key)
	p.dst = strconv.AppendInt(p.dst, n, 10)
}

// time appends a word with a time, and nothing for none.
func (p *pairs) time(key string, t time.Time) {
	if !t.IsZero() {
		p.text(key, formatTime(t))
	}
}

func (p *pairs) key(key string) {
	if n := len(p.dst); n > 0 && p.dst[n-1] != '\n' {
		p.dst = append(p.dst, ' ')
	}
	p.dst = append(p.dst, key...)
	p.dst = append(p.dst, '=')
}

func (p *pairs) end() []byte { return append(p.dst, '\r', '\n') }

// parsePairs parses a line of words of the form key=value into the values; what
// follows error= is one value with spaces. Unknown keys are left out.
func parsePairs(line string, values map[string]any) error {
	for rest := line; rest != ""; {
		word, more, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, "error=") {
			word, more = rest, ""
		}
		rest = more
		key, value, ok := strings.Cut(word, "=")
		var err error
		if ok {
			switch v := values[key].(type) {
			case *string:
				*v = value
			case *int64:
				*v, ok = batch.ParseInt([]byte(value))
			case *perhaps:
				var n int64
				if n, ok = batch.ParseInt([]byte(value)); value == none {
					n, ok = -1, true
				}
				*v = perhaps(n)
			case *absent:
				if *v = absent(value); value == none {
					*v = ""
				}
			case *time.Time:
				*v, err = time.Parse(time.RFC3339, value)
			}
		}
		if !ok || err != nil {
			return errors.New(strconv.Quote(word) + " makes no sense in " + strconv.Quote(line))
		}
	}
	return nil
}
