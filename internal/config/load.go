package config

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/setting"
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
	l := setting.NewLoader(settings)
	env := setting.Variables(src.Env, envPrefix, ours)
	var rules []overrides.Rule
	path, data, err := setting.FindFile(src.File, env, EnvFile, src.DefaultFiles)
	if err != nil {
		l.Problems = append(l.Problems, err)
	} else if path != "" {
		rules = fileOf(l, path, data)
	}
	l.Environment(env, EnvFile)
	l.Flags(src.Flags)
	inherited(l, src.Inherited)
	verbose(l)
	l.Config.TopicRules = rules
	problems := append(l.Problems, combinations(&l.Config, l.Origins, l.Bad)...)
	if err := errors.Join(problems...); err != nil {
		return Config{}, Origins{}, err
	}
	return l.Config, l.Origins, nil
}

// hookPrefix begins the names of the variables that a delete hook gets: one that
// runs logd is not to have it stop at them.
const hookPrefix = envPrefix + "HOOK_"

// clientPrefix begins the names of log-cli's variables, and clientTokens are some more;
// agentPrefix begins those of log-forwarder: who uses several programs is not to have logd
// stop at them.
const (
	clientPrefix = envPrefix + "CLI_"
	agentPrefix  = envPrefix + "FORWARDER_"
)

var clientTokens = []string{envPrefix + "TOKEN", envPrefix + "TOKEN_FILE"}

// ours reports whether a variable may be a setting of the server.
func ours(name string) bool {
	for _, prefix := range []string{hookPrefix, clientPrefix, agentPrefix} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return !slices.Contains(clientTokens, name)
}

func inherited(l *setting.Loader[Config], sockets map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(sockets)) {
		s, _ := Lookup(name)
		l.Set(s, Origin{Source: FromSocket}, []string{sockets[name]}, s.Quote(sockets[name]))
	}
}

// verbose raises the level to debug where that is asked for by a source that
// is at least as strong as the one of log-level.
func verbose(l *setting.Loader[Config]) {
	o := l.Origins.Of("verbose")
	if l.Config.Verbose && o.Source >= l.Origins.Of("log-level").Source {
		l.Config.LogLevel = slog.LevelDebug
		l.Origins.Set("log-level", o)
	}
}
