package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/logd-dev/logd/internal/quantity"
)

// maxFile is the size of the largest configuration file, in bytes.
const maxFile = 1 << 20

// byteOrderMark is what some editors put before a text in UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// pair is one key of a file and its value as texts.
type pair struct {
	setting Setting
	texts   []string
	written string // the value for error messages
	line    int
}

// readFile reads the file at path, which may be maxFile bytes long.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %s", path, quantity.FormatSize(maxFile))
	}
	return bytes.TrimPrefix(data, byteOrderMark), nil
}

// decode reads a file's contents. path is for messages alone. The entries are
// those whose keys are settings and whose values have the right type; the
// problems are all others.
//
// Package toml checks the syntax, keys that are there twice included; its
// parser then gives each key with its line, which decoding into a struct or a
// map would lose.
func decode(path string, data []byte) (entries []pair, problems []error) {
	if err := toml.Unmarshal(data, new(map[string]any)); err != nil {
		return nil, []error{syntaxError(path, data, err)}
	}
	var p unstable.Parser
	p.Reset(data)
	line, seen := 1, 0 // the line of data[seen]
	for p.NextExpression() {
		x := p.Expression()
		name, at := keyName(x.Key())
		line += bytes.Count(data[seen:at], []byte("\n"))
		seen = at
		origin := Origin{Source: FromFile, Name: path, Line: line}
		if x.Kind != unstable.KeyValue {
			// What follows belongs to the table, so the rest says nothing.
			return entries, append(problems, &Error{Origin: origin, Key: "[" + name + "]",
				Reason: "unknown table; settings stand at the top of the file, outside of tables"})
		}
		written := source(&p, x.Value())
		s, ok := Lookup(name)
		if !ok {
			problems = append(problems, &Error{Origin: origin, Key: name, Value: written, Reason: unknown("key", name)})
			continue
		}
		texts, err := tomlTexts(s.Kind, x.Value())
		if err != nil {
			problems = append(problems, s.problem(origin, written, err))
			continue
		}
		entries = append(entries, pair{setting: s, texts: texts, written: written, line: line})
	}
	if err := p.Error(); err != nil {
		problems = append(problems, syntaxError(path, data, err))
	}
	return entries, problems
}

func syntaxError(path string, data []byte, err error) error {
	if de := (*toml.DecodeError)(nil); errors.As(err, &de) {
		line, column := de.Position()
		reason := "not TOML: " + oneLine(strings.TrimPrefix(de.Error(), "toml: "))
		if s, written, ok := settingOn(data, line); ok {
			return s.problem(Origin{Source: FromFile, Name: path, Line: line}, written, fmt.Errorf("%s; %s is wanted", reason, s.Kind.toml()))
		}
		return fmt.Errorf("%s:%d:%d: %s", path, line, column, reason)
	}
	return fmt.Errorf("%s: not TOML: %s", path, oneLine(err.Error()))
}

// settingOn returns the setting whose key a line begins with, and what is
// written for its value, if it is the line alone that is wrong.
func settingOn(data []byte, line int) (s Setting, written string, ok bool) {
	for range line - 1 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	text, _, _ := bytes.Cut(data, []byte("\n"))
	if toml.Unmarshal(text, new(map[string]any)) == nil {
		return s, "", false
	}
	key, value, ok := strings.Cut(string(text), "=")
	if !ok {
		return s, "", false
	}
	s, ok = Lookup(strings.Trim(strings.TrimSpace(key), `"'`))
	return s, shorten(oneLine(strings.TrimSpace(value))), ok
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
	return shorten(strings.Join(words, ".")), at
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
	case k.many() && v.Kind == unstable.Array:
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
	case !k.many() && k != Switch && k != Number && v.Kind == unstable.String:
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
		return shorten(strconv.Quote(string(v.Data)))
	case unstable.Array:
		var items []string
		for it := v.Children(); it.Next() && len(items) < maxShown; {
			items = append(items, source(p, it.Node()))
		}
		return shorten("[" + strings.Join(items, ", ") + "]")
	case unstable.InlineTable:
		return "{…}"
	default:
		return shorten(string(p.Raw(v.Raw)))
	}
}

// unknown is the reason why a word that names no setting is refused.
func unknown(what, name string) string {
	if near := nearest(name); near != "" {
		return "unknown " + what + "; did you mean " + near + "?"
	}
	return "unknown " + what + "; logd config show lists all settings"
}

// nearest returns the name of the setting that was probably meant by name, or
// "" if none is near.
func nearest(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	best, least := "", min(3, len(name)/2+1) // as many mistakes are too many
	for _, s := range settings {
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
