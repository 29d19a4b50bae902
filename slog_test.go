package logd

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"

	"github.com/logd-dev/logd/logdtest/script"
)

func TestSlogHandler(t *testing.T) {
	s := &script.Log{}
	_, ccfg := fake(t, s.Serve)
	w := openWriter(t, ccfg, WriterConfig{})
	results := func() []map[string]any {
		flush(t, w)
		var all []map[string]any
		for _, m := range s.Messages() {
			record := map[string]any{}
			if err := json.Unmarshal([]byte(m), &record); err != nil || strings.Contains(m, "\n") {
				t.Errorf("record %q: %v", m, err)
			}
			all = append(all, record)
		}
		return all
	}
	if err := slogtest.TestHandler(NewSlogHandler(w, nil), results); err != nil {
		t.Error(err)
	}
}

func TestSlogHandlerOptions(t *testing.T) {
	s := &script.Log{}
	_, ccfg := fake(t, s.Serve)
	w := openWriter(t, ccfg, WriterConfig{})
	h := NewSlogHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	l := slog.New(h).With("a", 1).WithGroup("g")
	l.Info("too low")
	l.Warn("line\nbreak", "b", 2)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := `{"level":"WARN","msg":"line\nbreak","a":1,"g":{"b":2}}`; len(s.Messages()) != 1 || s.Messages()[0] != want {
		t.Errorf("stored %q, want %q", s.Messages(), want)
	}
	if err := h.Handle(t.Context(), slog.Record{Level: slog.LevelWarn}); !errors.Is(err, ErrClosed) {
		t.Errorf("Handle after Close: %v", err)
	}
	if st := w.Stats(); st.Refused != 1 || st.Taken != 1 {
		t.Errorf("stats %+v", st)
	}
}
