package logd

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/protocol"

	"github.com/logd-dev/logd/logdtest/script"
)

// A Scanner asks once for what a read has returned, and goes on without the
// times where the server does not know them.
func TestScannerTimes(t *testing.T) {
	first, second := stored("t", "a", "b"), stored("t", "c")
	middle, end := len(first), len(first)+len(second)
	const at = 1_700_000_000_000
	lines := func(marks ...protocol.TimeMark) string { return mok(string(protocol.AppendTimes(nil, marks))) }
	for name, tt := range map[string]struct {
		answers []string // to TIMES; empty for the connection to be closed
		want    []int64
		asked   int
	}{
		"each":       {[]string{lines(protocol.TimeMark{Millis: at}, protocol.TimeMark{Offset: int64(middle), Millis: at + 1})}, []int64{at, at, at + 1}, 1},
		"one":        {[]string{lines(protocol.TimeMark{Millis: at})}, []int64{at, at, at}, 1},
		"the second": {[]string{lines(protocol.TimeMark{Offset: int64(middle), Millis: at})}, []int64{0, 0, at}, 1},
		"removed":    {[]string{mok("")}, []int64{0, 0, 0}, 1},
		"unknown":    {[]string{"ERR invalid protocol\r\n"}, []int64{0, 0, 0}, 1},
		"refused":    {[]string{"ERR invalid request\r\n"}, []int64{0, 0, 0}, 1},
		"failed":     {[]string{"ERR internal error\r\n"}, []int64{0, 0, 0}, 1},
		"deleted":    {[]string{"ERR not found\r\n"}, []int64{0, 0, 0}, 1},
		"busy":       {[]string{"ERR busy\r\n", lines(protocol.TimeMark{Millis: at})}, []int64{at, at, at}, 2},
		"cut off":    {[]string{"", "", lines(protocol.TimeMark{Millis: at})}, []int64{at, at, at}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s := fakeScanner(t, ScannerConfig{Start: AtOffset(0), Times: true}, func(p *script.Peer) {
					for {
						r, ok := p.Request()
						line := r.Line
						if !ok {
							return
						}
						switch {
						case line == "CONFIG":
							p.AnswerConfig(DefaultMaxBatchSize)
						case strings.HasPrefix(line, "READ t 0 "):
							p.Answer("%s", "OK 0 2\r\n"+first+second)
						case strings.HasPrefix(line, "READ t "):
							p.Answer("OK %d 0\r\n", end)
						case line == fmt.Sprintf("TIMES t 0 %d", end):
							answer := tt.answers[asked]
							asked++
							p.Answer("%s", answer)
							if answer == "" || strings.Contains(answer, "protocol") {
								return
							}
						default:
							t.Errorf("the client sent %q", line)
						}
					}
				})
				var got []int64
				for s.Scan() {
					m := s.Message()
					if m.Time.IsZero() {
						got = append(got, 0)
					} else {
						got = append(got, m.Time.UnixMilli())
					}
				}
				if s.Err() != nil || asked != tt.asked {
					t.Errorf("asked %d times, want %d; error %v", asked, tt.asked, s.Err())
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("times (-want +got):\n%s", diff)
				}
			})
		})
	}
}
