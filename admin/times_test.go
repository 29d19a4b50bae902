package admin_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
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
	return body(string(protocol.AppendTimes(nil, marks)))
}

func TestTimes(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("TIMES t 5 100", body("10 1700000000001\r\n30 1700000000000\r\n"))
		p.Exchange("TIMES t 0 0", body(""))
		p.Exchange("TIMES t 0 100", "ERR not found\r\n")
		p.AwaitClose()
	})
	c := dial(t, cfg)
	at := time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)
	marks, err := c.Times(t.Context(), "t", 5, 100)
	if diff := cmp.Diff([]admin.TimeMark{{10, at.Add(time.Millisecond)}, {30, at}}, marks); err != nil || diff != "" {
		t.Errorf("Times, %v (-want +got):\n%s", err, diff)
	}
	if marks, err := c.Times(t.Context(), "t", -7, math.MinInt64); err != nil || len(marks) != 0 {
		t.Errorf("Times of no range = %v, %v", marks, err)
	}
	if _, err := c.Times(t.Context(), "t", 0, 100); !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("Times = %v, want no topic", err)
	}
	if _, err := c.Times(t.Context(), "a b", 0, 1); !errors.Is(err, logd.ErrInvalidRequest) {
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
	marks, err := dial(t, cfg).Times(t.Context(), "t", 0, 1_000_000)
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
	for _, text := range []string{
		"x", "10 1", "10 1\r\n10 2\r\n", "20 1\r\n10 2\r\n", "10 -1\r\n", "10 1\r\n\r\n", // not of that form
		"9 1\r\n", "10 1\r\n100 1\r\n", // not what was asked for
	} {
		_, cfg := fake(t, func(p *script.Peer) {
			p.Exchange("TIMES t 10 100", body(text))
			p.AwaitClose()
		})
		if marks, err := dial(t, cfg).Times(t.Context(), "t", 10, 100); !errors.Is(err, logd.ErrBadAnswer) {
			t.Errorf("%q: Times = %v, %v, want a bad answer", text, marks, err)
		}
	}
}
