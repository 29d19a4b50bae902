package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/hook"
	"github.com/logd-dev/logd/internal/quantity"
)

// value is the typed part of a setting: how texts become a field of a Config
// and back.
type value interface {
	// parse sets the field to what texts say, whatever its range. Where there
	// are several texts for one value the last counts.
	parse(c *Config, texts []string) error
	// check reports whether the field is in its range.
	check(c *Config) error
	// texts returns what parse would make the field's value of.
	texts(c *Config) []string
	// allowed describes the range.
	allowed() string
	// choices returns the only values there are, or nil if they can't be listed.
	choices() []string
}

// kindOf says how values of type T are written and which of them are good.
type kindOf[T any] struct {
	parse   func(string) (T, error)
	format  func(T) string
	check   func(T) error // nil for all
	allowed string
	choices []string
}

// scalar is the value of a setting with one value.
type scalar[T any] struct {
	of   func(*Config) *T
	kind kindOf[T]
}

func field[T any](of func(*Config) *T, kind kindOf[T]) value { return scalar[T]{of, kind} }

func (s scalar[T]) parse(c *Config, texts []string) error {
	if len(texts) == 0 {
		return errors.New("no value")
	}
	v, err := s.kind.parse(texts[len(texts)-1])
	if err != nil {
		return err
	}
	*s.of(c) = v
	return nil
}

func (s scalar[T]) check(c *Config) error {
	if s.kind.check == nil {
		return nil
	}
	return s.kind.check(*s.of(c))
}

func (s scalar[T]) texts(c *Config) []string { return []string{s.kind.format(*s.of(c))} }
func (s scalar[T]) allowed() string          { return s.kind.allowed }
func (s scalar[T]) choices() []string        { return s.kind.choices }

// list is the value of a setting that is any number of names.
type list struct {
	of     func(*Config) *[]string
	good   func(name string) error
	allows string
}

func (l list) parse(c *Config, texts []string) error {
	*l.of(c) = nil // also for an empty list: there is one way to say none
	if len(texts) > 0 {
		*l.of(c) = slices.Clone(texts)
	}
	return nil
}

func (l list) check(c *Config) error {
	for _, name := range *l.of(c) {
		if err := l.good(name); err != nil {
			return err
		}
	}
	return nil
}

func (l list) texts(c *Config) []string { return *l.of(c) }
func (l list) choices() []string        { return nil }
func (l list) allowed() string          { return l.allows }

var topicNames = fmt.Sprintf("names of 1 to %d bytes of A-Z a-z 0-9 . _ - that do not begin with . or __", batch.MaxTopicLen)

func checkTopic(name string) error {
	if !batch.ValidTopic(name) {
		return fmt.Errorf("%s is not a topic name", shorten(strconv.Quote(name)))
	}
	if strings.HasPrefix(name, "__") {
		return fmt.Errorf("%s begins with __, as only the server's own topics do", shorten(strconv.Quote(name)))
	}
	return nil
}

func checkHostName(name string) error {
	if name == "" || !hostName(name) {
		return fmt.Errorf("%s is not the name of a host", shorten(strconv.Quote(name)))
	}
	return nil
}

// bounds is a range of numbers with names for what lies outside of it but is
// allowed all the same.
type bounds[T ~int | ~int64] struct {
	min, max T
	zero     string // what 0 means, if it is allowed below min
	negative string // what any negative number means, if those are allowed
}

func (b bounds[T]) check(v T) error {
	if v >= b.min && v <= b.max || v == 0 && b.zero != "" || v < 0 && b.negative != "" {
		return nil
	}
	return errors.New("out of range")
}

func (b bounds[T]) describe(format func(T) string) string {
	s := format(b.min) + " to " + format(b.max)
	if b.zero != "" {
		s += ", or 0 (" + b.zero + ")"
	}
	if b.negative != "" {
		s += ", or negative (" + b.negative + ")"
	}
	return s
}

func number(b bounds[int]) kindOf[int] {
	return kindOf[int]{parse: parseNumber, format: strconv.Itoa, check: b.check, allowed: b.describe(strconv.Itoa)}
}

func size(b bounds[int64]) kindOf[int64] {
	return kindOf[int64]{parse: quantity.ParseSize, format: quantity.FormatSize, check: b.check, allowed: b.describe(quantity.FormatSize)}
}

func duration(b bounds[time.Duration]) kindOf[time.Duration] {
	return kindOf[time.Duration]{parse: parseDuration, format: formatDuration, check: b.check, allowed: b.describe(formatDuration)}
}

// codecs is a set of codecs.
var codecs = kindOf[batch.Codecs]{
	parse: func(text string) (batch.Codecs, error) {
		if text == "" {
			return 0, nil
		}
		c, ok := batch.ParseCodecs([]byte(text))
		if !ok || len(c.String()) != len(text) { // one that is not known is left out
			return 0, errors.New("not such a list")
		}
		return c, nil
	},
	format:  batch.Codecs.String,
	allowed: batch.KnownCodecs.String() + " or one of them, or empty (none)",
}

// choice is one of words, which stand for the values at the same places.
func choice[T comparable](words []string, values []T) kindOf[T] {
	allowed := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	return kindOf[T]{
		parse: func(text string) (v T, err error) {
			i := slices.Index(words, text)
			if i < 0 {
				return v, errors.New("unknown word")
			}
			return values[i], nil
		},
		format: func(v T) string {
			i := slices.Index(values, v)
			if i < 0 {
				return fmt.Sprint(v)
			}
			return words[i]
		},
		check: func(v T) error {
			if !slices.Contains(values, v) {
				return errors.New("unknown word")
			}
			return nil
		},
		allowed: allowed,
		choices: words,
	}
}

var boolean = kindOf[bool]{
	parse: func(text string) (bool, error) {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return false, errors.New("neither true nor false")
		}
		return v, nil
	},
	format:  strconv.FormatBool,
	allowed: "true or false",
	choices: []string{"true", "false"},
}

var folder = kindOf[string]{
	parse:  parseText,
	format: func(s string) string { return s },
	check: func(s string) error {
		if s == "" {
			return errors.New("empty")
		}
		if strings.ContainsRune(s, 0) {
			return errors.New("holds a NUL byte")
		}
		return nil
	},
	allowed: "the path of a folder",
}

// file is the path of a file, or nothing.
var file = kindOf[string]{
	parse:  parseText,
	format: func(s string) string { return s },
	check: func(s string) error {
		if strings.ContainsRune(s, 0) {
			return errors.New("holds a NUL byte")
		}
		return nil
	},
	allowed: "the path of a file, or empty (none)",
}

// program is words that are split without a shell.
var program = kindOf[string]{
	parse:  parseText,
	format: func(s string) string { return s },
	check: func(s string) error {
		if s == "" {
			return nil
		}
		if strings.ContainsRune(s, 0) {
			return errors.New("holds a NUL byte")
		}
		_, err := hook.Words(s)
		return err
	},
	allowed: "a program and its arguments, quoted as for a shell, or empty (none)",
}

func parseText(text string) (string, error) { return text, nil }

// fileMode shortens the table.
type fileMode = fs.FileMode

// ownerAccess is what the server itself needs of its files.
const ownerAccess fileMode = 0o600

var mode = kindOf[fileMode]{
	parse: func(text string) (fileMode, error) {
		digits := strings.TrimPrefix(text, "0o")
		// Four digits, of which the first is 0, are as many as chmod(1) takes.
		n, err := strconv.ParseUint(digits, 8, 32)
		if err != nil || len(digits) > 4 {
			return 0, errors.New("not an octal mode")
		}
		return fileMode(n), nil
	},
	format: func(m fileMode) string { return fmt.Sprintf("%04o", uint32(m)) },
	check: func(m fileMode) error {
		switch {
		case m&^fs.ModePerm != 0:
			return errors.New("more than permission bits")
		case m&ownerAccess != ownerAccess:
			return errors.New("logd itself could not read and write its files")
		}
		return nil
	},
	allowed: "0600 to 0777 (octal), readable and writable by the owner",
}

// address is HOST:PORT with a numeric port.
func address(optional bool) kindOf[string] {
	k := kindOf[string]{
		format:  func(s string) string { return s },
		allowed: "HOST:PORT with a port from 0 (any free one) to 65535",
	}
	if optional {
		k.allowed += ", or empty (none)"
	}
	k.check = func(s string) error {
		if s == "" && optional {
			return nil
		}
		return checkAddress(s)
	}
	k.parse = func(text string) (string, error) { return text, k.check(text) }
	return k
}

// advertised is where somebody else finds this machine: an address that leads somewhere.
var advertised = kindOf[string]{
	parse:   parseText,
	format:  func(s string) string { return s },
	allowed: "HOST:PORT that others can dial, or empty",
	check: func(s string) error {
		if s == "" {
			return nil
		}
		if err := checkAddress(s); err != nil {
			return err
		}
		if unspecified(s) {
			return errors.New("an address of every interface, or without a port, leads nowhere")
		}
		return nil
	},
}

// unspecified reports whether a valid address is one that nobody can dial: of every
// interface, or of any free port.
func unspecified(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified() || anyPort(addr)
}

// hostAddress is HOST:PORT; Validate says when it may be empty.
var hostAddress = func() kindOf[string] {
	k := address(true)
	k.allowed = address(false).allowed
	return k
}()

// group is a group of users, or nothing. Whether there is such a group the start sees.
var group = kindOf[string]{
	parse:   parseText,
	format:  func(s string) string { return s },
	allowed: "the name or number of a group, or empty (that of the process)",
	check: func(s string) error {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ':' }) {
			return errors.New("not a name of a group")
		}
		return nil
	},
}

// memberName is the name of a member, or nothing.
var memberName = kindOf[string]{
	parse:   parseText,
	format:  func(s string) string { return s },
	allowed: "1 to 32 bytes of A-Z a-z 0-9 . _ -, or empty (none)",
	check: func(s string) error {
		if s != "" && !entry.ValidName(s) {
			return errors.New("not a name of a member")
		}
		return nil
	},
}

// clusterID is the id of a cluster, or nothing.
var clusterID = kindOf[string]{
	parse:   parseText,
	format:  func(s string) string { return s },
	allowed: "32 hexadecimal digits, or empty (none)",
	check: func(s string) error {
		if b, err := hex.DecodeString(s); s != "" && (err != nil || len(b) != 16) {
			return errors.New("not the id of a cluster")
		}
		return nil
	},
}

func checkAddress(s string) error {
	if strings.Contains(s, ",") {
		return errors.New("more than one address, and logd listens on one; a list of servers for log-cli goes into LOGD_CLI_HOST")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		// The reason alone: the message names the address already.
		if ae := (*net.AddrError)(nil); errors.As(err, &ae) {
			return fmt.Errorf("not HOST:PORT (%s)", ae.Err)
		}
		return errors.New("not HOST:PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s is not a port number", shorten(strconv.Quote(port)))
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostName(host) {
		return fmt.Errorf("%s is not a host", shorten(strconv.Quote(host)))
	}
	return nil
}

// hostName reports whether s could be the name of a host; the empty name is
// every interface.
func hostName(s string) bool {
	return len(s) <= 253 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-._") == "" && !strings.HasPrefix(s, "-")
}

// anyPort reports whether a valid address leaves the port to the system.
func anyPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n == 0
}
