package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A place is where in a topic something begins or ends, as a person writes it:
//
//	start end                       the oldest message, and behind the newest one
//	1234                            the batch at an offset
//	1234.56                         a message, as read -n prints it
//	-10                             the tenth message before the end
//	-90s -2d -1w -1h30m             so long ago; the - may be left out
//	2026-11-28 "2026-11-28 19:00"   a day or a time of day here, with or without
//	"2026-11-28 19:00:05"           seconds
//	2026-11-28T19:00:05Z            a time, RFC 3339
//	today yesterday                 when the day began
//
// A time stands for the first batch that was appended at or after it.
type place struct {
	kind          placeKind
	offset, delta int64
	n             int64 // messages before the end
	time          time.Time
}

type placeKind uint8

const (
	noPlace placeKind = iota
	atStart
	atEnd
	atOffset // offset, and delta
	fromEnd  // n
	atTime   // time
)

// errPlace says what a place may be.
var errPlace = errors.New("want start, end, OFFSET, OFFSET.DELTA, -N (messages), 10m or -2d (ago), " +
	"today, yesterday, 2026-11-28 or \"2026-11-28 19:00\"")

// placeLayouts are how times may be written whose zone is that of now.
var placeLayouts = []string{
	"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05",
}

// parsePlace parses a place. now is what times that say how long ago, and those
// without a zone, are seen from.
func parsePlace(text string, now time.Time) (place, error) {
	switch text {
	case "start":
		return place{kind: atStart}, nil
	case "end":
		return place{kind: atEnd}, nil
	case "today", "yesterday":
		day := now.Day()
		if text == "yesterday" {
			day--
		}
		return place{kind: atTime, time: time.Date(now.Year(), now.Month(), day, 0, 0, 0, 0, now.Location())}, nil
	}
	if name, delta, ok := strings.Cut(text, "."); ok {
		if offset, ok := digits(name); ok {
			if delta, ok := digits(delta); ok {
				return place{kind: atOffset, offset: offset, delta: delta}, nil
			}
		}
	}
	if offset, ok := digits(text); ok {
		return place{kind: atOffset, offset: offset}, nil
	}
	ago, dash := strings.CutPrefix(text, "-")
	if n, ok := digits(ago); ok && dash {
		return place{kind: fromEnd, n: n}, nil
	}
	if d, ok := parseAgo(ago); ok {
		return place{kind: atTime, time: now.Add(-d)}, nil
	}
	for _, layout := range placeLayouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return place{kind: atTime, time: t}, nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return place{kind: atTime, time: t}, nil
		}
	}
	return place{}, errPlace
}

// agoUnits are the units of a time ago. Those that begin with others' letters
// come first.
var agoUnits = []struct {
	name string
	unit time.Duration
}{
	{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour},
	{"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
}

// parseAgo parses a duration such as 90s, 1h30m or 2d.
func parseAgo(text string) (time.Duration, bool) {
	var sum float64
	for rest := text; rest != ""; {
		unit := strings.TrimLeft(rest, "0123456789.")
		n, err := strconv.ParseFloat(rest[:len(rest)-len(unit)], 64)
		if err != nil {
			return 0, false
		}
		found := false
		for _, u := range agoUnits {
			if rest, found = strings.CutPrefix(unit, u.name); found {
				sum += n * float64(u.unit)
				break
			}
		}
		if !found || sum >= math.MaxInt64 {
			return 0, false
		}
	}
	return time.Duration(sum), text != ""
}

// String returns the place as parsePlace takes it.
func (p place) String() string {
	switch p.kind {
	case atStart:
		return "start"
	case atEnd:
		return "end"
	case atOffset:
		if p.delta > 0 {
			return fmt.Sprintf("%d.%d", p.offset, p.delta)
		}
		return strconv.FormatInt(p.offset, 10)
	case fromEnd:
		return fmt.Sprintf("-%d", p.n)
	case atTime:
		return p.time.Format(time.RFC3339Nano)
	}
	return ""
}

// after reports whether p is behind other for certain, whatever the topic has.
func (p place) after(other place) bool {
	switch {
	case p.kind == atEnd && other.kind == atStart:
		return false // equal if the topic is empty
	case p.kind != other.kind:
		return false
	}
	return p.time.After(other.time) || p.offset > other.offset ||
		p.offset == other.offset && p.delta > other.delta || p.n < other.n
}

// placeFlag is a place as a flag.
type placeFlag struct {
	place
	text string
}

// Set parses the place.
func (f *placeFlag) Set(text string) error {
	p, err := parsePlace(text, time.Now())
	if err != nil {
		return err
	}
	f.place, f.text = p, text
	return nil
}

func (f *placeFlag) String() string { return f.text }

// Type is asked for by pflag.
func (f *placeFlag) Type() string { return "PLACE" }

// isSet reports whether the flag was given.
func (f *placeFlag) isSet() bool { return f.kind != noPlace }

// completePlace offers the places that have names.
func completePlace(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"start", "end", "today", "yesterday"}, cobra.ShellCompDirectiveNoFileComp
}
