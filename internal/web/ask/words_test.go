package ask_test

import (
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
)

func TestPlanWords(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	full := func(hoursAgo int) protocol.PlannedPartition {
		return protocol.PlannedPartition{Verdict: "keep", Newest: now.Add(-time.Duration(hoursAgo) * time.Hour)}
	}
	with := func(p protocol.PlannedPartition, change func(*protocol.PlannedPartition)) protocol.PlannedPartition {
		change(&p)
		return p
	}
	plan := ask.Plan{
		with(full(12), func(p *protocol.PlannedPartition) { p.Verdict, p.Why = "remove", "retention-age" }),
		with(full(9), func(p *protocol.PlannedPartition) { p.Verdict, p.Why = "held", "partitions" }),
		with(full(6), func(p *protocol.PlannedPartition) { p.AfterPartitions = 1 }),
		with(full(3), func(p *protocol.PlannedPartition) {
			p.AfterPartitions, p.AfterBytes, p.At = 2, 4_100_000, now.Add(72*time.Hour)
		}),
		full(0),
	}
	want := []string{
		"goes at the next check, by retention-age",
		"goes when its delete hook has succeeded, by partitions",
		"goes when 1 more partition is begun, about 3 h",
		"goes when 2 more partitions are begun, about 6 h, or when 4.1 MB more are written, or in 3 d, by its age",
		"written now",
	}
	for i := range plan {
		if got := plan.Words(i, now); got != want[i] {
			t.Errorf("%d: %q, want %q", i, got, want[i])
		}
	}
	if got := (ask.Plan{full(1), full(0)}).Words(0, now); got != "stays" {
		t.Errorf("nothing removes it: %q", got)
	}
	if got := (ask.Plan{with(full(48), func(p *protocol.PlannedPartition) { p.AfterPartitions = 3 }), full(40)}).Words(0, now); got != "goes when 3 more partitions are begun, about 6 d" {
		t.Errorf("nothing is written any more: %q", got)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ask.Size(0), "0 B"}, {ask.Size(999), "999 B"}, {ask.Size(1000), "1 kB"}, {ask.Size(4096), "4.1 kB"}, {ask.Size(999_499), "999 kB"},
		{ask.Size(999_950), "1 MB"}, {ask.Size(1_400_000_000), "1.4 GB"}, {ask.Size(1<<63 - 1), "9.22 EB"},
		{ask.Count(999_999), "999,999"}, {ask.Count(12_034_220), "12 M"}, {ask.Exact(1_234), "1,234"}, {ask.Exact(-1_234), "-1,234"}, {ask.Exact(-123), "-123"}, {ask.Exact(12), "12"},
		{ask.About(-time.Second), "0 s"}, {ask.About(200 * time.Millisecond), "0.2 s"}, {ask.About(42 * time.Second), "42 s"},
		{ask.About(99 * time.Minute), "99 min"}, {ask.About(3 * time.Hour), "3 h"}, {ask.About(9 * 24 * time.Hour), "9 d"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
