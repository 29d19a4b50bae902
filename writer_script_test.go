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
	"github.com/logd-dev/logd/logdtest"
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
	timeout := time.After(logdtest.StepTimeout)
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
func scripted(t *testing.T, s *logdtest.Script, ccfg logd.ClientConfig, cfg logd.WriterConfig) *logd.Writer {
	t.Helper()
	s.Play(logdtest.Accept(), logdtest.Expect("CONFIG"), logdtest.AnswerConfig(logd.DefaultMaxBatchSize))
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
	s := logdtest.NewScript(t)
	j := newJournal()
	cfg := logd.WriterConfig{InFlight: 2}
	j.install(&cfg)
	w := scripted(t, s, logd.ClientConfig{ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond}, cfg)
	if w.State() != logd.StateConnected {
		t.Fatalf("state %v", w.State())
	}

	// Connected: a batch is stored.
	send(t, w, "a")
	s.Play(logdtest.ExpectBatch("t", "a"), logdtest.Answer("OK 0 1\r\n"))
	j.await(t, "stored 0")

	// Two batches are on their way, and one waits, when the server goes away in
	// the middle of an answer. What was sent is unknown, the rest is not stored.
	send(t, w, "b", "c", "d")
	s.Play(
		logdtest.ExpectBatch("t", "b"), logdtest.ExpectBatch("t", "c"),
		logdtest.Refuse(), logdtest.Answer("OK 2"), logdtest.Reset(),
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
		logdtest.Listen(), logdtest.Accept(),
		logdtest.Expect("CONFIG"), logdtest.Answer("ERR busy\r\n"), logdtest.ExpectClose(),
		logdtest.Accept(), logdtest.Expect("CONFIG"), logdtest.AnswerConfig(logd.DefaultMaxBatchSize),
		logdtest.ExpectBatch("t", "b"), logdtest.Answer("ERR busy\r\n"),
	)
	s.Wait()
	busy := fmt.Sprintf("logd: config at %s: connection lost: busy", s.Addr())
	events = append(events, busy, "flushing", "failing")
	j.await(t, events...)

	// It takes the backlog, of which the first batch comes alone.
	answered := make(chan struct{})
	s.Play(
		logdtest.Expect("CONFIG"), logdtest.AnswerConfig(logd.DefaultMaxBatchSize),
		logdtest.ExpectBatch("t", "b"), logdtest.ExpectNothing(20*time.Millisecond),
		logdtest.Until(answered), logdtest.Answer("OK 22 1\r\n"),
		logdtest.ExpectBatch("t", "c"), logdtest.ExpectBatch("t", "d"),
		logdtest.Answer("OK 44 1\r\nOK 66 1\r\n"),
	)
	events = append(events, "flushing")
	j.await(t, events...)
	send(t, w, "e") // taken while flushing, sent behind the backlog
	close(answered)
	s.Play(logdtest.ExpectBatch("t", "e"), logdtest.Answer("OK 88 1\r\n"))
	if err := w.Flush(t.Context()); err != nil {
		t.Errorf("Flush while flushing: %v", err)
	}
	events = append(events, "stored 22", "stored 44", "stored 66", "connected", "stored 88")
	j.await(t, events...)

	// Close delivers what is pending.
	send(t, w, "f")
	closing := make(chan error, 1)
	go func() { closing <- w.Close() }()
	s.Play(logdtest.ExpectBatch("t", "f"), logdtest.Answer("OK 110 1\r\n"))
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
		steps  []logdtest.Step
		is     error
		how    func(error) bool
	}{
		{"garbage", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Garbage(3000, 1)}, logd.ErrBadAnswer, logd.IsUnknown},
		{"another answer", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Answer("OK\r\n")}, logd.ErrBadAnswer, logd.IsUnknown},
		{"half an answer", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Answer("OK 0"), logdtest.Cut()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"no answer", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Cut()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"a reset", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Reset()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"a reset in the middle of the request", ok, []logdtest.Step{logdtest.ExpectBytes(10), logdtest.Reset()}, logd.ErrConnectionLost, nil},
		{"silence", func(cfg *logd.ClientConfig) { cfg.ReadTimeout = 50 * time.Millisecond },
			[]logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.ExpectClose()}, logd.ErrConnectionLost, logd.IsUnknown},
		{"a refusal", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Answer("ERR read only\r\n"), logdtest.Cut()}, logd.ErrReadOnly, logd.IsNotStored},
		{"a refusal that closes", ok, []logdtest.Step{logdtest.ExpectBatch("t", "a"), logdtest.Answer("ERR shutting down\r\n"), logdtest.Cut()}, logd.ErrShuttingDown, logd.IsNotStored},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := logdtest.NewScript(t)
			ccfg := logd.ClientConfig{ReconnectMin: time.Millisecond, ReconnectMax: 10 * time.Millisecond}
			tt.change(&ccfg)
			w := scripted(t, s, ccfg, logd.WriterConfig{})
			results := make(chan logd.WriteResult, 1)
			if err := w.WriteFunc(t.Context(), []byte("a"), func(r logd.WriteResult) { results <- r }); err != nil {
				t.Fatal(err)
			}
			s.Play(tt.steps...)
			s.Play(
				logdtest.Accept(), logdtest.Expect("CONFIG"), logdtest.AnswerConfig(logd.DefaultMaxBatchSize),
				logdtest.ExpectBatch("t", "a"), logdtest.Answer("OK 0 1\r\n"),
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
