package layout

import (
	"fmt"
	"testing"
)

func TestNames(t *testing.T) {
	if got := fmt.Sprint(Partition("t", 70), " ", Index("t", 0), " ", JournalFile("t")); got != "t/70.log t/0.idx t/journal" {
		t.Errorf("names: %s", got)
	}
	for name, want := range map[string]int64{"0.log": 0, "70.log": 70, "9223372036854775807.log": 1<<63 - 1} {
		if base, ok := Base(name); !ok || base != want {
			t.Errorf("Base(%q): %d, %v", name, base, ok)
		}
	}
	for _, name := range []string{"", ".log", "007.log", "-1.log", "70.idx", "70", "9223372036854775808.log", "t/70.log"} {
		if base, ok := Base(name); ok {
			t.Errorf("Base(%q): %d", name, base)
		}
	}
}

func TestRanges(t *testing.T) {
	ranges := []Range{{10, 20}, {40, 50}}
	tests := []struct {
		name string
		got  []Range
		want string
	}{
		{"join before", Join(ranges, Range{0, 5}), "[{0 5} {10 20} {40 50}]"},
		{"join touching", Join(ranges, Range{20, 30}), "[{10 30} {40 50}]"},
		{"join both", Join(ranges, Range{15, 40}), "[{10 50}]"},
		{"clip", Clip(ranges, 15, 30), "[{0 5} {25 30}]"},
		{"clip all", Clip(ranges, 20, 20), "[]"},
		{"without a middle", Without(ranges, Range{12, 14}), "[{10 12} {14 20} {40 50}]"},
		{"without all of one", Without(ranges, Range{5, 45}), "[{45 50}]"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(test.got); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if !Contains(ranges, Range{12, 20}) || Contains(ranges, Range{12, 21}) || fmt.Sprint(ranges) != "[{10 20} {40 50}]" {
		t.Error("Contains, or a range was changed")
	}
}

func TestRangesAround(t *testing.T) {
	ranges := []Range{{10, 20}, {40, 50}}
	for _, test := range []struct{ offset, end, past, clear int64 }{
		{0, 100, 0, 10},
		{0, 5, 0, 5},
		{9, 100, 9, 10},
		{10, 100, 20, 10},
		{19, 100, 20, 19},
		{20, 100, 20, 40},
		{20, 30, 20, 30},
		{45, 100, 50, 45},
		{45, 30, 50, 30},
		{50, 100, 50, 100},
		{120, 100, 120, 100},
	} {
		if past, clear := Past(ranges, test.offset), Clear(ranges, test.offset, test.end); past != test.past || clear != test.clear {
			t.Errorf("%d up to %d: past %d, clear up to %d; want %d, %d", test.offset, test.end, past, clear, test.past, test.clear)
		}
	}
}
