package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Summary is what several rounds measured of one thing.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

// Summarize sums up at least one value. The median of an even number of values
// is the mean of the two in the middle. Minimum and maximum are the spread:
// with the few rounds of a run nothing finer would mean anything.
func Summarize(values []float64) Summary {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Summary{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1], Rounds: n}
}

// String returns the median and, where there is one, the spread.
func (s Summary) String() string {
	text := number(s.Median)
	low, high := number(s.Min), number(s.Max)
	if s.Rounds == 1 || low == high {
		return text
	}
	return text + " (" + low + "–" + high + ")"
}

// number formats a value with three significant digits, or as many as there
// are before the decimal point, in groups of three.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	const digits = 3
	magnitude := int(math.Floor(math.Log10(math.Abs(v)))) + 1
	decimals := max(digits-magnitude, 0)
	if magnitude > digits {
		unit := math.Pow(10, float64(magnitude-digits))
		v = math.Round(v/unit) * unit
	}
	text := strconv.FormatFloat(v, 'f', min(decimals, 6), 64)
	whole, fraction, found := strings.Cut(text, ".")
	if fraction = strings.TrimRight(fraction, "0"); found && fraction != "" {
		fraction = "." + fraction
	}
	return group(whole) + fraction
}

// group puts a comma between each three digits.
func group(digits string) string {
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "-", rest
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}
