package main

import (
	"testing"
	"time"
)

func TestParsePlace(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 11, 1, 12, 30, 0, 0, zone)
	at := func(t time.Time) place { return place{kind: atTime, time: t} }
	ago := func(d time.Duration) place { return at(now.Add(-d)) }
	const day = 24 * time.Hour
	for text, want := range map[string]place{
		"start":      {kind: atStart},
		"end":        {kind: atEnd},
		"0":          {kind: atOffset},
		"77600642":   {kind: atOffset, offset: 77600642},
		"010":        {kind: atOffset, offset: 10},
		"776.14035":  {kind: atOffset, offset: 776, delta: 14035},
		"776.0":      {kind: atOffset, offset: 776},
		"-1":         {kind: fromEnd, n: 1},
		"-0":         {kind: fromEnd},
		"-250":       {kind: fromEnd, n: 250},
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
		got, err := parsePlace(text, now)
		if err != nil || !got.time.Equal(want.time) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
		got.time, want.time = time.Time{}, time.Time{}
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
		if p, err := parsePlace(text, now); err == nil {
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
		if p, err := parsePlace("yesterday", now); err != nil || !p.time.Equal(want) {
			t.Errorf("yesterday of %v is %v, %v, want %v", now, p.time, err, want)
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
		a, err := parsePlace(test.a, now)
		if err != nil {
			t.Fatal(err)
		}
		b, err := parsePlace(test.b, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.after(b); got != test.want {
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
		p, err := parsePlace(text, now)
		if err != nil {
			return
		}
		if p.kind == noPlace || p.offset < 0 || p.delta < 0 || p.n < 0 {
			t.Fatalf("%q: %+v", text, p)
		}
		again, err := parsePlace(p.String(), now)
		if p.time.Year() > 9999 || p.time.Year() < 0 {
			return // has no text
		}
		if err != nil || !again.time.Equal(p.time) {
			t.Fatalf("%q: %v, which is %v, %v", text, p, again, err)
		}
		again.time, p.time = time.Time{}, time.Time{}
		if again != p {
			t.Fatalf("%q: %+v, again %+v", text, p, again)
		}
	})
}
