// Package place knows the places in a topic that a person names on a command
// line: how they are written, and where in the topic they are.
package place

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// Place is where in a topic something begins or ends, as a person writes it:
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
type Place struct {
	Kind          Kind
	Offset, Delta int64
	N             int64 // messages before the end
	Time          time.Time
}

// Kind is how a place is named.
type Kind uint8

// The kinds of places, and which fields of a Place they have. None is no place.
const (
	None Kind = iota
	AtStart
	AtEnd
	AtOffset // Offset, and Delta
	FromEnd  // N
	AtTime   // Time
)

// errPlace says what a place may be.
var errPlace = errors.New("want start, end, OFFSET, OFFSET.DELTA, -N (messages), 10m or -2d (ago), " +
	"today, yesterday, 2026-11-28 or \"2026-11-28 19:00\"")

// placeLayouts are how times may be written whose zone is that of now.
var placeLayouts = []string{
	"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05",
}

// Parse parses a place. now is what times that say how long ago, and those
// without a zone, are seen from.
func Parse(text string, now time.Time) (Place, error) {
	switch text {
	case "start":
		return Place{Kind: AtStart}, nil
	case "end":
		return Place{Kind: AtEnd}, nil
	case "today", "yesterday":
		day := now.Day()
		if text == "yesterday" {
			day--
		}
		return Place{Kind: AtTime, Time: time.Date(now.Year(), now.Month(), day, 0, 0, 0, 0, now.Location())}, nil
	}
	if name, delta, ok := strings.Cut(text, "."); ok {
		if offset, ok := cli.Digits(name); ok {
			if delta, ok := cli.Digits(delta); ok {
				return Place{Kind: AtOffset, Offset: offset, Delta: delta}, nil
			}
		}
	}
	if offset, ok := cli.Digits(text); ok {
		return Place{Kind: AtOffset, Offset: offset}, nil
	}
	ago, dash := strings.CutPrefix(text, "-")
	if n, ok := cli.Digits(ago); ok && dash {
		return Place{Kind: FromEnd, N: n}, nil
	}
	if d, ok := parseAgo(ago); ok {
		return Place{Kind: AtTime, Time: now.Add(-d)}, nil
	}
	for _, layout := range placeLayouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return Place{Kind: AtTime, Time: t}, nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return Place{Kind: AtTime, Time: t}, nil
		}
	}
	return Place{}, errPlace
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

// String returns the place as it can be written.
func (p Place) String() string {
	switch p.Kind {
	case AtStart:
		return "start"
	case AtEnd:
		return "end"
	case AtOffset:
		if p.Delta > 0 {
			return fmt.Sprintf("%d.%d", p.Offset, p.Delta)
		}
		return strconv.FormatInt(p.Offset, 10)
	case FromEnd:
		return fmt.Sprintf("-%d", p.N)
	case AtTime:
		return p.Time.Format(time.RFC3339Nano)
	}
	return ""
}

// After reports whether p is behind other for certain, whatever the topic has.
func (p Place) After(other Place) bool {
	switch {
	case p.Kind == AtEnd && other.Kind == AtStart:
		return false // equal if the topic is empty
	case p.Kind != other.Kind:
		return false
	}
	return p.Time.After(other.Time) || p.Offset > other.Offset ||
		p.Offset == other.Offset && p.Delta > other.Delta || p.N < other.N
}

// Flag is a place as a flag.
type Flag struct {
	Place
	text string
}

// Set parses the place.
func (f *Flag) Set(text string) error {
	p, err := Parse(text, time.Now())
	if err != nil {
		return err
	}
	f.Place, f.text = p, text
	return nil
}

func (f *Flag) String() string { return f.text }

// Type is asked for by pflag.
func (f *Flag) Type() string { return "PLACE" }

// IsSet reports whether the flag was given.
func (f *Flag) IsSet() bool { return f.Kind != None }

// Complete offers the places that have names.
func Complete(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"start", "end", "today", "yesterday"}, cobra.ShellCompDirectiveNoFileComp
}
