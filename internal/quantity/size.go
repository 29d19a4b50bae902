// Package quantity reads and writes sizes as people do: 64KiB. Files of settings and
// of identities have them alike.
package quantity

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the units of sizes, in lower case, and their bytes.
var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15,
}

// ParseSize parses a number of bytes: decimal digits, then a unit or nothing,
// with one space between them or none. Units are B, KB, MB, GB, TB and PB in
// thousands and KiB, MiB, GiB, TiB and PiB in 1024s, in any case.
//
// Every digit counts: a size is never rounded, as it would be by way of a
// float64, and "64k" is refused rather than guessed at.
func ParseSize(text string) (int64, error) {
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

// FormatSize returns n with the largest unit that leaves a whole number: of 1024s, or
// else of millions. It is the text that ParseSize makes n of.
func FormatSize(n int64) string {
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
