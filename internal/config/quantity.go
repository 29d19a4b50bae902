package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the units of sizes, in lower case, and their bytes.
var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15,
}

// parseSize parses a number of bytes: decimal digits, then a unit or nothing,
// with one space between them or none. Units are B, KB, MB, GB, TB and PB in
// thousands and KiB, MiB, GiB, TiB and PiB in 1024s, in any case.
//
// Every digit counts: a size is never rounded, as it would be by way of a
// float64, and "64k" is refused rather than guessed at.
func parseSize(text string) (int64, error) {
	digits := text
	if i := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = text[:i]
	}
	unit := strings.ToLower(strings.TrimPrefix(text[len(digits):], " "))
	if digits == "" {
		return 0, errors.New("not a size such as 64KiB")
	}
	factor, ok := sizeUnits[unit]
	if !ok {
		if len(unit) == 1 && strings.Contains("kmgtp", unit) {
			k := strings.ToUpper(unit)
			return 0, fmt.Errorf("the unit is ambiguous: write %siB (1024s) or %sB (1000s)", k, k)
		}
		return 0, errors.New("not a size such as 64KiB")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, errors.New("larger than any size")
	}
	return n * factor, nil
}

// formatSize returns n with the largest unit that leaves a whole number: of 1024s, or
// else of millions. It is the text that parseSize makes n of.
func formatSize(n int64) string {
	units, step := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}, int64(1024)
	if n%1024 != 0 && n%1e6 == 0 {
		n, units, step = n/1e6, []string{"MB", "GB", "TB", "PB"}, 1000
	}
	i := 0
	for n != 0 && n%step == 0 && i < len(units)-1 {
		n /= step
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// parseDuration parses a duration as package time does, and says what most
// often is wrong.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, errors.New("a duration without a unit: write ms, s, m or h after the number")
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return 0, fmt.Errorf("hours are the largest unit: write %dh", n*24)
		}
	}
	return 0, errors.New("not a duration such as 15s")
}

// formatDuration is d.String without the zeros at its end: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("out of range")
	case err != nil:
		return 0, errors.New("not a whole number")
	}
	return n, nil
}
