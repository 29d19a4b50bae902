package inputs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sparseInterval is how often the same is logged at most.
const sparseInterval = 10 * time.Second

// Sparse logs the same text at most every 10 s, and then how many were left out. Texts
// are constants: there are few. Its zero value is ready for use, and safe for concurrent
// use.
type Sparse struct {
	mu   sync.Mutex
	told map[string]*told
}

type told struct {
	at   time.Time
	left int // out since
}

// Log logs a text, or counts it.
func (s *Sparse) Log(log *slog.Logger, level slog.Level, text string, args ...any) {
	s.mu.Lock()
	if s.told == nil {
		s.told = make(map[string]*told)
	}
	t := s.told[text]
	if t == nil {
		t = new(told)
		s.told[text] = t
	}
	now := time.Now()
	if !t.at.IsZero() && now.Sub(t.at) < sparseInterval {
		t.left++
		s.mu.Unlock()
		return
	}
	if t.left > 0 {
		args = append(args, "left_out", t.left)
	}
	t.at, t.left = now, 0
	s.mu.Unlock()
	log.Log(context.Background(), level, text, args...)
}
