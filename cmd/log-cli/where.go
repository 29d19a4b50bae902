package main

import (
	"context"

	"github.com/logd-dev/logd"
)

// retrying tells the user once that the server does not answer, and once that
// it answers again.
func (r *reader) retrying(err error) {
	switch {
	case err == nil && r.lost.CompareAndSwap(true, false):
		r.app.note("the server answers again")
	case err != nil && r.lost.CompareAndSwap(false, true):
		r.app.note("%s; trying on", plain(err))
	}
}

// passGap goes on behind a gap, as the user wants it.
func (r *reader) passGap(gone *logd.GoneError) error {
	if gone.Damaged {
		r.app.note("offset %d of topic %q is damaged%s; going on at %d", gone.Offset, r.topic, inFile(gone), gone.Oldest)
	} else {
		r.app.note("offset %d is gone; going on from the oldest, %d", gone.Offset, gone.Oldest)
	}
	return nil
}

// passDamagedStart goes on if the oldest messages are damaged: no other message
// was asked for.
func (r *reader) passDamagedStart(gone *logd.GoneError) error {
	if !gone.Damaged || r.begun {
		return gone
	}
	return r.passGap(gone)
}

// ended says what the Scanner's end means.
func (r *reader) ended(ctx context.Context, s *logd.Scanner) error {
	switch s.End() {
	case logd.EndEmpty:
		r.app.note("topic %q is empty", r.topic)
	case logd.NotEnded: // it has reached --to
		if !r.begun {
			r.app.note("topic %q has no message there", r.topic)
		}
	case logd.EndOfLog:
		if !r.begun {
			r.app.note("offset %d is the end of topic %q: nothing is there yet", r.offset, r.topic)
		}
	}
	return r.explained(ctx, s.Err())
}

// explained is the error about a place in the topic, with what is wrong with it and
// which place is right.
func (r *reader) explained(ctx context.Context, err error) error {
	return r.explain(ctx, err, " (--or-oldest goes on from there)")
}
