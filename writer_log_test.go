package logd

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// A Writer for logs is there at once without a server, takes messages at once
// whatever happens, and delivers them when there is one.
func TestLogWriterNeverBlocks(t *testing.T) {
	for name, hangs := range map[string]bool{"no server": false, "a server that hangs": true} {
		t.Run(name, func(t *testing.T) {
			var o downtime
			o.down.Store(true)
			s := &script.Log{}
			synctest.Test(t, func(t *testing.T) {
				_, ccfg := fake(t, s.Serve)
				o.install(&ccfg)
				if hangs {
					ccfg.Dial = hangingDial
				}
				c, err := NewClient(ccfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				start := time.Now()
				w, err := NewLogWriter(c, "t", func(cfg *WriterConfig) {
					cfg.OnError = func(err error) {
						if errors.Is(err, errNotAsked) {
							t.Errorf("the beginning is told as a failure: %v", err)
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				logger := slog.New(NewSlogHandler(w, nil))
				for range 10000 {
					logger.Info(strings.Repeat("x", 1000))
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("10,000 lines took %v", took)
				}
				if st := w.Stats(); st.Taken+st.Dropped != 10000 || st.Taken == 0 {
					t.Errorf("stats %+v", st)
				}
				o.down.Store(false)
				time.Sleep(time.Minute)
				if !hangs && w.State() != StateConnected {
					t.Errorf("state %v, %v", w.State(), w.Err())
				}
				c.Close()
				w.Close()
				if st := w.Stats(); !hangs && (st.Delivered != st.Taken || st.Taken == 0) {
					t.Errorf("stats %+v", st)
				}
			})
		})
	}
}
