package ask

import (
	"fmt"
	"strings"
	"time"
)

// About returns a duration as one number with its unit: 0.2 s, 42 s, 3 h, 9 d.
func About(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// Size returns so many bytes with a unit, in steps of 1000: 312 B, 4.1 kB, 1.4 GB.
func Size(n int64) string { return scaled(n, "B", "kB", "MB", "GB", "TB", "PB", "EB") }

// Count returns a number, from a million on rounded: 31,200, 12.0 M.
func Count(n int64) string {
	if n < 1_000_000 {
		return Exact(n)
	}
	return scaled(n, "", "k", "M", "G", "T", "P", "E")
}

func scaled(n int64, units ...string) string {
	v, i := float64(n), 0
	for ; i < len(units)-1 && v >= 999.5; i++ {
		v /= 1000
	}
	if i == 0 || v >= 99.5 {
		return strings.TrimSuffix(fmt.Sprintf("%.0f %s", v, units[i]), " ")
	}
	return fmt.Sprintf("%.3g %s", v, units[i])
}

// Exact returns a number, in groups of three digits.
func Exact(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
