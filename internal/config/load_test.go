package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/setting"
)

// write makes a file in the current folder, which is a test's own.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLoadStrength sets one setting in each set of sources; the strongest
// wins.
func TestLoadStrength(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c.toml", "\n# a comment\npartitions = 2\n")
	file := Sources{File: "c.toml"}
	for _, test := range []struct {
		name   string
		src    Sources
		want   int
		origin string
	}{
		{"nothing", Sources{}, 8, "default"},
		{"file", file, 2, "c.toml:3"},
		{"environment", Sources{File: "c.toml", Env: []string{"LOGD_PARTITIONS=3"}}, 3, "environment LOGD_PARTITIONS"},
		{"environment alone", Sources{Env: []string{"LOGD_PARTITIONS=3"}}, 3, "environment LOGD_PARTITIONS"},
		{"flag", Sources{File: "c.toml", Env: []string{"LOGD_PARTITIONS=3"}, Flags: map[string][]string{"partitions": {"4"}}}, 4, "flag --partitions"},
		{"last flag", Sources{Flags: map[string][]string{"partitions": {"4", "5"}}}, 5, "flag --partitions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, origins, err := Load(test.src)
			if err != nil {
				t.Fatal(err)
			}
			if got := origins.Of("partitions").String(); c.Partitions != test.want || got != test.origin {
				t.Errorf("partitions = %d from %s, want %d from %s", c.Partitions, got, test.want, test.origin)
			}
			if got := origins.File(); got != test.src.File {
				t.Errorf("file %q, want %q", got, test.src.File)
			}
		})
	}
}

// TestLoadInherited: where an inherited socket listens is stronger than all else, and
// a problem with it says that it comes from there.
func TestLoadInherited(t *testing.T) {
	flags := map[string][]string{"host": {"127.0.0.1:1"}}
	c, origins, err := Load(Sources{Flags: flags, Inherited: map[string]string{"host": "", "unix-socket": "/run/s"}})
	if err != nil || c.Host != "" || c.UnixSocket != "/run/s" || origins.Of("host").String() != "inherited socket" {
		t.Errorf("host %q from %s, unix-socket %q, %v", c.Host, origins.Of("host"), c.UnixSocket, err)
	}
	_, _, err = Load(Sources{Flags: flags, Inherited: map[string]string{"host": ""}})
	if want := `inherited socket: host = "": without unix-socket = "" (default): clients need a way in`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestLoadEverySetting gives every setting from each source and expects the
// same Config.
func TestLoadEverySetting(t *testing.T) {
	t.Chdir(t.TempDir())
	want := Default()
	var env []string
	var toml strings.Builder
	flags := make(map[string][]string)
	for _, s := range Settings() {
		sample := samples[s.Name]
		if err := s.SetTexts(&want, s.Split(sample)); err != nil {
			t.Fatal(err)
		}
		env = append(env, s.Env()+"="+sample)
		flags[s.Name] = []string{sample}
		toml.WriteString(s.Name + " = " + s.Quote(sample) + "\n")
	}
	if err := want.Validate(); err != nil {
		t.Fatalf("the samples are not valid: %v", err)
	}
	want.LogLevel = -4 // verbose and log-level are in the same source
	write(t, "all.toml", toml.String())
	for name, src := range map[string]Sources{
		"file":        {File: "all.toml"},
		"environment": {Env: env},
		"flags":       {Flags: flags},
	} {
		t.Run(name, func(t *testing.T) {
			got, origins, err := Load(src)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, s := range Settings() {
				if origins.Of(s.Name).Source == FromDefault {
					t.Errorf("%s: origin %v", s.Name, origins.Of(s.Name))
				}
			}
		})
	}
}

func TestLoadDefaultFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	files := []string{"etc/logd.toml", "./logd.toml"}
	load := func(t *testing.T) (int, string) {
		t.Helper()
		c, o, err := Load(Sources{DefaultFiles: files})
		if err != nil {
			t.Fatal(err)
		}
		return c.Partitions, o.File()
	}
	if n, file := load(t); n != 8 || file != "" {
		t.Errorf("without files: %d from %q", n, file)
	}
	write(t, "logd.toml", "partitions = 2")
	if n, file := load(t); n != 2 || file != "./logd.toml" {
		t.Errorf("with the second file: %d from %q", n, file)
	}
	if err := os.Mkdir("etc", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, "etc/logd.toml", "partitions = 3")
	if n, file := load(t); n != 3 || file != "etc/logd.toml" {
		t.Errorf("with both files: %d from %q", n, file)
	}
	// The environment names another file; a flag is stronger still.
	write(t, "env.toml", "partitions = 4")
	write(t, "flag.toml", "partitions = 5")
	c, o, err := Load(Sources{DefaultFiles: files, Env: []string{"LOGD_CONFIG=env.toml"}})
	if err != nil || c.Partitions != 4 || o.File() != "env.toml" {
		t.Errorf("LOGD_CONFIG: %d from %q, %v", c.Partitions, o.File(), err)
	}
	c, o, err = Load(Sources{File: "flag.toml", DefaultFiles: files, Env: []string{"LOGD_CONFIG=env.toml"}})
	if err != nil || c.Partitions != 5 || o.File() != "flag.toml" {
		t.Errorf("flag: %d from %q, %v", c.Partitions, o.File(), err)
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Chdir(t.TempDir())
	_, _, err := Load(Sources{File: "gone.toml"})
	if want := "can't read the configuration file: open gone.toml: no such file or directory"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("flag: %v, want %s", err, want)
	}
	_, _, err = Load(Sources{Env: []string{"LOGD_CONFIG=gone.toml"}})
	if want := "environment LOGD_CONFIG: can't read the configuration file: open gone.toml: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("environment: %v, want %s", err, want)
	}
	// A default file that is there but is no file is not passed over.
	if err := os.Mkdir("logd.toml", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err = Load(Sources{DefaultFiles: []string{"logd.toml"}}); err == nil {
		t.Error("a folder was read as a file")
	}
	large := filepath.Join(t.TempDir(), "large.toml")
	write(t, large, strings.Repeat("#", setting.MaxFile+1))
	if _, _, err = Load(Sources{File: large}); err == nil || !strings.HasSuffix(err.Error(), "larger than 1MiB") {
		t.Errorf("a file above the limit: %v", err)
	}
}

// TestLoadProblems compares whole messages.
func TestLoadProblems(t *testing.T) {
	for _, test := range []struct {
		name  string
		file  string
		env   []string
		flags map[string][]string
		want  string
	}{
		{
			name: "unknown key",
			file: "# comment\n\nbach-size = \"64KiB\"\n",
			want: `c.toml:3: bach-size = "64KiB": unknown key; did you mean batch-size?`,
		}, {
			name: "underscore",
			file: "batch_size = 1",
			want: `c.toml:1: batch_size = 1: unknown key; did you mean batch-size?`,
		}, {
			name: "unknown key like none",
			file: "colour = {r = 1}",
			want: `c.toml:1: colour = {…}: unknown key; logd config show lists all settings`,
		}, {
			name: "dotted key",
			file: "topics.max = 1979-05-27",
			want: `c.toml:1: topics.max = 1979-05-27: unknown key; logd config show lists all settings`,
		}, {
			name: "table",
			file: "topics = 5\n[storage]\ntopics = 6",
			want: `c.toml:2: [storage]: unknown table; settings stand at the top of the file or under [[topic]]`,
		}, {
			name: "table after a problem",
			file: "topic = 5\n[[storage.disks]]",
			want: `c.toml:1: topic = 5: unknown key; did you mean topics?` + "\n" +
				`c.toml:2: [storage.disks]: unknown table; settings stand at the top of the file or under [[topic]]`,
		}, {
			name: "key twice",
			file: "topics = 5\ntopics = 6",
			want: `c.toml:2:1: not TOML: key topics is already defined`,
		}, {
			name: "not TOML",
			file: "topics = 5\nhost 127.0.0.1",
			want: `c.toml:2:6: not TOML: expected '=' after key`,
		}, {
			name: "size",
			file: `batch-size = "12parsecs"`,
			want: `c.toml:1: batch-size = "12parsecs": not a size such as 64KiB; allowed: 128 to 1GiB`,
		}, {
			name: "size with half a unit",
			file: `batch-size = "64k"`,
			want: `c.toml:1: batch-size = "64k": the unit is ambiguous: write KiB (1024s) or KB (1000s); allowed: 128 to 1GiB`,
		}, {
			name: "size out of range",
			file: `batch-size = 2_000_000_000`,
			want: `c.toml:1: batch-size = 2_000_000_000: out of range; allowed: 128 to 1GiB`,
		}, {
			name: "negative size",
			file: `batch-size = -1`,
			want: `c.toml:1: batch-size = -1: not a size such as 64KiB; allowed: 128 to 1GiB`,
		}, {
			name: "fraction",
			file: `batch-size = 1.5`,
			want: `c.toml:1: batch-size = 1.5: a fraction where text in quotes is wanted; allowed: 128 to 1GiB`,
		}, {
			name: "duration without unit",
			file: `timeout = "15"`,
			want: `c.toml:1: timeout = "15": a duration without a unit: write ms, s, m or h after the number; allowed: 1ms to 8760h`,
		}, {
			name: "duration as a number",
			file: `timeout = 15`,
			want: `c.toml:1: timeout = 15: a number where text in quotes is wanted; allowed: 1ms to 8760h`,
		}, {
			name: "days",
			file: `retention-age = "7d"`,
			want: `c.toml:1: retention-age = "7d": hours are the largest unit: write 168h; allowed: 1ms to 876000h, or 0 (off)`,
		}, {
			name: "duration of nonsense",
			file: `timeout = "soon"`,
			want: `c.toml:1: timeout = "soon": not a duration such as 15s; allowed: 1ms to 8760h`,
		}, {
			name: "mode in decimal",
			file: `file-mode = 600`,
			want: `c.toml:1: file-mode = 600: not an octal mode: write it in quotes; allowed: 0600 to 0777 (octal), readable and writable by the owner`,
		}, {
			name: "mode",
			file: `file-mode = "rw-------"`,
			want: `c.toml:1: file-mode = "rw-------": not an octal mode; allowed: 0600 to 0777 (octal), readable and writable by the owner`,
		}, {
			name: "number in quotes",
			file: `partitions = "8"`,
			want: `c.toml:1: partitions = "8": text in quotes where a number without quotes is wanted; allowed: 1 to 1000000`,
		}, {
			name: "switch in quotes",
			file: `verbose = "true"`,
			want: `c.toml:1: verbose = "true": text in quotes where true or false without quotes is wanted; allowed: true or false`,
		}, {
			name: "word",
			file: `log-level = "loud"`,
			want: `c.toml:1: log-level = "loud": unknown word; allowed: debug, info, warn or error`,
		}, {
			name: "names in one text",
			file: `topics-whitelist = "a,b"`,
			want: `c.toml:1: topics-whitelist = "a,b": text in quotes where an array of texts in quotes is wanted; ` +
				`allowed: names of 1 to 255 bytes of A-Z a-z 0-9 . _ - that do not begin with . or __`,
		}, {
			name: "names are not split",
			file: "topics-whitelist = [\n  \"a,b\",\n]",
			want: `c.toml:1: topics-whitelist = ["a,b"]: "a,b" is not a topic name; ` +
				`allowed: names of 1 to 255 bytes of A-Z a-z 0-9 . _ - that do not begin with . or __`,
		}, {
			name: "names and others",
			file: `topics-whitelist = ["a", 1]`,
			want: `c.toml:1: topics-whitelist = ["a", 1]: not all of the array is text in quotes; ` +
				`allowed: names of 1 to 255 bytes of A-Z a-z 0-9 . _ - that do not begin with . or __`,
		}, {
			name: "long value",
			file: `host = "` + strings.Repeat("x", 5000) + `"`,
			want: `c.toml:1: host = "` + strings.Repeat("x", 79) + `…: not HOST:PORT (missing port in address); ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535`,
		}, {
			name: "environment",
			env:  []string{"PATH=/bin", "LOGD_MAX_MESSAGES=many", "LOGD_TOPICS_WHITELIST=a, b,__c"},
			want: `environment LOGD_MAX_MESSAGES: max-messages = "many": not a whole number; allowed: 1 to 2147483647` + "\n" +
				`environment LOGD_TOPICS_WHITELIST: topics-whitelist = "a, b,__c": "__c" begins with __, as only the server's own topics do; ` +
				`allowed: names of 1 to 255 bytes of A-Z a-z 0-9 . _ - that do not begin with . or __`,
		}, {
			name: "empty variable",
			env:  []string{"LOGD_TIMEOUT="},
			want: `environment LOGD_TIMEOUT: timeout = "": not a duration such as 15s; allowed: 1ms to 8760h`,
		}, {
			name: "variables that are like those of a service",
			env:  []string{"LOGD_PORT=1774", "LOGD_PORT_TCP=1", "LOGD_PORT_1774=1", "LOGD_SERVICE=1", "LOGD_HTTP_HOSTS=1", "LOGD_XSERVICE_HOST=1"},
			want: `environment LOGD_HTTP_HOSTS: names no setting; did you mean LOGD_HTTP_HOST?` + "\n" +
				`environment LOGD_PORT: names no setting; did you mean LOGD_HOST?` + "\n" +
				`environment LOGD_PORT_1774: names no setting; logd config show lists all settings` + "\n" +
				`environment LOGD_PORT_TCP: names no setting; logd config show lists all settings` + "\n" +
				`environment LOGD_SERVICE: names no setting; logd config show lists all settings` + "\n" +
				`environment LOGD_XSERVICE_HOST: names no setting; logd config show lists all settings`,
		}, {
			name: "unknown variable",
			env:  []string{"LOGD_BATCHSIZE=1", "LOGD_SECRET=hush"},
			want: `environment LOGD_BATCHSIZE: names no setting; did you mean LOGD_BATCH_SIZE?` + "\n" +
				`environment LOGD_SECRET: names no setting; logd config show lists all settings`,
		}, {
			name:  "flags",
			flags: map[string][]string{"partitions": {"99999999999999999999"}, "verbose": {"maybe"}, "topik": {"x"}},
			want: `flag --partitions: partitions = "99999999999999999999": out of range; allowed: 1 to 1000000` + "\n" +
				`flag --topik: unknown flag; did you mean topics?` + "\n" +
				`flag --verbose: verbose = "maybe": neither true nor false; allowed: true or false`,
		}, {
			name: "every source at once, by line",
			file: "max-messages = 0\ntopic = 1\ntopics = -1",
			env:  []string{"LOGD_MAX_CONNECTIONS=0"},
			// The value in the file is wrong although the flag is stronger.
			flags: map[string][]string{"open-files": {"0"}, "topics": {"7"}},
			want: `c.toml:1: max-messages = 0: out of range; allowed: 1 to 2147483647` + "\n" +
				`c.toml:2: topic = 1: unknown key; did you mean topics?` + "\n" +
				`c.toml:3: topics = -1: out of range; allowed: 1 to 1000000, or 0 (no limit)` + "\n" +
				`environment LOGD_MAX_CONNECTIONS: max-connections = "0": out of range; allowed: 1 to 1000000` + "\n" +
				`flag --open-files: open-files = "0": out of range; allowed: 16 to 1000000`,
		}, {
			name:  "batch larger than partition",
			file:  "\nbatch-size = \"1MiB\"",
			flags: map[string][]string{"partition-size": {"512KiB"}},
			want: `flag --partition-size: partition-size = "512KiB": smaller than batch-size = "1MiB" (c.toml:2): ` +
				`a partition has to hold the largest batch; allowed: 128 to 1TiB and at least batch-size`,
		}, {
			name: "retention below a partition",
			env:  []string{"LOGD_RETENTION_BYTES=1GB"},
			want: `environment LOGD_RETENTION_BYTES: retention-bytes = "1GB": smaller than partition-size = "2000MiB" (default): ` +
				`only whole partitions are removed and the newest one never is, so a topic can't be kept below partition-size; ` +
				`allowed: 128 to 1PiB, or 0 (off) and at least partition-size`,
		}, {
			name: "no combination of a bad value",
			file: "batch-size = \"1GiB\"\npartition-size = \"1\"\nretention-bytes = \"1MiB\"",
			want: `c.toml:2: partition-size = "1": out of range; allowed: 128 to 1TiB`,
		}, {
			name: "no combination of a value of the wrong type",
			file: "partition-size = true\nretention-bytes = \"1MiB\"",
			want: `c.toml:1: partition-size = true: true or false where text in quotes is wanted; allowed: 128 to 1TiB`,
		}, {
			name: "addresses",
			file: `http-host = "127.0.0.1:1774"`,
			want: `c.toml:1: http-host = "127.0.0.1:1774": the same address as host = "127.0.0.1:1774" (default): each listener needs its own port; ` +
				`allowed: HOST:PORT with a port from 0 (any free one) to 65535, or empty (none)`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			src := Sources{Env: test.env, Flags: test.flags}
			if test.file != "" {
				write(t, "c.toml", test.file)
				src.File = "c.toml"
			}
			_, _, err := Load(src)
			got := "no error"
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("\n got %s\nwant %s", strings.ReplaceAll(got, "\n", "\n     "), strings.ReplaceAll(test.want, "\n", "\n     "))
			}
		})
	}
}

// TestLoadGood has what might look wrong and is not.
func TestLoadGood(t *testing.T) {
	for _, test := range []struct {
		name string
		file string
		env  []string
		want func(*Config)
	}{
		{"sizes", "batch-size = 0x1_0000\npartition-size = '2 gb'", nil,
			func(c *Config) { c.BatchSize, c.PartitionSize = 65536, 2e9 }},
		{"octal mode", "file-mode = 0o640", nil, func(c *Config) { c.FileMode = 0o640 }},
		{"mode without a zero", `file-mode = "660"`, nil, func(c *Config) { c.FileMode = 0o660 }},
		{"no names", "topics-whitelist = []", nil, func(c *Config) { c.TopicsWhitelist = nil }},
		{"names", "topics-whitelist = [ 'a', # one\n  \"b\",\n]", nil, func(c *Config) { c.TopicsWhitelist = []string{"a", "b"} }},
		{"names in the environment", "", []string{"LOGD_TOPICS_WHITELIST=a, b"}, func(c *Config) { c.TopicsWhitelist = []string{"a", "b"} }},
		{"no names in the environment", `topics-whitelist = ["a"]`, []string{"LOGD_TOPICS_WHITELIST="}, func(c *Config) { c.TopicsWhitelist = nil }},
		{"no HTTP", "", []string{"LOGD_HTTP_HOST="}, func(c *Config) { c.HTTPHost = "" }},
		{"zero duration", `retention-age = "0"`, nil, func(*Config) {}},
		{"quoted key", `"timeout" = "1s"`, nil, func(c *Config) { c.Timeout = time.Second }},
		{"the client's server", "", []string{"LOGD_CLI_HOST=elsewhere:1774"}, func(*Config) {}},
		{"settings of the agent", "", []string{"LOGD_FORWARDER_TOPIC=app", "LOGD_FORWARDER_HOST=elsewhere:1774,b:1774", "LOGD_FORWARDER_X="}, func(*Config) {}},
		{"a service called logd in Kubernetes", "", []string{
			"LOGD_SERVICE_HOST=10.0.0.1", "LOGD_SERVICE_PORT=1774", "LOGD_SERVICE_PORT_HTTP=1775", "LOGD_PORT=tcp://10.0.0.1:1774",
			"LOGD_PORT_1774_TCP=tcp://10.0.0.1:1774", "LOGD_PORT_1774_TCP_PROTO=tcp"}, func(*Config) {}},
		{"services whose names begin with logd", "", []string{
			"LOGD_HTTP_SERVICE_HOST=10.0.0.1", "LOGD_HTTP_SERVICE_PORT=1775", "LOGD_HTTP_SERVICE_PORT_WEB=1775", "LOGD_HTTP_PORT=tcp://10.0.0.1:1775",
			"LOGD_HTTP_PORT_1775_TCP=tcp://10.0.0.1:1775", "LOGD_HTTP_PORT_1775_TCP_ADDR=10.0.0.1", "LOGD_HTTP_PORT_1775_TCP_PORT=1775",
			"LOGD_HTTP_PORT_1775_TCP_PROTO=tcp", "LOGD_A_B_PORT=udp://10.0.0.1:53", "LOGD_A_B_PORT_53_UDP=udp://10.0.0.1:53"}, func(*Config) {}},
		{"another system's editor", "\xef\xbb\xbftopics = 3\r\npartitions = 2\r\n", nil, func(c *Config) { c.Topics, c.Partitions = 3, 2 }},
		{"empty file", "\n# nothing\n", nil, func(*Config) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "c.toml", test.file)
			got, _, err := Load(Sources{File: "c.toml", Env: test.env})
			if err != nil {
				t.Fatal(err)
			}
			want := Default()
			test.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLoadVerbose: verbose raises the level unless a stronger source sets the
// level itself.
func TestLoadVerbose(t *testing.T) {
	for _, test := range []struct {
		env   []string
		flags map[string][]string
		level string
		from  string
	}{
		{nil, map[string][]string{"verbose": {"true"}}, "debug", "flag --verbose"},
		{nil, map[string][]string{"verbose": {"true"}, "log-level": {"error"}}, "debug", "flag --verbose"},
		{[]string{"LOGD_LOG_LEVEL=warn"}, map[string][]string{"verbose": {"true"}}, "debug", "flag --verbose"},
		{[]string{"LOGD_VERBOSE=1"}, map[string][]string{"log-level": {"error"}}, "error", "flag --log-level"},
		{[]string{"LOGD_VERBOSE=1"}, map[string][]string{"verbose": {"false"}}, "info", "default"},
	} {
		c, o, err := Load(Sources{Env: test.env, Flags: test.flags})
		if err != nil {
			t.Error(err)
			continue
		}
		s, _ := Lookup("log-level")
		if level, from := s.Value(&c), o.Of("log-level").String(); level != test.level || from != test.from {
			t.Errorf("environment %v, flags %v: level %s from %s, want %s from %s", test.env, test.flags, level, from, test.level, test.from)
		}
	}
}

func TestParse(t *testing.T) {
	s, _ := Lookup("batch-size")
	if err := s.Parse("1"); err != nil { // readable, though out of range
		t.Errorf("Parse(1): %v", err)
	}
	if err := s.Parse("x"); err == nil || err.Error() != "not a size such as 64KiB; allowed: 128 to 1GiB" {
		t.Errorf("Parse(x): %v", err)
	}
}
