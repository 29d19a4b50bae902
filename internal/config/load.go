package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// EnvFile is the environment variable that names the configuration file where
// no flag does.
const EnvFile = envPrefix + "CONFIG"

// DefaultFiles returns the configuration files that are looked for where none
// is named, the first choice first.
func DefaultFiles() []string { return []string{"/etc/logd/logd.toml", "./logd.toml"} }

// Sources is what Load puts a Config together from.
type Sources struct {
	// File is the configuration file. It has to exist. If it is empty, the
	// environment variable LOGD_CONFIG may name it.
	File string
	// DefaultFiles are tried in turn where no file is named; the first that
	// exists is used. There need not be one.
	DefaultFiles []string
	// Env is an environment as os.Environ returns it. Variables that do not
	// begin with LOGD_ are ignored.
	Env []string
	// Flags are the texts given to flags, by the name of the setting, in the
	// order in which they were given.
	Flags map[string][]string
	// Inherited are where the sockets listen that the process was started with, by the
	// name of the setting that each replaces.
	Inherited map[string]string
}

// Load puts together the settings and tells where each came from.
//
// The error, if any, joins all problems there are, by errors.Join: values that
// can't be read or are out of range, also where a stronger source has another
// value; keys and variables that are no settings; and combinations that make
// no sense. A problem with one value is an *Error. A file that was named but
// can't be read wraps the error of opening it.
func Load(src Sources) (Config, Origins, error) {
	l := loader{
		config:  Default(),
		origins: Origins{of: make(map[string]Origin)},
		bad:     make(map[string]bool),
	}
	env := variables(src.Env)
	l.file(src, env)
	l.environment(env)
	l.flags(src.Flags)
	l.inherited(src.Inherited)
	l.verbose()
	problems := append(l.problems, combinations(&l.config, l.origins, l.bad)...)
	if err := errors.Join(problems...); err != nil {
		return Config{}, Origins{}, err
	}
	return l.config, l.origins, nil
}

// variable is an environment variable.
type variable struct{ name, value string }

// hookPrefix begins the names of the variables that a delete hook gets: one that
// runs logd is not to have it stop at them.
const hookPrefix = envPrefix + "HOOK_"

// clientPrefix begins the names of log-cli's variables, and clientTokens are some more:
// who uses both programs is not to have logd stop at them.
const clientPrefix = envPrefix + "CLI_"

var clientTokens = []string{envPrefix + "TOKEN", envPrefix + "TOKEN_FILE"}

// variables returns the variables of env that may be settings, sorted by name
// to give messages an order.
func variables(env []string) []variable {
	var vs []variable
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, envPrefix) && !serviceLink(name, value) && !strings.HasPrefix(name, hookPrefix) && !strings.HasPrefix(name, clientPrefix) && !slices.Contains(clientTokens, name) {
			vs = append(vs, variable{name, value})
		}
	}
	slices.SortStableFunc(vs, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	return vs
}

// serviceLink reports whether a variable is one of those that Kubernetes, or
// a linked container, gives to every program beside a service whose name begins
// with logd: LOGD_SERVICE_HOST, LOGD_HTTP_SERVICE_PORT_WEB, LOGD_PORT_1774_TCP
// and the like. They are nobody's mistake.
func serviceLink(name, value string) bool {
	// The name of the service is one word or more; LOGD alone is one.
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(envPrefix, "_"))
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

// linkedPort matches what follows LOGD in the names of variables for one port
// of a service, linkedAddr the address of one.
var (
	linkedPort = regexp.MustCompile(`_PORT_[0-9]+_(TCP|UDP|SCTP)(_|$)`)
	linkedAddr = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// loader is a Config in the making.
type loader struct {
	config   Config
	origins  Origins
	problems []error
	bad      map[string]bool // settings that some source has a bad value of
}

// set gives a setting the value of a source that is stronger than the ones
// before. written is the value for error messages.
func (l *loader) set(s Setting, o Origin, texts []string, written string) {
	if err := s.set(&l.config, texts); err != nil {
		l.problems = append(l.problems, s.problem(o, written, err))
		l.bad[s.Name] = true
		return
	}
	l.origins.of[s.Name] = o
}

func (l *loader) file(src Sources, env []variable) {
	path, data, err := openFile(src, env)
	if err != nil {
		l.problems = append(l.problems, err)
		return
	}
	if path == "" {
		return
	}
	l.origins.file = path
	entries, problems := decode(path, data)
	for _, e := range entries {
		l.set(e.setting, Origin{Source: FromFile, Name: path, Line: e.line}, e.texts, e.written)
	}
	for _, p := range problems {
		if e := (*Error)(nil); errors.As(p, &e) {
			l.bad[e.Key] = true
		}
	}
	l.problems = append(l.problems, problems...)
	// Line by line, whichever of the two found the problem.
	slices.SortStableFunc(l.problems, func(a, b error) int { return lineOf(a) - lineOf(b) })
}

// lineOf returns the line of an error with a value in a file, and 0 for any
// other.
func lineOf(err error) int {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Origin.Line
	}
	return 0
}

// openFile finds the configuration file and reads it. The path is empty if
// there is none.
func openFile(src Sources, env []variable) (path string, data []byte, err error) {
	named, by := src.File, ""
	if named == "" {
		for _, v := range env {
			if v.name == EnvFile {
				named, by = v.value, "environment "+EnvFile+": "
			}
		}
	}
	if named != "" {
		data, err := readFile(named)
		if err != nil {
			return "", nil, fmt.Errorf("%scan't read the configuration file: %w", by, err)
		}
		return named, data, nil
	}
	for _, path := range src.DefaultFiles {
		data, err := readFile(path)
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

func (l *loader) environment(env []variable) {
	byName := make(map[string]Setting, len(settings))
	for _, s := range settings {
		byName[s.Env()] = s
	}
	for _, v := range env {
		if v.name == EnvFile {
			continue
		}
		o := Origin{Source: FromEnvironment, Name: v.name}
		s, ok := byName[v.name]
		if !ok {
			l.problems = append(l.problems, unknownVariable(v.name))
			continue
		}
		l.set(s, o, s.split(v.value), shorten(strconv.Quote(v.value)))
	}
}

// unknownVariable is the error for a variable that is no setting. It keeps the
// value to itself: nobody knows what it is.
func unknownVariable(name string) error {
	hint := "logd config show lists all settings"
	if s, ok := Lookup(nearest(strings.TrimPrefix(name, envPrefix))); ok {
		hint = "did you mean " + s.Env() + "?"
	}
	return fmt.Errorf("environment %s: names no setting; %s", shorten(bare(name)), hint)
}

func (l *loader) flags(flags map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		o := Origin{Source: FromFlag, Name: name}
		s, ok := Lookup(name)
		if !ok {
			l.problems = append(l.problems, fmt.Errorf("flag --%s: %s", name, unknown("flag", name)))
			continue
		}
		var texts []string
		for _, text := range flags[name] {
			texts = append(texts, s.split(text)...)
		}
		l.set(s, o, texts, shorten(strconv.Quote(strings.Join(flags[name], ","))))
	}
}

func (l *loader) inherited(sockets map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(sockets)) {
		s, _ := Lookup(name)
		l.set(s, Origin{Source: FromSocket}, []string{sockets[name]}, s.quote(sockets[name]))
	}
}

// verbose raises the level to debug where that is asked for by a source that
// is at least as strong as the one of log-level.
func (l *loader) verbose() {
	o := l.origins.Of("verbose")
	if l.config.Verbose && o.Source >= l.origins.Of("log-level").Source {
		l.config.LogLevel = slog.LevelDebug
		l.origins.of["log-level"] = o
	}
}
