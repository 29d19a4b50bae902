package commitlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/numbers"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// Numbers returns what the log knows of its numbered batches, for their Keeper.
func (l *Log) Numbers() *numbers.Book { return &l.numbers }

// ReadyNumbers returns when the table of the log's numbered batches is in memory, as
// AppendLed needs it. The error is ErrBusy if that takes long, or can't be done: with
// Shared.Managed, because some of the batches are set aside that it would know.
func (l *Log) ReadyNumbers(ctx context.Context) error {
	if l.store.Numbers.Window() <= 0 {
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
	return l.parts.Newest(batches, l.next.Load(), wanted)
}

// Envelopes implements numbers.Log.
func (l numbered) Envelopes(from, to int64, visit func(offset, length int64, h *batch.Header) error) (int64, error) {
	return l.parts.Envelopes(from, to, visit)
}

// Examine implements numbers.Log.
func (l numbered) Examine(err error) error {
	if err = l.parts.LookInto(err); errors.Is(err, partition.ErrRescanned) {
		err = fmt.Errorf("%w: %w", numbers.ErrChanged, err)
	}
	return err
}
