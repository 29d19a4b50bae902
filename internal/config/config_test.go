package config

import (
	"crypto/tls"
	"io/fs"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/setting"

	"github.com/logd-dev/logd/internal/batch"
)

func TestDefault(t *testing.T) {
	want := Config{
		Host: "127.0.0.1:1774", HTTPHost: "127.0.0.1:1775",
		HTTPServe: []string{"api", "console", "log", "metrics", "debug"}, HTTPMaxConnections: 4096, HTTPMaxBody: 64 << 20, HTTPMemory: 64 << 20,
		AuthTimeout: 10 * time.Second, UnixMode: 0o660, WorkDir: "logs", FileMode: 0o600,
		TLSMinVersion: tls.VersionTLS12,
		Timeout:       15 * time.Second, IdleTimeout: 30 * time.Second, ShutdownTimeout: 15 * time.Second,
		BatchSize: 65536, PartitionSize: 2000 << 20, Partitions: 8,
		DeleteAfter: 24 * time.Hour, DeleteHookTimeout: 10 * time.Minute, DeleteHookParallel: 4,
		FlushInterval: time.Second,
		ScrubRate:     20 << 20,
		Producers:     262144,
		Positions:     10000, PositionStale: 2160 * time.Hour,
		Codecs: batch.KnownCodecs, UncompressedSize: 1 << 20,
		PeerHost: "127.0.0.1:1776", ElectionTimeout: time.Second, CatchUpRate: 100_000_000,
		Topics: 1000, MaxMessages: 50000, MaxConnections: 10000, OpenFiles: 1024,
		LogFormat: "text", LogLevel: slog.LevelInfo,
	}
	got := Default()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Default() (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("Validate of the default: %v", err)
	}
}

// TestTable holds the table of settings to its own rules, and Config to the
// table.
func TestTable(t *testing.T) {
	names := make(map[string]bool)
	for _, s := range Settings() {
		if names[s.Name] {
			t.Errorf("%s: twice in the table", s.Name)
		}
		names[s.Name] = true
		if s.Name != strings.ToLower(s.Name) || strings.ContainsAny(s.Name, "_ ") {
			t.Errorf("%s: not the form of a flag's name", s.Name)
		}
		if s.Usage == "" || strings.HasSuffix(s.Usage, ".") {
			t.Errorf("%s: usage %q is not one line without a full stop", s.Name, s.Usage)
		}
		if setting.ServiceLink(envPrefix, s.Env(), "tcp://10.0.0.1:1774") || s.Env() == EnvFile {
			t.Errorf("%s: its variable %s has another meaning", s.Name, s.Env())
		}
		if d := Default(); s.Value(&d) != s.Default {
			t.Errorf("%s: default is written %q but shown %q", s.Name, s.Default, s.Value(&d))
		}
		if (s.Kind == Choice) != (s.Choices() != nil) && s.Kind != Switch {
			t.Errorf("%s: choices %q", s.Name, s.Choices())
		}
	}
}

// samples has a value other than the default for every setting. Together they
// are valid.
var samples = map[string]string{
	"host": "127.0.0.1:0", "unix-socket": "l.sock", "unix-mode": "0600", "unix-group": "adm", "http-host": "127.0.0.1:0", "http-allowed-hosts": "logs.example,Intern", "http-serve": "metrics,log", "console": "act", "http-max-connections": "77", "http-max-body": "1MiB", "http-memory": "2MiB", "http-advertise": "https://a.example:1777", "auth-file": "auth.toml", "auth-timeout": "3s", "max-unauthenticated": "7", "workdir": "data", "file-mode": "0640",
	"tls-cert": "a.pem", "tls-key": "a.key", "tls-client-ca": "ca.pem", "tls-client-cert": "optional", "tls-min-version": "1.3", "tls-plain": "allow",
	"insecure":      "true",
	"http-tls-cert": "h.pem", "http-tls-key": "h.key", "http-tls-client-ca": "hca.pem", "peer-tls-cert": "p.pem", "peer-tls-key": "p.key", "peer-tls-ca": "pca.pem",
	"http-tls-client-cert": "optional",
	"timeout":              "1m", "idle-timeout": "1h30m", "shutdown-timeout": "250ms",
	"batch-size": "2000", "partition-size": "1GiB", "partitions": "3",
	"retention-age": "168h", "retention-bytes": "3GiB", "delete-after": "36h",
	"delete-hook": "/bin/archive 'to there'", "delete-hook-timeout": "0s", "delete-hook-parallel": "2", "keep-free": "10GiB", "scrub-rate": "5MiB", "producers": "1000", "positions": "77", "position-stale": "48h", "codecs": "zstd", "uncompressed-size": "4MiB", "topic-write-rate": "10MiB",
	"flush-batches": "1", "flush-interval": "-1ns",
	"topics": "0", "topics-whitelist": "a,b", "max-messages": "10", "max-connections": "5", "open-files": "16",
	"node": "a", "peer-host": "127.0.0.1:0", "advertise": "a:1774", "peer-advertise": "a:1776", "join": "b:1776,[::1]:1776",
	"cluster": "000102030405060708090a0b0c0d0e0f", "election-timeout": "2s", "catch-up-rate": "0",
	"log-format": "json", "log-level": "warn", "verbose": "true",
}

// TestSettingSetsItsField checks that every setting sets one field of Config,
// which no other one sets, and shows what it has set.
func TestSettingSetsItsField(t *testing.T) {
	setBy := make(map[string]string)
	for _, s := range Settings() {
		sample, ok := samples[s.Name]
		if !ok {
			t.Fatalf("%s: no sample", s.Name)
		}
		c, plain := Default(), Default()
		if err := s.SetTexts(&c, s.Split(sample)); err != nil {
			t.Errorf("%s = %q: %v", s.Name, sample, err)
			continue
		}
		if got := s.Value(&c); got != sample {
			t.Errorf("%s = %q is shown as %q", s.Name, sample, got)
		}
		var changed []string
		got, before := reflect.ValueOf(c), reflect.ValueOf(plain)
		for i := range got.NumField() {
			if !reflect.DeepEqual(got.Field(i).Interface(), before.Field(i).Interface()) {
				changed = append(changed, got.Type().Field(i).Name)
			}
		}
		if len(changed) != 1 {
			t.Errorf("%s changes fields %v, want one", s.Name, changed)
			continue
		}
		if other := setBy[changed[0]]; other != "" {
			t.Errorf("%s and %s set the same field %s", s.Name, other, changed[0])
		}
		setBy[changed[0]] = s.Name
	}
	if n := reflect.TypeFor[Config]().NumField() - len([]string{"TopicRules", "TopicOrigins"}); n != len(setBy) {
		t.Errorf("settings set %d fields of Config's %d", len(setBy), n)
	}
}

func TestLookup(t *testing.T) {
	s, ok := Lookup("batch-size")
	if !ok || s.Env() != "LOGD_BATCH_SIZE" || s.Allowed() != "128 to 1GiB" || s.Kind.Arg() != "SIZE" {
		t.Errorf("Lookup(batch-size) = %+v, %v", s, ok)
	}
	if _, ok := Lookup("batch_size"); ok {
		t.Error("Lookup(batch_size) found something")
	}
}

// TestValidate gives each setting values around the ends of its range.
func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*Config)
		want string // the whole message; empty for none
	}{
		{"host any port", func(c *Config) { c.Host = ":0" }, ""},
		{"host v6", func(c *Config) { c.Host = "[::1]:1774" }, ""},
		{"host name", func(c *Config) { c.Host = "logs-1.example.org:1774" }, ""},
		{"host empty", func(c *Config) { c.Host = "" },
			`host = "": without unix-socket = "": clients need a way in; allowed: HOST:PORT with a port from 0 (any free one) to 65535`},
		{"host without port", func(c *Config) { c.Host = "localhost" },
			`host = "localhost": not HOST:PORT (missing port in address); allowed: HOST:PORT with a port from 0 (any free one) to 65535`},
		{"host port too large", func(c *Config) { c.Host = "localhost:65536" },
			`host = "localhost:65536": "65536" is not a port number; allowed: HOST:PORT with a port from 0 (any free one) to 65535`},
		{"host list", func(c *Config) { c.Host = "a:1774,b:1774" },
			`host = "a:1774,b:1774": more than one address, and logd listens on one; a list of servers for log-cli goes into LOGD_CLI_HOST; allowed: HOST:PORT with a port from 0 (any free one) to 65535`},
		{"host no host", func(c *Config) { c.Host = "a b:1" },
			`host = "a b:1": "a b" is not a host; allowed: HOST:PORT with a port from 0 (any free one) to 65535`},
		{"host empty, a unix socket", func(c *Config) { c.Host, c.UnixSocket = "", "l.sock" }, ""},
		{"host empty, of a member", func(c *Config) { c.Host, c.UnixSocket, c.Node = "", "l.sock", "a" },
			`node = "a": without host = "": the others of a cluster have to reach it; allowed: 1 to 32 bytes of A-Z a-z 0-9 . _ -, or empty (none)`},
		{"unix-group alone", func(c *Config) { c.UnixGroup = "adm" },
			`unix-group = "adm": without unix-socket = "": it is the socket's group; allowed: the name or number of a group, or empty (that of the process)`},
		{"http-host empty", func(c *Config) { c.HTTPHost = "" }, ""},
		{"http-host", func(c *Config) { c.HTTPHost = "1775" },
			`http-host = "1775": not HOST:PORT (missing port in address); allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`},
		{"workdir", func(c *Config) { c.WorkDir = "" }, `workdir = "": empty; allowed: the path of a folder`},
		{"workdir NUL", func(c *Config) { c.WorkDir = "a\x00b" }, `workdir = "a\x00b": holds a NUL byte; allowed: the path of a folder`},
		{"file-mode 0644", func(c *Config) { c.FileMode = 0o644 }, ""},
		{"file-mode 0400", func(c *Config) { c.FileMode = 0o400 },
			`file-mode = "0400": logd itself could not read and write its files; allowed: 0600 to 0777 (octal), readable and writable by the owner`},
		{"file-mode directory", func(c *Config) { c.FileMode = fs.ModeDir | 0o700 },
			`file-mode = "20000000700": more than permission bits; allowed: 0600 to 0777 (octal), readable and writable by the owner`},
		{"timeout", func(c *Config) { c.Timeout = 0 }, `timeout = "0s": out of range; allowed: 1ms to 8760h`},
		{"idle-timeout", func(c *Config) { c.IdleTimeout = -1 }, `idle-timeout = "-1ns": out of range; allowed: 1ms to 8760h`},
		{"shutdown-timeout", func(c *Config) { c.ShutdownTimeout = 8761 * time.Hour },
			`shutdown-timeout = "8761h": out of range; allowed: 1ms to 8760h`},
		{"batch-size least", func(c *Config) { c.BatchSize = 128 }, ""},
		{"batch-size small", func(c *Config) { c.BatchSize = 127 }, `batch-size = "127": out of range; allowed: 128 to 1GiB`},
		{"batch-size large", func(c *Config) { c.BatchSize = 1<<30 + 1 }, `batch-size = "1073741825": out of range; allowed: 128 to 1GiB`},
		{"partition-size most", func(c *Config) { c.PartitionSize = 1 << 40 }, ""},
		{"partition-size large", func(c *Config) { c.PartitionSize = 2 << 40 }, `partition-size = "2TiB": out of range; allowed: 128 to 1TiB`},
		{"partitions one", func(c *Config) { c.Partitions = 1 }, ""},
		{"partitions", func(c *Config) { c.Partitions = 0 }, `partitions = 0: out of range; allowed: 1 to 1000000`},
		{"retention-age", func(c *Config) { c.RetentionAge = -time.Hour },
			`retention-age = "-1h": out of range; allowed: 1ms to 876000h, or 0 (off)`},
		{"retention-bytes", func(c *Config) { c.RetentionBytes = 2000 << 20 }, ""},
		{"delete-hook", func(c *Config) { c.DeleteHook = `/bin/archive --to "a b"` }, ""},
		{"delete-hook quote", func(c *Config) { c.DeleteHook = `/bin/archive "a` },
			`delete-hook = "/bin/archive \"a": Unterminated double-quoted string; allowed: a program and its arguments, quoted as for a shell, or empty (none)`},
		{"delete-hook no program", func(c *Config) { c.DeleteHook = " " },
			`delete-hook = " ": names no program; allowed: a program and its arguments, quoted as for a shell, or empty (none)`},
		{"keep-free without hook", func(c *Config) { c.KeepFree = 1 << 30 },
			`keep-free = "1GiB": without delete-hook = "": it says when partitions go although their hook has not succeeded; allowed: 1 to 1PiB, or 0 (never)`},
		{"retention-bytes negative", func(c *Config) { c.RetentionBytes = -1 },
			`retention-bytes = "-1": out of range; allowed: 128 to 1PiB, or 0 (off)`},
		{"flush-batches one", func(c *Config) { c.FlushBatches = 1 }, ""},
		{"flush-batches", func(c *Config) { c.FlushBatches = -1 },
			`flush-batches = -1: out of range; allowed: 1 to 1000000, or 0 (not by count)`},
		{"flush-interval never", func(c *Config) { c.FlushInterval = -1 }, ""},
		{"flush-interval zero", func(c *Config) { c.FlushInterval = 0 }, ""},
		{"flush-interval long", func(c *Config) { c.FlushInterval = 25 * time.Hour },
			`flush-interval = "25h": out of range; allowed: 1ms to 24h, or 0 (right after each OK), or negative (never by time)`},
		{"topics none", func(c *Config) { c.Topics = 0 }, ""},
		{"topics", func(c *Config) { c.Topics = -1 }, `topics = -1: out of range; allowed: 1 to 1000000, or 0 (no limit)`},
		{"topics-whitelist", func(c *Config) { c.TopicsWhitelist = []string{"a", "B.c_d-9"} }, ""},
		{"topics-whitelist name", func(c *Config) { c.TopicsWhitelist = []string{"a", "../b"} },
			`topics-whitelist = ["a", "../b"]: "../b" is not a topic name; ` +
				`allowed: names of 1 to 255 bytes of A-Z a-z 0-9 . _ - that do not begin with . or __`},
		{"topics-whitelist server's", func(c *Config) { c.TopicsWhitelist = []string{"__state"} },
			`topics-whitelist = ["__state"]: "__state" begins with __, as only the server's own topics do; ` +
				`allowed: names of 1 to 255 bytes of A-Z a-z 0-9 . _ - that do not begin with . or __`},
		{"max-messages", func(c *Config) { c.MaxMessages = 0 }, `max-messages = 0: out of range; allowed: 1 to 2147483647`},
		{"max-connections", func(c *Config) { c.MaxConnections = 0 }, `max-connections = 0: out of range; allowed: 1 to 1000000`},
		{"open-files", func(c *Config) { c.OpenFiles = 15 }, `open-files = 15: out of range; allowed: 16 to 1000000`},
		{"log-format", func(c *Config) { c.LogFormat = "xml" }, `log-format = "xml": unknown word; allowed: text or json`},
		{"log-level", func(c *Config) { c.LogLevel = slog.LevelInfo + 1 },
			`log-level = "INFO+1": unknown word; allowed: debug, info, warn or error`},

		{"batch larger than partition", func(c *Config) { c.BatchSize, c.PartitionSize = 64<<10, 32<<10 },
			`batch-size = "64KiB": larger than partition-size = "32KiB": a partition has to hold the largest batch; allowed: 128 to 1GiB and at most partition-size`},
		{"retention below a partition", func(c *Config) { c.RetentionBytes = 1 << 30 },
			`partition-size = "2000MiB": larger than retention-bytes = "1GiB": only whole partitions are removed and the newest one never is, ` +
				`so a topic can't be kept below partition-size; allowed: 128 to 1TiB and at most retention-bytes`},
		{"one address twice", func(c *Config) { c.Host, c.HTTPHost = ":80", ":80" },
			`http-host = ":80": the same address as host = ":80": each listener needs its own port; ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`},
		{"any port twice", func(c *Config) { c.Host, c.HTTPHost = "127.0.0.1:0", "127.0.0.1:0" }, ""},
		{"one port of all addresses", func(c *Config) { c.Host, c.HTTPHost = ":8080", "127.0.0.1:8080" },
			`http-host = "127.0.0.1:8080": the same address as host = ":8080": each listener needs its own port; ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`},
		{"one port by two names", func(c *Config) { c.Host, c.HTTPHost = "localhost:8080", "127.0.0.1:08080" },
			`http-host = "127.0.0.1:08080": the same address as host = "localhost:8080": each listener needs its own port; ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`},
		{"one port of all addresses of IPv4", func(c *Config) { c.Host, c.HTTPHost = "0.0.0.0:8080", "127.0.0.1:8080" },
			`http-host = "127.0.0.1:8080": the same address as host = "0.0.0.0:8080": each listener needs its own port; ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`},
		{"one port of IPv4 and IPv6", func(c *Config) { c.Host, c.HTTPHost = "0.0.0.0:8080", "[::1]:8080" }, ""},
		{"one port of IPv4 and of all", func(c *Config) { c.Host, c.HTTPHost = "0.0.0.0:8080", "[::]:8080" },
			`http-host = "[::]:8080": the same address as host = "0.0.0.0:8080": each listener needs its own port; ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`},
		{"a name with a port", func(c *Config) { c.HTTPAllowedHosts = []string{"logs.example", "logs.example:443"} },
			`http-allowed-hosts = ["logs.example", "logs.example:443"]: "logs.example:443" is not the name of a host; allowed: names of hosts, without a port`},
		{"one port of two addresses", func(c *Config) { c.Host, c.HTTPHost = "127.0.0.1:8080", "127.0.0.2:8080" }, ""},
		{"more names than topics", func(c *Config) { c.Topics, c.TopicsWhitelist = 1, []string{"a", "b"} }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Default()
			test.set(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("Validate:\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestValidateCollects(t *testing.T) {
	c := Default()
	c.Partitions = 0
	c.BatchSize = 2 << 30
	c.PartitionSize = 1 << 20 // smaller, but batch-size is wrong in itself
	c.Host = "x"
	err := c.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("Validate = %v, want joined errors", err)
	}
	var keys []string
	for _, e := range joined.Unwrap() {
		keys = append(keys, e.(*Error).Key)
	}
	if diff := cmp.Diff([]string{"host", "batch-size", "partitions"}, keys); diff != "" {
		t.Errorf("keys with problems (-want +got):\n%s", diff)
	}
}

func TestDurability(t *testing.T) {
	const survive = "acknowledged batches survive a crash of logd; a power cut can lose "
	for _, test := range []struct {
		batches  int
		interval time.Duration
		want     string
	}{
		{0, time.Second, survive + "those of the last 1s"},
		{0, -1, survive + "any that the operating system has not yet written by itself"},
		{1, time.Second, "acknowledged batches survive a power cut: each one is on stable storage before its OK"},
		{1, -1, "acknowledged batches survive a power cut: each one is on stable storage before its OK"},
		{2, -1, survive + "the last one of each topic"},
		{100, time.Minute, survive + "the last 99 of each topic, if not older than 1m"},
	} {
		c := Config{FlushBatches: test.batches, FlushInterval: test.interval}
		if got := c.Durability(); got != test.want {
			t.Errorf("flush-batches %d, flush-interval %v:\n got %s\nwant %s", test.batches, test.interval, got, test.want)
		}
	}
}
