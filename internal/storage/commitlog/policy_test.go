package commitlog

import (
	"testing"
	"time"
)

// TestCommitAwaitsSync has what Commit promises by the flush setting.
func TestCommitAwaitsSync(t *testing.T) {
	for _, test := range []struct {
		flush         int
		last, durable int64
		want          bool
	}{
		{0, 1, 0, false}, {-1, 1, 0, false}, {0, 1000, 0, false},
		{1, 1, 0, true}, {1, 1, 1, true},
		{3, 1, 0, false}, {3, 2, 0, false}, {3, 3, 0, true}, {3, 5, 3, false}, {3, 6, 3, true},
	} {
		if got := (Policy{Flush: test.flush}).awaitsSync(test.last, test.durable); got != test.want {
			t.Errorf("FlushBatches %d: batch %d, %d are durable: %t", test.flush, test.last, test.durable, got)
		}
	}
}

// Where nothing is acknowledged before it is synced, no interval has to do it.
func TestInterval(t *testing.T) {
	for _, test := range []struct {
		flush       int
		every, want time.Duration
	}{
		{0, time.Second, time.Second}, {2, time.Second, time.Second}, {0, 0, 0}, {0, -1, 0}, {1, time.Second, 0}, {1, -1, 0},
	} {
		if got := (Policy{Flush: test.flush, Every: test.every}).Interval(); got != test.want {
			t.Errorf("FlushBatches %d, FlushInterval %v: %v, want %v", test.flush, test.every, got, test.want)
		}
	}
}
