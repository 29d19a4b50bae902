package logd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest/script"
)

// journal notes what a Writer tells, in order, and lets a test wait for it.
type journal struct {
	mu      sync.Mutex
	entries []string
	added   chan struct{} // closed and replaced with each entry
	told    []string      // of the errors; the Writer's goroutine's
}

func newJournal() *journal { return &journal{added: make(chan struct{})} }

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf(format, args...))
	close(j.added)
	j.added = make(chan struct{})
}

func (j *journal) install(cfg *logd.WriterConfig) {
	cfg.OnState = func(s logd.WriterState, cause error) { j.add("%v", s) }
	cfg.OnBatch = func(r logd.BatchResult) {
		if r.Err == nil {
			j.add("stored %d", r.Offset)
		}
	}
	cfg.OnError = func(err error) {
		e, ok := errors.AsType[*logd.BatchError](err)
		what := err.Error()
		switch {
		case ok && logd.IsUnknown(err):
			what = fmt.Sprintf("kept=%v, unknown", e.Kept)
		case ok && logd.IsNotStored(err):
			what = fmt.Sprintf("kept=%v, not stored", e.Kept)
		case errors.Is(err, logd.ErrConnect):
			what = "no server"
		}
		// How often it is told depends on how fast this machine is.
		if !slices.Contains(j.told, what) {
			j.told = append(j.told, what)
			j.add("%s", what)
		}
	}
}

// await waits until the entries, repeated ones taken once, are these.
func (j *journal) await(t *testing.T, want ...string) {
	t.Helper()
	timeout := time.After(script.StepTimeout)
	for {
		j.mu.Lock()
		got, added := slices.Compact(slices.Clone(j.entries)), j.added
		j.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-added:
		case <-timeout:
			t.Fatalf("the Writer told\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
}

// scripted returns a Writer of batches of one message, on a script that has
// been played up to its CONFIG.
func scripted(t *testing.T, s *script.Script, ccfg logd.ClientConfig, cfg logd.WriterConfig) *logd.Writer {
	t.Helper()
	s.Play(script.Accept(), script.Expect("CONFIG"), script.AnswerConfig(logd.DefaultMaxBatchSize))
	ccfg.Addrs = []string{s.Addr()}
	c, err := logd.NewClient(ccfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cfg.BatchMessages = 1
	w, err := logd.NewWriter(t.Context(), c, "t", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.CloseContext(ctx)
	})
	return w
}

func send(t *testing.T, w *logd.Writer, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if _, err := w.Write([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWriterStates walks through all states, and each step of reconnecting.
func TestWriterStates(t *testing.T) {
	s := script.New(t)
	j := newJournal()
	cfg := logd.WriterConfig{InFlight: 2}
	j.install(&cfg)
	w := scripted(t, s, logd.ClientConfig{ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond}, cfg)
	if w.State() != logd.StateConnected {
		t.Fatalf("state %v", w.State())
	}

	// Connected: a batch is stored.
	send(t, w, "a")
	s.Play(script.ExpectBatch("t", "a"), script.Answer("OK 0 1\r\n"))
	j.await(t, "stored 0")

	// Two batches are on their way, and one waits, when the server goes away in
	// the middle of an answer. What was sent is unknown, the rest is not stored.
	send(t, w, "b", "c", "d")
	s.Play(
		script.ExpectBatch("t", "b"), script.ExpectBatch("t", "c"),
		script.Refuse(), script.Answer("OK 2"), script.Reset(),
	)
	events := []string{"stored 0", "kept=true, unknown", "failing", "kept=true, not stored", "no server"}
	j.await(t, events...)
	if _, err := w.Write([]byte("x")); !errors.Is(err, logd.ErrFailing) || !logd.IsNotStored(err) {
		t.Errorf("Write while failing: %v", err)
	}
	if err := w.Flush(t.Context()); !errors.Is(err, logd.ErrFailing) {
		t.Errorf("Flush while failing: %v", err)
	}

	// The server is back, but not well: it is busy before it has read the CONFIG, and
	// so the connection is left; then the first batch fails.
	s.Play(
		script.Listen(), script.Accept(),
		script.Expect("CONFIG"), script.Answer("ERR busy\r\n"), script.ExpectClose(),
		script.Accept(), script.Expect("CONFIG"), script.AnswerConfig(logd.DefaultMaxBatchSize),
		script.ExpectBatch("t", "b"), script.Answer("ERR busy\r\n"),
	)
	s.Wait()
	busy := fmt.Sprintf("logd: config at %s: connection lost: busy", s.Addr())
	events = append(events, busy, "flushing", "failing")
	j.await(t, events...)

	// It takes the backlog, of which the first batch comes alone.
	answered := make(chan struct{})
	s.Play(
		script.Expect("CONFIG"), script.AnswerConfig(logd.DefaultMaxBatchSize),
		script.ExpectBatch("t", "b"), script.ExpectNothing(20*time.Millisecond),
		script.Until(answered), script.Answer("OK 22 1\r\n"),
		script.ExpectBatch("t", "c"), script.ExpectBatch("t", "d"),
		script.Answer("OK 44 1\r\nOK 66 1\r\n"),
	)
	events = append(events, "flushing")
	j.await(t, events...)
	send(t, w, "e") // taken while flushing, sent behind the backlog
	close(answered)
	s.Play(script.ExpectBatch("t", "e"), script.Answer("OK 88 1\r\n"))
	if err := w.Flush(t.Context()); err != nil {
		t.Errorf("Flush while flushing: %v", err)
	}
	events = append(events, "stored 22", "stored 44", "stored 66", "connected", "stored 88")
	j.await(t, events...)

	// Close delivers what is pending.
	send(t, w, "f")
	closing := make(chan error, 1)
	go func() { closing <- w.Close() }()
	s.Play(script.ExpectBatch("t", "f"), script.Answer("OK 110 1\r\n"))
	if err := <-closing; err != nil {
		t.Errorf("Close: %v", err)
	}
	if w.State() != logd.StateClosed {
		t.Errorf("state %v", w.State())
	}
	s.Wait()
}

// Whatever becomes of the first answer, the batch is stored in the end, and the
// error says the truth about it.
func TestWriterBadAnswers(t *testing.T) {
	ok := func(cfg *logd.ClientConfig) {}
	tests := []struct {
		name   string
		change func(*logd.ClientConfig)
		steps  []script.Step
		is     error
		how    func(error) bool
	}{
		{"garbage", ok, []script.Step{script.ExpectBatch("t", "a"), script.Garbage(3000, 1)}, logd.ErrBadAnswer, logd.IsUnknown},
		{"another answer", ok, []script.Step{script.ExpectBatch("t", "a"), script.Answer("OK\r\n")}, logd.ErrBadAnswer, logd.IsUnknown},
		{"half an answer", ok, []script.Step{script.ExpectBatch("t", "a"), script.Answer("OK 0"), script.Cut()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"no answer", ok, []script.Step{script.ExpectBatch("t", "a"), script.Cut()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"a reset", ok, []script.Step{script.ExpectBatch("t", "a"), script.Reset()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"a reset in the middle of the request", ok, []script.Step{script.ExpectBytes(10), script.Reset()}, logd.ErrConnectionLost, nil},
		{"silence", func(cfg *logd.ClientConfig) { cfg.ReadTimeout = 50 * time.Millisecond },
			[]script.Step{script.ExpectBatch("t", "a"), script.ExpectClose()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"a refusal", ok, []script.Step{script.ExpectBatch("t", "a"), script.Answer("ERR read only\r\n"), script.Cut()}, logd.ErrReadOnly, logd.IsNotStored},
		{"a refusal that closes", ok, []script.Step{script.ExpectBatch("t", "a"), script.Answer("ERR shutting down\r\n"), script.Cut()}, logd.ErrShuttingDown, logd.IsNotStored},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := script.New(t)
			ccfg := logd.ClientConfig{ReconnectMin: time.Millisecond, ReconnectMax: 10 * time.Millisecond}
			tt.change(&ccfg)
			w := scripted(t, s, ccfg, logd.WriterConfig{})
			results := make(chan logd.WriteResult, 1)
			if err := w.WriteFunc(t.Context(), []byte("a"), func(r logd.WriteResult) { results <- r }); err != nil {
				t.Fatal(err)
			}
			s.Play(tt.steps...)
			s.Play(
				script.Accept(), script.Expect("CONFIG"), script.AnswerConfig(logd.DefaultMaxBatchSize),
				script.ExpectBatch("t", "a"), script.Answer("OK 0 1\r\n"),
			)
			r := <-results
			if !errors.Is(r.Err, tt.is) || !errors.Is(r.Err, logd.ErrBacklogged) {
				t.Errorf("error %v, want %v, backlogged", r.Err, tt.is)
			}
			if tt.how != nil && !tt.how(r.Err) {
				t.Errorf("unknown %v, not stored %v: %v", logd.IsUnknown(r.Err), logd.IsNotStored(r.Err), r.Err)
			}
			if err := w.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			s.Wait()
			if st := w.Stats(); st.Delivered != 1 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}
