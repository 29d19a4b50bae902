package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/logd-dev/logd/admin"
)

// When says in few letters when something was, and how long ago: "19:00 (2m)"
// within a day, "Nov 26 (2d)" within half a year, else "2025-11-26 (1y)".
func When(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	layout := "2006-01-02"
	switch age := now.Sub(t); {
	case age < -24*time.Hour:
	case age < 24*time.Hour:
		layout = "15:04"
	case age < 180*24*time.Hour:
		layout = "Jan _2"
	}
	return fmt.Sprintf("%s (%s)", t.In(now.Location()).Format(layout), shortAge(now.Sub(t)))
}

// shortAge is a duration in its largest unit, rounded down.
func shortAge(d time.Duration) string {
	if d < 0 {
		return "in " + shortAge(-d)
	}
	const day = 24 * time.Hour
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"y", 365 * day}, {"w", 7 * day}, {"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= u.unit && (u.name != "w" || d >= 2*u.unit) {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// ForPeople returns a server's value as people read it: sizes with units,
// numbers with commas, times here and how long ago. Offsets stay as they are:
// they are there to be copied.
func ForPeople(f admin.Field, now time.Time) string {
	if t, err := time.Parse(time.RFC3339, f.Value); err == nil {
		return fmt.Sprintf("%s (%s)", t.In(now.Location()).Format("2006-01-02 15:04:05"), humanize.RelTime(t, now, "ago", "from now"))
	}
	n, err := strconv.ParseInt(f.Value, 10, 64)
	switch {
	case err != nil || n < 1000:
		return f.Value
	case isSize(f.Name):
		about := FormatBytes(float64(n))
		if n%1024 == 0 { // a setting, as it was written
			about = humanize.IBytes(uint64(n))
		}
		return fmt.Sprintf("%s (%s bytes)", about, humanize.Comma(n))
	case f.Name == "Oldest" || f.Name == "Next" || f.Name == "Topic":
		return f.Value
	}
	return humanize.Comma(n)
}

// isSize reports whether the value of that name is a number of bytes.
func isSize(name string) bool {
	return strings.HasSuffix(name, "Bytes") || strings.HasSuffix(name, "Size") || strings.HasPrefix(name, "bytes.") || name == "Damaged"
}

// Count says how many there are of what has an s behind it if they are many.
func Count(n int64, what string) string { return Plural(n, what, what+"s") }

// Plural says how many there are, with the word for one or for many.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
