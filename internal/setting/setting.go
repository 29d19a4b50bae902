// Package setting is what the settings of programs are made of: values that are texts in
// flags, environment variables and TOML files, a table that describes each of them, and
// errors that say where a wrong one stands and what would be right.
//
// A program has a type, C, with a field for each setting, and a [Table] of [Setting]. A
// [Loader] puts a C together from the sources, of which the later ones are stronger, and
// keeps all problems that it finds:
//
//	l := setting.NewLoader(table)
//	l.File(path, data)
//	l.Environment(env)
//	l.Flags(flags)
//
// The package knows no setting of any program, no command line and no network. It opens
// no file but that of [ReadFile]. Tables are safe for concurrent use, loaders are not.
package setting

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Setting describes one setting. A [Table] has all of a
// program, or of one kind of part of it, for which there is the type C.
type Setting[C any] struct {
	// Name is the flag's name without dashes and the key in a file.
	Name string
	// Kind says how the value is written.
	Kind Kind
	// Usage says in one line what the setting does, without a full stop.
	Usage string
	// Default is the default as it would be written in the environment.
	Default string
	// Change says when a change of the value takes effect.
	Change Change

	Field[C]

	env string
}

// Kind is a way to write a value.
type Kind int

// The kinds of values.
const (
	Address   Kind = iota // HOST:PORT
	Folder                // the path of a folder
	Mode                  // permission bits in octal
	Duration              // 1s, 250ms, 168h
	Size                  // bytes, or with a unit: 64KiB
	Number                // a whole number
	Names                 // any number of topic names
	Hosts                 // any number of host names
	Choice                // one of a few words
	Switch                // true or false
	Program               // a program and its arguments
	Addresses             // any number of HOST:PORT
	Member                // the name of a member
	ID                    // hexadecimal digits
	List                  // words with commas between
	File                  // the path of a file
	Group                 // the name or number of a group
	Paths                 // any number of paths or patterns of them
	Text                  // any text
	Topic                 // the name of a topic, or a template of it
	URL                   // http(s)://HOST:PORT
)

// Within makes a setting of a whole of one of its part.
func Within[C, P any](s Setting[P], part func(*C) *P) Setting[C] {
	return Setting[C]{Name: s.Name, Kind: s.Kind, Usage: s.Usage, Default: s.Default, Change: s.Change, Field: within[C, P]{s.Field, part}}
}

// Arg returns the word that stands for a value of this kind in a usage line.
func (k Kind) Arg() string {
	return [...]string{"HOST:PORT", "DIR", "MODE", "DURATION", "SIZE", "N", "TOPIC", "NAME", "WORD", "BOOL", "CMD", "HOST:PORT", "NAME", "ID", "LIST", "FILE", "GROUP", "PATH", "TEXT", "TOPIC", "URL"}[k]
}

// Many reports whether a value of this kind is any number of texts.
func (k Kind) Many() bool { return k == Names || k == Hosts || k == Addresses || k == Paths }

// Table is all settings of a program, or of one kind of part of it, in the order in which
// they are shown.
type Table[C any] struct {
	program, envPrefix string
	settings           []Setting[C]
}

// NewTable returns the table of a program's settings. The names of their environment
// variables begin with envPrefix; there are none if it is empty.
func NewTable[C any](program, envPrefix string, settings []Setting[C]) *Table[C] {
	t := &Table[C]{program, envPrefix, slices.Clone(settings)}
	for i := range t.settings {
		if s := &t.settings[i]; envPrefix != "" {
			s.env = envPrefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
		}
	}
	return t
}

// All returns the settings.
func (t *Table[C]) All() []Setting[C] { return slices.Clone(t.settings) }

// Lookup returns the setting with the given name, and whether there is one.
func (t *Table[C]) Lookup(name string) (Setting[C], bool) {
	for _, s := range t.settings {
		if s.Name == name {
			return s, true
		}
	}
	return Setting[C]{}, false
}

// Default returns the defaults.
func (t *Table[C]) Default() C {
	var c C
	for _, s := range t.settings {
		if err := s.SetTexts(&c, s.Split(s.Default)); err != nil {
			panic(t.program + ": default of " + s.Name + ": " + err.Error())
		}
	}
	return c
}

// Check returns a problem for each value that is outside its range, and their names.
func (t *Table[C]) Check(c *C) (problems []error, bad map[string]bool) {
	bad = make(map[string]bool)
	for _, s := range t.settings {
		if err := s.check(c); err != nil {
			problems = append(problems, s.Problem(Origin{}, s.Quote(s.Value(c)), err))
			bad[s.Name] = true
		}
	}
	return problems, bad
}

// Env returns the name of the setting's environment variable, or "" if there is none.
func (s Setting[C]) Env() string { return s.env }

// Allowed describes the values that the setting takes.
func (s Setting[C]) Allowed() string { return s.allowed() }

// Choices returns the words that a setting of kind Choice takes, or nil.
func (s Setting[C]) Choices() []string { return slices.Clone(s.Field.choices()) }

// Value returns the setting's value in c as it would be written in the
// environment: the text that, parsed, gives this value again.
func (s Setting[C]) Value(c *C) string { return strings.Join(s.Texts(c), ",") }

// Parse reports whether text can be read as a value of this setting. It does
// not look at the range.
func (s Setting[C]) Parse(text string) error {
	if err := s.parse(new(C), s.Split(text)); err != nil {
		return fmt.Errorf("%w; allowed: %s", err, s.Allowed())
	}
	return nil
}

// Set gives c the value that a text says, as it would be written in the environment. With
// an error c is as it was.
func (s Setting[C]) Set(c *C, text string) error {
	if err := s.SetTexts(c, s.Split(text)); err != nil {
		return fmt.Errorf("%s = %s: %w; allowed: %s", s.Name, Shorten(strconv.Quote(text)), err, s.Allowed())
	}
	return nil
}

// SetTexts parses texts, of which a file or flags may give several, checks the range, and
// only then sets the field in c.
func (s Setting[C]) SetTexts(c *C, texts []string) error {
	var scratch C
	if err := s.parse(&scratch, texts); err != nil {
		return err
	}
	if err := s.check(&scratch); err != nil {
		return err
	}
	return s.parse(c, texts)
}

// Split cuts a text from a flag or the environment into its values.
func (s Setting[C]) Split(text string) []string {
	if !s.Kind.Many() {
		return []string{text}
	}
	if text == "" {
		return nil
	}
	names := strings.Split(text, ",")
	for i, n := range names {
		names[i] = strings.TrimSpace(n)
	}
	return names
}

// Quote returns a value of this setting as a file would have it.
func (s Setting[C]) Quote(text string) string {
	switch s.Kind {
	case Number, Switch:
		return Shorten(text)
	case Names, Hosts, Addresses, Paths:
		return quoteAll(s.Split(text))
	default:
		return Shorten(strconv.Quote(text))
	}
}

func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = strconv.Quote(t)
	}
	return Shorten("[" + strings.Join(quoted, ", ") + "]")
}

// maxShown is how much of a value an error message repeats, in bytes.
const maxShown = 80

// Shorten cuts a text to what a message repeats of one.
func Shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// Problem is the error for a value of this setting, as it was written.
func (s Setting[C]) Problem(o Origin, written string, reason error) error {
	return &Error{Origin: o, Key: s.Name, Value: written, Reason: reason.Error(), Allowed: s.Allowed()}
}
