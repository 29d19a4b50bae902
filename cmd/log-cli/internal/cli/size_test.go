package cli

import "testing"

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "65536": 65536, "64KiB": 65536, "64kib": 65536, "2MB": 2e6, "1GiB": 1 << 30, "7B": 7, "3kB": 3000, "3KB": 3000,
	} {
		var s Size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("Set(%q) = %d, %v, want %d", text, s, err, want)
		}
		var back Size
		if err := back.Set(s.String()); err != nil || back != s {
			t.Errorf("%q is printed as %q, which is %d, %v", text, &s, back, err)
		}
	}
	for _, text := range []string{"", "KiB", "x", "-1", "1.5KiB", "64K", "1 KiB", "99999999999GiB", "99999999999999999999"} {
		var s Size
		if err := s.Set(text); err == nil {
			t.Errorf("Set(%q) = %d", text, s)
		}
	}
}
