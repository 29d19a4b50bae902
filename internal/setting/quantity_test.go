package setting

import (
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		10*time.Hour + 10*time.Second: "10h0m10s", -time.Minute: "-1m", 1500 * time.Millisecond: "1.5s", 20 * time.Minute: "20m",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

// FuzzDuration: what is read as a duration is written as something
// that is read as the same.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"0", "1h30m", "-1s", "1.5h", "7d", "1e9s", "15"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := ParseDuration(text); err == nil {
			if again, err := ParseDuration(FormatDuration(d)); again != d || err != nil {
				t.Errorf("ParseDuration(%q) = %d, written as %q, which is %d, %v", text, d, FormatDuration(d), again, err)
			}
		}
	})
}
