package config

import (
	"crypto/tls"
	"io/fs"
	"log/slog"
	"math"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/setting"
)

// What settings are made of, as package setting has it.
type (
	Setting = setting.Setting[Config]
	Origin  = setting.Origin
	Origins = setting.Origins
	Error   = setting.Error
)

// The kinds of values.
const (
	Address   = setting.Address
	Folder    = setting.Folder
	Mode      = setting.Mode
	Duration  = setting.Duration
	Size      = setting.Size
	Number    = setting.Number
	Names     = setting.Names
	Hosts     = setting.Hosts
	Choice    = setting.Choice
	Switch    = setting.Switch
	Program   = setting.Program
	Addresses = setting.Addresses
	Member    = setting.Member
	ID        = setting.ID
	List      = setting.List
	File      = setting.File
	Group     = setting.Group
	URL       = setting.URL
)

// The sources of values, weakest first.
const (
	FromDefault     = setting.FromDefault
	FromFile        = setting.FromFile
	FromEnvironment = setting.FromEnvironment
	FromFlag        = setting.FromFlag
	FromSocket      = setting.FromSocket
)

// When a change of a setting takes effect.
const (
	AtStart       = setting.AtStart
	AtReload      = setting.AtReload
	AtReloadIfSet = setting.AtReloadIfSet
)

// envPrefix begins the name of every environment variable that is a setting.
const envPrefix = "LOGD_"

const (
	shortest = time.Millisecond
	year     = 365 * 24 * time.Hour
)

// settings is the table that everything about settings follows from, in the
// order in which they are shown.
var settings = setting.NewTable("logd", envPrefix, []Setting{{
	Name: "host", Kind: Address, Default: "127.0.0.1:1774",
	Usage: "address of the protocol listener, empty for unix-socket alone",
	Field: field(func(c *Config) *string { return &c.Host }, hostAddress),
}, {
	Name: "unix-socket", Kind: File, Default: "",
	Usage: "path of a unix socket on which the protocol is served, too",
	Field: field(func(c *Config) *string { return &c.UnixSocket }, setting.FilePath),
}, {
	Name: "unix-mode", Kind: Mode, Default: "0660",
	Usage: "mode of unix-socket",
	Field: field(func(c *Config) *fs.FileMode { return &c.UnixMode }, mode),
}, {
	Name: "unix-group", Kind: Group, Default: "",
	Usage: "group of unix-socket, by name or number; that of the process if empty",
	Field: field(func(c *Config) *string { return &c.UnixGroup }, group),
}, {
	Name: "http-host", Kind: Address, Default: "127.0.0.1:1775",
	Usage: "address of the HTTP listener, empty for none",
	Field: field(func(c *Config) *string { return &c.HTTPHost }, address(true)),
}, {
	Name: "http-allowed-hosts", Kind: Hosts, Default: "", Change: AtReload,
	Usage: "further names that HTTP is asked for by, as by a reverse proxy; can be repeated",
	Field: list(func(c *Config) *[]string { return &c.HTTPAllowedHosts }, checkHostName, "names of hosts, without a port"),
}, {
	Name: "http-serve", Kind: List, Default: "api,console,log,metrics,debug",
	Usage: "what HTTP serves besides health",
	Field: field(func(c *Config) *[]string { return &c.HTTPServe }, httpParts),
}, {
	Name: "console", Kind: Choice, Default: "read", Change: AtReload,
	Usage: "whether pages only show, or offer what a visitor may change",
	Field: field(func(c *Config) *bool { return &c.ConsoleActs }, setting.Choices([]string{"read", "act"}, []bool{false, true})),
}, {
	Name: "http-max-connections", Kind: Number, Default: "4096",
	Usage: "connections of HTTP at once, of which half may follow or wait",
	Field: field(func(c *Config) *int { return &c.HTTPMaxConnections }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000})),
}, {
	Name: "http-max-body", Kind: Size, Default: "64MiB",
	Usage: "largest body of a request over HTTP, unpacked",
	Field: field(func(c *Config) *int64 { return &c.HTTPMaxBody }, setting.Sizes(setting.Bounds[int64]{Min: 1024, Max: 1 << 40})),
}, {
	Name: "http-memory", Kind: Size, Default: "64MiB",
	Usage: "all buffers of the API and the console together",
	Field: field(func(c *Config) *int64 { return &c.HTTPMemory }, setting.Sizes(setting.Bounds[int64]{Min: 1 << 20, Max: 1 << 40})),
}, {
	Name: "http-advertise", Kind: URL, Default: "",
	Usage: "where clients of HTTP find this member, for redirects to the leader; empty: it is told to nobody",
	Field: field(func(c *Config) *string { return &c.HTTPAdvertise }, advertisedURL),
}, {
	Name: "auth-file", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "file of who may do what; all may do everything if empty",
	Field: field(func(c *Config) *string { return &c.AuthFile }, setting.FilePath),
}, {
	Name: "auth-timeout", Kind: Duration, Default: "10s", Change: AtReload,
	Usage: "longest a connection may take to show who it is, where that is needed",
	Field: field(func(c *Config) *time.Duration { return &c.AuthTimeout }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: year})),
}, {
	Name: "max-unauthenticated", Kind: Number, Default: "0", Change: AtReload,
	Usage: "connections at once that have not shown who they are, where that is needed; 0 for a quarter of max-connections",
	Field: field(func(c *Config) *int { return &c.MaxUnauthenticated }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000, Zero: "a quarter of max-connections"})),
}, {
	Name: "workdir", Kind: Folder, Default: "logs",
	Usage: "folder of the data",
	Field: field(func(c *Config) *string { return &c.WorkDir }, setting.FolderPath),
}, {
	Name: "file-mode", Kind: Mode, Default: "0600",
	Usage: "mode of data files",
	Field: field(func(c *Config) *fs.FileMode { return &c.FileMode }, mode),
}, {
	Name: "tls-cert", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "certificate, and its chain, of the protocol listener for TLS; none for no TLS",
	Field: field(func(c *Config) *string { return &c.TLSCert }, setting.FilePath),
}, {
	Name: "tls-key", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "key of tls-cert",
	Field: field(func(c *Config) *string { return &c.TLSKey }, setting.FilePath),
}, {
	Name: "tls-client-ca", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "authorities that sign the certificates of clients; none if clients need no certificate",
	Field: field(func(c *Config) *string { return &c.TLSClientCA }, setting.FilePath),
}, {
	Name: "tls-client-cert", Kind: Choice, Default: "require", Change: AtReload,
	Usage: "whether clients need a certificate that tls-client-ca has signed",
	Field: field(func(c *Config) *bool { return &c.TLSClientCertOptional }, setting.Choices([]string{"require", "optional"}, []bool{false, true})),
}, {
	Name: "tls-min-version", Kind: Choice, Default: "1.2", Change: AtReload,
	Usage: "lowest version of TLS, for all listeners",
	Field: field(func(c *Config) *uint16 { return &c.TLSMinVersion }, setting.Choices([]string{"1.2", "1.3"}, []uint16{tls.VersionTLS12, tls.VersionTLS13})),
}, {
	Name: "tls-plain", Kind: Choice, Default: "refuse",
	Usage: "what the protocol listener does with clients that speak no TLS, if it has a certificate",
	Field: field(func(c *Config) *bool { return &c.TLSPlain }, setting.Choices([]string{"refuse", "allow"}, []bool{false, true})),
}, {
	Name: "http-tls-cert", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "certificate, and its chain, of the HTTP listener for TLS; none for no TLS",
	Field: field(func(c *Config) *string { return &c.HTTPTLSCert }, setting.FilePath),
}, {
	Name: "http-tls-key", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "key of http-tls-cert",
	Field: field(func(c *Config) *string { return &c.HTTPTLSKey }, setting.FilePath),
}, {
	Name: "http-tls-client-ca", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "authorities that sign the certificates of clients; none if clients need no certificate",
	Field: field(func(c *Config) *string { return &c.HTTPTLSClientCA }, setting.FilePath),
}, {
	Name: "http-tls-client-cert", Kind: Choice, Default: "require", Change: AtReload,
	Usage: "whether clients need a certificate that http-tls-client-ca has signed",
	Field: field(func(c *Config) *bool { return &c.HTTPTLSClientCertOptional }, setting.Choices([]string{"require", "optional"}, []bool{false, true})),
}, {
	Name: "peer-tls-cert", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "certificate, and its chain, that this member shows the others; none for no TLS among them",
	Field: field(func(c *Config) *string { return &c.PeerTLSCert }, setting.FilePath),
}, {
	Name: "peer-tls-key", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "key of peer-tls-cert",
	Field: field(func(c *Config) *string { return &c.PeerTLSKey }, setting.FilePath),
}, {
	Name: "peer-tls-ca", Kind: File, Default: "", Change: AtReloadIfSet,
	Usage: "authorities that sign the certificates of all members",
	Field: field(func(c *Config) *string { return &c.PeerTLSCA }, setting.FilePath),
}, {
	Name: "insecure", Kind: Switch, Default: "false",
	Usage: "listen for other machines without TLS, or without knowing who they are",
	Field: field(func(c *Config) *bool { return &c.Insecure }, setting.Boolean),
}, {
	Name: "timeout", Kind: Duration, Default: "15s", Change: AtReload,
	Usage: "longest a request may take from its first byte to its end, and a response to be written",
	Field: field(func(c *Config) *time.Duration { return &c.Timeout }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: year})),
}, {
	Name: "idle-timeout", Kind: Duration, Default: "30s", Change: AtReload,
	Usage: "longest a connection may be without a request",
	Field: field(func(c *Config) *time.Duration { return &c.IdleTimeout }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: year})),
}, {
	Name: "shutdown-timeout", Kind: Duration, Default: "15s",
	Usage: "longest a clean shutdown may take",
	Field: field(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: year})),
}, {
	Name: "batch-size", Kind: Size, Default: "64KiB",
	Usage: "largest batch, envelope and data",
	Field: field(func(c *Config) *int64 { return &c.BatchSize }, overrides.BatchSizeValues),
}, {
	Name: "partition-size", Kind: Size, Default: "2000MiB",
	Usage: "a partition file is closed before it would pass this",
	Field: field(func(c *Config) *int64 { return &c.PartitionSize }, overrides.PartitionSizeValues),
}, {
	Name: "partitions", Kind: Number, Default: "8", Change: AtReload,
	Usage: "partition files kept per topic; the oldest goes when a new one is begun",
	Field: field(func(c *Config) *int { return &c.Partitions }, overrides.PartitionsValues),
}, {
	Name: "retention-age", Kind: Duration, Default: "0s", Change: AtReload,
	Usage: "remove oldest partitions whose newest batch is older than this, 0 for off",
	Field: field(func(c *Config) *time.Duration { return &c.RetentionAge }, overrides.RetentionAgeValues),
}, {
	Name: "retention-bytes", Kind: Size, Default: "0", Change: AtReload,
	Usage: "remove oldest partitions when a topic has more bytes than this, 0 for off",
	Field: field(func(c *Config) *int64 { return &c.RetentionBytes }, overrides.RetentionBytesValues),
}, {
	Name: "delete-after", Kind: Duration, Default: "24h",
	Usage: "how long the files of a deleted topic are kept, 0 for not at all",
	Field: field(func(c *Config) *time.Duration { return &c.DeleteAfter }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: 100 * year, Zero: "not at all"})),
}, {
	Name: "delete-hook", Kind: Program, Default: "",
	Usage: "program to run before a partition is removed, and its arguments; none if empty",
	Field: field(func(c *Config) *string { return &c.DeleteHook }, program),
}, {
	Name: "delete-hook-timeout", Kind: Duration, Default: "10m",
	Usage: "longest a delete hook may run, 0 for no limit",
	Field: field(func(c *Config) *time.Duration { return &c.DeleteHookTimeout }, setting.Durations(setting.Bounds[time.Duration]{Min: shortest, Max: year, Zero: "no limit"})),
}, {
	Name: "delete-hook-parallel", Kind: Number, Default: "4",
	Usage: "delete hooks that run at once",
	Field: field(func(c *Config) *int { return &c.DeleteHookParallel }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1000})),
}, {
	Name: "keep-free", Kind: Size, Default: "0", Change: AtReload,
	Usage: "remove partitions although their delete hook has not succeeded when the disk has less room than this, 0 for never",
	Field: field(func(c *Config) *int64 { return &c.KeepFree }, setting.Sizes(setting.Bounds[int64]{Min: 1, Max: 1 << 50, Zero: "never"})),
}, {
	Name: "flush-batches", Kind: Number, Default: "0",
	Usage: "1 syncs each batch before its OK; N leaves at most N-1 acknowledged batches unsynced; 0 does not count",
	Field: field(func(c *Config) *int { return &c.FlushBatches }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000, Zero: "not by count"})),
}, {
	Name: "flush-interval", Kind: Duration, Default: "1s",
	Usage: "about how long an acknowledged batch may be unsynced, negative for no limit",
	Field: field(func(c *Config) *time.Duration { return &c.FlushInterval }, setting.Durations(setting.Bounds[time.Duration]{
		Min: shortest, Max: 24 * time.Hour, Zero: "right after each OK", Negative: "never by time",
	})),
}, {
	Name: "producers", Kind: Number, Default: "262144",
	Usage: "newest batches of a topic among which a numbered batch (pid=, seq=) is recognised, 0 for none: they are refused",
	Field: field(func(c *Config) *int { return &c.Producers }, setting.Numbers(setting.Bounds[int]{Min: 32, Max: 1 << 22, Zero: "off"})),
}, {
	Name: "positions", Kind: Number, Default: "10000", Change: AtReload,
	Usage: "positions of consumers that are kept, 0 for none",
	Field: field(func(c *Config) *int { return &c.Positions }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000, Zero: "off"})),
}, {
	Name: "position-stale", Kind: Duration, Default: "2160h", Change: AtReload,
	Usage: "how long a position may go without being saved before it is stale, and may make room for another one",
	Field: field(func(c *Config) *time.Duration { return &c.PositionStale }, setting.Durations(setting.Bounds[time.Duration]{
		Min: time.Minute, Max: 87600 * time.Hour,
	})),
}, {
	Name: "codecs", Kind: List, Default: "s2,zstd", Change: AtReload,
	Usage: "codecs of compressed batches that are taken, empty for none",
	Field: field(func(c *Config) *batch.Codecs { return &c.Codecs }, codecs),
}, {
	Name: "uncompressed-size", Kind: Size, Default: "1MiB", Change: AtReload,
	Usage: "largest data of a compressed batch, unpacked",
	Field: field(func(c *Config) *int64 { return &c.UncompressedSize }, setting.Sizes(setting.Bounds[int64]{Min: 128, Max: 1 << 30})),
}, {
	Name: "scrub-rate", Kind: Size, Default: "20MiB",
	Usage: "bytes a second at which stored batches are checked, after each start and every 7 days; 0 for off",
	Field: field(func(c *Config) *int64 { return &c.ScrubRate }, setting.Sizes(setting.Bounds[int64]{Min: 1024, Max: 1 << 40, Zero: "off"})),
}, {
	Name: "topics", Kind: Number, Default: "1000", Change: AtReload,
	Usage: "number of topics, 0 for no limit",
	Field: field(func(c *Config) *int { return &c.Topics }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000, Zero: "no limit"})),
}, {
	Name: "topics-whitelist", Kind: Names, Default: "", Change: AtReload,
	Usage: "only these topics may be created; can be repeated",
	Field: list(func(c *Config) *[]string { return &c.TopicsWhitelist }, checkTopic, topicNames),
}, {
	Name: "topic-write-rate", Kind: Size, Default: "0", Change: AtReload,
	Usage: "bytes a second that are taken for each topic, 0 for no limit; who sends more has to wait",
	Field: field(func(c *Config) *int64 { return &c.TopicWriteRate }, overrides.TopicWriteRateValues),
}, {
	Name: "max-messages", Kind: Number, Default: "50000", Change: AtReload,
	Usage: "most messages that one READ or TAIL may ask for",
	Field: field(func(c *Config) *int { return &c.MaxMessages }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: math.MaxInt32})),
}, {
	Name: "max-connections", Kind: Number, Default: "10000", Change: AtReload,
	Usage: "connections at once; one more is told that the server is busy",
	Field: field(func(c *Config) *int { return &c.MaxConnections }, setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000})),
}, {
	Name: "open-files", Kind: Number, Default: "1024",
	Usage: "descriptors kept open for the files of topics",
	Field: field(func(c *Config) *int { return &c.OpenFiles }, setting.Numbers(setting.Bounds[int]{Min: 16, Max: 1_000_000})),
}, {
	Name: "node", Kind: Member, Default: "",
	Usage: "name of this member of a cluster; none for a server that is in no cluster",
	Field: field(func(c *Config) *string { return &c.Node }, memberName),
}, {
	Name: "peer-host", Kind: Address, Default: "127.0.0.1:1776",
	Usage: "address of the listener for the other members of the cluster",
	Field: field(func(c *Config) *string { return &c.PeerHost }, address(false)),
}, {
	Name: "advertise", Kind: Address, Default: "",
	Usage: "where clients find this member; empty for what host says",
	Field: field(func(c *Config) *string { return &c.Advertise }, advertised),
}, {
	Name: "peer-advertise", Kind: Address, Default: "",
	Usage: "where the other members find this one; empty for what peer-host says",
	Field: field(func(c *Config) *string { return &c.PeerAdvertise }, advertised),
}, {
	Name: "join", Kind: Addresses, Default: "",
	Usage: "peer address of a member to ask for admission, as long as the work directory is no member's; can be repeated",
	Field: list(func(c *Config) *[]string { return &c.Join }, advertised.Check, "HOST:PORT of members"),
}, {
	Name: "cluster", Kind: ID, Default: "",
	Usage: "id of the cluster to be admitted to, as logd cluster init has printed it",
	Field: field(func(c *Config) *string { return &c.Cluster }, clusterID),
}, {
	Name: "election-timeout", Kind: Duration, Default: "1s",
	Usage: "after how much silence of a leader the others elect another one",
	Field: field(func(c *Config) *time.Duration { return &c.ElectionTimeout }, setting.Durations(setting.Bounds[time.Duration]{Min: 200 * time.Millisecond, Max: time.Minute})),
}, {
	Name: "catch-up-rate", Kind: Size, Default: "100MB",
	Usage: "bytes a second at which a member that is far behind fetches what it lacks, 0 for no limit",
	Field: field(func(c *Config) *int64 { return &c.CatchUpRate }, setting.Sizes(setting.Bounds[int64]{Min: 1024, Max: 1 << 40, Zero: "no limit"})),
}, {
	Name: "log-format", Kind: Choice, Default: FormatText,
	Usage: "form of the lines logged to standard error",
	Field: field(func(c *Config) *string { return &c.LogFormat }, setting.Choices([]string{FormatText, FormatJSON}, []string{FormatText, FormatJSON})),
}, {
	Name: "log-level", Kind: Choice, Default: "info", Change: AtReload,
	Usage: "lowest level that is logged",
	Field: field(func(c *Config) *slog.Level { return &c.LogLevel }, setting.Choices(
		[]string{"debug", "info", "warn", "error"},
		[]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})),
}, {
	Name: "verbose", Kind: Switch, Default: "false", Change: AtReload,
	Usage: "log at level debug",
	Field: field(func(c *Config) *bool { return &c.Verbose }, setting.Boolean),
}})

// Settings returns all settings in the order in which they are shown.
func Settings() []Setting { return settings.All() }

// Lookup returns the setting with the given name, and whether there is one.
func Lookup(name string) (Setting, bool) { return settings.Lookup(name) }
