package logd

import "context"

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
	type told struct {
		message int
		result  WriteResult
	}
	answers := make(chan told, len(bodies)) // room for all: no callback waits
	var refused error
	taken := 0
	for i, body := range bodies {
		refused = w.WriteFunc(ctx, body, func(r WriteResult) { answers <- told{i, r} })
		if refused != nil {
			break
		}
		taken++
	}
	w.buffer.Lock()
	w.buffer.Seal()
	w.buffer.Unlock()
	w.rouse()

	results := make([]WriteResult, len(bodies))
	unknown := &OpError{Op: "write", Topic: w.topic, Outcome: OutcomeUnknown}
	for i := range results {
		if results[i].Err = refused; i < taken {
			results[i].Err = unknown
		}
	}
	for range taken {
		select {
		case a := <-answers:
			results[a.message] = a.result
		case <-ctx.Done():
			unknown.Err = ctx.Err()
			for len(answers) > 0 {
				a := <-answers
				results[a.message] = a.result
			}
			return results, firstError(results)
		}
	}
	return results, firstError(results)
}

// firstError returns the first of the results' errors, nil if there is none.
func firstError(results []WriteResult) error {
	for _, r := range results {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
