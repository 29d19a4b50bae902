package setting

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/logd-dev/logd/internal/quantity"
)

// MaxFile is the size of the largest configuration file, in bytes.
const MaxFile = 1 << 20

// byteOrderMark is what some editors put before a text in UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// Pair is one key of a file and its value as texts.
type Pair struct {
	Name    string
	Texts   []string
	Written string // the value for messages
	Line    int
}

// Part is a table of a file: the settings of one part of a program.
type Part struct {
	Kind  string // its name in the file; empty for the top
	Line  int    // of the header
	Pairs []Pair
}

// Words are the names of settings, as a [Table] has them.
type Words interface {
	// kind returns the kind of the setting with that name.
	kind(name string) (Kind, bool)
	// problem is Setting.Problem of that setting.
	problem(name string, o Origin, written string, reason error) error
	// unknown is the reason why a word that names no setting is refused.
	unknown(what, name string) string
}

// ReadFile reads the configuration file at path, which may be MaxFile bytes long.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s: larger than %s", path, quantity.FormatSize(MaxFile))
	}
	return bytes.TrimPrefix(data, byteOrderMark), nil
}

// Decode reads a file's contents. path is for messages alone. The first of the parts is
// the top of the file, with the settings top; the others are, in the order in which they
// stand there, those under [[headers]] that are in tables, with the settings there. Their
// pairs are the keys that are settings and whose values have the right type; the problems
// are all others.
//
// Package toml checks the syntax, keys that are there twice included; its
// parser then gives each key with its line, which decoding into a struct or a
// map would lose.
func Decode(path string, data []byte, top Words, tables map[string]Words) (parts []Part, problems []error) {
	parts = []Part{{}}
	if err := toml.Unmarshal(data, new(map[string]any)); err != nil {
		return parts, []error{syntaxError(path, data, err, top, tables)}
	}
	var p unstable.Parser
	p.Reset(data)
	line, seen := 1, 0 // the line of data[seen]
	words := top
	for p.NextExpression() {
		x := p.Expression()
		name, at := keyName(x.Key())
		line += bytes.Count(data[seen:at], []byte("\n"))
		seen = at
		origin := Origin{Source: FromFile, Name: path, Line: line}
		if x.Kind != unstable.KeyValue {
			if words = tables[name]; words == nil || x.Kind != unstable.ArrayTable {
				// What follows belongs to the table, so the rest says nothing.
				return parts, append(problems, &Error{Origin: origin, Key: "[" + name + "]", Reason: unknownTable(name, tables)})
			}
			parts = append(parts, Part{Kind: name, Line: line})
			continue
		}
		written := source(&p, x.Value())
		kind, ok := words.kind(name)
		if !ok {
			reason := words.unknown("key", name)
			if _, misplaced := top.kind(name); misplaced {
				reason = "not a setting of [[" + parts[len(parts)-1].Kind + "]]; it stands at the top of the file, before the first [[header]]"
			}
			problems = append(problems, &Error{Origin: origin, Key: name, Value: written, Reason: reason})
			continue
		}
		texts, err := tomlTexts(kind, x.Value())
		if err != nil {
			problems = append(problems, words.problem(name, origin, written, err))
			continue
		}
		part := &parts[len(parts)-1]
		part.Pairs = append(part.Pairs, Pair{Name: name, Texts: texts, Written: written, Line: line})
	}
	if err := p.Error(); err != nil {
		problems = append(problems, syntaxError(path, data, err, top, tables))
	}
	return parts, problems
}

// unknownTable is the reason why a table is refused.
func unknownTable(name string, tables map[string]Words) string {
	if tables[name] != nil {
		return "write [[" + name + "]]: there may be several"
	}
	if len(tables) == 0 {
		return "unknown table; settings stand at the top of the file, outside of tables"
	}
	return "unknown table; settings stand at the top of the file or under [[" + strings.Join(slices.Sorted(maps.Keys(tables)), "]], [[") + "]]"
}

func syntaxError(path string, data []byte, err error, top Words, tables map[string]Words) error {
	if de := (*toml.DecodeError)(nil); errors.As(err, &de) {
		line, column := de.Position()
		reason := "not TOML: " + oneLine(strings.TrimPrefix(de.Error(), "toml: "))
		if name, written, ok := keyOn(data, line); ok {
			for _, words := range append([]Words{top}, slices.Collect(maps.Values(tables))...) {
				if kind, ok := words.kind(name); ok {
					return words.problem(name, Origin{Source: FromFile, Name: path, Line: line}, written, fmt.Errorf("%s; %s is wanted", reason, kind.toml()))
				}
			}
		}
		return fmt.Errorf("%s:%d:%d: %s", path, line, column, reason)
	}
	return fmt.Errorf("%s: not TOML: %s", path, oneLine(err.Error()))
}

// keyOn returns the key that a line begins with, and what is written for its value, if it
// is the line alone that is wrong.
func keyOn(data []byte, line int) (key, written string, ok bool) {
	for range line - 1 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	text, _, _ := bytes.Cut(data, []byte("\n"))
	if toml.Unmarshal(text, new(map[string]any)) == nil {
		return "", "", false
	}
	key, value, ok := strings.Cut(string(text), "=")
	return strings.Trim(strings.TrimSpace(key), `"'`), Shorten(oneLine(strings.TrimSpace(value))), ok
}

// oneLine puts a space for each line end and other control character, which a
// message may have from the file.
func oneLine(message string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, message)
}

// keyName returns a key, its parts joined by dots, and its position in the
// file.
func keyName(parts unstable.Iterator) (name string, at int) {
	var words []string
	for parts.Next() {
		n := parts.Node()
		if words == nil {
			at = int(n.Raw.Offset)
		}
		words = append(words, bare(string(n.Data)))
	}
	return Shorten(strings.Join(words, ".")), at
}

// bare returns a name as it is where it needs no quotes, and else in quotes.
func bare(name string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	if name != "" && strings.Trim(strings.ToLower(name), letters) == "" {
		return name
	}
	return strconv.Quote(name)
}

// tomlTexts returns a value as texts that a setting of kind k can parse, or
// an error if it has another type than such a setting takes.
func tomlTexts(k Kind, v *unstable.Node) ([]string, error) {
	switch {
	case k.Many() && v.Kind == unstable.Array:
		texts := []string{}
		for it := v.Children(); it.Next(); {
			if it.Node().Kind != unstable.String {
				return nil, errors.New("not all of the array is text in quotes")
			}
			texts = append(texts, string(it.Node().Data))
		}
		return texts, nil
	case k == Switch && v.Kind == unstable.Bool:
		return []string{string(v.Data)}, nil
	case k == Mode && v.Kind == unstable.Integer:
		// 600 in decimal is another mode than the one that is meant.
		if !strings.HasPrefix(string(v.Data), "0o") {
			return nil, errors.New("not an octal mode: write it in quotes")
		}
		return []string{strings.ReplaceAll(string(v.Data), "_", "")}, nil
	case (k == Number || k == Size) && v.Kind == unstable.Integer:
		n, err := strconv.ParseInt(string(v.Data), 0, 64)
		if err != nil {
			return nil, errors.New("out of range")
		}
		if k == Size && n < 0 {
			return nil, errors.New("not a size such as 64KiB")
		}
		return []string{strconv.FormatInt(n, 10)}, nil
	case !k.Many() && k != Switch && k != Number && v.Kind == unstable.String:
		return []string{string(v.Data)}, nil
	}
	return nil, fmt.Errorf("%s where %s is wanted", describe(v.Kind), k.toml())
}

// toml says how a value of kind k is written in a file.
func (k Kind) toml() string {
	switch k {
	case Number:
		return "a number without quotes"
	case Names, Hosts, Addresses:
		return "an array of texts in quotes"
	case Switch:
		return "true or false without quotes"
	default:
		return "text in quotes"
	}
}

func describe(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "text in quotes"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a fraction"
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	default:
		return "a date or time"
	}
}

// source returns a value for error messages, on one line and not too long.
func source(p *unstable.Parser, v *unstable.Node) string {
	switch v.Kind {
	case unstable.String:
		return Shorten(strconv.Quote(string(v.Data)))
	case unstable.Array:
		var items []string
		for it := v.Children(); it.Next() && len(items) < maxShown; {
			items = append(items, source(p, it.Node()))
		}
		return Shorten("[" + strings.Join(items, ", ") + "]")
	case unstable.InlineTable:
		return "{…}"
	default:
		return Shorten(string(p.Raw(v.Raw)))
	}
}

func (t *Table[C]) kind(name string) (Kind, bool) {
	s, ok := t.Lookup(name)
	return s.Kind, ok
}

func (t *Table[C]) problem(name string, o Origin, written string, reason error) error {
	s, _ := t.Lookup(name)
	return s.Problem(o, written, reason)
}

func (t *Table[C]) unknown(what, name string) string {
	if near := t.Nearest(name); near != "" {
		return "unknown " + what + "; did you mean " + near + "?"
	}
	return "unknown " + what + "; " + t.program + " config show lists all settings"
}

// Nearest returns the name of the setting that was probably meant by name, or
// "" if none is near.
func (t *Table[C]) Nearest(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	best, least := "", min(3, len(name)/2+1) // as many mistakes are too many
	for _, s := range t.settings {
		if d := distance(name, s.Name); d < least {
			best, least = s.Name, d
		}
	}
	return best
}

// distance is the number of bytes to insert, remove or replace in a to get b
// (Levenshtein's distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of a's prefix so far to b's prefixes
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
