package logd_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// A Writer goes on over restarts of a real server, and is never failing: each message is
// stored once, where its callback said, and in order.
func TestWriterOverRestarts(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		server := logdtest.Start(t, logdtest.On(memnet.New(t)), logdtest.WorkDir(dir))
		client := server.Client(t)
		var states []logd.WriterState
		w, err := logd.NewWriter(t.Context(), client, "t", logd.WriterConfig{
			BatchMessages: 3, OnState: func(s logd.WriterState, _ error) { states = append(states, s) },
		})
		if err != nil {
			t.Fatal(err)
		}
		const messages = 2000
		told := make([]logd.ID, 0, messages)
		for i := range messages {
			if err := w.WriteFunc(t.Context(), fmt.Append(nil, i), func(r logd.WriteResult) {
				if r.Err != nil {
					t.Error(r.Err)
				}
				told = append(told, r.ID())
			}); err != nil {
				t.Fatal(err)
			}
			switch i % 400 {
			case 100:
				server.Restart()
			case 300:
				server.Stop()
			case 315: // the messages since then have room in the buffer
				time.Sleep(3 * time.Second) // which is less than the Writer's patience
				server.Restart()
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if len(states) != 2 || w.Stats().InDoubt != 0 || w.Stats().Delivered != messages {
			t.Errorf("states %v, %+v", states, w.Stats())
		}
		s, err := logd.NewScanner(t.Context(), client, "t", logd.ScannerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		n := 0
		for ; s.Scan(); n++ {
			if m := s.Message(); string(m.Body) != fmt.Sprint(n) || m.ID() != told[n] {
				t.Fatalf("message %d is %q at %v, told %v", n, m.Body, m.ID(), told[n])
			}
		}
		if n != messages || s.Err() != nil {
			t.Errorf("%d messages, %v", n, s.Err())
		}
	})
}
