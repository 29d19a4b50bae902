package config

import (
	"math"
	"testing"
	"time"
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
		got, err := parseSize(test.text)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if got != test.want || message != test.err {
			t.Errorf("parseSize(%q) = %d, %q, want %d, %q", test.text, got, message, test.want, test.err)
		}
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 3 << 19: "1536KiB", 2000 << 20: "2000MiB", 1 << 60: "1024PiB",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		10*time.Hour + 10*time.Second: "10h0m10s", -time.Minute: "-1m", 1500 * time.Millisecond: "1.5s", 20 * time.Minute: "20m",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

// FuzzQuantity: what is read as a size or a duration is written as something
// that is read as the same.
func FuzzQuantity(f *testing.F) {
	for _, seed := range []string{"0", "64KiB", "2000 mib", "1GB", "9223372036854775807", "8191PiB", "1h30m", "-1s", "1.5h", "7d", "1e9s", "15"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseSize(text); err == nil {
			if n < 0 {
				t.Errorf("parseSize(%q) = %d", text, n)
			}
			if again, err := parseSize(formatSize(n)); again != n || err != nil {
				t.Errorf("parseSize(%q) = %d, written as %q, which is %d, %v", text, n, formatSize(n), again, err)
			}
		}
		if d, err := parseDuration(text); err == nil {
			if again, err := parseDuration(formatDuration(d)); again != d || err != nil {
				t.Errorf("parseDuration(%q) = %d, written as %q, which is %d, %v", text, d, formatDuration(d), again, err)
			}
		}
	})
}
