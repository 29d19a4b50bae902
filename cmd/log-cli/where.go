package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
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

// inFile names the damaged file, if the server does.
func inFile(gone *logd.GoneError) string {
	if gone.File == "" {
		return ""
	}
	return " (file " + gone.File + ")"
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
	return r.explain(ctx, s.Err())
}

// explain turns an error about a place in the topic into one that says what is
// wrong with it, and which place is right.
func (r *reader) explain(ctx context.Context, err error) error {
	return r.app.explainPlace(ctx, &r.finder, err, " (--or-oldest goes on from there)")
}

// explainPlace does that for any command. hint is what to do about what is gone.
func (a *app) explainPlace(ctx context.Context, f *finder, err error, hint string) error {
	if err == nil {
		return nil
	}
	bad := func(offset int64, format string, args ...any) error {
		return exit.With(exit.NotFound, fmt.Errorf("offset %d of topic %q "+format, append([]any{offset, f.topic}, args...)...))
	}
	if gone, ok := errors.AsType[*logd.GoneError](err); ok {
		if gone.Damaged {
			return bad(gone.Offset, "is damaged%s; what is stored goes on at %d%s", inFile(gone), gone.Oldest, hint)
		}
		return bad(gone.Offset, "is gone; the oldest is %d%s", gone.Oldest, hint)
	}
	if wrong, ok := errors.AsType[*logd.OffsetError](err); ok {
		next := ""
		if p, ok := f.nextMessage(ctx, wrong.Offset, wrong.Delta); ok && p.offset == wrong.Next {
			next = fmt.Sprintf("; the next one begins at the end, %d", wrong.Next)
		} else if ok {
			next = fmt.Sprintf("; the next one begins at %v", p)
		}
		switch {
		case wrong.Offset > wrong.Next:
			return bad(wrong.Offset, "is beyond the end, %d", wrong.Next)
		case wrong.Delta > 0:
			return exit.With(exit.NotFound, fmt.Errorf("%d.%d of topic %q is not the beginning of a message%s", wrong.Offset, wrong.Delta, f.topic, next))
		case wrong.Damaged > 0:
			return bad(wrong.Offset, "is not the beginning of a batch, or is among %d damaged bytes%s", wrong.Damaged, next)
		}
		return bad(wrong.Offset, "is not the beginning of a batch%s", next)
	}
	if errors.Is(err, logd.ErrNotFound) {
		return a.noTopic(ctx, f.client, f.topic)
	}
	return err
}

// noTopic returns the error for a topic that there is not.
func (a *app) noTopic(ctx context.Context, client *logd.Client, topic string) error {
	return exit.With(exit.NotFound, fmt.Errorf("there is no topic %q%s", topic, a.meantTopic(ctx, client, topic)))
}

// meantTopic asks the server for the topic that may be meant by a name that is
// none.
func (a *app) meantTopic(ctx context.Context, client *logd.Client, topic string) string {
	names, err := client.Topics(ctx)
	if err != nil {
		return ""
	}
	return didYouMean(topic, names)
}
