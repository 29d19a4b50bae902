package logd_test

import (
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// A Scanner's times are when the batches were appended, and none if nobody asks.
func TestScannerTimesOfServer(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	type span struct{ from, to time.Time }
	when := make(map[int64]span)
	for range 50 {
		from := time.Now().Truncate(time.Millisecond)
		offset := add(t, client, "t", "one", "two")
		when[offset] = span{from, time.Now()}
	}
	for _, cfg := range []logd.ScannerConfig{
		{Times: true},
		{Times: true, ReadBytes: 1}, // a batch at a time
		{Times: true, Limit: 33, Start: logd.At(logd.ID{Offset: 0, Delta: 12})},
		{},
	} {
		s := newScanner(t, client, "t", cfg)
		n := 0
		for ; s.Scan(); n++ {
			m := s.Message()
			w := when[m.Offset]
			if !cfg.Times && !m.Time.IsZero() || cfg.Times && (m.Time.Before(w.from) || m.Time.After(w.to)) {
				t.Errorf("%+v: message %d.%d is of %v, appended between %v and %v", cfg, m.Offset, m.Delta, m.Time, w.from, w.to)
			}
		}
		if want := 100; s.Err() != nil || n != want && n != int(cfg.Limit) {
			t.Errorf("%+v: %d messages, error %v", cfg, n, s.Err())
		}
	}
}
