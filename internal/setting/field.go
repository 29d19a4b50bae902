package setting

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/quantity"
)

// Field is the typed part of a setting: how texts become a field of a C and back. [One]
// and [Any] make it.
type Field[C any] interface {
	// parse sets the field to what texts say, whatever its range. Where there
	// are several texts for one value the last counts.
	parse(c *C, texts []string) error
	// check reports whether the field is in its range.
	check(c *C) error
	// Texts returns what parse would make the field's value of.
	Texts(c *C) []string
	// allowed describes the range.
	allowed() string
	// choices returns the only values there are, or nil if they can't be listed.
	choices() []string
}

// Values says how values of type T are written and which of them are good.
type Values[T any] struct {
	Parse   func(string) (T, error) // whatever the range
	Format  func(T) string
	Check   func(T) error // nil for all
	Allowed string
	Words   []string // the only ones there are, nil if they can't be listed
}

// scalar is the value of a setting with one value.
type scalar[C, T any] struct {
	of   func(*C) *T
	kind Values[T]
}

// One is the field of a setting with one value.
func One[C, T any](of func(*C) *T, values Values[T]) Field[C] { return scalar[C, T]{of, values} }

func (s scalar[C, T]) parse(c *C, texts []string) error {
	if len(texts) == 0 {
		return errors.New("no value")
	}
	v, err := s.kind.Parse(texts[len(texts)-1])
	if err != nil {
		return err
	}
	*s.of(c) = v
	return nil
}

func (s scalar[C, T]) check(c *C) error {
	if s.kind.Check == nil {
		return nil
	}
	return s.kind.Check(*s.of(c))
}

func (s scalar[C, T]) Texts(c *C) []string { return []string{s.kind.Format(*s.of(c))} }
func (s scalar[C, T]) allowed() string     { return s.kind.Allowed }
func (s scalar[C, T]) choices() []string   { return s.kind.Words }

// Any is the field of a setting with any number of values, each of which good takes.
func Any[C any](of func(*C) *[]string, good func(string) error, allowed string) Field[C] {
	return list[C]{of, good, allowed}
}

type list[C any] struct {
	of     func(*C) *[]string
	good   func(name string) error
	allows string
}

func (l list[C]) parse(c *C, texts []string) error {
	*l.of(c) = nil // also for an empty list: there is one way to say none
	if len(texts) > 0 {
		*l.of(c) = slices.Clone(texts)
	}
	return nil
}

func (l list[C]) check(c *C) error {
	for _, name := range *l.of(c) {
		if err := l.good(name); err != nil {
			return err
		}
	}
	return nil
}

func (l list[C]) Texts(c *C) []string { return *l.of(c) }
func (l list[C]) choices() []string   { return nil }
func (l list[C]) allowed() string     { return l.allows }

// within is the field of a part.
type within[C, P any] struct {
	field Field[P]
	part  func(*C) *P
}

func (w within[C, P]) parse(c *C, texts []string) error { return w.field.parse(w.part(c), texts) }
func (w within[C, P]) check(c *C) error                 { return w.field.check(w.part(c)) }
func (w within[C, P]) Texts(c *C) []string              { return w.field.Texts(w.part(c)) }
func (w within[C, P]) allowed() string                  { return w.field.allowed() }
func (w within[C, P]) choices() []string                { return w.field.choices() }

// Bounds is a range of numbers with names for what lies outside of it but is
// allowed all the same.
type Bounds[T ~int | ~int64] struct {
	Min, Max T
	Zero     string // what 0 means, if it is allowed below min
	Negative string // what any negative number means, if those are allowed
}

func (b Bounds[T]) check(v T) error {
	if v >= b.Min && v <= b.Max || v == 0 && b.Zero != "" || v < 0 && b.Negative != "" {
		return nil
	}
	return errors.New("out of range")
}

func (b Bounds[T]) describe(format func(T) string) string {
	s := format(b.Min) + " to " + format(b.Max)
	if b.Zero != "" {
		s += ", or 0 (" + b.Zero + ")"
	}
	if b.Negative != "" {
		s += ", or negative (" + b.Negative + ")"
	}
	return s
}

// Numbers are whole numbers.
func Numbers(b Bounds[int]) Values[int] {
	return Values[int]{Parse: parseNumber, Format: strconv.Itoa, Check: b.check, Allowed: b.describe(strconv.Itoa)}
}

// Sizes are numbers of bytes.
func Sizes(b Bounds[int64]) Values[int64] {
	return Values[int64]{Parse: quantity.ParseSize, Format: quantity.FormatSize, Check: b.check, Allowed: b.describe(quantity.FormatSize)}
}

// Durations are times with a unit.
func Durations(b Bounds[time.Duration]) Values[time.Duration] {
	return Values[time.Duration]{Parse: ParseDuration, Format: FormatDuration, Check: b.check, Allowed: b.describe(FormatDuration)}
}

// Choices are one of words, which stand for the values at the same places.
func Choices[T comparable](words []string, values []T) Values[T] {
	allowed := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	return Values[T]{
		Parse: func(text string) (v T, err error) {
			i := slices.Index(words, text)
			if i < 0 {
				return v, errors.New("unknown word")
			}
			return values[i], nil
		},
		Format: func(v T) string {
			i := slices.Index(values, v)
			if i < 0 {
				return fmt.Sprint(v)
			}
			return words[i]
		},
		Check: func(v T) error {
			if !slices.Contains(values, v) {
				return errors.New("unknown word")
			}
			return nil
		},
		Allowed: allowed,
		Words:   words,
	}
}

// Boolean is true or false.
var Boolean = Values[bool]{
	Parse: func(text string) (bool, error) {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return false, errors.New("neither true nor false")
		}
		return v, nil
	},
	Format:  strconv.FormatBool,
	Allowed: "true or false",
	Words:   []string{"true", "false"},
}

// FolderPath is the path of a folder.
var FolderPath = Values[string]{
	Parse:  ParseText,
	Format: func(s string) string { return s },
	Check: func(s string) error {
		if s == "" {
			return errors.New("empty")
		}
		if strings.ContainsRune(s, 0) {
			return errors.New("holds a NUL byte")
		}
		return nil
	},
	Allowed: "the path of a folder",
}

// FilePath is the path of a file, or nothing.
var FilePath = Values[string]{
	Parse:  ParseText,
	Format: func(s string) string { return s },
	Check: func(s string) error {
		if strings.ContainsRune(s, 0) {
			return errors.New("holds a NUL byte")
		}
		return nil
	},
	Allowed: "the path of a file, or empty (none)",
}

// ParseText takes any text.
func ParseText(text string) (string, error) { return text, nil }

// CheckAddress reports whether s is HOST:PORT with a numeric port.
func CheckAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		// The reason alone: the message names the address already.
		if ae := (*net.AddrError)(nil); errors.As(err, &ae) {
			return fmt.Errorf("not HOST:PORT (%s)", ae.Err)
		}
		return errors.New("not HOST:PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s is not a port number", Shorten(strconv.Quote(port)))
	}
	if _, err := netip.ParseAddr(host); err != nil && !HostName(host) {
		return fmt.Errorf("%s is not a host", Shorten(strconv.Quote(host)))
	}
	return nil
}

// HostName reports whether s could be the name of a host; the empty name is
// every interface.
func HostName(s string) bool {
	return len(s) <= 253 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-._") == "" && !strings.HasPrefix(s, "-")
}

// AnyPort reports whether a valid address leaves the port to the system.
func AnyPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n == 0
}
