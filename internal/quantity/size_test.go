package quantity

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want int64
		err  string
	}{
		{"0", 0, ""}, {"1", 1, ""}, {"65536", 65536, ""}, {"12B", 12, ""},
		{"64KiB", 65536, ""}, {"64kib", 65536, ""}, {"64 KiB", 65536, ""},
		{"2000MiB", 2000 << 20, ""}, {"1GB", 1e9, ""}, {"1TiB", 1 << 40, ""}, {"3pb", 3e15, ""},
		{"9223372036854775807", math.MaxInt64, ""}, {"8191PiB", 8191 << 50, ""},
		{"9223372036854775808", 0, "larger than any size"},
		{"8192PiB", 0, "larger than any size"},
		{"", 0, "not a size such as 64KiB"}, {"KiB", 0, "not a size such as 64KiB"},
		{"-1", 0, "not a size such as 64KiB"}, {"+1", 0, "not a size such as 64KiB"},
		{"1.5GiB", 0, "not a size such as 64KiB"}, {"1  KiB", 0, "not a size such as 64KiB"},
		{" 1", 0, "not a size such as 64KiB"}, {"1_000", 0, "not a size such as 64KiB"},
		{"64K", 0, "the unit is ambiguous: write KiB (1024s) or KB (1000s)"},
		{"2g", 0, "the unit is ambiguous: write GiB (1024s) or GB (1000s)"},
	} {
		got, err := ParseSize(test.text)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if got != test.want || message != test.err {
			t.Errorf("ParseSize(%q) = %d, %q, want %d, %q", test.text, got, message, test.want, test.err)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 3 << 19: "1536KiB", 2000 << 20: "2000MiB", 1 << 60: "1024PiB",
	} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

// FuzzSize: what is read as a size is written as something that is read as the same.
func FuzzSize(f *testing.F) {
	for _, seed := range []string{"0", "64KiB", "2000 mib", "1GB", "9223372036854775807", "8191PiB", "15"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Errorf("ParseSize(%q) = %d", text, n)
		}
		if again, err := ParseSize(FormatSize(n)); again != n || err != nil {
			t.Errorf("ParseSize(%q) = %d, written as %q, which is %d, %v", text, n, FormatSize(n), again, err)
		}
	})
}
