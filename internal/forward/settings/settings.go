// Package settings holds the settings of the agent: what they are, where they come from
// and which of them make sense.
//
// Two tables describe every setting once: [Settings] those at the top of a file, which are
// flags and environment variables, too, and [InputSettings] those of an input. What holds
// for an input may stand at the top for all inputs that don't have their own.
//
// [Load] puts a Config together. A flag is stronger than an environment variable, that is
// stronger than the file, and that is stronger than the default. Inputs are those of the
// command line, or else those of the file:
//
//	c, err := settings.Load(settings.Sources{
//		Inputs: []string{"file:/var/log/app/*.log"},
//		Flags:  map[string][]string{"topic": {"app"}},
//		Env:    os.Environ(),
//	})
//
// The package opens the configuration file and nothing else; addresses of listeners may be
// looked up. All of it is safe for concurrent use.
package settings

import (
	"io/fs"
	"log/slog"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/setting"
)

// Config is the settings of one agent, as [Load] returns it. The fields are named after
// the settings; docs/forwarder.md says what each means.
type Config struct {
	Host                                  []string
	TLS                                   bool // also if one of the four below is set
	TLSCA, TLSCert, TLSKey, TLSServerName string
	Token                                 string // of LOGD_TOKEN; TokenFile is empty then
	TokenFile                             string
	PlainToken                            bool

	StateDir string // empty for standard input alone: nothing is kept
	HTTPHost string // empty for none
	Hostname string // never empty

	BatchSize         int64
	BatchAge          time.Duration
	InFlight          int
	Sequence          bool
	Memory            int64
	SpoolBytes        int64
	SpoolSyncInterval time.Duration
	LedgerBytes       int64
	DeadBytes         int64
	UnlinkedMax       int64
	MaxOpenFiles      int
	MaxTopics         int
	FallbackTopic     string
	Timeout           time.Duration
	ShutdownTimeout   time.Duration
	LogFormat         string // text or json
	LogLevel          slog.Level

	Inputs []Input // at least one, each with its own name

	defaults Input // what inputs have that say nothing else
	origins  setting.Origins
}

// Input is the settings of one input.
type Input struct {
	Name   string
	From   inputs.From
	Topic  *render.Template
	Topics []string // that a sender may name; "*" for all
	Format render.Format

	// Of files; FromEnd of the journal, too.
	Exclude      []string
	FromEnd      bool
	CopiesNew    bool
	ScanInterval time.Duration
	RotatedWait  time.Duration
	ForgetAfter  time.Duration

	Units []string // of the journal

	MaxLine   int64 // never 0
	LongLines lines.Long
	TrimCR    bool
	Full      feed.Full

	// Of what listens.
	MaxConnections               int
	MaxBody                      int64
	SocketMode                   fs.FileMode
	ReceiveBuffer                int64
	Insecure                     bool
	TLSCert, TLSKey, TLSClientCA string

	whenFull string
	origins  setting.Origins
	fits     bool            // MaxLine is what fits a batch
	argument bool            // it is from the command line
	bad      map[string]bool // settings with a bad value
}

// File returns the path of the configuration file that was read, or "" if there was none.
func (c *Config) File() string { return c.origins.File() }

// Origin returns where the value of a setting at the top came from.
func (c *Config) Origin(name string) setting.Origin { return c.origins.Of(name) }

// Origin returns where the value of the input's setting came from: perhaps from that of
// the same name at the top.
func (i *Input) Origin(name string) setting.Origin { return i.origins.Of(name) }

// Shown returns the settings that count for the input, with those that do not count for
// its kind left out.
func (i *Input) Shown() (shown []InputSetting) {
	for _, s := range each.All() {
		if whose := kinds[s.Name]; whose.of == nil || whose.of(i.From) {
			shown = append(shown, s)
		}
	}
	return shown
}

// Same reports whether two inputs are told the same.
func (i *Input) Same(other *Input) bool {
	for _, s := range each.All() {
		if s.Value(i) != s.Value(other) {
			return false
		}
	}
	return true
}

// OnlyStdin reports whether standard input is the only input.
func (c *Config) OnlyStdin() bool {
	return len(c.Inputs) == 1 && c.Inputs[0].From.Kind == inputs.Stdin
}

// frame is what a batch needs besides the bodies of its messages, and envelope what JSON
// adds to a body at most, if names have no control characters: twice the longest path
// that there is.
const (
	frame    = 1 << 10
	envelope = 5 << 10
)

// fitting returns the length of the longest line that fits a batch whatever is in it: in
// JSON a byte may become six.
func fitting(batchSize int64, format render.Format) int64 {
	if format == render.JSON {
		return (batchSize - frame - envelope) / 6
	}
	return batchSize - frame
}
