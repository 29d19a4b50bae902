package logd

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/protocol"

	"github.com/logd-dev/logd/logdtest/script"
)

// timesBody returns an answer to TIMES with a line for each of n batches of 10
// bytes, all of another time.
func timesBody(from int64, n int) string {
	var marks []protocol.TimeMark
	for i := range int64(n) {
		marks = append(marks, protocol.TimeMark{Offset: from + 10*i, Millis: from + 10*i})
	}
	return mok(string(protocol.AppendTimes(nil, marks)))
}

func TestTimes(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("TIMES t 5 100", mok("10 1700000000001\r\n30 1700000000000\r\n"))
		p.Exchange("TIMES t 0 0", mok(""))
		p.Exchange("TIMES t 0 100", "ERR not found\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	at := time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)
	marks, err := c.Times(t.Context(), "t", 5, 100)
	if diff := cmp.Diff([]TimeMark{{10, at.Add(time.Millisecond)}, {30, at}}, marks); err != nil || diff != "" {
		t.Errorf("Times, %v (-want +got):\n%s", err, diff)
	}
	if marks, err := c.Times(t.Context(), "t", -7, math.MinInt64); err != nil || len(marks) != 0 {
		t.Errorf("Times of no range = %v, %v", marks, err)
	}
	if _, err := c.Times(t.Context(), "t", 0, 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("Times = %v, want not found", err)
	}
	if _, err := c.Times(t.Context(), "a b", 0, 1); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("Times = %v, want invalid request", err)
	}
}

// The server answers with at most 10,000 lines: Times asks on from the last.
func TestTimesOfMany(t *testing.T) {
	last := int64(10 * (protocol.MaxTimes - 1))
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("TIMES t 0 1000000", timesBody(0, protocol.MaxTimes))
		p.Exchange(fmt.Sprintf("TIMES t %d 1000000", last), timesBody(last, protocol.MaxTimes))
		p.Exchange(fmt.Sprintf("TIMES t %d 1000000", 2*last), timesBody(2*last+30, 2)) // what was there is removed
		p.AwaitClose()
	})
	marks, err := dialTest(t, cfg).Times(t.Context(), "t", 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2*protocol.MaxTimes - 1 + 2; len(marks) != want {
		t.Fatalf("%d marks, want %d", len(marks), want)
	}
	for i, m := range marks {
		if m.Time.UnixMilli() != m.Offset || i > 0 && m.Offset <= marks[i-1].Offset {
			t.Fatalf("mark %d is %v, after %v", i, m, marks[max(i-1, 0)])
		}
	}
}

func TestTimesBadAnswer(t *testing.T) {
	for _, body := range []string{
		"x", "10 1", "10 1\r\n10 2\r\n", "20 1\r\n10 2\r\n", "10 -1\r\n", "10 1\r\n\r\n", // not of that form
		"9 1\r\n", "10 1\r\n100 1\r\n", // not what was asked for
	} {
		_, cfg := fake(t, func(p *script.Peer) {
			p.Exchange("TIMES t 10 100", mok(body))
			p.AwaitClose()
		})
		if marks, err := dialTest(t, cfg).Times(t.Context(), "t", 10, 100); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%q: Times = %v, %v, want a bad answer", body, marks, err)
		}
	}
}

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
