package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd"
)

// recover decides what an error of a read means. It returns nil if reading
// goes on, perhaps elsewhere.
func (r *reader) recover(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, logd.ErrNotFound):
		return r.locate(ctx)
	case !r.follow || !logd.IsRetryable(err):
		return err
	}
	if !r.lost {
		r.lost = true
		r.app.note("%v; trying on", err)
	}
	select {
	case <-time.After(retryPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// locate finds out why nothing is at the reader's offset. It returns nil if
// reading can go on: the offset has come into being meanwhile, or the oldest
// will do.
func (r *reader) locate(ctx context.Context) error {
	info, err := r.client.Info(ctx, r.topic)
	if errors.Is(err, logd.ErrNotFound) {
		return noTopic(r.topic)
	}
	if err != nil {
		return err
	}
	why := ""
	switch {
	case r.offset < info.Oldest && r.fromOldest && !r.begun:
		r.offset = info.Oldest
		return nil
	case r.offset < info.Oldest && r.orOldest:
		r.app.note("offset %d is gone; going on from the oldest, %d", r.offset, info.Oldest)
		r.offset, r.skip = info.Oldest, 0
		return nil
	case r.offset < info.Oldest:
		why = fmt.Sprintf("is gone; the oldest is %d (--or-oldest goes on from there)", info.Oldest)
	case r.offset > info.Next:
		why = fmt.Sprintf("is beyond the end, %d", info.Next)
	case r.offset == info.Next:
		return nil
	default:
		why = "is not the beginning of a batch"
	}
	return &exitError{exitNotFound, fmt.Errorf("offset %d of topic %q %s", r.offset, r.topic, why)}
}

// nothing ends a read that is at the end of the log, and says so if there was
// nothing to read at all.
func (r *reader) nothing(ctx context.Context) error {
	if r.begun {
		return nil
	}
	info, err := r.client.Info(ctx, r.topic)
	switch {
	case err != nil:
		return err
	case info.Oldest == info.Next:
		r.app.note("topic %q is empty", r.topic)
	default:
		r.app.note("offset %d is the end of topic %q: nothing is there yet", r.offset, r.topic)
	}
	return nil
}
