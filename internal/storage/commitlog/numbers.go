package commitlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/numbers"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// Numbers returns what the log knows of its numbered batches, for their Keeper.
func (l *Log) Numbers() *numbers.Book { return &l.numbers }

// ReadyNumbers returns when the table of the log's numbered batches is in memory, as
// AppendLed needs it. The error is ErrBusy if that takes long, or can't be done: with
// Shared.Managed, because some of the batches are set aside that it would know.
func (l *Log) ReadyNumbers(ctx context.Context) error {
	if l.store.Numbers.Window <= 0 {
		return nil
	}
	err := l.numbers.Ready(ctx)
	if e := l.failed.Load(); e != nil && errors.Is(err, topic.ErrBusy) {
		return ReadOnly(e) // it was deleted, perhaps
	}
	return err
}

// numbered is a log as numbers.Log.
type numbered struct{ *Log }

// Synced implements numbers.Log.
func (l numbered) Synced() int64 { return l.synced.Load() }

// Newest implements numbers.Log.
func (l numbered) Newest(batches int64, wanted func() error) (int64, error) {
	parts := l.partitions()
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		var from, has int64
		err := retryOnce(func() (err error) {
			from, has, err = l.newestOf(p, batches, wanted)
			return err
		})
		switch {
		case l.justRemoved(p, err):
			return l.begin(), nil // and all before it
		case err != nil:
			return 0, err
		}
		if batches -= has; batches <= 0 {
			return from, nil
		}
	}
	return parts[0].base, nil
}

// newestOf is Newest for one partition, and returns how many batches it has.
func (l *Log) newestOf(p *partition, batches int64, wanted func() error) (from, has int64, err error) {
	if p.sum.Load() == nil {
		if err := l.ensureIndexWhile(p, wanted); err != nil {
			return 0, 0, err
		}
	}
	sum, err := l.partitionTotals(p, min(p.end.Load(), l.next.Load()))
	if err != nil || sum.Batches <= batches {
		return p.base, sum.Batches, err
	}
	if err := l.ensureIndexWhile(p, wanted); err != nil {
		return 0, 0, err
	}
	ix := p.index()
	at, _, err := ix.Search(func(e *index.Entry) bool { return e.Batches <= sum.Batches-batches })
	if err != nil {
		return 0, 0, l.readError(p, ix, p.base, err)
	}
	return p.base + max(at.Pos, 0), sum.Batches, nil
}

// Envelopes implements numbers.Log.
func (l numbered) Envelopes(at, end int64, visit func(offset, length int64, h *batch.Header) error) (int64, error) {
	for at < end {
		parts := l.partitions()
		at = max(l.pastDamage(at), parts[0].base)
		i := findPartition(parts, at)
		if at >= end || i < 0 {
			break
		}
		p := parts[i]
		if at >= p.end.Load() {
			return at, numbers.ErrChanged // a hole that nobody knows of
		}
		limit := min(l.segmentEnd(p, at), end)
		to, err := l.envelopesOf(p, at, limit, visit)
		if err != nil && l.lost(p) {
			continue // removed a moment ago: nobody asks for it any more
		}
		if err != nil {
			return at, err
		}
		at = to
	}
	return max(at, end), nil
}

// envelopesOf is Envelopes for one partition.
func (l *Log) envelopesOf(p *partition, at, limit int64, visit func(offset, length int64, h *batch.Header) error) (int64, error) {
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return at, err
	}
	defer p.file.Release()
	w := walk.New(f, l.name)
	defer w.Free()
	ix := p.index()
	var h batch.Header
	for at < limit {
		var n int64
		if h, n, err = w.Header(at-p.base, limit-p.base); err != nil {
			return at, &unreadError{p, ix, at, err}
		}
		if err := visit(at, n, &h); err != nil {
			return at, err
		}
		at += n
	}
	return at, nil
}

// unreadError is a batch whose envelope could not be read.
type unreadError struct {
	p      *partition
	ix     *index.Index
	offset int64
	err    error
}

func (e *unreadError) Error() string { return e.err.Error() }

// Examine implements numbers.Log.
func (l numbered) Examine(err error) error {
	if e, ok := err.(*unreadError); ok {
		err = l.readError(e.p, e.ix, e.offset, e.err)
	}
	if errors.Is(err, errRescanned) {
		err = fmt.Errorf("%w: %w", numbers.ErrChanged, err)
	}
	return err
}
