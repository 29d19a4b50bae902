package protocol

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTimes(t *testing.T) {
	marks := []TimeMark{{0, 1_700_000_000_000}, {70, 0}, {71, 9223372036854775807}}
	body := AppendTimes(nil, marks)
	if want := "0 1700000000000\r\n70 0\r\n71 9223372036854775807\r\n"; string(body) != want {
		t.Errorf("AppendTimes = %q, want %q", body, want)
	}
	back, err := ParseTimes(nil, body)
	if diff := cmp.Diff(marks, back); err != nil || diff != "" {
		t.Errorf("ParseTimes (-made +parsed), %v:\n%s", err, diff)
	}
	if back, err := ParseTimes(nil, nil); err != nil || len(back) != 0 {
		t.Errorf("ParseTimes of nothing = %v, %v", back, err)
	}
	for _, body := range []string{
		"0", "0 1", "0 1\n", "0 1\r\n\r\n", "0\r\n", "0 1 2\r\n", " 0 1\r\n", "0 -1\r\n", "00 1\r\n",
		"0 1\r\n0 2\r\n", "5 1\r\n4 1\r\n", "0 9223372036854775808\r\n",
	} {
		if marks, err := ParseTimes(nil, []byte(body)); err == nil {
			t.Errorf("ParseTimes(%q) = %v, want an error", body, marks)
		}
	}
}

// FuzzTimes proves that a body which parses is made again from what it parsed
// to, byte for byte.
func FuzzTimes(f *testing.F) {
	for _, body := range []string{"", "0 1\r\n", "0 1\r\n70 1\r\n", "9223372036854775807 9223372036854775807\r\n", "1 1\r\n1 1\r\n", "01 1\r\n"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		marks, err := ParseTimes(nil, body)
		if err != nil {
			return
		}
		if made := AppendTimes(nil, marks); string(made) != string(body) {
			t.Fatalf("%q is made again as %q", body, made)
		}
	})
}
