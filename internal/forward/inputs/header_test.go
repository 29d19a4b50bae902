package inputs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// sameAsParser says that what header reads is what the parser finds.
func sameAsParser(t *testing.T, p *parser, body string) (read bool) {
	t.Helper()
	m, want := feed.Message{Body: []byte(body)}, feed.Message{Body: []byte(body)}
	if !p.header(&m) {
		if show(m) != show(feed.Message{Body: []byte(body)}) || m.App+m.ProcID+m.Facility+m.Severity != "" || !m.Sent.IsZero() {
			t.Errorf("%q is not read, and it is %+v", body, m)
		}
		return false
	}
	ok := p.parseAll(&want, time.Unix(1e9, 0))
	if !ok || m.App != want.App || m.ProcID != want.ProcID || m.Facility != want.Facility || m.Severity != want.Severity || !m.Sent.Equal(want.Sent) {
		t.Errorf("%q is read as %+v, and the parser finds %+v, %v", body, m, want, ok)
	}
	return true
}

// What most senders send is read without the parser; all others are the parser's.
func TestHeader(t *testing.T) {
	p := newParser()
	for body, read := range map[string]bool{
		"<134>1 2026-11-30T10:00:00.123456Z host app 42 ID - hello": true,
		"<0>1 2026-02-28T23:59:59+05:30 - - - - -":                  true,
		"<191>1 2024-02-29T00:00:00.1-00:30 h a 1 - - ":             true,
		"<1>1 - - - - - - \xef\xbb\xbf\xff\n":                       true,
		"<1>1 - h " + strings.Repeat("a", 48) + " 1 - - x":          true,
		"<1>1 - h " + strings.Repeat("a", 49) + " 1 - - x":          false,
		"<192>1 - - - - - -":                                        false,
		"<01>1 - - - - - -":                                         false,
		"<>1 - - - - - -":                                           false,
		"<1>2 - - - - - -":                                          false,
		"<1>1 2026-02-29T00:00:00Z - - - - -":                       false,
		"<1>1 0000-01-01T00:00:00Z - - - - -":                       false,
		"<1>1 2026-01-01T00:00:60Z - - - - -":                       false,
		"<1>1 2026-01-01T00:00:00 - - - - -":                        false,
		"<1>1 2026-01-01T00:00:00.Z - - - - -":                      false,
		"<1>1 2026-01-01T00:00:00.1234567Z - - - - -":               false,
		"<1>1 - - a - - [x y=\"z\"] hello":                          false,
		"<1>1 - - - - - -hello":                                     false,
		"<1>1 - - - - -":                                            false,
		"<1>1 -  - - - - -":                                         false,
		"<1>1 - h\x7f - - - -":                                      false,
		"<30>Jan  1 22:14:15 host app: x":                           false,
		"":                                                          false,
	} {
		if got := sameAsParser(t, p, body); got != read {
			t.Errorf("%q is read: %v", body, got)
		}
	}
}

// Of headers of all kinds, right ones and wrong ones, it reads what the parser does.
func TestHeaderIsWhatTheParserFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	pick := func(some ...string) string { return some[r.IntN(len(some))] }
	p := newParser()
	read := 0
	for range 50_000 {
		stamp := fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d", r.IntN(3000), r.IntN(14), r.IntN(33), r.IntN(26), r.IntN(62), r.IntN(62)) +
			pick("", "", ".", ".5", ".000001", ".1234567") + pick("Z", "Z", "z", "", "+00:00", "-23:59", "+24:00", "+1:00")
		body := fmt.Sprintf("<%d>%s %s %s %s %s %s %s%s", r.IntN(200), pick("1", "1", "1", "2", "12"), pick("-", stamp, stamp), pick("-", "host", "h\x01"),
			pick("-", "app", "a-b[1]"), pick("-", "1", "x"), pick("-", "ID47"), pick("-", "-", "-", "[a b=\"c\"]", ""), pick("", " ", " text", "x"))
		if at := r.IntN(3 * len(body)); at < len(body) {
			body = body[:at] + string(rune(r.IntN(128))) + body[at+1:]
		}
		if sameAsParser(t, p, body) {
			read++
		}
	}
	if read < 1000 {
		t.Errorf("only %d of them were read", read)
	}
}

func BenchmarkSyslogParse(b *testing.B) {
	p := newParser()
	body := []byte("<134>1 2026-11-30T10:00:00.000000Z host app 4242 - - " + strings.Repeat("x", 147))
	now := time.Now()
	for name, parse := range map[string]func(*feed.Message) bool{
		"header": p.header,
		"parser": func(m *feed.Message) bool { return p.parseAll(m, now) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if m := (feed.Message{Body: body}); !parse(&m) {
					b.Fatal("it can't be parsed")
				}
			}
		})
	}
}
