package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a flag's number of bytes: 65536, 64KiB, 64kB.
type Size int64

// sizeUnits are the units that a size may have. The first that divides it is
// used to print it.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// Set parses a size.
func (s *Size) Set(text string) error {
	number, factor := text, int64(1)
	for _, unit := range sizeUnits {
		if n := len(text) - len(unit.name); n > 0 && strings.EqualFold(text[n:], unit.name) {
			number, factor = text[:n], unit.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil || n < 0:
		return errors.New("want a number of bytes such as 65536 or 64KiB")
	case n > math.MaxInt64/factor:
		return errors.New("too large")
	}
	*s = Size(n * factor)
	return nil
}

// String returns the size with the largest unit of 1024s that leaves a whole
// number.
func (s *Size) String() string {
	for _, unit := range sizeUnits[:3] {
		if *s != 0 && int64(*s)%unit.bytes == 0 {
			return fmt.Sprint(int64(*s)/unit.bytes, unit.name)
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type names the kind of value in --help.
func (s *Size) Type() string { return "SIZE" }

// FormatBytes returns n for people, with three digits or so.
func FormatBytes(n float64) string {
	for _, unit := range []struct {
		name  string
		bytes float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if n >= unit.bytes {
			return fmt.Sprintf("%.1f %s", n/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}
