package ask_test

import (
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/web/ask"
)

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ask.Size(0), "0 B"}, {ask.Size(999), "999 B"}, {ask.Size(1000), "1 kB"}, {ask.Size(4096), "4.1 kB"}, {ask.Size(999_499), "999 kB"},
		{ask.Size(999_950), "1 MB"}, {ask.Size(1_400_000_000), "1.4 GB"}, {ask.Size(1<<63 - 1), "9.22 EB"},
		{ask.Count(999_999), "999,999"}, {ask.Count(12_034_220), "12 M"}, {ask.Exact(1_234), "1,234"}, {ask.Exact(-1_234), "-1,234"}, {ask.Exact(-123), "-123"}, {ask.Exact(12), "12"},
		{ask.About(-time.Second), "0 s"}, {ask.About(200 * time.Millisecond), "0.2 s"}, {ask.About(42 * time.Second), "42 s"},
		{ask.About(99 * time.Minute), "99 min"}, {ask.About(3 * time.Hour), "3 h"}, {ask.About(9 * 24 * time.Hour), "9 d"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
