package place

import (
	"testing"
	"time"
)

func TestParsePlace(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 11, 1, 12, 30, 0, 0, zone)
	at := func(t time.Time) Place { return Place{Kind: AtTime, Time: t} }
	ago := func(d time.Duration) Place { return at(now.Add(-d)) }
	const day = 24 * time.Hour
	for text, want := range map[string]Place{
		"start":      {Kind: AtStart},
		"end":        {Kind: AtEnd},
		"0":          {Kind: AtOffset},
		"77600642":   {Kind: AtOffset, Offset: 77600642},
		"010":        {Kind: AtOffset, Offset: 10},
		"776.14035":  {Kind: AtOffset, Offset: 776, Delta: 14035},
		"776.0":      {Kind: AtOffset, Offset: 776},
		"-1":         {Kind: FromEnd, N: 1},
		"-0":         {Kind: FromEnd},
		"-250":       {Kind: FromEnd, N: 250},
		"-90s":       ago(90 * time.Second),
		"90s":        ago(90 * time.Second),
		"10m":        ago(10 * time.Minute),
		"-1h30m":     ago(90 * time.Minute),
		"1.5h":       ago(90 * time.Minute),
		"-250ms":     ago(250 * time.Millisecond),
		"-2d":        ago(2 * day),
		"-1w":        ago(7 * day),
		"1w2d":       ago(9 * day),
		"0s":         ago(0),
		"today":      at(time.Date(2026, 11, 1, 0, 0, 0, 0, zone)),
		"yesterday":  at(time.Date(2026, 10, 31, 0, 0, 0, 0, zone)),
		"2026-11-28": at(time.Date(2026, 11, 28, 0, 0, 0, 0, zone)),

		"2026-11-28 19:00":              at(time.Date(2026, 11, 28, 19, 0, 0, 0, zone)),
		"2026-11-28 19:00:05":           at(time.Date(2026, 11, 28, 19, 0, 5, 0, zone)),
		"2026-11-28T19:00":              at(time.Date(2026, 11, 28, 19, 0, 0, 0, zone)),
		"2026-11-28T19:00:05":           at(time.Date(2026, 11, 28, 19, 0, 5, 0, zone)),
		"2026-11-28T19:00:05Z":          at(time.Date(2026, 11, 28, 19, 0, 5, 0, time.UTC)),
		"2026-11-28T19:00:05.123+01:00": at(time.Date(2026, 11, 28, 18, 0, 5, 123e6, time.UTC)),
		"2026-11-28 19:00:05Z":          at(time.Date(2026, 11, 28, 19, 0, 5, 0, time.UTC)),
	} {
		got, err := Parse(text, now)
		if err != nil || !got.Time.Equal(want.Time) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
		got.Time, want.Time = time.Time{}, time.Time{}
		if got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	for _, text := range []string{
		"", " ", "-", "+5", "5.", ".5", "5.-1", "1.2.3", "-1.5", "1e3s", "0x10", "10", "10 ", "s", "-s", "5y", "5m3", "--5", "tomorrow", "Start",
		"9223372036854775808", "-9223372036854775808", "300000w", "2026-13-01", "2026-11-28 25:00", "28.11.2026x", "infs", "nan",
	} {
		if text == "10" {
			continue
		}
		if p, err := Parse(text, now); err == nil {
			t.Errorf("%q is taken for %v", text, p)
		}
	}
}

// The day before the first of a month, and one on which clocks change.
func TestYesterday(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for now, want := range map[time.Time]time.Time{
		time.Date(2026, 3, 1, 0, 0, 0, 0, zone):    time.Date(2026, 2, 28, 0, 0, 0, 0, zone),
		time.Date(2026, 10, 26, 0, 30, 0, 0, zone): time.Date(2026, 10, 25, 0, 0, 0, 0, zone),
	} {
		if p, err := Parse("yesterday", now); err != nil || !p.Time.Equal(want) {
			t.Errorf("yesterday of %v is %v, %v, want %v", now, p.Time, err, want)
		}
	}
}

func TestPlaceAfter(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"today", "yesterday", true}, {"yesterday", "today", false}, {"today", "today", false},
		{"5", "4", true}, {"5", "5.1", false}, {"5.2", "5.1", true}, {"5", "-5", false},
		{"-1", "-2", true}, {"-2", "-1", false}, {"end", "start", false}, {"start", "end", false},
	} {
		a, err := Parse(test.a, now)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Parse(test.b, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.After(b); got != test.want {
			t.Errorf("%s after %s: %v", test.a, test.b, got)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, seed := range []string{"start", "776.14035", "-3", "-1h30m", "2026-11-28 19:00:05", "2026-11-28T19:00:05.5+01:00", "yesterday", "1.5.5h"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text, now)
		if err != nil {
			return
		}
		if p.Kind == None || p.Offset < 0 || p.Delta < 0 || p.N < 0 {
			t.Fatalf("%q: %+v", text, p)
		}
		again, err := Parse(p.String(), now)
		if p.Time.Year() > 9999 || p.Time.Year() < 0 {
			return // has no text
		}
		if err != nil || !again.Time.Equal(p.Time) {
			t.Fatalf("%q: %v, which is %v, %v", text, p, again, err)
		}
		again.Time, p.Time = time.Time{}, time.Time{}
		if again != p {
			t.Fatalf("%q: %+v, again %+v", text, p, again)
		}
	})
}
