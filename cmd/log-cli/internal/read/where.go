package read

import (
	"context"
	"fmt"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
)

// retrying tells the user once that the server does not answer, and once that
// it answers again.
func (r *reader) retrying(err error) {
	switch {
	case err == nil && r.lost.CompareAndSwap(true, false):
		r.app.Note("the server answers again")
	case err != nil && r.lost.CompareAndSwap(false, true):
		r.app.Note("%s; trying on", cli.Plain(err))
	}
}

// passGap goes on behind a gap, as the user wants it.
func (r *reader) passGap(gone *logd.GoneError) error {
	if gone.Damaged {
		r.app.Note("offset %d of topic %q is damaged%s; going on at %d", gone.Offset, r.Topic, places.InFile(gone), gone.Oldest)
	} else {
		in := ""
		if r.out.several {
			in = fmt.Sprintf(" of topic %q", r.Topic)
		}
		r.app.Note("offset %d%s is gone; going on from the oldest, %d", gone.Offset, in, gone.Oldest)
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
		r.app.Note("topic %q is empty", r.Topic)
	case logd.NotEnded: // it has reached --to
		if !r.begun {
			r.app.Note("topic %q has no message there", r.Topic)
		}
	case logd.EndOfLog:
		if !r.begun {
			r.app.Note("offset %d is the end of topic %q: nothing is there yet", r.offset, r.Topic)
		}
	}
	return r.explained(ctx, s.Err())
}

// explained is the error about a place in the topic, with what is wrong with it and
// which place is right.
func (r *reader) explained(ctx context.Context, err error) error {
	return r.Explain(ctx, err, " (--or-oldest goes on from there)")
}
