package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/glob"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/setting"
)

// EnvFile is the environment variable that names the configuration file where
// no flag does, and envPrefix begins those of all settings.
const (
	envPrefix = "LOGD_FORWARDER_"
	EnvFile   = envPrefix + "CONFIG"
)

// program is the name in messages.
const program = "log-forwarder"

const (
	shortest = time.Millisecond
	year     = 365 * 24 * time.Hour
)

func of[T any](field func(*Config) *T, values setting.Values[T]) setting.Field[Config] {
	return setting.One(field, values)
}

func durations(zero string) setting.Values[time.Duration] {
	return setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: year, Zero: zero})
}

func sizes(least int64, zero string) setting.Values[int64] {
	return setting.Sizes(setting.Bounds[int64]{Min: least, Max: 1 << 50, Zero: zero})
}

// agent are the settings of the agent as a whole.
var agent = []setting.Setting[Config]{{
	Name: "host", Kind: setting.Addresses, Default: "127.0.0.1:1774", Change: setting.AtReload,
	Usage: "servers to store in, HOST:PORT or unix:PATH; of several, the first that answers; can be repeated",
	Field: setting.Any(func(c *Config) *[]string { return &c.Host }, checkHost, "HOST:PORT or unix:PATH"),
}, {
	Name: "tls", Kind: setting.Switch, Default: "false",
	Usage: "speak TLS to the server; each of the four below means that, too",
	Field: of(func(c *Config) *bool { return &c.TLS }, setting.Boolean),
}, {
	Name: "tls-ca", Kind: setting.File, Default: "",
	Usage: "believe servers whose certificate an authority in this file has signed; the system's if empty",
	Field: of(func(c *Config) *string { return &c.TLSCA }, setting.FilePath),
}, {
	Name: "tls-cert", Kind: setting.File, Default: "",
	Usage: "certificate to show the server",
	Field: of(func(c *Config) *string { return &c.TLSCert }, setting.FilePath),
}, {
	Name: "tls-key", Kind: setting.File, Default: "",
	Usage: "key of tls-cert",
	Field: of(func(c *Config) *string { return &c.TLSKey }, setting.FilePath),
}, {
	Name: "tls-server-name", Kind: setting.Text, Default: "",
	Usage: "name that the server's certificate must be for; its host if empty",
	Field: of(func(c *Config) *string { return &c.TLSServerName }, text("a name")),
}, {
	Name: "token-file", Kind: setting.File, Default: "",
	Usage: "file with the token to show the server; LOGD_TOKEN is the token itself",
	Field: of(func(c *Config) *string { return &c.TokenFile }, setting.FilePath),
}, {
	Name: "plain-token", Kind: setting.Switch, Default: "false",
	Usage: "send the token without TLS, also to another machine",
	Field: of(func(c *Config) *bool { return &c.PlainToken }, setting.Boolean),
}, {
	Name: "state-dir", Kind: setting.Folder, Default: "",
	Usage: "folder of positions and of what waits; if empty $STATE_DIRECTORY, " + systemState + " or ~/" + userState + "; none for standard input alone",
	Field: of(func(c *Config) *string { return &c.StateDir }, folder),
}, {
	Name: "http-host", Kind: setting.Address, Default: defaultHTTP,
	Usage: "address for /healthz, /readyz, /sources and /metrics, empty for none; none by default for standard input alone",
	Field: of(func(c *Config) *string { return &c.HTTPHost }, setting.Values[string]{
		Parse: setting.ParseText, Format: func(s string) string { return s },
		Allowed: "HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)",
		Check: func(s string) error {
			if s == "" {
				return nil
			}
			return setting.CheckAddress(s)
		},
	}),
}, {
	Name: "hostname", Kind: setting.Text, Default: "",
	Usage: "name of this machine in {host} and in JSON; the system's if empty",
	Field: of(func(c *Config) *string { return &c.Hostname }, text("a name")),
}, {
	Name: "batch-size", Kind: setting.Size, Default: "64KiB",
	Usage: "largest batch; the server may allow less",
	Field: of(func(c *Config) *int64 { return &c.BatchSize }, setting.Sizes(setting.Bounds[int64]{Min: 8 << 10, Max: 1 << 30})),
}, {
	Name: "batch-age", Kind: setting.Duration, Default: "10ms",
	Usage: "longest a batch waits for more messages",
	Field: of(func(c *Config) *time.Duration { return &c.BatchAge }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: time.Minute, Zero: "not at all"})),
}, {
	Name: "in-flight", Kind: setting.Number, Default: "8",
	Usage: "batches of a topic on their way at once",
	Field: of(func(c *Config) *int { return &c.InFlight }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 32})),
}, {
	Name: "sequence", Kind: setting.Switch, Default: "true",
	Usage: "number batches, so that a server that can do it stores each once",
	Field: of(func(c *Config) *bool { return &c.Sequence }, setting.Boolean),
}, {
	Name: "memory", Kind: setting.Size, Default: "64MiB", Change: setting.AtReload,
	Usage: "memory for all messages; a topic has a quarter at most",
	Field: of(func(c *Config) *int64 { return &c.Memory }, sizes(1<<20, "")),
}, {
	Name: "spool-bytes", Kind: setting.Size, Default: "1GiB", Change: setting.AtReload,
	Usage: "room on the disk for what can't be read again; a topic has half at most",
	Field: of(func(c *Config) *int64 { return &c.SpoolBytes }, sizes(256<<10, "")),
}, {
	Name: "spool-sync-interval", Kind: setting.Duration, Default: "1s",
	Usage: "how often the spool is synced while something in it is not stored",
	Field: of(func(c *Config) *time.Duration { return &c.SpoolSyncInterval }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: time.Hour})),
}, {
	Name: "ledger-bytes", Kind: setting.Size, Default: "256MiB", Change: setting.AtReload,
	Usage: "room on the disk for positions and the record of what was sent",
	Field: of(func(c *Config) *int64 { return &c.LedgerBytes }, sizes(1<<20, "")),
}, {
	Name: "dead-bytes", Kind: setting.Size, Default: "64MiB", Change: setting.AtReload,
	Usage: "room on the disk for messages that the server refuses, 0 to count them only",
	Field: of(func(c *Config) *int64 { return &c.DeadBytes }, sizes(1<<20, "only counted")),
}, {
	Name: "unlinked-max", Kind: setting.Size, Default: "1GiB", Change: setting.AtReload,
	Usage: "unread bytes of removed files that are kept open when the spool is full",
	Field: of(func(c *Config) *int64 { return &c.UnlinkedMax }, sizes(1, "none")),
}, {
	Name: "max-open-files", Kind: setting.Number, Default: "1000", Change: setting.AtReload,
	Usage: "descriptors for files that are read",
	Field: of(func(c *Config) *int { return &c.MaxOpenFiles }, setting.Numbers(setting.Bounds[int]{Min: 16, Max: 1_000_000})),
}, {
	Name: "max-topics", Kind: setting.Number, Default: "100", Change: setting.AtReload,
	Usage: "topics that templates may make; further ones go to fallback-topic",
	Field: of(func(c *Config) *int { return &c.MaxTopics }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000})),
}, {
	Name: "fallback-topic", Kind: setting.Topic, Default: "other", Change: setting.AtReload,
	Usage: "topic for those of templates that are too many, or that the server refuses",
	Field: of(func(c *Config) *string { return &c.FallbackTopic }, topicName),
}, {
	Name: "timeout", Kind: setting.Duration, Default: "15s",
	Usage: "longest that senders may take, and that a run with --once goes on without progress",
	Field: of(func(c *Config) *time.Duration { return &c.Timeout }, durations("")),
}, {
	Name: "shutdown-timeout", Kind: setting.Duration, Default: "15s",
	Usage: "longest that a stop delivers what waits",
	Field: of(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, durations("")),
}, {
	Name: "log-format", Kind: setting.Choice, Default: "text",
	Usage: "form of the lines logged to standard error",
	Field: of(func(c *Config) *string { return &c.LogFormat }, setting.Choices([]string{"text", "json"}, []string{"text", "json"})),
}, {
	Name: "log-level", Kind: setting.Choice, Default: "info", Change: setting.AtReload,
	Usage: "lowest level that is logged",
	Field: of(func(c *Config) *slog.Level { return &c.LogLevel }, setting.Choices(
		[]string{"debug", "info", "warn", "error"},
		[]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})),
}}

// larger are the settings of which a reload takes a larger value only.
var larger = map[string]func(*Config) int64{
	"memory":         func(c *Config) int64 { return c.Memory },
	"spool-bytes":    func(c *Config) int64 { return c.SpoolBytes },
	"ledger-bytes":   func(c *Config) int64 { return c.LedgerBytes },
	"dead-bytes":     func(c *Config) int64 { return c.DeadBytes },
	"unlinked-max":   func(c *Config) int64 { return c.UnlinkedMax },
	"max-open-files": func(c *Config) int64 { return int64(c.MaxOpenFiles) },
	"max-topics":     func(c *Config) int64 { return int64(c.MaxTopics) },
}

func in[T any](field func(*Input) *T, values setting.Values[T]) setting.Field[Input] {
	return setting.One(field, values)
}

// own are the settings that each input has for itself, and that stand nowhere else.
var own = []setting.Setting[Input]{{
	Name: "name", Kind: setting.Text, Default: "",
	Usage: "name to which positions belong; made of from if empty",
	Field: in(func(i *Input) *string { return &i.Name }, setting.Values[string]{
		Parse: setting.ParseText, Format: func(s string) string { return s },
		Allowed: fmt.Sprintf("1 to %d bytes of A-Z a-z 0-9 . _ - that do not begin with a dot, or empty (made of from)", batch.MaxTopicLen),
		Check: func(s string) error {
			if s != "" && !batch.ValidTopic(s) {
				return errors.New("not a name of an input")
			}
			return nil
		},
	}),
}, {
	Name: "from", Kind: setting.Text, Default: "-",
	Usage: "what is read, or where to listen",
	Field: in(func(i *Input) *inputs.From { return &i.From }, setting.Values[inputs.From]{
		Parse: func(s string) (inputs.From, error) {
			f, err := inputs.ParseFrom(s)
			if inner := errors.Unwrap(err); inner != nil {
				err = inner // the message has the text already
			}
			return f, err
		},
		Format:  inputs.From.String,
		Allowed: "file:GLOB, journald:, -, or an address such as syslog+udp://127.0.0.1:514",
	}),
}, {
	Name: "tls-cert", Kind: setting.File, Default: "",
	Usage: "certificate, and its chain, of syslog+tls",
	Field: in(func(i *Input) *string { return &i.TLSCert }, setting.FilePath),
}, {
	Name: "tls-key", Kind: setting.File, Default: "",
	Usage: "key of tls-cert",
	Field: in(func(i *Input) *string { return &i.TLSKey }, setting.FilePath),
}, {
	Name: "tls-client-ca", Kind: setting.File, Default: "",
	Usage: "authorities that sign the certificates of senders; none if they need no certificate",
	Field: in(func(i *Input) *string { return &i.TLSClientCA }, setting.FilePath),
}}

// shared are the settings of inputs that may stand at the top, too: for all inputs that
// don't have their own.
var shared = []setting.Setting[Input]{{
	Name: "topic", Kind: setting.Topic, Default: "", Change: setting.AtReload,
	Usage: "topic of the messages, or a template such as app-{1} or syslog-{app}",
	Field: in(func(i *Input) **render.Template { return &i.Topic }, topicTemplate),
}, {
	Name: "topics", Kind: setting.Names, Default: "", Change: setting.AtReload,
	Usage: "topics that a sender may name, * for all; can be repeated",
	Field: setting.Any(func(i *Input) *[]string { return &i.Topics }, func(s string) error {
		if s == "*" {
			return nil
		}
		return checkTopic(s)
	}, "names of topics, or *"),
}, {
	Name: "format", Kind: setting.Choice, Default: "raw", Change: setting.AtReload,
	Usage: "what is stored: the bytes that came, or JSON with what is known of them",
	Field: in(func(i *Input) *render.Format { return &i.Format }, setting.Choices([]string{"raw", "json"}, []render.Format{render.Raw, render.JSON})),
}, {
	Name: "exclude", Kind: setting.Paths, Default: "", Change: setting.AtReload,
	Usage: "patterns of whole paths that are not read; can be repeated",
	Field: setting.Any(func(i *Input) *[]string { return &i.Exclude }, func(s string) error {
		_, err := glob.Compile(s)
		return err
	}, "patterns of paths, with *, ?, [...] and **"),
}, {
	Name: "start", Kind: setting.Choice, Default: "beginning", Change: setting.AtReload,
	Usage: "where to begin with what is there at the first start",
	Field: in(func(i *Input) *bool { return &i.FromEnd }, setting.Choices([]string{"beginning", "end"}, []bool{false, true})),
}, {
	Name: "copies", Kind: setting.Choice, Default: "same", Change: setting.AtReload,
	Usage: "whether a copy of a known file goes on where that one is, or is a new file",
	Field: in(func(i *Input) *bool { return &i.CopiesNew }, setting.Choices([]string{"same", "new"}, []bool{false, true})),
}, {
	Name: "units", Kind: setting.Hosts, Default: "", Change: setting.AtReload,
	Usage: "units of the journal, all if empty; can be repeated",
	Field: setting.Any(func(i *Input) *[]string { return &i.Units }, checkUnit, "names of units, such as ssh.service"),
}, {
	Name: "max-line", Kind: setting.Size, Default: "0", Change: setting.AtReload,
	Usage: "longest line or message, 0 for what fits a batch",
	Field: in(func(i *Input) *int64 { return &i.MaxLine }, setting.Sizes(setting.Bounds[int64]{Min: 64, Max: 1 << 30, Zero: "what fits a batch"})),
}, {
	Name: "long-lines", Kind: setting.Choice, Default: "split", Change: setting.AtReload,
	Usage: "what becomes of longer lines",
	Field: in(func(i *Input) *lines.Long { return &i.LongLines }, setting.Choices(
		[]string{"split", "truncate", "skip"}, []lines.Long{lines.Split, lines.Truncate, lines.Skip})),
}, {
	Name: "trim-cr", Kind: setting.Switch, Default: "false", Change: setting.AtReload,
	Usage: "leave out a CR at the end of a line",
	Field: in(func(i *Input) *bool { return &i.TrimCR }, setting.Boolean),
}, {
	Name: "when-full", Kind: setting.Choice, Default: "", Change: setting.AtReload,
	Usage: "what to do when memory and spool have no room; if empty block, of datagrams drop-newest, of http 503",
	Field: in(func(i *Input) *string { return &i.whenFull }, whenFull),
}, {
	Name: "scan-interval", Kind: setting.Duration, Default: "1s", Change: setting.AtReload,
	Usage: "how often all folders and files are looked at",
	Field: in(func(i *Input) *time.Duration { return &i.ScanInterval }, setting.Durations(setting.Bounds[time.Duration]{Min: 10 * time.Millisecond, Max: time.Hour})),
}, {
	Name: "rotated-wait", Kind: setting.Duration, Default: "5s", Change: setting.AtReload,
	Usage: "how long nothing comes to a renamed or removed file before it is done",
	Field: in(func(i *Input) *time.Duration { return &i.RotatedWait }, durations("")),
}, {
	Name: "forget-after", Kind: setting.Duration, Default: "168h", Change: setting.AtReload,
	Usage: "how long the position of a file is kept that is gone",
	Field: in(func(i *Input) *time.Duration { return &i.ForgetAfter }, setting.Durations(setting.Bounds[time.Duration]{Min: time.Minute, Max: 100 * year})),
}, {
	Name: "max-connections", Kind: setting.Number, Default: "1000", Change: setting.AtReload,
	Usage: "connections of an input at once",
	Field: in(func(i *Input) *int { return &i.MaxConnections }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000})),
}, {
	Name: "max-body", Kind: setting.Size, Default: "8MiB", Change: setting.AtReload,
	Usage: "largest body of a request over HTTP",
	Field: in(func(i *Input) *int64 { return &i.MaxBody }, setting.Sizes(setting.Bounds[int64]{Min: 1 << 10, Max: 1 << 30})),
}, {
	Name: "socket-mode", Kind: setting.Mode, Default: "0660", Change: setting.AtReload,
	Usage: "mode of a unix socket",
	Field: in(func(i *Input) *fs.FileMode { return &i.SocketMode }, socketMode),
}, {
	Name: "receive-buffer", Kind: setting.Size, Default: "4MiB", Change: setting.AtReload,
	Usage: "buffer in the kernel of a socket of datagrams",
	Field: in(func(i *Input) *int64 { return &i.ReceiveBuffer }, setting.Sizes(setting.Bounds[int64]{Min: 4 << 10, Max: 1 << 30})),
}, {
	Name: "insecure", Kind: setting.Switch, Default: "false", Change: setting.AtReload,
	Usage: "listen where other machines come, although nothing keeps them out",
	Field: in(func(i *Input) *bool { return &i.Insecure }, setting.Boolean),
}}

// top are the settings at the top of a file, of flags and of the environment, and each
// those under [[input]].
var (
	top = func() *setting.Table[Config] {
		all := agent
		for _, s := range shared {
			all = append(all, setting.Within(s, func(c *Config) *Input { return &c.defaults }))
		}
		return setting.NewTable(program, envPrefix, all)
	}()
	each = setting.NewTable(program, "", append(own[:len(own):len(own)], shared...))
)

// Setting is a setting at the top.
type Setting = setting.Setting[Config]

// InputSetting is a setting of an input.
type InputSetting = setting.Setting[Input]

// Settings returns the settings at the top in the order in which they are shown: those of
// the agent, and behind them those for all inputs.
func Settings() []Setting { return top.All() }

// InputSettings returns the settings under [[input]].
func InputSettings() []InputSetting { return each.All() }

// OfInputs reports whether a setting at the top is one of inputs.
func OfInputs(name string) bool {
	for _, s := range shared {
		if s.Name == name {
			return true
		}
	}
	return false
}

func text(allowed string) setting.Values[string] {
	return setting.Values[string]{
		Parse: setting.ParseText, Format: func(s string) string { return s }, Allowed: allowed,
		Check: func(s string) error {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return errors.New("has control characters in it")
			}
			return nil
		},
	}
}

var folder = setting.Values[string]{
	Parse: setting.ParseText, Format: func(s string) string { return s },
	Check: setting.FilePath.Check, Allowed: "the path of a folder, or empty",
}

func checkTopic(s string) error {
	t, err := render.ParseTemplate(s)
	if err == nil && !t.Constant() {
		err = errors.New("a template, where a name is wanted")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", setting.Shorten(strconv.Quote(s)), err)
	}
	return nil
}

var topicName = setting.Values[string]{
	Parse: setting.ParseText, Format: func(s string) string { return s }, Check: checkTopic, Allowed: "the name of a topic",
}

var topicTemplate = setting.Values[*render.Template]{
	Parse: func(s string) (*render.Template, error) {
		if s == "" {
			return nil, nil
		}
		return render.ParseTemplate(s)
	},
	Format: func(t *render.Template) string {
		if t == nil {
			return ""
		}
		return t.String()
	},
	Allowed: "the name of a topic, in which {1}, {base}, {app}, {unit}, {facility}, {severity} and {host} may stand",
}

var whenFull = func() setting.Values[string] {
	words := []string{"block", "drop-newest"}
	v := setting.Choices(append(words, ""), append(words, ""))
	v.Allowed, v.Words = "block or drop-newest, or empty", words
	return v
}()

var socketMode = setting.Modes(0, "", "0000 to 0777 (octal)")

// checkHost is for addresses of servers.
func checkHost(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return errors.New("unix: without the path of a socket")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s is not HOST:PORT", setting.Shorten(strconv.Quote(addr)))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s leads nowhere", setting.Shorten(strconv.Quote(addr)))
	}
	return setting.CheckAddress(addr)
}

func checkUnit(name string) error {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' }) {
		return fmt.Errorf("%s is not the name of a unit", setting.Shorten(strconv.Quote(name)))
	}
	return nil
}

// fullOf returns what when-full means for an input.
func fullOf(word string, from inputs.From) feed.Full {
	switch word {
	case "block":
		return feed.Block
	case "drop-newest":
		return feed.Drop
	}
	return from.Full()
}
