package layout

import "slices"

// Range is the offsets, or positions, from From (included) to To (not included).
type Range struct{ From, To int64 }

// Join returns ranges with r among them, sorted, touching ones joined.
// It leaves its argument as it is.
func Join(ranges []Range, r Range) []Range {
	out := make([]Range, 0, len(ranges)+1)
	for _, o := range ranges {
		if o.To < r.From || o.From > r.To {
			out = append(out, o)
			continue
		}
		r = Range{min(r.From, o.From), max(r.To, o.To)}
	}
	out = append(out, r)
	slices.SortFunc(out, func(a, b Range) int { return int(min(max(a.From-b.From, -1), 1)) })
	return out
}

// Contains reports whether one of the ranges contains all of r.
func Contains(ranges []Range, r Range) bool {
	return slices.ContainsFunc(ranges, func(o Range) bool { return o.From <= r.From && o.To >= r.To })
}

// Clip returns what of the ranges lies in the limit bytes from base on, as
// positions.
func Clip(ranges []Range, base, limit int64) (out []Range) {
	for _, r := range ranges {
		from, to := max(r.From-base, 0), min(r.To-base, limit)
		if from < to {
			out = append(out, Range{from, to})
		}
	}
	return out
}

// Without returns ranges without r.
func Without(ranges []Range, r Range) (out []Range) {
	for _, o := range ranges {
		if before := (Range{o.From, min(o.To, r.From)}); before.From < before.To {
			out = append(out, before)
		}
		if after := (Range{max(o.From, r.To), o.To}); after.From < after.To {
			out = append(out, after)
		}
	}
	return out
}

// Past returns the end of the range that offset lies in, or offset itself.
func Past(ranges []Range, offset int64) int64 {
	if i := after(ranges, offset); i < len(ranges) && ranges[i].From <= offset {
		return ranges[i].To
	}
	return offset
}

// From returns where the range begins that offset lies in, or -1.
func From(ranges []Range, offset int64) int64 {
	if i := after(ranges, offset); i < len(ranges) && ranges[i].From <= offset {
		return ranges[i].From
	}
	return -1
}

// Clear returns up to where, from offset on and before end, no range is: offset
// itself, or end where that is less, if it lies in one.
func Clear(ranges []Range, offset, end int64) int64 {
	if i := after(ranges, offset); i < len(ranges) {
		return max(min(end, ranges[i].From), min(offset, end))
	}
	return end
}

// after returns the index of the first range that ends behind offset.
func after(ranges []Range, offset int64) int {
	i, _ := slices.BinarySearchFunc(ranges, offset, func(r Range, offset int64) int {
		if r.To <= offset {
			return -1
		}
		return 1
	})
	return i
}
