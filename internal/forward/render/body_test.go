package render

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/logd-dev/logd/internal/forward/feed"
)

var (
	taken = time.Date(2026, 3, 4, 5, 6, 7, 80_000_000, time.FixedZone("", 3600))
	all   = Facts{Time: taken, Host: "h1", Input: "app", File: "/var/log/a.log", Offset: 0, Topic: "wanted"}
	whole = feed.Message{
		Body: []byte("line"), Sent: taken.Add(-time.Hour), Remote: "10.0.0.1:5", App: "sshd", ProcID: "7", Unit: "ssh.service",
		Facility: "auth", Severity: "info", Part: 3, Last: true,
	}
)

func TestAppendBody(t *testing.T) {
	const head = `{"time":"2026-03-04T04:06:07.080000000Z"`
	tests := []struct {
		name    string
		format  Format
		facts   Facts
		message feed.Message
		want    string
	}{
		{"raw", Raw, all, whole, "line"},
		{"raw, not UTF-8", Raw, all, feed.Message{Body: []byte("\xff\x00")}, "\xff\x00"},
		{"all", JSON, all, whole, head + `,"sent":"2026-03-04T03:06:07.080000000Z","host":"h1","input":"app","file":"/var/log/a.log","offset":0,` +
			`"remote":"10.0.0.1:5","app":"sshd","procid":"7","unit":"ssh.service","facility":"auth","severity":"info","part":3,"last":true,"topic":"wanted","body":"line"}`},
		{"nothing known", JSON, Facts{Time: taken}, feed.Message{}, head + `,"body":""}`},
		{"no file, no offset", JSON, Facts{Time: taken, Offset: 9}, feed.Message{}, head + `,"body":""}`},
		{"not the last part", JSON, Facts{Time: taken}, feed.Message{Part: 1}, head + `,"part":1,"body":""}`},
		{"escapes", JSON, Facts{Time: taken}, feed.Message{Body: []byte("\"\\\n\r\t\b\x00\x1f\x7f</>&\u2028ä😀")},
			head + `,"body":"\"\\\n\r\t\u0008\u0000\u001f` + "\x7f</>&\u2028ä😀" + `"}`},
		{"not UTF-8", JSON, Facts{Time: taken}, feed.Message{Body: []byte("a\xff")}, head + `,"body_base64":"Yf8="}`},
		{"values not UTF-8", JSON, Facts{Time: taken, File: "/a\n\xff\"", Offset: 12}, feed.Message{App: "\xc3"}, head + `,"file":"/a\n` + "\ufffd" + `\"","offset":12,"app":"` + "\ufffd" + `","body":""}`},
		{"a year beyond four digits", JSON, Facts{Time: taken}, feed.Message{Sent: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, head + `,"body":""}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendBody([]byte("kept"), tt.format, &tt.facts, &tt.message)); got != "kept"+tt.want {
				t.Errorf("got  %s\nwant kept%s", got, tt.want)
			}
			if got := BodyLen(tt.format, &tt.facts, &tt.message); got != len(tt.want) {
				t.Errorf("BodyLen %d, want %d", got, len(tt.want))
			}
		})
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte("line"), "h", "/a\xff", int64(7), int64(1))
	f.Add([]byte("\x00\"\xff"), "\\", "", int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, body []byte, text, file string, number, seconds int64) {
		facts := Facts{Time: time.Unix(seconds&(1<<32-1), number&(1<<29-1)), Host: text, Input: text, File: file, Offset: number, Topic: text}
		m := feed.Message{
			Body: body, Sent: time.Unix(seconds, 0), Remote: text, App: text, ProcID: text, Unit: text, Facility: text, Severity: text,
			Part: number, Last: number > 3,
		}
		for _, format := range []Format{Raw, JSON} {
			if got, n := AppendBody(nil, format, &facts, &m), BodyLen(format, &facts, &m); len(got) != n {
				t.Errorf("%s: %d bytes, BodyLen %d: %q", format, len(got), n, got)
			}
		}
		var got struct {
			Time, Sent                     time.Time
			Host, Input, File, Topic, Body string
			Offset, Part                   int64
			Base64                         *string `json:"body_base64"`
		}
		rendered := AppendBody(nil, JSON, &facts, &m)
		if bytes.IndexByte(rendered, '\n') >= 0 || !utf8.Valid(rendered) {
			t.Errorf("not one line of UTF-8: %q", rendered)
		}
		d := json.NewDecoder(bytes.NewReader(rendered))
		d.UseNumber()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%v: %s", err, rendered)
		}
		again := []byte(got.Body)
		if got.Base64 != nil {
			again, _ = base64.StdEncoding.DecodeString(*got.Base64)
		}
		plain := func(s string) string {
			return string([]rune(s))
		}
		if !bytes.Equal(again, body) || !got.Time.Equal(facts.Time) || got.Host != plain(text) || got.Topic != plain(text) || got.File != plain(file) {
			t.Errorf("got %+v of %s", got, rendered)
		}
	})
}

func TestBodyAllocates(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, body := range []string{strings.Repeat("a line\t", 30), "\xff"} {
		m := whole
		m.Body = []byte(body)
		if n := testing.AllocsPerRun(100, func() {
			buf = AppendBody(buf[:0], JSON, &all, &m)
			BodyLen(JSON, &all, &m)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	m := feed.Message{Body: bytes.Repeat([]byte("0123456789"), 20)}
	facts := Facts{Time: taken, Host: "h1.example", Input: "app", File: "/var/log/app/access.log", Offset: 1 << 30}
	buf := make([]byte, 0, 4096)
	b.Run("append", func(b *testing.B) {
		b.SetBytes(int64(len(m.Body)))
		for b.Loop() {
			buf = AppendBody(buf[:0], JSON, &facts, &m)
		}
	})
	b.Run("len", func(b *testing.B) {
		b.SetBytes(int64(len(m.Body)))
		for b.Loop() {
			BodyLen(JSON, &facts, &m)
		}
	})
}
