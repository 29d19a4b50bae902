package logd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

// inBytes returns the messages as WriteSync takes them.
func inBytes(messages ...string) (all [][]byte) {
	for _, m := range messages {
		all = append(all, []byte(m))
	}
	return all
}

// WriteSync returns when all is stored, without waiting for BatchAge, and names
// each message.
func TestWriteSync(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{BatchAge: time.Hour, BatchMessages: 2}, func(t *testing.T, w *Writer) {
		write(t, w, "before")
		start := time.Now()
		results, err := w.WriteSync(t.Context(), inBytes("a", "b", "c")...)
		if err != nil || time.Since(start) > 0 {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		var names []string
		for _, r := range results {
			names = append(names, r.ID().String())
		}
		if got, want := strings.Join(names, " "), strings.Join(s.IDs()[1:], " "); got != want || s.String() != "before a b c" {
			t.Errorf("the results say %s, and the server %s of %s", got, want, s.String())
		}
		if results, err := w.WriteSync(t.Context()); len(results) != 0 || err != nil {
			t.Errorf("of nothing: %v, %v", results, err)
		}
	})
}

// What the server refuses is told of the messages that it is true of, and the
// first error is the call's.
func TestWriteSyncFails(t *testing.T) {
	s := &script.Log{OnBatch: func(p *script.Peer, m []string) string {
		if m[0] == "bad" {
			time.Sleep(time.Millisecond) // until the message behind it is taken: else it may come when the Writer is over it
			return "ERR topic not allowed\r\n"
		}
		return ""
	}}
	bubble(t, s, WriterConfig{BatchMessages: 1, InFlight: 1, Backlog: backlog.None{}}, func(t *testing.T, w *Writer) {
		results, err := w.WriteSync(t.Context(), inBytes("good", "bad", "behind")...)
		if len(results) != 3 || results[0].Err != nil || !errors.Is(results[1].Err, ErrTopicNotAllowed) || results[2].Err == nil || err != results[1].Err {
			t.Errorf("%v, %v", results, err)
		}
		if s.String() != "good" {
			t.Errorf("stored: %s", s.String())
		}
	})
}

// A message that is not taken is told, and none behind it is taken.
func TestWriteSyncRefused(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{}, func(t *testing.T, w *Writer) {
		large := strings.Repeat("x", DefaultMaxBatchSize)
		results, err := w.WriteSync(t.Context(), inBytes("a", large, "b")...)
		if len(results) != 3 || results[0].Err != nil || !errors.Is(results[1].Err, ErrTooLarge) || results[2].Err != results[1].Err || err != results[1].Err || !IsNotStored(err) {
			t.Errorf("%v", err)
		}
		if s.String() != "a" {
			t.Errorf("stored: %s", s.String())
		}
		w.Close()
		if results, err := w.WriteSync(t.Context(), []byte("c")); !errors.Is(err, ErrClosed) || results[0].Err != err {
			t.Errorf("after Close: %v, %v", results, err)
		}
	})
}

// If the context ends, what is not known by then is unknown, and is delivered all
// the same; the results that were returned do not change any more.
func TestWriteSyncContext(t *testing.T) {
	open := make(chan struct{})
	s := &script.Log{OnBatch: func(_ *script.Peer, m []string) string {
		if m[0] != "a" {
			<-open
		}
		return ""
	}}
	synctest.Test(t, func(t *testing.T) {
		open = make(chan struct{})
		_, cfg := fake(t, s.Serve)
		w := openWriter(t, cfg, WriterConfig{BatchMessages: 1, InFlight: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results, err := w.WriteSync(ctx, inBytes("a", "b", "c")...)
		was := fmt.Sprint(results)
		if results[0].Err != nil || results[2].Err != err || !errors.Is(err, context.DeadlineExceeded) || !IsUnknown(err) {
			t.Errorf("%v, %v", results, err)
		}
		close(open)
		flush(t, w)
		if s.String() != "a b c" || fmt.Sprint(results) != was {
			t.Errorf("stored: %s; %v, before %s", s.String(), results, was)
		}
	})
}
