package main

import (
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
		r.app.note("offset %d is damaged; going on at %d", gone.Offset, gone.Oldest)
	} else {
		r.app.note("offset %d is gone; going on from the oldest, %d", gone.Offset, gone.Oldest)
	}
	r.skip = 0
	return nil
}

// ended says what the Scanner's end means.
func (r *reader) ended(s *logd.Scanner) error {
	switch s.End() {
	case logd.EndEmpty:
		r.app.note("topic %q is empty", r.topic)
	case logd.EndOfLog:
		if !r.begun {
			r.app.note("offset %d is the end of topic %q: nothing is there yet", r.offset, r.topic)
		}
	}
	err := s.Err()
	if gone, ok := errors.AsType[*logd.GoneError](err); ok {
		if gone.Damaged {
			return r.badOffset(gone.Offset, fmt.Sprintf("is damaged; what is stored goes on at %d (--or-oldest goes on from there)", gone.Oldest))
		}
		return r.badOffset(gone.Offset, fmt.Sprintf("is gone; the oldest is %d (--or-oldest goes on from there)", gone.Oldest))
	}
	if bad, ok := errors.AsType[*logd.OffsetError](err); ok {
		switch {
		case bad.Offset > bad.Next:
			return r.badOffset(bad.Offset, fmt.Sprintf("is beyond the end, %d", bad.Next))
		case bad.Damaged > 0:
			return r.badOffset(bad.Offset, fmt.Sprintf("is not the beginning of a batch, or is among %d damaged bytes", bad.Damaged))
		}
		return r.badOffset(bad.Offset, "is not the beginning of a batch")
	}
	if errors.Is(err, logd.ErrNotFound) {
		return noTopic(r.topic)
	}
	return err
}

func (r *reader) badOffset(offset int64, why string) error {
	return exit.With(exit.NotFound, fmt.Errorf("offset %d of topic %q %s", offset, r.topic, why))
}
