// Package config holds the settings of a logd server: what they are, where
// they come from and which of them make sense.
//
// One table ([Settings]) describes every setting once: its name, its default,
// the allowed range and the field of [Config] that it sets. Flags,
// environment variables, keys of the configuration file, `logd config show`
// and the reference in docs/configuration.md all follow from it.
//
// [Load] puts a Config together. A flag is stronger than an environment
// variable, that is stronger than the file, and that is stronger than the
// default:
//
//	c, origins, err := config.Load(config.Sources{
//		DefaultFiles: config.DefaultFiles(),
//		Env:          os.Environ(),
//		Flags:        map[string][]string{"batch-size": {"128KiB"}},
//	})
//
// The package knows nothing of command lines: who parses flags hands their
// texts over. It opens the configuration file and touches nothing else: no
// work directory, no network, no logger. All of it is safe for concurrent use.
package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/setting"
)

// Config is the settings of one server. [Default] makes one that is valid;
// the zero Config is not. The fields are named after the settings, whose
// ranges [Config.Validate] enforces.
type Config struct {
	// Host is the address of the protocol listener, HOST:PORT. Port 0 is any
	// free port; an empty host is every interface. Default 127.0.0.1:1774. Empty with
	// UnixSocket: none.
	Host string
	// UnixSocket is the path of one more listener of the protocol, or empty, the default.
	// UnixMode is the socket's mode, default 0660, and UnixGroup its group, a name or a
	// number; empty, the default, for that of the process.
	UnixSocket string
	UnixMode   fs.FileMode
	UnixGroup  string
	// HTTPHost is the address of the HTTP listener, HOST:PORT, or empty for
	// none. Default 127.0.0.1:1775.
	HTTPHost string
	// HTTPAllowedHosts are names by which HTTP may be asked for on a loopback
	// address, besides localhost and addresses; nil, the default, for none.
	HTTPAllowedHosts []string
	// HTTPServe are the parts that HTTP serves besides health, in the order of HTTPParts.
	HTTPServe []string
	// ConsoleActs has the pages for people offer what their visitors may change; default
	// false: they only show.
	ConsoleActs bool
	// HTTPMaxConnections is how many connections of HTTP there are at once, HTTPMaxBody
	// the size of the largest body of a request, unpacked, and HTTPMemory that of all
	// buffers of the API and the console together, in bytes.
	HTTPMaxConnections      int
	HTTPMaxBody, HTTPMemory int64
	// HTTPAdvertise is where clients of HTTP find this member of a cluster, as
	// http(s)://HOST:PORT. Default empty: nobody is told. Only with Node and HTTPHost.
	HTTPAdvertise string
	// WorkDir is the folder of the data, made where it does not exist. Not
	// empty; default "logs", relative to the current folder.
	WorkDir string
	// FileMode is the mode of data files: permission bits that let the owner
	// read and write, 0600 to 0777. Default 0600.
	FileMode fs.FileMode

	// TLSCert is the certificate of the protocol listener, with its chain, and TLSKey its
	// key: files in PEM form. Both or neither, the default, for no TLS.
	TLSCert, TLSKey string
	// TLSClientCA is a file of the authorities that sign certificates of clients. Empty,
	// the default: clients need none. Only with TLSCert.
	TLSClientCA string
	// TLSClientCertOptional lets clients without a certificate in, although there is
	// TLSClientCA; default false.
	TLSClientCertOptional bool
	// TLSMinVersion is the lowest version that is spoken: tls.VersionTLS12, the
	// default, or tls.VersionTLS13.
	TLSMinVersion uint16
	// TLSPlain has the protocol listener serve clients that speak no TLS, too. Only with TLSCert;
	// default false.
	TLSPlain bool
	// HTTPTLSCert, HTTPTLSKey, HTTPTLSClientCA and HTTPTLSClientCertOptional are the same
	// for the HTTP listener.
	HTTPTLSCert, HTTPTLSKey, HTTPTLSClientCA string
	HTTPTLSClientCertOptional                bool

	// PeerTLSCert, PeerTLSKey and PeerTLSCA are the certificate, the key, and the authorities
	// that sign those of all members, with which members speak to each other. All or none,
	// the default, for no TLS.
	PeerTLSCert, PeerTLSKey, PeerTLSCA string

	// Insecure lets listeners be reached from other machines without TLS, or by clients
	// without a certificate. Default false.
	Insecure bool

	// Timeout bounds a request from its first byte to its end, and the write
	// of each response. 1ms to 8760h; default 15s.
	Timeout time.Duration
	// IdleTimeout bounds the time of a connection without a request. 1ms to
	// 8760h; default 30s.
	IdleTimeout time.Duration
	// ShutdownTimeout bounds a clean shutdown. 1ms to 8760h; default 15s.
	ShutdownTimeout time.Duration

	// BatchSize is the size of the largest batch, envelope and data, in bytes.
	// 128 bytes to 1 GiB and at most PartitionSize; default 64 KiB.
	BatchSize int64
	// PartitionSize is the size in bytes that a partition file never passes.
	// 128 bytes to 1 TiB; default 2000 MiB.
	PartitionSize int64
	// Partitions is the number of partition files kept per topic. 1 to
	// 1,000,000; default 8.
	Partitions int
	// RetentionAge is the age of its newest batch at which an oldest partition
	// is removed. 1ms to 876000h, or 0, the default, for no such limit.
	RetentionAge time.Duration
	// RetentionBytes is the number of bytes of a topic above which its oldest
	// partitions are removed. At least PartitionSize and at most 1 PiB, or 0,
	// the default, for no such limit.
	RetentionBytes int64

	// DeleteAfter is how long the files of a deleted topic are kept. 1ms to
	// 876000h, or 0 for not at all; default 24h.
	DeleteAfter time.Duration

	// DeleteHook is a program and its arguments, to be split by hook.Words,
	// which is run before a partition is removed. Default empty: none.
	DeleteHook string
	// DeleteHookTimeout bounds a run of the hook. 1ms to 8760h, or 0 for no
	// limit; default 10m.
	DeleteHookTimeout time.Duration
	// DeleteHookParallel is the number of hooks that run at once. 1 to 1000;
	// default 4.
	DeleteHookParallel int
	// KeepFree is the number of bytes of room on the disk below which
	// partitions are removed although their hook has not succeeded. 1 byte to 1
	// PiB, or 0, the default, for never.
	KeepFree int64

	// Producers is how many of a topic's newest batches are looked through for
	// the number of a batch. 32 to 4,194,304, or 0 for none; default 262,144.
	Producers int

	// Positions is how many positions of consumers are kept. 1 to 1,000,000, or 0 for
	// none; default 10,000.
	Positions int
	// PositionStale is how long a position may go without being saved before it is stale.
	// 1 minute to 10 years; default 90 days.
	PositionStale time.Duration

	// Codecs are those in which compressed batches are taken. Default all that there
	// are: s2 and zstd.
	Codecs batch.Codecs
	// UncompressedSize is the size of the largest data of a compressed batch, unpacked,
	// in bytes. BatchSize to 1 GiB; the default is 1 MiB, or BatchSize if that is more:
	// see MaxUncompressedSize.
	UncompressedSize int64

	// FlushBatches is N for a topic that has at most N-1 acknowledged batches
	// not on stable storage: 1 syncs before it acknowledges. 1 to 1,000,000,
	// or 0, the default, for no limit by count.
	FlushBatches int
	// FlushInterval is about how long an acknowledged batch may be unsynced.
	// 1ms to 24h, 0 for a sync right after each OK, or negative for no limit by
	// time; default 1s.
	FlushInterval time.Duration

	// ScrubRate is the number of bytes a second at which what is stored is
	// checked. 1 KiB to 1 TiB, or 0 for never; default 20 MiB.
	ScrubRate int64

	// Topics is the number of topics that there may be. 1 to 1,000,000, or 0
	// for no limit; default 1000.
	Topics int
	// TopicsWhitelist names the only topics that may be created. Valid topic
	// names that do not begin with "__"; nil, the default, for any.
	TopicsWhitelist []string
	// TopicWriteRate is the number of bytes a second that are taken for each topic. 1 KiB
	// to 1 TiB, or 0, the default, for no limit.
	TopicWriteRate int64
	// TopicRules are settings of single topics: what stands under [[topic]] in the
	// configuration file. Default none.
	TopicRules []overrides.Rule
	// TopicOrigins are where the values come from that count for topics which no rule is
	// for, as overrides.Base has them. See the function TopicOrigins.
	TopicOrigins overrides.Origins
	// MaxMessages is the largest number of messages of one READ or TAIL. 1 to
	// 2,147,483,647; default 50,000.
	MaxMessages int
	// MaxConnections is the number of connections served at once. 1 to
	// 1,000,000; default 10,000.
	MaxConnections int
	// AuthFile is the path of a file for auth.Load. Default empty: everybody may do
	// everything.
	AuthFile string
	// AuthTimeout is how long a connection may take to show who it is, where that is
	// needed. 1ms to 8760h; default 10s.
	AuthTimeout time.Duration
	// MaxUnauthenticated is the number of connections at once that have not shown who
	// they are, where that is needed. 1 to 1,000,000, or 0, the default, for a quarter
	// of MaxConnections.
	MaxUnauthenticated int
	// OpenFiles is the number of descriptors kept open for partitions. 16 to
	// 1,000,000; default 1024.
	OpenFiles int

	// Node is the name of a member of a cluster: 1 to 32 bytes of A-Z a-z 0-9 . _ -.
	// Empty, the default: the server is in none, and what follows does not count.
	Node string
	// PeerHost is the address of the listener for the other members. Default
	// 127.0.0.1:1776.
	PeerHost string
	// Advertise and PeerAdvertise are where clients and the other members find this
	// one; empty, the default, for Host and PeerHost.
	Advertise, PeerAdvertise string
	// Join are peer addresses of members, and Cluster the hexadecimal id of their
	// cluster, to which this one is to be admitted; nil and empty by default.
	Join    []string
	Cluster string
	// ElectionTimeout is after how much silence of a leader another is elected. 200ms to
	// 1m; default 1s.
	ElectionTimeout time.Duration
	// CatchUpRate is the number of bytes a second at which a member fetches what it
	// lacks. 1 KiB to 1 TiB, or 0 for no limit; default 100 MB.
	CatchUpRate int64

	// LogFormat is FormatText, the default, or FormatJSON.
	LogFormat string
	// LogLevel is the lowest level that is logged: debug, info, warn or error;
	// default info.
	LogLevel slog.Level
	// Verbose asks for LogLevel debug. Load has already raised LogLevel where
	// it is set.
	Verbose bool
}

// MaxUncompressedSize returns the UncompressedSize that counts. A BatchSize of which
// it does not know is one that is above its default.
func (c *Config) MaxUncompressedSize() int64 { return max(c.UncompressedSize, c.BatchSize) }

// Values of Config.LogFormat.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Default returns the settings of a server that was told nothing.
func Default() Config { return settings.Default() }

// Validate reports every setting that is outside its range and every
// combination that makes no sense, joined by errors.Join, or nil. Each one is
// an *Error.
func (c *Config) Validate() error {
	problems, bad := settings.Check(c)
	return errors.Join(append(problems, combinations(c, Origins{}, bad)...)...)
}

// combinations returns what is wrong with settings that are each in their
// range. It keeps silent about those in bad.
func combinations(c *Config, o Origins, bad map[string]bool) []error {
	var problems []error
	atMost := func(small, big, why string, ok bool) {
		if ok || bad[small] || bad[big] {
			return
		}
		// The stronger origin is more likely what the operator just changed.
		if o.Of(big).Source > o.Of(small).Source {
			problems = append(problems, conflict(c, o, big, "smaller than ", small, why, " and at least "+small))
		} else {
			problems = append(problems, conflict(c, o, small, "larger than ", big, why, " and at most "+big))
		}
	}
	atMost("batch-size", "partition-size",
		"a partition has to hold the largest batch",
		c.BatchSize <= c.PartitionSize)
	if s, _ := Lookup("uncompressed-size"); s.Value(c) != s.Default {
		atMost("batch-size", "uncompressed-size",
			"what fits into a batch as it is has to fit compressed, too",
			c.BatchSize <= c.UncompressedSize)
	}
	atMost("partition-size", "retention-bytes",
		"only whole partitions are removed and the newest one never is, so a topic can't be kept below partition-size",
		c.RetentionBytes == 0 || c.PartitionSize <= c.RetentionBytes)

	needs := func(key, other, why string, ok bool) {
		if !ok && !bad[key] && !bad[other] {
			problems = append(problems, conflict(c, o, key, "without ", other, why, ""))
		}
	}
	for _, l := range [...]struct{ prefix, cert, key, clientCA string }{
		{"", c.TLSCert, c.TLSKey, c.TLSClientCA},
		{"http-", c.HTTPTLSCert, c.HTTPTLSKey, c.HTTPTLSClientCA},
	} {
		const pair = "a certificate has a key, and TLS needs both"
		needs(l.prefix+"tls-cert", l.prefix+"tls-key", pair, l.cert == "" || l.key != "")
		needs(l.prefix+"tls-key", l.prefix+"tls-cert", pair, l.key == "" || l.cert != "")
		needs(l.prefix+"tls-client-ca", l.prefix+"tls-cert", "certificates of clients are shown over TLS", l.clientCA == "" || l.cert != "")
	}
	const peers = "members show each other certificates, so TLS among them needs all three"
	needs("peer-tls-cert", "peer-tls-key", peers, c.PeerTLSCert == "" || c.PeerTLSKey != "")
	needs("peer-tls-key", "peer-tls-ca", peers, c.PeerTLSKey == "" || c.PeerTLSCA != "")
	needs("peer-tls-ca", "peer-tls-cert", peers, c.PeerTLSCA == "" || c.PeerTLSCert != "")
	needs("host", "unix-socket", "clients need a way in", c.Host != "" || c.UnixSocket != "")
	needs("http-advertise", "http-host", "it is where that listener is found", c.HTTPAdvertise == "" || c.HTTPHost != "")
	needs("unix-group", "unix-socket", "it is the socket's group", c.UnixGroup == "" || c.UnixSocket != "")
	needs("tls-plain", "tls-cert", "without a certificate no client can speak TLS", !c.TLSPlain || c.TLSCert != "")

	if c.KeepFree > 0 && c.DeleteHook == "" && !bad["keep-free"] && !bad["delete-hook"] {
		problems = append(problems, conflict(c, o, "keep-free", "without ", "delete-hook",
			"it says when partitions go although their hook has not succeeded", ""))
	}
	if c.Node == "" {
		for _, key := range []string{"join", "cluster"} {
			if s, _ := Lookup(key); s.Value(c) != "" && !bad[key] && !bad["node"] {
				problems = append(problems, conflict(c, o, key, "without ", "node", "a member of a cluster has a name", ""))
			}
		}
	} else {
		own := func(listens, advertises, value string) {
			if !bad[listens] && !bad[advertises] && value != "" && unspecified(value) {
				problems = append(problems, conflict(c, o, listens, "without ", advertises,
					"nobody can dial that address: "+advertises+" is what others are told", ""))
			}
		}
		needs("node", "host", "the others of a cluster have to reach it", c.Host != "")
		if c.Advertise == "" {
			own("host", "advertise", c.Host)
		}
		if c.PeerAdvertise == "" {
			own("peer-host", "peer-advertise", c.PeerHost)
		}
		if (len(c.Join) > 0) != (c.Cluster != "") && !bad["join"] && !bad["cluster"] {
			key, other := "join", "cluster"
			if c.Cluster != "" {
				key, other = other, key
			}
			problems = append(problems, conflict(c, o, key, "without ", other, "both say which cluster it is", ""))
		}
		for _, other := range []string{"host", "http-host"} {
			s, _ := Lookup(other)
			if sameListener(c.PeerHost, s.Value(c)) && !bad["peer-host"] && !bad[other] {
				problems = append(problems, conflict(c, o, "peer-host", "the same address as ", other, "each listener needs its own port", ""))
			}
		}
	}
	if !bad["batch-size"] {
		problems = append(problems, c.misfits()...)
	}
	if sameListener(c.Host, c.HTTPHost) && !bad["host"] && !bad["http-host"] {
		problems = append(problems, conflict(c, o, "http-host", "the same address as ", "host",
			"each listener needs its own port", ""))
	}
	return problems
}

// sameListener reports whether two listeners could not be there at once: they
// have the same port, not 0, of the same address or one of all addresses.
func sameListener(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || setting.AnyPort(a) {
		return false
	}
	numberA, errA := strconv.Atoi(portA)
	numberB, errB := strconv.Atoi(portB)
	if errA != nil || errB != nil || numberA != numberB {
		return false
	}
	// All addresses of the machine, among which other is: 0.0.0.0 is those of
	// IPv4 alone.
	all := func(host, other string) bool {
		ip, err := netip.ParseAddr(host)
		if host == "" || err == nil && ip.Is6() && ip.IsUnspecified() {
			return true
		}
		o, otherErr := netip.ParseAddr(other)
		return err == nil && ip.Unmap().IsUnspecified() && !(otherErr == nil && o.Unmap().Is6() && !o.IsUnspecified())
	}
	plain := func(host string) string {
		if host == "localhost" {
			return "127.0.0.1"
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			return ip.Unmap().String()
		}
		return strings.ToLower(host)
	}
	return all(hostA, hostB) || all(hostB, hostA) || plain(hostA) == plain(hostB)
}

// conflict is the error for key, whose value does not go with other's.
func conflict(c *Config, o Origins, key, relation, other, why, limit string) error {
	k, _ := Lookup(key)
	s, _ := Lookup(other)
	from := ""
	if o.Known() {
		from = " (" + o.Of(other).String() + ")"
	}
	return &Error{
		Origin:  o.Of(key),
		Key:     key,
		Value:   k.Quote(k.Value(c)),
		Reason:  relation + other + " = " + s.Quote(s.Value(c)) + from + ": " + why,
		Allowed: k.Allowed() + limit,
	}
}
