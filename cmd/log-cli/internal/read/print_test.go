package read

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

func TestPattern(t *testing.T) {
	m := &logd.Message{Offset: 70, Delta: 11, Body: []byte("hello"), Time: time.UnixMilli(1796000000123)}
	for text, want := range map[string]string{
		`%s\n`:              "hello\n",
		`%t %o %d %T %s\n`:  "greetings 70 11 2026-11-30T00:53:20.123Z hello\n",
		`%s`:                "hello",
		`100%% %s`:          "100% hello",
		`%s\t%s\\n\r\0\x41`: "hello\thello\\n\r\x00A",
		`%o.%d`:             "70.11",
		`<%s>`:              "<hello>",
		`%%`:                "%",
		`%s%s`:              "hellohello",
		"%s\n":              "hello\n",
		`é%sé`:              "éhelloé",
	} {
		p, err := parsePattern(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var b strings.Builder
		w := &messageWriter{out: bufio.NewWriter(&b), topic: "greetings", zone: time.UTC, pattern: p}
		if err := w.print(m); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		w.flush()
		if b.String() != want {
			t.Errorf("%q prints %q, want %q", text, b.String(), want)
		}
	}
	for _, text := range []string{`%`, `%x`, `%s%`, `%s\`, `%s\q`, `%s\x4`, `%s\xzz`, `%S`} {
		if _, err := parsePattern(text); err == nil {
			t.Errorf("%q is taken for a pattern", text)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	f.Add(`%t %o %d %T %s\n`)
	f.Add(`%%\x41\`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePattern(text)
		if err == nil {
			p.append(nil, &messageWriter{zone: time.UTC}, &logd.Message{})
		}
	})
}
