package config

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Setting describes one setting. Its zero value is of no use; [Settings] and
// [Lookup] return them.
type Setting struct {
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

	value
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
)

// Arg returns the word that stands for a value of this kind in a usage line.
func (k Kind) Arg() string {
	return [...]string{"HOST:PORT", "DIR", "MODE", "DURATION", "SIZE", "N", "TOPIC", "NAME", "WORD", "BOOL", "CMD", "HOST:PORT", "NAME", "ID", "LIST", "FILE", "GROUP"}[k]
}

// many reports whether a value of this kind is any number of texts.
func (k Kind) many() bool { return k == Names || k == Hosts || k == Addresses }

// envPrefix begins the name of every environment variable that is a setting.
const envPrefix = "LOGD_"

const (
	shortest = time.Millisecond
	year     = 365 * 24 * time.Hour
)

// settings is the table that everything about settings follows from, in the
// order in which they are shown.
var settings = []Setting{{
	Name: "host", Kind: Address, Default: "127.0.0.1:1774",
	Usage: "address of the protocol listener, empty for unix-socket alone",
	value: field(func(c *Config) *string { return &c.Host }, hostAddress),
}, {
	Name: "unix-socket", Kind: File, Default: "",
	Usage: "path of a unix socket on which the protocol is served, too",
	value: field(func(c *Config) *string { return &c.UnixSocket }, file),
}, {
	Name: "unix-mode", Kind: Mode, Default: "0660",
	Usage: "mode of unix-socket",
	value: field(func(c *Config) *fileMode { return &c.UnixMode }, mode),
}, {
	Name: "unix-group", Kind: Group, Default: "",
	Usage: "group of unix-socket, by name or number; that of the process if empty",
	value: field(func(c *Config) *string { return &c.UnixGroup }, group),
}, {
	Name: "http-host", Kind: Address, Default: "127.0.0.1:1775",
	Usage: "address of the HTTP listener, empty for none",
	value: field(func(c *Config) *string { return &c.HTTPHost }, address(true)),
}, {
	Name: "http-allowed-hosts", Kind: Hosts, Default: "", Change: AtReload,
	Usage: "further names that HTTP is asked for by, as by a reverse proxy; can be repeated",
	value: list{of: func(c *Config) *[]string { return &c.HTTPAllowedHosts }, good: checkHostName, allows: "names of hosts, without a port"},
}, {
	Name: "auth-file", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "file of who may do what; all may do everything if empty",
	value: field(func(c *Config) *string { return &c.AuthFile }, file),
}, {
	Name: "auth-timeout", Kind: Duration, Default: "10s", Change: AtReload,
	Usage: "longest a connection may take to show who it is, where that is needed",
	value: field(func(c *Config) *time.Duration { return &c.AuthTimeout }, duration(bounds[time.Duration]{min: shortest, max: year})),
}, {
	Name: "max-unauthenticated", Kind: Number, Default: "0", Change: AtReload,
	Usage: "connections at once that have not shown who they are, where that is needed; 0 for a quarter of max-connections",
	value: field(func(c *Config) *int { return &c.MaxUnauthenticated }, number(bounds[int]{min: 1, max: 1_000_000, zero: "a quarter of max-connections"})),
}, {
	Name: "workdir", Kind: Folder, Default: "logs",
	Usage: "folder of the data",
	value: field(func(c *Config) *string { return &c.WorkDir }, folder),
}, {
	Name: "file-mode", Kind: Mode, Default: "0600",
	Usage: "mode of data files",
	value: field(func(c *Config) *fileMode { return &c.FileMode }, mode),
}, {
	Name: "tls-cert", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "certificate, and its chain, of the protocol listener for TLS; none for no TLS",
	value: field(func(c *Config) *string { return &c.TLSCert }, file),
}, {
	Name: "tls-key", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "key of tls-cert",
	value: field(func(c *Config) *string { return &c.TLSKey }, file),
}, {
	Name: "tls-client-ca", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "authorities that sign the certificates of clients; none if clients need no certificate",
	value: field(func(c *Config) *string { return &c.TLSClientCA }, file),
}, {
	Name: "tls-client-cert", Kind: Choice, Default: "require", Change: AtReload,
	Usage: "whether clients need a certificate that tls-client-ca has signed",
	value: field(func(c *Config) *bool { return &c.TLSClientCertOptional }, choice([]string{"require", "optional"}, []bool{false, true})),
}, {
	Name: "tls-min-version", Kind: Choice, Default: "1.2", Change: AtReload,
	Usage: "lowest version of TLS, for all listeners",
	value: field(func(c *Config) *uint16 { return &c.TLSMinVersion }, choice([]string{"1.2", "1.3"}, []uint16{tls.VersionTLS12, tls.VersionTLS13})),
}, {
	Name: "tls-plain", Kind: Choice, Default: "refuse",
	Usage: "what the protocol listener does with clients that speak no TLS, if it has a certificate",
	value: field(func(c *Config) *bool { return &c.TLSPlain }, choice([]string{"refuse", "allow"}, []bool{false, true})),
}, {
	Name: "http-tls-cert", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "certificate, and its chain, of the HTTP listener for TLS; none for no TLS",
	value: field(func(c *Config) *string { return &c.HTTPTLSCert }, file),
}, {
	Name: "http-tls-key", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "key of http-tls-cert",
	value: field(func(c *Config) *string { return &c.HTTPTLSKey }, file),
}, {
	Name: "http-tls-client-ca", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "authorities that sign the certificates of clients; none if clients need no certificate",
	value: field(func(c *Config) *string { return &c.HTTPTLSClientCA }, file),
}, {
	Name: "http-tls-client-cert", Kind: Choice, Default: "require", Change: AtReload,
	Usage: "whether clients need a certificate that http-tls-client-ca has signed",
	value: field(func(c *Config) *bool { return &c.HTTPTLSClientCertOptional }, choice([]string{"require", "optional"}, []bool{false, true})),
}, {
	Name: "peer-tls-cert", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "certificate, and its chain, that this member shows the others; none for no TLS among them",
	value: field(func(c *Config) *string { return &c.PeerTLSCert }, file),
}, {
	Name: "peer-tls-key", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "key of peer-tls-cert",
	value: field(func(c *Config) *string { return &c.PeerTLSKey }, file),
}, {
	Name: "peer-tls-ca", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "authorities that sign the certificates of all members",
	value: field(func(c *Config) *string { return &c.PeerTLSCA }, file),
}, {
	Name: "insecure", Kind: Switch, Default: "false",
	Usage: "listen for other machines without TLS, or without knowing who they are",
	value: field(func(c *Config) *bool { return &c.Insecure }, boolean),
}, {
	Name: "timeout", Kind: Duration, Default: "15s", Change: AtReload,
	Usage: "longest a request may take from its first byte to its end, and a response to be written",
	value: field(func(c *Config) *time.Duration { return &c.Timeout }, duration(bounds[time.Duration]{min: shortest, max: year})),
}, {
	Name: "idle-timeout", Kind: Duration, Default: "30s", Change: AtReload,
	Usage: "longest a connection may be without a request",
	value: field(func(c *Config) *time.Duration { return &c.IdleTimeout }, duration(bounds[time.Duration]{min: shortest, max: year})),
}, {
	Name: "shutdown-timeout", Kind: Duration, Default: "15s",
	Usage: "longest a clean shutdown may take",
	value: field(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, duration(bounds[time.Duration]{min: shortest, max: year})),
}, {
	Name: "batch-size", Kind: Size, Default: "64KiB",
	Usage: "largest batch, envelope and data",
	value: field(func(c *Config) *int64 { return &c.BatchSize }, size(bounds[int64]{min: 128, max: 1 << 30})),
}, {
	Name: "partition-size", Kind: Size, Default: "2000MiB",
	Usage: "a partition file is closed before it would pass this",
	value: field(func(c *Config) *int64 { return &c.PartitionSize }, size(bounds[int64]{min: 128, max: 1 << 40})),
}, {
	Name: "partitions", Kind: Number, Default: "8", Change: AtReload,
	Usage: "partition files kept per topic; the oldest goes when a new one is begun",
	value: field(func(c *Config) *int { return &c.Partitions }, number(bounds[int]{min: 1, max: 1_000_000})),
}, {
	Name: "retention-age", Kind: Duration, Default: "0s", Change: AtReload,
	Usage: "remove oldest partitions whose newest batch is older than this, 0 for off",
	value: field(func(c *Config) *time.Duration { return &c.RetentionAge }, duration(bounds[time.Duration]{min: shortest, max: 100 * year, zero: "off"})),
}, {
	Name: "retention-bytes", Kind: Size, Default: "0", Change: AtReload,
	Usage: "remove oldest partitions when a topic has more bytes than this, 0 for off",
	value: field(func(c *Config) *int64 { return &c.RetentionBytes }, size(bounds[int64]{min: 128, max: 1 << 50, zero: "off"})),
}, {
	Name: "delete-after", Kind: Duration, Default: "24h",
	Usage: "how long the files of a deleted topic are kept, 0 for not at all",
	value: field(func(c *Config) *time.Duration { return &c.DeleteAfter }, duration(bounds[time.Duration]{min: shortest, max: 100 * year, zero: "not at all"})),
}, {
	Name: "delete-hook", Kind: Program, Default: "",
	Usage: "program to run before a partition is removed, and its arguments; none if empty",
	value: field(func(c *Config) *string { return &c.DeleteHook }, program),
}, {
	Name: "delete-hook-timeout", Kind: Duration, Default: "10m",
	Usage: "longest a delete hook may run, 0 for no limit",
	value: field(func(c *Config) *time.Duration { return &c.DeleteHookTimeout }, duration(bounds[time.Duration]{min: shortest, max: year, zero: "no limit"})),
}, {
	Name: "delete-hook-parallel", Kind: Number, Default: "4",
	Usage: "delete hooks that run at once",
	value: field(func(c *Config) *int { return &c.DeleteHookParallel }, number(bounds[int]{min: 1, max: 1000})),
}, {
	Name: "keep-free", Kind: Size, Default: "0", Change: AtReload,
	Usage: "remove partitions although their delete hook has not succeeded when the disk has less room than this, 0 for never",
	value: field(func(c *Config) *int64 { return &c.KeepFree }, size(bounds[int64]{min: 1, max: 1 << 50, zero: "never"})),
}, {
	Name: "flush-batches", Kind: Number, Default: "0",
	Usage: "1 syncs each batch before its OK; N leaves at most N-1 acknowledged batches unsynced; 0 does not count",
	value: field(func(c *Config) *int { return &c.FlushBatches }, number(bounds[int]{min: 1, max: 1_000_000, zero: "not by count"})),
}, {
	Name: "flush-interval", Kind: Duration, Default: "1s",
	Usage: "about how long an acknowledged batch may be unsynced, negative for no limit",
	value: field(func(c *Config) *time.Duration { return &c.FlushInterval }, duration(bounds[time.Duration]{
		min: shortest, max: 24 * time.Hour, zero: "right after each OK", negative: "never by time",
	})),
}, {
	Name: "producers", Kind: Number, Default: "262144",
	Usage: "newest batches of a topic among which a numbered batch (pid=, seq=) is recognised, 0 for none: they are refused",
	value: field(func(c *Config) *int { return &c.Producers }, number(bounds[int]{min: 32, max: 1 << 22, zero: "off"})),
}, {
	Name: "codecs", Kind: List, Default: "s2,zstd", Change: AtReload,
	Usage: "codecs of compressed batches that are taken, empty for none",
	value: field(func(c *Config) *batch.Codecs { return &c.Codecs }, codecs),
}, {
	Name: "uncompressed-size", Kind: Size, Default: "1MiB", Change: AtReload,
	Usage: "largest data of a compressed batch, unpacked",
	value: field(func(c *Config) *int64 { return &c.UncompressedSize }, size(bounds[int64]{min: 128, max: 1 << 30})),
}, {
	Name: "scrub-rate", Kind: Size, Default: "20MiB",
	Usage: "bytes a second at which stored batches are checked, after each start and every 7 days; 0 for off",
	value: field(func(c *Config) *int64 { return &c.ScrubRate }, size(bounds[int64]{min: 1024, max: 1 << 40, zero: "off"})),
}, {
	Name: "topics", Kind: Number, Default: "1000", Change: AtReload,
	Usage: "number of topics, 0 for no limit",
	value: field(func(c *Config) *int { return &c.Topics }, number(bounds[int]{min: 1, max: 1_000_000, zero: "no limit"})),
}, {
	Name: "topics-whitelist", Kind: Names, Default: "", Change: AtReload,
	Usage: "only these topics may be created; can be repeated",
	value: list{of: func(c *Config) *[]string { return &c.TopicsWhitelist }, good: checkTopic, allows: topicNames},
}, {
	Name: "max-messages", Kind: Number, Default: "50000", Change: AtReload,
	Usage: "most messages that one READ or TAIL may ask for",
	value: field(func(c *Config) *int { return &c.MaxMessages }, number(bounds[int]{min: 1, max: math.MaxInt32})),
}, {
	Name: "max-connections", Kind: Number, Default: "10000", Change: AtReload,
	Usage: "connections at once; one more is told that the server is busy",
	value: field(func(c *Config) *int { return &c.MaxConnections }, number(bounds[int]{min: 1, max: 1_000_000})),
}, {
	Name: "open-files", Kind: Number, Default: "1024",
	Usage: "descriptors kept open for the files of topics",
	value: field(func(c *Config) *int { return &c.OpenFiles }, number(bounds[int]{min: 16, max: 1_000_000})),
}, {
	Name: "node", Kind: Member, Default: "",
	Usage: "name of this member of a cluster; none for a server that is in no cluster",
	value: field(func(c *Config) *string { return &c.Node }, memberName),
}, {
	Name: "peer-host", Kind: Address, Default: "127.0.0.1:1776",
	Usage: "address of the listener for the other members of the cluster",
	value: field(func(c *Config) *string { return &c.PeerHost }, address(false)),
}, {
	Name: "advertise", Kind: Address, Default: "",
	Usage: "where clients find this member; empty for what host says",
	value: field(func(c *Config) *string { return &c.Advertise }, advertised),
}, {
	Name: "peer-advertise", Kind: Address, Default: "",
	Usage: "where the other members find this one; empty for what peer-host says",
	value: field(func(c *Config) *string { return &c.PeerAdvertise }, advertised),
}, {
	Name: "join", Kind: Addresses, Default: "",
	Usage: "peer address of a member to ask for admission, as long as the work directory is no member's; can be repeated",
	value: list{of: func(c *Config) *[]string { return &c.Join }, good: advertised.check, allows: "HOST:PORT of members"},
}, {
	Name: "cluster", Kind: ID, Default: "",
	Usage: "id of the cluster to be admitted to, as logd cluster init has printed it",
	value: field(func(c *Config) *string { return &c.Cluster }, clusterID),
}, {
	Name: "election-timeout", Kind: Duration, Default: "1s",
	Usage: "after how much silence of a leader the others elect another one",
	value: field(func(c *Config) *time.Duration { return &c.ElectionTimeout }, duration(bounds[time.Duration]{min: 200 * time.Millisecond, max: time.Minute})),
}, {
	Name: "catch-up-rate", Kind: Size, Default: "100MB",
	Usage: "bytes a second at which a member that is far behind fetches what it lacks, 0 for no limit",
	value: field(func(c *Config) *int64 { return &c.CatchUpRate }, size(bounds[int64]{min: 1024, max: 1 << 40, zero: "no limit"})),
}, {
	Name: "log-format", Kind: Choice, Default: FormatText,
	Usage: "form of the lines logged to standard error",
	value: field(func(c *Config) *string { return &c.LogFormat }, choice([]string{FormatText, FormatJSON}, []string{FormatText, FormatJSON})),
}, {
	Name: "log-level", Kind: Choice, Default: "info", Change: AtReload,
	Usage: "lowest level that is logged",
	value: field(func(c *Config) *slog.Level { return &c.LogLevel }, choice(
		[]string{"debug", "info", "warn", "error"},
		[]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})),
}, {
	Name: "verbose", Kind: Switch, Default: "false", Change: AtReload,
	Usage: "log at level debug",
	value: field(func(c *Config) *bool { return &c.Verbose }, boolean),
}}

// Settings returns all settings in the order in which they are shown.
func Settings() []Setting { return slices.Clone(settings) }

// Lookup returns the setting with the given name, and whether there is one.
func Lookup(name string) (Setting, bool) {
	for _, s := range settings {
		if s.Name == name {
			return s, true
		}
	}
	return Setting{}, false
}

// Env returns the name of the setting's environment variable.
func (s Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Allowed describes the values that the setting takes.
func (s Setting) Allowed() string { return s.allowed() }

// Choices returns the words that a setting of kind Choice takes, or nil.
func (s Setting) Choices() []string { return slices.Clone(s.choices()) }

// Value returns the setting's value in c as it would be written in the
// environment: the text that, parsed, gives this value again.
func (s Setting) Value(c *Config) string { return strings.Join(s.texts(c), ",") }

// Parse reports whether text can be read as a value of this setting. It does
// not look at the range.
func (s Setting) Parse(text string) error {
	if err := s.parse(new(Config), s.split(text)); err != nil {
		return fmt.Errorf("%w; allowed: %s", err, s.Allowed())
	}
	return nil
}

// Set gives c the value that a text says, as it would be written in the environment. With
// an error c is as it was.
func (s Setting) Set(c *Config, text string) error {
	if err := s.set(c, s.split(text)); err != nil {
		return fmt.Errorf("%s = %s: %w; allowed: %s", s.Name, shorten(strconv.Quote(text)), err, s.Allowed())
	}
	return nil
}

// set parses texts, checks the range, and only then sets the field in c.
func (s Setting) set(c *Config, texts []string) error {
	var scratch Config
	if err := s.parse(&scratch, texts); err != nil {
		return err
	}
	if err := s.check(&scratch); err != nil {
		return err
	}
	return s.parse(c, texts)
}

// split cuts a text from a flag or the environment into its values.
func (s Setting) split(text string) []string {
	if !s.Kind.many() {
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

func (s Setting) defaults() []string { return s.split(s.Default) }

// quote returns a value of this setting as a file would have it.
func (s Setting) quote(text string) string {
	switch s.Kind {
	case Number, Switch:
		return shorten(text)
	case Names, Hosts, Addresses:
		return quoteAll(s.split(text))
	default:
		return shorten(strconv.Quote(text))
	}
}

func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = strconv.Quote(t)
	}
	return shorten("[" + strings.Join(quoted, ", ") + "]")
}

// maxShown is how much of a value an error message repeats, in bytes.
const maxShown = 80

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// problem is the error for a value of this setting, as it was written.
func (s Setting) problem(o Origin, written string, reason error) error {
	return &Error{Origin: o, Key: s.Name, Value: written, Reason: reason.Error(), Allowed: s.Allowed()}
}
