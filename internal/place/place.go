// Package place is the grammar of places in a topic, as people write them on a
// command line or in a URL. It has no I/O and asks no clock: Parse makes a Place
// of a text, and whoever has a topic at hand finds out where that is.
//
//	p, err := place.Parse("-2d", time.Now())       // two days ago, as seen from here
//	p, err := place.Parse("today", time.Now().UTC()) // when the day began in UTC
//
// A Place is a value, to be copied and compared as such.
package place

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Place is where in a topic something begins or ends, as a person writes it:
//
//	start end                       the oldest message, and behind the newest one
//	1234                            the batch at an offset
//	1234.56                         a message, as read -n prints it
//	-10                             the tenth message before the end
//	-90s -2d -1w -1h30m             so long ago; the - may be left out
//	2026-11-28 "2026-11-28 19:00"   a day or a time of day in the zone of now, with
//	"2026-11-28 19:00:05"           or without seconds
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

// Parse parses a place. now is what times that say how long ago are seen from;
// its location is the zone of days and times that have none. An error says what
// a place may be, and does not quote the text.
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
		if offset, ok := Digits(name); ok {
			if delta, ok := Digits(delta); ok {
				return Place{Kind: AtOffset, Offset: offset, Delta: delta}, nil
			}
		}
	}
	if offset, ok := Digits(text); ok {
		return Place{Kind: AtOffset, Offset: offset}, nil
	}
	ago, dash := strings.CutPrefix(text, "-")
	if n, ok := Digits(ago); ok && dash {
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

// Digits parses a number that is nothing but decimal digits.
func Digits(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
