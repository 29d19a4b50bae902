package setting

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Variable is an environment variable.
type Variable struct{ Name, Value string }

// Variables returns the variables of an environment, as os.Environ returns it, that may be
// settings: those that begin with the prefix, that ours takes, and that are no
// [ServiceLink]. They are sorted by name, to give messages an order.
func Variables(env []string, prefix string, ours func(name string) bool) []Variable {
	var vs []Variable
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, prefix) && !ServiceLink(prefix, name, value) && ours(name) {
			vs = append(vs, Variable{name, value})
		}
	}
	slices.SortStableFunc(vs, func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
	return vs
}

// ServiceLink reports whether a variable is one of those that Kubernetes, or
// a linked container, gives to every program beside a service whose name begins
// with the prefix, as logd: LOGD_SERVICE_HOST, LOGD_HTTP_SERVICE_PORT_WEB, LOGD_PORT_1774_TCP
// and the like. They are nobody's mistake.
func ServiceLink(prefix, name, value string) bool {
	// The name of the service is one word or more; the prefix alone is one.
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(prefix, "_"))
	if !ok {
		return false
	}
	for _, end := range []string{"_SERVICE_HOST", "_SERVICE_PORT"} {
		if strings.HasSuffix(rest, end) {
			return true
		}
	}
	if strings.Contains(rest, "_SERVICE_PORT_") {
		return true
	}
	return linkedPort.MatchString(rest) || strings.HasSuffix(rest, "_PORT") && linkedAddr.MatchString(value)
}

// linkedPort matches what follows the prefix in the names of variables for one port
// of a service, linkedAddr the address of one.
var (
	linkedPort = regexp.MustCompile(`_PORT_[0-9]+_(TCP|UDP|SCTP)(_|$)`)
	linkedAddr = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// FindFile finds the configuration file and reads it: the one that is named, or that the
// variable envFile names, or the first of the others that is there. The path is empty if
// there is none.
func FindFile(named string, env []Variable, envFile string, others []string) (path string, data []byte, err error) {
	by := ""
	if named == "" {
		for _, v := range env {
			if v.Name == envFile {
				named, by = v.Value, "environment "+envFile+": "
			}
		}
	}
	if named != "" {
		data, err := ReadFile(named)
		if err != nil {
			return "", nil, fmt.Errorf("%scan't read the configuration file: %w", by, err)
		}
		return named, data, nil
	}
	for _, path := range others {
		data, err := ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("can't read the configuration file: %w", err)
		}
		return path, data, nil
	}
	return "", nil, nil
}

// Loader puts settings together. Each source is stronger than those before it.
type Loader[C any] struct {
	Config   C
	Origins  Origins
	Problems []error
	Bad      map[string]bool // settings that some source has a bad value of

	table *Table[C]
}

// NewLoader returns a loader that has the defaults.
func NewLoader[C any](t *Table[C]) *Loader[C] {
	return &Loader[C]{Config: t.Default(), Origins: Origins{of: make(map[string]Origin)}, Bad: make(map[string]bool), table: t}
}

// Set gives a setting the value of a source. written is the value for error messages.
func (l *Loader[C]) Set(s Setting[C], o Origin, texts []string, written string) {
	if err := s.SetTexts(&l.Config, texts); err != nil {
		l.Problems = append(l.Problems, s.Problem(o, written, err))
		l.Bad[s.Name] = true
		return
	}
	l.Origins.of[s.Name] = o
}

// File takes the settings of a file that has nothing but them.
func (l *Loader[C]) File(path string, data []byte) {
	parts, problems := Decode(path, data, l.table, nil)
	l.Part(path, parts[0], problems)
}

// Part takes the settings of one part of a file, and the problems of decoding it.
func (l *Loader[C]) Part(path string, part Part, problems []error) {
	l.Origins.file = path
	for _, p := range part.Pairs {
		s, _ := l.table.Lookup(p.Name)
		l.Set(s, Origin{Source: FromFile, Name: path, Line: p.Line}, p.Texts, p.Written)
	}
	for _, p := range problems {
		if e := (*Error)(nil); errors.As(p, &e) {
			l.Bad[e.Key] = true
		}
	}
	l.Problems = append(l.Problems, problems...)
	// Line by line, whichever of the two found the problem.
	slices.SortStableFunc(l.Problems, func(a, b error) int { return LineOf(a) - LineOf(b) })
}

// LineOf returns the line of an error with a value in a file, and 0 for any
// other.
func LineOf(err error) int {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Origin.Line
	}
	return 0
}

// Environment takes the settings of [Variables], but for that which names the file.
func (l *Loader[C]) Environment(env []Variable, envFile string) {
	byName := make(map[string]Setting[C])
	for _, s := range l.table.settings {
		byName[s.Env()] = s
	}
	for _, v := range env {
		if v.Name == envFile {
			continue
		}
		o := Origin{Source: FromEnvironment, Name: v.Name}
		s, ok := byName[v.Name]
		if !ok {
			l.Problems = append(l.Problems, l.unknownVariable(v.Name))
			continue
		}
		l.Set(s, o, s.Split(v.Value), Shorten(strconv.Quote(v.Value)))
	}
}

// unknownVariable is the error for a variable that is no setting. It keeps the
// value to itself: nobody knows what it is.
func (l *Loader[C]) unknownVariable(name string) error {
	hint := l.table.program + " config show lists all settings"
	if s, ok := l.table.Lookup(l.table.Nearest(strings.TrimPrefix(name, l.table.envPrefix))); ok {
		hint = "did you mean " + s.Env() + "?"
	}
	return fmt.Errorf("environment %s: names no setting; %s", Shorten(bare(name)), hint)
}

// Flags takes the texts given to flags, by the name of the setting, in the order in which
// they were given.
func (l *Loader[C]) Flags(flags map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		o := Origin{Source: FromFlag, Name: name}
		s, ok := l.table.Lookup(name)
		if !ok {
			l.Problems = append(l.Problems, fmt.Errorf("flag --%s: %s", name, l.table.unknown("flag", name)))
			continue
		}
		var texts []string
		for _, text := range flags[name] {
			texts = append(texts, s.Split(text)...)
		}
		l.Set(s, o, texts, Shorten(strconv.Quote(strings.Join(flags[name], ","))))
	}
}
