package files

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// teller logs the same of one source once in a while, with the number of times that were
// left out.
type teller struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]*said
}

type said struct {
	again time.Time // when it may be said again
	left  int
}

func newTeller(log *slog.Logger) *teller { return &teller{log: log, said: make(map[string]*said)} }

// say logs unless the same of the same source was said less than every ago.
func (t *teller) say(every time.Duration, level slog.Level, source, msg string, attrs ...slog.Attr) {
	now := time.Now()
	key := source + "\x00" + msg
	t.mu.Lock()
	s := t.said[key]
	if s != nil && now.Before(s.again) {
		s.left++
		t.mu.Unlock()
		return
	}
	left := 0
	if s != nil {
		left = s.left
	}
	if len(t.said) > 4096 {
		t.forget(now)
	}
	t.said[key] = &said{again: now.Add(every)}
	t.mu.Unlock()
	attrs = append(attrs, slog.String("source", source))
	if left > 0 {
		attrs = append(attrs, slog.Int("left_out", left))
	}
	t.log.LogAttrs(context.Background(), level, msg, attrs...)
}

// forget drops what may be said again; all if that is not enough. The caller holds mu.
func (t *teller) forget(now time.Time) {
	for key, s := range t.said {
		if now.After(s.again) {
			delete(t.said, key)
		}
	}
	if len(t.said) > 4096 {
		clear(t.said)
	}
}
