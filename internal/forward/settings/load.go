package settings

import (
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/setting"
)

const (
	systemState = "/var/lib/log-forwarder"
	userState   = ".local/state/log-forwarder"
	defaultHTTP = "127.0.0.1:1777"
)

// DefaultFiles returns the configuration files that are looked for where none
// is named, the first choice first.
func DefaultFiles() []string { return []string{"/etc/logd/forwarder.toml", "./forwarder.toml"} }

// Sources is what Load puts a Config together from.
type Sources struct {
	// File is the configuration file. It has to exist. If it is empty, the
	// environment variable LOGD_FORWARDER_CONFIG may name it.
	File string
	// DefaultFiles are tried in turn where no file is named; the first that
	// exists is used. There need not be one.
	DefaultFiles []string
	// Env is an environment as os.Environ returns it. Of it count LOGD_FORWARDER_…, what
	// log-cli knows of servers and tokens, STATE_DIRECTORY and HOME.
	Env []string
	// Flags are the texts given to flags, by the name of the setting, in the
	// order in which they were given.
	Flags map[string][]string
	// Inputs are those of the command line. If there are any, those of the file do not
	// count.
	Inputs []string
	// Once tells that inputs are to be read to their present end.
	Once bool
	// NoInputs tells that there is no use for inputs: for commands that ask about an agent,
	// for which a file has to be right all the same.
	NoInputs bool

	// Hostname is the system's name for the machine.
	Hostname string
	// Terminal tells that standard input is a terminal.
	Terminal bool
	// System tells whether a state folder of the system is for this process; nil for no.
	System func(dir string) bool
}

// client are the variables of log-cli that count here, too, weakest first.
var client = []struct{ name, setting string }{
	{"LOGD_HOST", "host"}, {"LOGD_CLI_HOST", "host"},
	{"LOGD_CLI_TLS", "tls"}, {"LOGD_CLI_TLS_CA", "tls-ca"}, {"LOGD_CLI_TLS_CERT", "tls-cert"},
	{"LOGD_CLI_TLS_KEY", "tls-key"}, {"LOGD_CLI_TLS_SERVER_NAME", "tls-server-name"},
	{"LOGD_TOKEN_FILE", "token-file"},
}

// tokenEnv is the variable that has the token itself.
const tokenEnv = "LOGD_TOKEN"

// usageError is a problem with the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// IsUsage reports whether all that is wrong is on the command line.
func IsUsage(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !IsUsage(err) })
	}
	_, ok := errors.AsType[usageError](err)
	return ok
}

// Load puts together the settings.
//
// The error, if any, joins all problems there are, by errors.Join: values that
// can't be read or are out of range, also where a stronger source has another
// value; keys and variables that are no settings; and combinations that make
// no sense. A problem with one value is a *setting.Error. A file that was named but
// can't be read wraps the error of opening it.
func Load(src Sources) (*Config, error) {
	env := setting.Variables(src.Env, envPrefix, func(string) bool { return true })
	path, data, err := setting.FindFile(src.File, env, EnvFile, src.DefaultFiles)
	return load(src, env, path, data, err)
}

// load is Load with the file that was found, or the error of that.
func load(src Sources, env []setting.Variable, path string, data []byte, err error) (*Config, error) {
	l := loader{Loader: setting.NewLoader(top), src: src}
	if err != nil {
		l.broken = true
		l.report(err)
	} else if path != "" {
		parts, problems := setting.Decode(path, data, top, map[string]setting.Words{"input": each})
		l.path, l.parts, l.broken = path, parts[1:], len(problems) > 0
		ofTop := problems
		if len(l.parts) > 0 {
			ofTop = slices.DeleteFunc(slices.Clone(problems), func(err error) bool { return setting.LineOf(err) > l.parts[0].Line })
			problems = slices.DeleteFunc(problems, func(err error) bool { return setting.LineOf(err) <= l.parts[0].Line })
			l.Problems = problems
		}
		l.Part(path, parts[0], ofTop)
	}
	l.client()
	l.Environment(env, EnvFile)
	l.Flags(src.Flags)
	l.token()
	l.inputs()
	l.resolve()
	l.combinations()
	// What the file's parts have wrong goes where their lines are.
	slices.SortStableFunc(l.Problems, func(a, b error) int { return setting.LineOf(a) - setting.LineOf(b) })
	if err := errors.Join(l.Problems...); err != nil {
		return nil, err
	}
	l.Config.origins = l.Origins
	return &l.Config, nil
}

// loader is a Config in the making.
type loader struct {
	*setting.Loader[Config]
	src    Sources
	path   string
	parts  []setting.Part // of inputs
	broken bool           // not all of the file could be read
}

func (l *loader) report(problem error) { l.Problems = append(l.Problems, problem) }

func (l *loader) env(name string) string {
	for _, e := range slices.Backward(l.src.Env) {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// client takes what log-cli's variables say.
func (l *loader) client() {
	for _, v := range client {
		if text := l.env(v.name); text != "" {
			s, _ := top.Lookup(v.setting)
			l.Set(s, setting.Origin{Source: setting.FromEnvironment, Name: v.name}, s.Split(text), setting.Shorten(strconv.Quote(text)))
		}
	}
}

// token takes the token itself where nothing that is stronger names a file.
func (l *loader) token() {
	token := strings.TrimSpace(l.env(tokenEnv))
	o := l.Origins.Of("token-file")
	if token == "" || o.Source == setting.FromFlag || strings.HasPrefix(o.Name, envPrefix) && o.Source == setting.FromEnvironment {
		return
	}
	l.Config.Token, l.Config.TokenFile = token, ""
	l.Origins.Set("token-file", setting.Origin{Source: setting.FromEnvironment, Name: tokenEnv})
}

// inputs makes the inputs.
func (l *loader) inputs() {
	for _, part := range l.parts {
		// Also where the command line replaces them: a file has to be right as it is.
		in := l.input(part)
		if len(l.src.Inputs) == 0 {
			l.Config.Inputs = append(l.Config.Inputs, in)
		} else {
			l.checkInput(&in)
		}
	}
	for _, text := range l.src.Inputs {
		if in, ok := l.argument(text); ok {
			l.Config.Inputs = append(l.Config.Inputs, in)
		}
	}
	switch {
	case len(l.parts)+len(l.src.Inputs) > 0 || l.broken || l.src.NoInputs:
	case l.path != "":
		l.report(fmt.Errorf("%s: no [[input]]: say in the file what to read, or on the command line; - is standard input", l.path))
	case l.src.Terminal:
		l.report(usageError{errors.New("nothing to read: name an INPUT such as 'file:/var/log/app/*.log', or a file with --config, or pipe lines into " + program)})
	default:
		in, _ := l.argument("-")
		in.origins.Set("from", setting.Origin{})
		l.Config.Inputs = []Input{in}
	}
}

// blank returns an input that has what the top says for all.
func (l *loader) blank() Input {
	in := l.Config.defaults
	in.origins = setting.Origins{}
	for _, s := range shared {
		in.origins.Set(s.Name, l.Origins.Of(s.Name))
	}
	return in
}

// argument makes an input of what stands on the command line.
func (l *loader) argument(text string) (Input, bool) {
	in := l.blank()
	in.argument = true
	from, err := inputs.ParseFrom(text)
	if err != nil {
		l.report(usageError{err})
		return in, false
	}
	in.From = from
	in.origins.Set("from", setting.Origin{Source: setting.FromArgument})
	in.Name = nameOf(from)
	return in, true
}

// input makes an input of a part of the file.
func (l *loader) input(part setting.Part) Input {
	p := setting.NewLoader(each)
	p.Config = l.blank()
	p.Config.From = inputs.From{}
	for name, o := range p.Config.origins.All() {
		p.Origins.Set(name, o)
	}
	p.Part(l.path, part, nil)
	in := &p.Config
	in.origins, in.bad = p.Origins, p.Bad
	for _, err := range append(l.Problems, p.Problems...) {
		if e, ok := errors.AsType[*setting.Error](err); ok && l.inPart(e.Origin.Line, part) {
			in.bad[e.Key] = true
		}
	}
	l.Problems = append(l.Problems, p.Problems...)
	switch {
	case in.origins.Of("from").Source != setting.FromDefault:
		if in.Name == "" && !in.bad["name"] {
			in.Name = nameOf(in.From)
		}
	case !in.bad["from"]:
		l.report(&setting.Error{
			Origin: setting.Origin{Source: setting.FromFile, Name: l.path, Line: part.Line},
			Key:    "[[input]]", Reason: "without from, which says what is read",
		})
		fallthrough
	default:
		in.From = inputs.From{}
	}
	return *in
}

// inPart reports whether a line of the file belongs to a part.
func (l *loader) inPart(line int, part setting.Part) bool {
	for _, other := range l.parts {
		if part.Line < other.Line && other.Line < line {
			return false
		}
	}
	return line > part.Line
}

// nameOf makes the name of an input of where it reads: wildcards are words, what else no
// name has is -, and one that is too long ends in a sum of all.
func nameOf(from inputs.From) string {
	var b strings.Builder
	text := from.String()
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_':
			b.WriteByte(c)
		case c == '*':
			b.WriteString("any")
		case c == '?':
			b.WriteString("one")
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.TrimSuffix(b.String(), "-")
	if len(name) > batch.MaxTopicLen {
		name = fmt.Sprintf("%s-%08x", name[:batch.MaxTopicLen-9], crc32.ChecksumIEEE([]byte(text)))
	}
	return name
}

// resolve gives settings whose default depends on others their value.
func (l *loader) resolve() {
	c := &l.Config
	tls := c.TLSCA != "" || c.TLSCert != "" || c.TLSKey != "" || c.TLSServerName != ""
	if l.Origins.Of("tls").Source == setting.FromDefault {
		c.TLS = tls
	}
	if c.Hostname == "" {
		c.Hostname = l.src.Hostname
	}
	if c.Hostname == "" {
		c.Hostname = "unknown"
	}
	if l.Origins.Of("http-host").Source == setting.FromDefault && c.OnlyStdin() {
		c.HTTPHost = ""
	}
	if c.StateDir == "" && (!c.OnlyStdin() || l.src.NoInputs) {
		c.StateDir = l.stateDir()
	}
	for i := range c.Inputs {
		in := &c.Inputs[i]
		in.Full = fullOf(in.whenFull, in.From)
		if in.MaxLine == 0 {
			in.fits, in.MaxLine = true, fitting(c.BatchSize, in.Format)
		}
	}
}

// stateDir returns the default, or "" if there is none.
func (l *loader) stateDir() string {
	if dirs := l.env("STATE_DIRECTORY"); dirs != "" {
		first, _, _ := strings.Cut(dirs, ":") // systemd may give several
		return first
	}
	if l.src.System != nil && l.src.System(systemState) {
		return systemState
	}
	if home := l.env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, userState)
	}
	return ""
}
