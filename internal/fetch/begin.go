package fetch

import (
	"context"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// At begins with the message at the delta of the batch at the offset, or with after
// behind it.
func (f *Fetcher) At(offset, delta int64, after bool) {
	f.offset, f.delta, f.after = offset, delta, after
}

// AtOldest begins with the oldest message.
func (f *Fetcher) AtOldest() { f.offset = FromOldest }

// AtNext begins at the end of the log.
func (f *Fetcher) AtNext(ctx context.Context) error {
	return f.lookUp(ctx, func() (place, error) {
		info, err := f.src.Info(f.ctx, true)
		if err != nil {
			return place{}, err
		}
		return place{offset: info.Next}, nil
	})
}

// AtTime begins with the first batch that was stored at or after the time.
func (f *Fetcher) AtTime(ctx context.Context, since time.Time) error {
	return f.lookUp(ctx, func() (place, error) {
		offset, err := f.src.Seek(f.ctx, since)
		return place{offset: offset}, err
	})
}

// AtLast begins with the n-th message from the end.
func (f *Fetcher) AtLast(ctx context.Context, n int64) error {
	return f.lookUp(ctx, func() (place, error) { return f.last(n) })
}

// place is where a message is, or the next one will be.
type place struct{ offset, delta int64 }

// lookUp asks the server for the message to begin with, for as long as ctx allows.
func (f *Fetcher) lookUp(ctx context.Context, ask func() (place, error)) error {
	asking, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(f.life, func() { end(context.Cause(f.life)) })()
	f.ctx = asking
	defer func() { f.ctx = f.life }()
	for {
		at, err := ask()
		if err == nil {
			f.answered()
			f.offset, f.delta = at.offset, at.delta
			return nil
		}
		if isAny(err, protocol.ErrNotFound) && f.cfg.AwaitTopic {
			f.offset = FromOldest // all of it is yet to come
			return nil
		}
		if err := f.fitOrRetry(err); err != nil {
			return err
		}
	}
}
