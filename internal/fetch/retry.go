package fetch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// recover decides what to do about a failure. If it returns neither an error
// nor a gap, reading goes on.
func (f *Fetcher) recover(err error) (*Gap, error) {
	if isAny(err, protocol.ErrNotFound) {
		return f.locate(err)
	}
	return nil, f.fitOrRetry(err)
}

// fitOrRetry returns nil when it is time to try again, and otherwise why not.
func (f *Fetcher) fitOrRetry(err error) error {
	if !isAny(err, protocol.ErrInvalidRequest) || f.asked {
		return f.retry(err)
	}
	most, failed := f.src.MaxMessages(f.ctx)
	if failed != nil {
		return f.retry(failed)
	}
	f.asked = true
	if most <= 0 || most >= f.page {
		return err // it was not the number of messages
	}
	f.page = most
	return nil
}

// locate finds out why nothing was found at the offset.
func (f *Fetcher) locate(cause error) (*Gap, error) {
	info, err := f.src.Info(f.ctx, true)
	switch {
	case isAny(err, protocol.ErrNotFound):
		if f.cfg.AwaitTopic && !f.begun {
			return nil, f.pause(awaitPause)
		}
		return nil, err
	case err != nil:
		return nil, f.retry(err)
	}
	if gap := f.seen(info); gap != nil {
		return gap, nil
	}
	if f.offset == FromOldest || f.offset == info.Next {
		return nil, f.again(cause, false) // it went, or came, between the two questions
	}
	for i, r := range info.DamagedAt {
		if r[0] <= f.offset && f.offset < r[1] {
			return damaged(info, i, f.offset), nil
		}
	}
	if f.offset < info.Oldest {
		return &Gap{Offset: f.offset, Oldest: info.Oldest}, nil
	}
	// The delta is not what is wrong: it was not looked at.
	return nil, &PlaceError{Offset: f.offset, Oldest: info.Oldest, Next: info.Next, Damaged: info.Damaged}
}

// damagedBefore returns the gap if the oldest batches of the topic are damaged,
// so that the first one which is not is at the offset.
func (f *Fetcher) damagedBefore(offset int64) (*Gap, error) {
	info, err := f.src.Info(f.ctx, false)
	if err != nil {
		return nil, err
	}
	for i, r := range info.DamagedAt {
		if r[1] == offset {
			return damaged(info, i, r[0]), nil
		}
	}
	return nil, nil
}

// damaged returns the gap from an offset in the i-th damaged range.
func damaged(info *protocol.TopicInfo, i int, offset int64) *Gap {
	gap := &Gap{Offset: offset, Oldest: info.DamagedAt[i][1], Damaged: true}
	if i < len(info.DamagedIn) {
		gap.File = info.DamagedIn[i]
	}
	return gap
}

// noMessage returns the error for a delta at which no message begins.
func (f *Fetcher) noMessage() error {
	info, err := f.src.Info(f.ctx, true)
	if err != nil {
		return err
	}
	return &PlaceError{Offset: f.offset, Delta: f.delta, Oldest: info.Oldest, Next: info.Next, Damaged: info.Damaged}
}

// before returns how many messages of a batch come before the wanted one, and false if
// there is none at delta.
func (f *Fetcher) before(data []byte) (n int64, ok bool) {
	messages := batch.Messages{Data: data}
	for ; messages.Next(); n++ {
		if messages.Delta() == f.delta {
			if f.after {
				n++
			}
			return n, true
		}
	}
	return 0, false
}

// retry returns nil when it is time to try again, and otherwise why not.
func (f *Fetcher) retry(err error) error {
	again, atOnce := f.src.Retry(err)
	if !again || f.ctx.Err() != nil {
		return err
	}
	return f.again(err, atOnce)
}

// again counts a failure and waits before the next attempt, unless there were
// too many.
func (f *Fetcher) again(err error, atOnce bool) error {
	f.failures++
	if f.cfg.Attempts > 0 && f.failures > f.cfg.Attempts {
		return err
	}
	f.cfg.OnRetry(err)
	if f.failures == 1 && atOnce {
		return nil
	}
	return f.pause(f.src.Backoff(f.failures - 1))
}

// answered notes that the server answers all that has to be known: not before the
// last question, or the next failure of that would count as the first one, again and
// again.
func (f *Fetcher) answered() {
	if f.failures > 0 {
		f.failures = 0
		f.cfg.OnRetry(nil)
	}
}

// pause waits, and returns why if it could not.
func (f *Fetcher) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		if f.life.Err() != nil {
			return context.Cause(f.life)
		}
		return f.ctx.Err()
	}
}

// isAny reports whether err is one of the targets.
func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
