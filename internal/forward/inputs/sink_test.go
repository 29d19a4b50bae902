package inputs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/forward/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a feed.Sink that a test looks into. What is put is safe at once, unless hold.
type sink struct {
	feed.Sink // of files, which nobody asks for

	mu      sync.Mutex
	sources []*source
	hold    bool          // nothing is safe before release
	held    []func()      // safes
	room    chan struct{} // not nil: there is no room until it is closed
	closing bool
	broken  func() // called by Put
}

type source struct {
	s           *sink
	input, name string

	// Under the mutex of the sink.
	messages []feed.Message
	puts     int
	dropped  int
	holes    []feed.Hole
	closed   bool
}

func (s *sink) Live(input, name string) feed.Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &source{s: s, input: input, name: name}
	s.sources = append(s.sources, l)
	return l
}

func (l *source) Put(ctx context.Context, messages []feed.Message, full feed.Full, safe func()) error {
	s := l.s
	s.mu.Lock()
	room, broken := s.room, s.broken
	closing := s.closing
	s.mu.Unlock()
	if broken != nil {
		broken()
	}
	if closing {
		return feed.ErrClosing
	}
	if room != nil && !isClosed(room) {
		switch full {
		case feed.Refuse:
			return feed.ErrFull
		case feed.Drop:
			s.mu.Lock()
			defer s.mu.Unlock()
			l.dropped += len(messages)
			if safe != nil {
				defer safe()
			}
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	l.puts++
	for _, m := range messages {
		m.Body = bytes.Clone(m.Body)
		l.messages = append(l.messages, m)
	}
	hold := s.hold
	if hold && safe != nil {
		s.held = append(s.held, safe)
	}
	s.mu.Unlock()
	if !hold && safe != nil {
		safe()
	}
	return nil
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (l *source) Hole(h feed.Hole) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.holes = append(l.holes, h)
}

func (l *source) Close() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.closed = true
}

// release makes those safe that are held, in another order than they came.
func (s *sink) release() {
	s.mu.Lock()
	held := s.held
	s.held = nil
	s.mu.Unlock()
	slices.Reverse(held)
	for _, safe := range held {
		safe()
	}
}

// bodies returns all that was put, and of each the topic that was asked for.
func (s *sink) bodies() []string {
	var all []string
	for _, m := range s.messages() {
		text := string(m.Body)
		if m.Topic != "" {
			text = m.Topic + ": " + text
		}
		all = append(all, text)
	}
	return all
}

func (s *sink) messages() []feed.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []feed.Message
	for _, l := range s.sources {
		all = append(all, l.messages...)
	}
	return all
}

// allClosed reports whether there is no source that is open.
func (s *sink) allClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.sources {
		if !l.closed {
			return false
		}
	}
	return true
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// start starts an input that is stopped when the test ends.
func start(t *testing.T, from string, s feed.Sink, change func(*Config)) (*Input, *Counters) {
	t.Helper()
	f, err := ParseFrom(from)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Name: "test", From: f, Full: f.Full(), Timeout: 5 * time.Second}
	if change != nil {
		change(&c)
	}
	var counters Counters
	in, err := Start(c, s, &counters, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, in) })
	return in, &counters
}

func stop(t *testing.T, in *Input) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := in.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// bare returns an input without a service, for what serves a connection.
func bare(t *testing.T, s feed.Sink, c Config) *Input {
	in := &Input{sink: s, counters: new(Counters), log: slog.New(slog.DiscardHandler), stopping: make(chan struct{}), done: make(chan struct{})}
	in.life, in.end = context.WithCancel(context.Background())
	t.Cleanup(in.end)
	in.config.Store(c.withDefaults())
	return in
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, short(got), short(want))
	}
}

func short(v any) string {
	text := fmt.Sprintf("%q", v)
	if len(text) > 1000 {
		text = text[:1000] + "…"
	}
	return text
}

func words(s string) []string { return strings.Fields(s) }

var errTest = errors.New("test")
