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

// TestTimesRange: a range is asked for until an answer is not full, and answers that
// are not of it are refused.
func TestTimesRange(t *testing.T) {
	r := NewTimesRange("t", -5, 1_000_000)
	line := func() string { return string(AppendRequest(nil, r.Request())) }
	if got := line(); got != "TIMES t 0 1000000\r\n" {
		t.Errorf("the request is %q", got)
	}
	var page []TimeMark
	for i := range int64(MaxTimes) {
		page = append(page, TimeMark{10 * i, i})
	}
	last := page[MaxTimes-1]
	if more, err := r.Add(AppendTimes(nil, page)); !more || err != nil {
		t.Fatalf("a full answer: %v, %v", more, err)
	}
	if got := line(); got != "TIMES t 99990 1000000\r\n" {
		t.Errorf("the second request is %q", got)
	}
	if more, err := r.Add(AppendTimes(nil, []TimeMark{last, {last.Offset + 10, 5}, {last.Offset + 20, 5}})); more || err != nil {
		t.Fatalf("the last answer: %v, %v", more, err)
	}
	if diff := cmp.Diff(append(page, TimeMark{last.Offset + 10, 5}), r.Marks); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	for _, marks := range [][]TimeMark{{{9, 1}}, {{10, 1}, {100, 1}}} {
		if _, err := NewTimesRange("t", 10, 100).Add(AppendTimes(nil, marks)); err == nil {
			t.Errorf("%v is taken for an answer", marks)
		}
	}
	if more, err := NewTimesRange("t", 10, 100).Add(nil); more || err != nil {
		t.Errorf("no batches: %v, %v", more, err)
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
