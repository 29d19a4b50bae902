package inputs

import (
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/feed"
)

func TestParseFrom(t *testing.T) {
	for s, want := range map[string]From{
		"-":                         {Kind: Stdin},
		"stdin:":                    {Kind: Stdin},
		"journald:":                 {Kind: Journal},
		"file:/var/log/*/[ab].log":  {File, "", "/var/log/*/[ab].log"},
		"file:here.log":             {File, "", "here.log"},
		"lines+tcp://:5140":         {Lines, "tcp", ":5140"},
		"lines+unix:/run/l.sock":    {Lines, "unix", "/run/l.sock"},
		"msg+tcp://localhost:0":     {Msg, "tcp", "localhost:0"},
		"msg+unix:m.sock":           {Msg, "unix", "m.sock"},
		"http://127.0.0.1:8080":     {HTTP, "tcp", "127.0.0.1:8080"},
		"syslog+tcp://[::1]:601":    {Syslog, "tcp", "[::1]:601"},
		"syslog+tls://0.0.0.0:6514": {Syslog, "tls", "0.0.0.0:6514"},
		"syslog+unix:/s":            {Syslog, "unix", "/s"},
		"syslog+udp://127.0.0.1:1":  {Syslog, "udp", "127.0.0.1:1"},
		"syslog+unixgram:/dev/log":  {Syslog, "unixgram", "/dev/log"},
	} {
		got, err := ParseFrom(s)
		if err != nil || got != want {
			t.Errorf("ParseFrom(%q) = %+v, %v; want %+v", s, got, err, want)
		}
		if s != "-" && got.String() != s {
			t.Errorf("String of %q is %q", s, got)
		}
	}
	for s, want := range map[string]string{
		"":                              "empty",
		"/var/log/x":                    "file:/var/log/x",
		"./x":                           "file:./x",
		"file:":                         "missing",
		"file:///var/log/x":             "file:/var/log/x",
		"file:/a[":                      "has no ]",
		"file:a\x00b":                   "zero",
		"journald:x":                    "nothing follows journald:",
		"journald":                      "write journald:",
		"stdin:x":                       "nothing follows",
		"msg+tcp:1.2.3.4:5":             "write msg+tcp://HOST:PORT",
		"http:1.2.3.4:5":                "write http://HOST:PORT",
		"http://1.2.3.4:5/lines":        "no port",
		"http://1.2.3.4":                "HOST:PORT",
		"lines+tcp://a:99999":           "99999",
		"lines+tcp://a:+1":              "no port",
		"lines+tcp://u@a:1":             "no host",
		"msg+unix:":                     "missing",
		"msg+unix:///run/x":             "/run/x",
		"msg+unix:/run/x/":              "end with /",
		"msg+unix:" + long('x', 91):     "91",
		"msg+unix:/a\x00":               "zero",
		"msg+udp://127.0.0.1:1":         "msg+tcp://HOST:PORT, msg+unix:PATH",
		"syslog://127.0.0.1:514":        "syslog+udp://HOST:PORT",
		"https://127.0.0.1:1":           "no input is written so",
		"syslog+tls://127.0.0.1:1#frag": "no port",
	} {
		_, err := ParseFrom(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseFrom(%q): %v, want %q in it", s, err, want)
		}
	}
}

func long(c rune, n int) string { return strings.Repeat(string(c), n) }

func TestDefaultFull(t *testing.T) {
	for s, want := range map[string]feed.Full{
		"-": feed.Block, "lines+unix:/l": feed.Block, "http://:1": feed.Refuse, "syslog+udp://:1": feed.Drop, "syslog+unixgram:/l": feed.Drop, "syslog+tcp://:1": feed.Block,
	} {
		if f, _ := ParseFrom(s); f.Full() != want {
			t.Errorf("%s: %v, want %v", s, f.Full(), want)
		}
	}
}

func TestCheckExposed(t *testing.T) {
	for _, test := range []struct {
		from               string
		insecure, clientCA bool
		want               string // in the error
	}{
		{"lines+tcp://127.0.0.1:1", false, false, ""},
		{"lines+tcp://[::1]:1", false, false, ""},
		{"lines+tcp://[::ffff:127.0.0.1]:1", false, false, ""},
		{"lines+tcp://localhost:1", false, false, ""},
		{"lines+unix:/l", false, false, ""},
		{"syslog+unixgram:/l", false, false, ""},
		{"file:/l", false, false, ""},
		{"lines+tcp://:1", false, false, "insecure = true"},
		{"lines+tcp://:1", false, true, "insecure = true"},
		{"lines+tcp://:1", true, false, ""},
		{"syslog+udp://0.0.0.0:1", false, true, "syslog+tls://"},
		{"http://192.0.2.1:1", false, false, "http://192.0.2.1:1"},
		{"syslog+tls://:1", false, false, "set tls-client-ca"},
		{"syslog+tls://:1", false, true, ""},
	} {
		f, err := ParseFrom(test.from)
		if err != nil {
			t.Fatal(err)
		}
		err = CheckExposed(f, test.insecure, test.clientCA)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %v, %v: %v, want %q", test.from, test.insecure, test.clientCA, err, test.want)
		}
	}
}
