package settings

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/setting"
)

// loadFile loads a file's text, if there is one, in a folder of the test's own.
func loadFile(t *testing.T, file string, src Sources) (*Config, error) {
	t.Helper()
	if file != "" {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("c.toml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		src.File = "c.toml"
	}
	if src.Env == nil {
		src.Env = []string{"HOME=/home/u"}
	}
	return Load(src)
}

func mustLoad(t *testing.T, file string, src Sources) *Config {
	t.Helper()
	c, err := loadFile(t, file, src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const example = `host = ["logs-1:1774", "unix:/run/logd/logd.sock"]
state-dir = "/var/lib/log-forwarder"
topic = "logs"
max-line = "8KiB"

[[input]]
name = "app"
from = "file:/var/log/app/*/*.log"
topic = "app-{1}"
exclude = ["**/*.gz"]
start = "end"
copies = "new"
max-line = "4KiB"
long-lines = "truncate"
trim-cr = true
scan-interval = "2s"

[[input]] # of programs
from = "msg+unix:/run/log-forwarder/msg.sock"
topics = ["events", "*"]
socket-mode = "0600"

[[input]]
from = "syslog+udp://127.0.0.1:514"
topic = "syslog-{app}"
format = "json"
receive-buffer = "1MiB"
`

func TestLoad(t *testing.T) {
	c := mustLoad(t, example, Sources{Hostname: "h1"})
	if c.StateDir != "/var/lib/log-forwarder" || c.HTTPHost != "127.0.0.1:1777" || c.Hostname != "h1" || len(c.Host) != 2 || c.BatchSize != 64<<10 || c.InFlight != 8 ||
		!c.Sequence || c.Memory != 64<<20 || c.SpoolBytes != 1<<30 || c.FallbackTopic != "other" || c.Timeout != 15*time.Second || c.File() != "c.toml" {
		t.Errorf("%+v", c)
	}
	if len(c.Inputs) != 3 {
		t.Fatalf("%d inputs", len(c.Inputs))
	}
	app, msg, syslog := &c.Inputs[0], &c.Inputs[1], &c.Inputs[2]
	if app.Name != "app" || app.Topic.String() != "app-{1}" || app.From.Kind != inputs.File || !app.FromEnd || !app.CopiesNew || app.MaxLine != 4<<10 ||
		app.LongLines != lines.Truncate || !app.TrimCR || app.ScanInterval != 2*time.Second || app.RotatedWait != 5*time.Second || len(app.Exclude) != 1 || app.Full != feed.Block {
		t.Errorf("app: %+v", app)
	}
	if msg.Name != "msg-unix-run-log-forwarder-msg.sock" || msg.Topic.String() != "logs" || len(msg.Topics) != 2 || msg.SocketMode != 0o600 || msg.MaxLine != 8<<10 || msg.Full != feed.Block {
		t.Errorf("msg: %+v", msg)
	}
	if syslog.Name != "syslog-udp-127.0.0.1-514" || syslog.Format != render.JSON || syslog.ReceiveBuffer != 1<<20 || syslog.Full != feed.Drop {
		t.Errorf("syslog: %+v", syslog)
	}
	for _, o := range []struct{ got, want string }{
		{c.Origin("topic").String(), "c.toml:3"}, {c.Origin("memory").String(), "default"},
		{app.Origin("topic").String(), "c.toml:9"}, {msg.Origin("topic").String(), "c.toml:3"}, {msg.Origin("trim-cr").String(), "default"},
	} {
		if o.got != o.want {
			t.Errorf("origin %s, want %s", o.got, o.want)
		}
	}
}

// TestLoadStrength: flags, then the environment, then the file; and log-cli's variables
// below the agent's.
func TestLoadStrength(t *testing.T) {
	const file = "topic = \"a\"\nhost = \"x:1\"\n[[input]]\nfrom = \"journald:\"\n[[input]]\nfrom = \"file:/a\"\ntopic = \"own\"\n"
	list := strings.Replace(file, `"x:1"`, `["x:1"]`, 1)
	for _, tt := range []struct {
		name               string
		src                Sources
		topic, host, where string
	}{
		{"file", Sources{}, "a", "x:1", "c.toml:2"},
		{"server's variable", Sources{Env: []string{"HOME=/h", "LOGD_HOST=y:2"}}, "a", "y:2", "environment LOGD_HOST"},
		{"client's variable", Sources{Env: []string{"HOME=/h", "LOGD_CLI_HOST=z:2", "LOGD_HOST=y:2"}}, "a", "z:2", "environment LOGD_CLI_HOST"},
		{"address of all interfaces", Sources{Env: []string{"HOME=/h", "LOGD_HOST=:1774"}}, "a", ":1774", "environment LOGD_HOST"},
		{"empty client's variable", Sources{Env: []string{"HOME=/h", "LOGD_CLI_HOST=", "LOGD_HOST="}}, "a", "x:1", "c.toml:2"},
		{"environment", Sources{Env: []string{"HOME=/h", "LOGD_FORWARDER_HOST=q:3,unix:/s", "LOGD_CLI_HOST=z:2", "LOGD_FORWARDER_TOPIC=b"}}, "b", "q:3,unix:/s", "environment LOGD_FORWARDER_HOST"},
		{"flag", Sources{Env: []string{"HOME=/h", "LOGD_FORWARDER_HOST=q:3"}, Flags: map[string][]string{"host": {"r:4", "s:5"}, "topic": {"f"}}}, "f", "r:4,s:5", "flag --host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, list, tt.src)
			if got := c.Inputs[0].Topic.String(); got != tt.topic {
				t.Errorf("topic %s, want %s", got, tt.topic)
			}
			if got := c.Inputs[1].Topic.String(); got != "own" {
				t.Errorf("topic %s of an input that has its own", got)
			}
			if got := strings.Join(c.Host, ","); got != tt.host || c.Origin("host").String() != tt.where {
				t.Errorf("host %s from %s, want %s from %s", got, c.Origin("host"), tt.host, tt.where)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	c := mustLoad(t, example, Sources{Inputs: []string{"file:/x/*.log", "lines+tcp://127.0.0.1:0", "lines+tcp://127.0.0.1:1"}, Flags: map[string][]string{"topic": {"t"}, "trim-cr": {"true"}}})
	if len(c.Inputs) != 3 || c.Inputs[0].Name != "file-x-any.log" || c.Inputs[0].Topic.String() != "t" || !c.Inputs[0].TrimCR || c.Inputs[0].MaxLine != 8<<10 {
		t.Errorf("%+v", c.Inputs)
	}
	c = mustLoad(t, "", Sources{Inputs: []string{"-"}, Flags: map[string][]string{"topic": {"t"}}, Once: true})
	if !c.OnlyStdin() || c.StateDir != "" || c.HTTPHost != "" || c.Inputs[0].Name != "stdin" || c.Inputs[0].MaxLine != 63<<10 {
		t.Errorf("standard input: %+v", c)
	}
	c = mustLoad(t, "", Sources{Flags: map[string][]string{"topic": {"t"}, "http-host": {"127.0.0.1:0"}, "state-dir": {"/s"}, "format": {"json"}}})
	if !c.OnlyStdin() || c.StateDir != "/s" || c.HTTPHost != "127.0.0.1:0" || c.Inputs[0].MaxLine >= 63<<10/6 {
		t.Errorf("standard input that nobody named: %+v", c)
	}
}

// TestNoInputs: who asks about an agent needs no input, nor a topic.
func TestNoInputs(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		c := mustLoad(t, "", Sources{NoInputs: true, Terminal: terminal})
		if len(c.Inputs) != 0 || c.StateDir != "/home/u/.local/state/log-forwarder" || c.HTTPHost != defaultHTTP {
			t.Errorf("%+v", c)
		}
	}
	if _, err := loadFile(t, "x = 1\n", Sources{NoInputs: true}); err == nil {
		t.Error("a bad file is taken")
	}
}

func TestStateDir(t *testing.T) {
	yes := func(string) bool { return true }
	for _, tt := range []struct {
		env    []string
		system func(string) bool
		want   string
	}{
		{[]string{"HOME=/h", "STATE_DIRECTORY=/run/a:/run/b"}, yes, "/run/a"},
		{[]string{"HOME=/h"}, yes, "/var/lib/log-forwarder"},
		{[]string{"HOME=/h"}, func(string) bool { return false }, "/h/.local/state/log-forwarder"},
		{[]string{"HOME=/h"}, nil, "/h/.local/state/log-forwarder"},
	} {
		c := mustLoad(t, "", Sources{Inputs: []string{"journald:"}, Flags: map[string][]string{"topic": {"t"}}, Env: tt.env, System: tt.system})
		if c.StateDir != tt.want {
			t.Errorf("%v: %s, want %s", tt.env, c.StateDir, tt.want)
		}
	}
}

func TestTokenAndTLS(t *testing.T) {
	arg := []string{"-"}
	topic := map[string][]string{"topic": {"t"}}
	with := func(name, value string) map[string][]string {
		return map[string][]string{"topic": {"t"}, name: {value}}
	}
	for _, tt := range []struct {
		name        string
		src         Sources
		token, file string
		tls         bool
	}{
		{"none", Sources{Flags: topic}, "", "", false},
		{"token", Sources{Flags: topic, Env: []string{"LOGD_TOKEN= x ", "LOGD_TOKEN_FILE=/f"}}, "x", "", false},
		{"file of the client", Sources{Flags: topic, Env: []string{"LOGD_TOKEN_FILE=/f"}}, "", "/f", false},
		{"file of the agent", Sources{Flags: topic, Env: []string{"LOGD_TOKEN=x", "LOGD_FORWARDER_TOKEN_FILE=/g"}}, "", "/g", false},
		{"flag", Sources{Flags: with("token-file", "/h"), Env: []string{"LOGD_TOKEN=x"}}, "", "/h", false},
		{"tls", Sources{Flags: with("tls", "true")}, "", "", true},
		{"authorities", Sources{Flags: topic, Env: []string{"LOGD_CLI_TLS_CA=/ca"}}, "", "", true},
		{"not even so", Sources{Flags: with("tls", "false"), Env: []string{"LOGD_CLI_TLS_CA=/ca"}}, "", "", false},
	} {
		tt.src.Inputs = arg
		c := mustLoad(t, "", tt.src)
		if c.Token != tt.token || c.TokenFile != tt.file || c.TLS != tt.tls {
			t.Errorf("%s: token %q, file %q, tls %t", tt.name, c.Token, c.TokenFile, c.TLS)
		}
	}
}

// TestHTTPHost: status is open to other machines if the settings say so, and an agent
// elsewhere may be asked.
func TestHTTPHost(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		src        Sources
		ok         bool
	}{
		{"loopback", "localhost:1777", Sources{}, true},
		{"open", ":1777", Sources{}, false},
		{"open on purpose", ":1777", Sources{Flags: map[string][]string{"insecure": {"true"}}}, true},
		{"another machine's", "192.0.2.1:1777", Sources{NoInputs: true}, true},
	} {
		_, err := loadFile(t, "http-host = \""+tt.host+"\"\ntopic = \"a\"\n[[input]]\nfrom = \"journald:\"\n", tt.src)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestLoadProblems: all problems at once, each with its place.
func TestLoadProblems(t *testing.T) {
	topic := map[string][]string{"topic": {"t"}}
	for _, tt := range []struct {
		name  string
		file  string
		src   Sources
		usage bool
		want  []string
	}{
		{
			name: "file",
			file: "hots = [\"a:1\"]\nmemory = 5\ntopic = \"a b\"\n[[input]]\nfrom = \"file:/a\"\ntpic = \"x\"\nformat = \"xml\"\ninterval = 1\nmemory = \"1GiB\"\n[[input]]\n[[input]]\nfrom = \"nothing\"\n",
			want: []string{
				`c.toml:1: hots = ["a:1"]: unknown key; did you mean host?`,
				`c.toml:2: memory = 5: out of range; allowed: 1MiB to 1PiB`,
				`c.toml:3: topic = "a b": ' ' is not in the names of topics, which are made of A-Z a-z 0-9 . _ -; allowed: the name of a topic, in which {1}, {base}, {app}, {unit}, {facility}, {severity} and {host} may stand`,
				`c.toml:6: tpic = "x": unknown key; did you mean topic?`,
				`c.toml:7: format = "xml": unknown word; allowed: raw or json`,
				`c.toml:8: interval = 1: unknown key; log-forwarder config show lists all settings`,
				`c.toml:9: memory = "1GiB": not a setting of [[input]]; it stands at the top of the file, before the first [[header]]`,
				`c.toml:10: [[input]]: without from, which says what is read`,
				`c.toml:12: from = "nothing": no input is written so`,
			},
		},
		{name: "tables", file: "[input]\nfrom = \"-\"", want: []string{"c.toml:1: [input]: write [[input]]: there may be several"}},
		{name: "other tables", file: "[[output]]\n", want: []string{"c.toml:1: [output]: unknown table; settings stand at the top of the file or under [[input]]"}},
		{name: "not TOML", file: "topic = \"a\"\n[[input]]\nfrom = file:/a\n", want: []string{"c.toml:3: from = file:/a: not TOML: "}},
		{name: "no inputs", file: "topic = \"a\"\n", want: []string{"c.toml: no [[input]]: say in the file what to read"}},
		{
			name: "no topic", file: "[[input]]\nfrom = \"journald:\"\n[[input]]\nfrom = \"-\"\ntopic = 5\n",
			want: []string{"c.toml:2: input journald: no topic: ", "c.toml:5: topic = 5: a number where text in quotes is wanted"},
		},
		{name: "no topic on the command line", src: Sources{Inputs: []string{"-"}}, usage: true, want: []string{`input "stdin:": no topic: where are the messages to go? Use --topic`}},
		{name: "terminal", src: Sources{Terminal: true, Flags: topic}, usage: true, want: []string{"nothing to read: name an INPUT such as 'file:/var/log/app/*.log'"}},
		{name: "arguments", src: Sources{Inputs: []string{"file:", "/var/log"}, Flags: topic}, usage: true, want: []string{`input "file:": `, `input "/var/log": files are written file:/var/log`}},
		{name: "one of each", src: Sources{Inputs: []string{"x"}, Flags: map[string][]string{"memory": {"1"}}}, want: []string{`flag --memory: memory = "1": out of range`, `input "x": `}},
		{name: "environment", src: Sources{Inputs: []string{"-"}, Flags: topic, Env: []string{"LOGD_FORWARDER_TOPC=a", "LOGD_X=1", "LOGD_FORWARDER_SERVICE_HOST=10.0.0.1"}}, want: []string{
			"environment LOGD_FORWARDER_TOPC: names no setting; did you mean LOGD_FORWARDER_TOPIC?",
		}},
		{
			name: "names", file: "topic = \"a\"\n[[input]]\nname = \"x\"\nfrom = \"file:/a\"\n[[input]]\nname = \"x\"\nfrom = \"file:/b\"\n[[input]]\nname = \".x\"\nfrom = \"journald:\"\n",
			want: []string{`c.toml:6: name = "x": input x: the name of another input: positions belong to it, so give each its own name`, `c.toml:9: name = ".x": not a name of an input`},
		},
		{
			name: "one address twice", file: "topic = \"a\"\n[[input]]\nname = \"x\"\nfrom = \"syslog+udp://127.0.0.1:514\"\n[[input]]\nname = \"y\"\nfrom = \"syslog+udp://127.0.0.1:514\"\n",
			want: []string{`c.toml:7: from = "syslog+udp://127.0.0.1:514": input y: that of input x, too`},
		},
		{
			name: "templates", file: "topic = \"{app}\"\n[[input]]\nfrom = \"file:/a/*.log\"\ntopic = \"a-{2}\"\n[[input]]\nfrom = \"-\"\n[[input]]\nfrom = \"journald:\"\ntopic = \"{base}\"\n",
			want: []string{
				`c.toml:1: topic = "{app}": input stdin: {app} is known of syslog and the journal alone`,
				`c.toml:4: topic = "a-{2}": input file-a-any.log: {2} has no wildcard to stand for: file:/a/*.log has 1`,
				`c.toml:9: topic = "{base}": input journald: {base} is known of files alone`,
			},
		},
		{
			name: "other kinds", file: "topic = \"a\"\nexclude = [\"/x\"]\n[[input]]\nfrom = \"journald:\"\nexclude = [\"/a\"]\nmax-body = \"1MiB\"\n[[input]]\nfrom = \"msg+unix:/s\"\nlong-lines = \"skip\"\ntls-cert = \"a\"\n",
			want: []string{
				`c.toml:5: exclude = ["/a"]: input journald: it is a setting of files`,
				`c.toml:6: max-body = "1MiB": input journald: it is a setting of http`,
				`c.toml:9: long-lines = "skip": input msg-unix-s: it is a setting of lines, not of messages`,
				`c.toml:10: tls-cert = "a": input msg-unix-s: it is a setting of syslog+tls`,
			},
		},
		{
			name: "bounds", file: "batch-size = \"64KiB\"\nmemory = \"1MiB\"\ntopic = \"a\"\nmax-line = \"64KiB\"\n[[input]]\nfrom = \"-\"\n[[input]]\nfrom = \"journald:\"\nformat = \"json\"\nmax-line = \"32KiB\"\n",
			want: []string{
				`c.toml:4: max-line = "64KiB": input stdin: no batch of batch-size = "64KiB" has room for it: at most 64512`,
				`c.toml:10: max-line = "32KiB": input journald: no batch of batch-size = "64KiB" has room for it: at most 9898, because JSON may write six bytes for one`,
			},
		},
		{
			name: "memory", src: Sources{Inputs: []string{"-"}, Flags: map[string][]string{"topic": {"t"}, "batch-size": {"1MiB"}, "memory": {"2MiB"}}},
			want: []string{`flag --batch-size: batch-size = "1MiB": a topic has a quarter of memory = "2MiB", and a batch has to fit there`},
		},
		{
			name: "listeners", file: "topic = \"a\"\n[[input]]\nfrom = \"syslog+unixgram:/dev/log\"\nwhen-full = \"block\"\n[[input]]\nfrom = \"syslog+tls://127.0.0.1:6514\"\ntls-cert = \"c\"\n[[input]]\nfrom = \"lines+tcp://0.0.0.0:99\"\n",
			want: []string{
				`c.toml:4: when-full = "block": input syslog-unixgram-dev-log: to block here would hang every program that logs: use drop-newest`,
				`c.toml:6: tls-key: input syslog-tls-127.0.0.1-6514: syslog+tls needs tls-cert and tls-key`,
				`c.toml:9: from = "lines+tcp://0.0.0.0:99": input lines-tcp-0.0.0.0-99: `,
			},
		},
		{name: "status for all", file: "http-host = \"0.0.0.0:1777\"\ntopic = \"a\"\n[[input]]\nfrom = \"journald:\"\n", want: []string{`c.toml:1: http-host = "0.0.0.0:1777": it is reached from other machines, and anybody may read paths and numbers there: listen on 127.0.0.1, or set insecure = true`}},
		{name: "certificate alone", src: Sources{Inputs: []string{"-"}, Flags: map[string][]string{"topic": {"t"}, "tls-cert": {"c"}}}, want: []string{`flag --tls-cert: tls-cert = "c": without tls-key`}},
		{name: "no home", src: Sources{Inputs: []string{"journald:"}, Flags: topic, Env: []string{"A=b"}}, want: []string{`state-dir = "": no folder for positions`}},
		{name: "once", src: Sources{Once: true, Inputs: []string{"file:/a", "http://127.0.0.1:80"}, Flags: topic}, usage: true, want: []string{"--once: http://127.0.0.1:80 has no end"}},
		{name: "excluded", src: Sources{Inputs: []string{"file:/a"}, Flags: map[string][]string{"topic": {"t"}, "exclude": {"[", ""}}}, want: []string{`flag --exclude: exclude = "[,": `}},
		{name: "fallback", src: Sources{Inputs: []string{"-"}, Flags: map[string][]string{"topic": {"t"}, "fallback-topic": {"{app}"}}}, want: []string{`flag --fallback-topic: fallback-topic = "{app}": "{app}": a template, where a name is wanted`}},
		{name: "host", src: Sources{Inputs: []string{"-"}, Flags: map[string][]string{"topic": {"t"}, "host": {"logs"}}}, want: []string{`flag --host: host = "logs": "logs" is not HOST:PORT`}},
		{name: "gone", src: Sources{File: "/nonexistent/x.toml"}, want: []string{"can't read the configuration file: open /nonexistent/x.toml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadFile(t, tt.file, tt.src)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Errorf("%d problems, want %d:\n%v", len(got), len(tt.want), err)
			}
			for i := range min(len(got), len(tt.want)) {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tt.want[i])
				}
			}
			if IsUsage(err) != tt.usage {
				t.Errorf("usage: %t", IsUsage(err))
			}
		})
	}
}

// TestTables holds the tables to their own rules.
func TestTables(t *testing.T) {
	check := func(name, usage, written, shown string, kind setting.Kind, choices []string) {
		if usage == "" || strings.HasSuffix(usage, ".") || strings.Contains(usage, "\n") {
			t.Errorf("%s: usage %q is not one line without a full stop", name, usage)
		}
		if written != shown {
			t.Errorf("%s: default is written %q but shown %q", name, written, shown)
		}
		if (kind == setting.Choice) != (choices != nil) && kind != setting.Switch {
			t.Errorf("%s: choices %q", name, choices)
		}
	}
	d := top.Default()
	names := make(map[string]bool)
	for _, s := range Settings() {
		check(s.Name, s.Usage, s.Default, s.Value(&d), s.Kind, s.Choices())
		if names[s.Name] {
			t.Errorf("%s: twice", s.Name)
		}
		names[s.Name] = true
		if setting.ServiceLink(envPrefix, s.Env(), "tcp://10.0.0.1:1774") || s.Env() == EnvFile {
			t.Errorf("%s has another meaning", s.Env())
		}
	}
	i := each.Default()
	for _, s := range InputSettings() {
		if s.Name != "from" {
			check(s.Name, s.Usage, s.Default, s.Value(&i), s.Kind, s.Choices())
		}
	}
	for name := range kinds {
		if _, ok := each.Lookup(name); !ok {
			t.Errorf("%s is no setting of inputs", name)
		}
	}
	for name := range larger {
		if s, ok := top.Lookup(name); !ok || s.Change != setting.AtReload {
			t.Errorf("%s is no setting that a reload can change", name)
		}
	}
}

func TestNameOf(t *testing.T) {
	for from, want := range map[string]string{
		"-": "stdin", "journald:": "journald", "file:/var/log/**/?.log": "file-var-log-anyany-one.log", "lines+tcp://[::1]:99": "lines-tcp-1-99",
		"file:/" + strings.Repeat("a", 300): "file-" + strings.Repeat("a", 241) + "-2daa6b67",
	} {
		f, err := inputs.ParseFrom(from)
		if err != nil {
			t.Fatal(err)
		}
		if got := nameOf(f); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

func TestReload(t *testing.T) {
	base := func(more string) *Config {
		return mustLoad(t, more+"\n[[input]]\nfrom = \"journald:\"\ntopic = \"a\"\n", Sources{})
	}
	names := func(settings []Setting) (all string) {
		for _, s := range settings {
			all += s.Name + " "
		}
		return strings.TrimSpace(all)
	}
	for _, tt := range []struct{ old, new, changed, heldBack string }{
		{"", "", "", ""},
		{"", "host = [\"b:1\"]\nlog-level = \"debug\"\ntopic = \"z\"", "host log-level topic", ""},
		{"", "memory = \"128MiB\"\nmax-topics = 200", "memory max-topics", ""},
		{"", "memory = \"32MiB\"\nmax-topics = 50\nspool-bytes = \"512MiB\"", "", "memory spool-bytes max-topics"},
		{"", "batch-size = \"128KiB\"\nhttp-host = \"\"\ntls = true\nin-flight = 9\nlog-format = \"json\"", "", "tls http-host batch-size in-flight log-format"},
	} {
		old, new := base(tt.old), base(tt.new)
		merged, changed, heldBack, err := Reload(old, new)
		if err != nil {
			t.Errorf("%s: %v", tt.new, err)
			continue
		}
		if names(changed) != tt.changed || names(heldBack) != tt.heldBack {
			t.Errorf("%q: changed %s, held back %s", tt.new, names(changed), names(heldBack))
		}
		for _, s := range changed {
			if s.Value(merged) != s.Value(new) {
				t.Errorf("%s: %s", s.Name, s.Value(merged))
			}
		}
		for _, s := range heldBack {
			if s.Value(merged) != s.Value(old) {
				t.Errorf("%s: %s", s.Name, s.Value(merged))
			}
		}
		if most := fitting(merged.BatchSize, render.Raw); merged.Inputs[0].MaxLine != most {
			t.Errorf("%q: max-line %d, want %d", tt.new, merged.Inputs[0].MaxLine, most)
		}
	}
	stdin := mustLoad(t, "[[input]]\nfrom = \"-\"\ntopic = \"a\"\n", Sources{})
	if _, _, _, err := Reload(stdin, base("")); err == nil || !strings.Contains(err.Error(), "needs a restart") {
		t.Errorf("an input that needs a state-dir, without one: %v", err)
	}
	larger := mustLoad(t, "batch-size = \"1MiB\"\n[[input]]\nfrom = \"journald:\"\ntopic = \"a\"\nmax-line = \"512KiB\"\n", Sources{})
	if _, _, _, err := Reload(base(""), larger); err == nil || !strings.Contains(err.Error(), "needs a restart") {
		t.Errorf("a max-line that does not fit: %v", err)
	}
}

func TestSame(t *testing.T) {
	a, b := mustLoad(t, example, Sources{}), mustLoad(t, example, Sources{})
	for i := range a.Inputs {
		if !a.Inputs[i].Same(&b.Inputs[i]) {
			t.Errorf("%s is not the same", a.Inputs[i].Name)
		}
	}
	b.Inputs[0].TrimCR = false
	if a.Inputs[0].Same(&b.Inputs[0]) {
		t.Error("what differs is the same")
	}
}

// FuzzLoad: no file is too strange to be refused properly.
func FuzzLoad(f *testing.F) {
	f.Add(example)
	f.Add("[[input]]\n[[input]]\nfrom=1\n")
	f.Add("topic='{1}'\n[[input]]\nfrom='file:/*'\nname='\\n'")
	f.Add("[input.x]\n[[input.y]]\n")
	f.Add("input = [{from = 'a'}]")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "://") || strings.Contains(text, "http-host") {
			t.Skip() // names of hosts are looked up
		}
		c, err := load(Sources{Env: []string{"HOME=/h"}, Hostname: "h"}, nil, "c.toml", []byte(text), nil)
		if err == nil {
			for i := range c.Inputs {
				if in := &c.Inputs[i]; in.Name == "" || in.Topic == nil || in.From.Kind == 0 || in.MaxLine <= 0 {
					t.Errorf("%q: %+v", text, in)
				}
			}
			return
		}
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			t.Fatalf("%q: %v", text, err)
		}
		for _, p := range joined.Unwrap() {
			if strings.Contains(p.Error(), "\n") || IsUsage(p) {
				t.Errorf("%q: message %q", text, p)
			}
		}
	})
}

func TestIsUsage(t *testing.T) {
	u := usageError{errors.New("a")}
	for _, tt := range []struct {
		err  error
		want bool
	}{{u, true}, {errors.Join(u, u), true}, {errors.Join(u, errors.New("b")), false}, {errors.New("b"), false}} {
		if IsUsage(tt.err) != tt.want {
			t.Errorf("%v: %t", tt.err, !tt.want)
		}
	}
	if !reflect.DeepEqual(DefaultFiles()[0], "/etc/logd/forwarder.toml") {
		t.Error(DefaultFiles())
	}
}
