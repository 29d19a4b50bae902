package logd

import (
	"context"
	"slices"
	"sync"
)

// WriteSync takes the messages, in order, sends them without waiting for more, and
// returns when it is known of each what became of it: one WriteResult for each
// body, in the same order. The error is nil if all are stored. Otherwise it is
// the first of the results' errors.
//
// If a message is not taken, those behind it are not taken either: their results
// have the same error, which is [IsNotStored]. If ctx ends, the results that are
// not known yet have ctx's error, which is [IsUnknown]: the Writer goes on to
// deliver these messages.
func (w *Writer) WriteSync(ctx context.Context, bodies ...[]byte) ([]WriteResult, error) {
	n := len(bodies)
	s := syncWrite{results: make([]WriteResult, n), known: make([]bool, n), changed: make(chan struct{}, 1)}
	var refused error
	for i, body := range bodies {
		if refused = w.WriteFunc(ctx, body, func(r WriteResult) { s.set(i, r) }); refused != nil {
			break
		}
		s.taken++
	}
	w.mu.Lock()
	w.buffer.seal()
	w.mu.Unlock()
	w.rouse()
	return s.wait(ctx, w.topic, refused)
}

// syncWrite collects the results of one WriteSync.
type syncWrite struct {
	taken   int           // the first of the messages, of which a result comes
	changed chan struct{} // holds one

	mu      sync.Mutex
	results []WriteResult
	known   []bool // of which messages they are
	count   int
}

// set notes the result of the i-th message.
func (s *syncWrite) set(i int, r WriteResult) {
	s.mu.Lock()
	s.results[i], s.known[i] = r, true
	s.count++
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// wait waits until the results of all messages that were taken are known, or ctx
// ends. The others have the error with which one of them was refused.
func (s *syncWrite) wait(ctx context.Context, topic string, refused error) ([]WriteResult, error) {
	var ended error
	for ended == nil && !s.complete() {
		select {
		case <-s.changed:
		case <-ctx.Done():
			ended = &OpError{Op: "write", Topic: topic, Err: ctx.Err(), Outcome: OutcomeUnknown}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	results := slices.Clone(s.results) // some of s.results may be set later
	var first error
	for i := range results {
		switch {
		case i >= s.taken:
			results[i].Err = refused
		case !s.known[i]:
			results[i].Err = ended
		}
		if first == nil {
			first = results[i].Err
		}
	}
	return results, first
}

func (s *syncWrite) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count == s.taken
}
