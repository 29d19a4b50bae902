package logd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/logdtest/script"
)

// notes collects what a Writer tells its hooks.
type notes struct {
	mu      sync.Mutex
	states  []string
	errs    []error
	results []BatchResult
}

func (n *notes) install(cfg *WriterConfig) {
	cfg.OnBatch, cfg.OnError = n.batch, n.failure
	cfg.OnState = func(s WriterState, cause error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if (s == StateFailing) != (cause != nil) {
			n.errs = append(n.errs, fmt.Errorf("state %v comes with cause %v", s, cause))
		}
		n.states = append(n.states, s.String())
	}
}

func (n *notes) failure(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errs = append(n.errs, err)
}

func (n *notes) batch(r BatchResult) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r.Raw = slices.Clone(r.Raw)
	n.results = append(n.results, r)
}

// pushed returns what was told of each batch, in short.
func (n *notes) pushed() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.results {
		var what string
		switch {
		case r.Err == nil:
			what = "stored"
		case errors.Is(r.Err, ErrBacklogged):
			what = "kept"
		default:
			what = "lost"
		}
		if r.FromBacklog {
			what += " from backlog"
		}
		h, size, err := batch.Parse(r.Raw)
		if err != nil || h.Messages != r.Messages {
			what = fmt.Sprintf("%d messages, %v", r.Messages, err)
		}
		m := batch.Messages{Data: r.Raw[size-h.Size : size]}
		for m.Next() {
			what += " " + string(m.Body())
		}
		all = append(all, what)
	}
	return all
}

func (n *notes) seen() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.states, " ")
}

// failures returns how many errors were told that are the target.
func (n *notes) failures(target error) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, err := range n.errs {
		if errors.Is(err, target) {
			count++
		}
	}
	return count
}

// batches returns how many failures of batches were told that are the target.
func (n *notes) batches(target error) (count int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, err := range n.errs {
		if e, ok := errors.AsType[*BatchError](err); ok && errors.Is(err, target) {
			count += e.Batches
		}
	}
	return count
}

// openWriter returns a Writer of topic "t" on a Client of its own. Both are
// closed at the test's end.
func openWriter(t testing.TB, ccfg ClientConfig, cfg WriterConfig) *Writer {
	t.Helper()
	c, err := NewClient(ccfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w, err := NewWriter(t.Context(), c, "t", cfg)
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

// hangingDial never connects.
func hangingDial(ctx context.Context, network, addr string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// bubble runs a test over a script.Log in a bubble, in which time is ours.
func bubble(t *testing.T, s *script.Log, cfg WriterConfig, test func(t *testing.T, w *Writer)) {
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, s.Serve)
		test(t, openWriter(t, ccfg, cfg))
	})
}

func write(t testing.TB, w *Writer, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if n, err := w.Write([]byte(m)); n != len(m) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", m, n, err)
		}
	}
}

func flush(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatalf("Flush: %v", err)
	}
}
