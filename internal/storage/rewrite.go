package storage

import (
	"context"
	"math"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// RewriteTail writes the bytes from an offset on to the end again where they are, but
// for what is set aside, and has them count as not synced: the next sync of the log
// makes them durable, whatever the machine makes of pages whose sync has failed once. It is for a start, with
// the offset up to which everything is known to have been synced.
//
// The error is ErrReadOnly if the log has failed, or if there was no room or descriptor.
// What was not written is as it was.
func (l *Log) RewriteTail(ctx context.Context, from int64) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.trimming.Lock() // nothing is removed or cut off meanwhile
	defer l.trimming.Unlock()
	if l.Deleted() {
		return ErrDeleted
	}
	// A sync that is under way would count what is written now as synced.
	if _, err := l.syncing.Join(ctx, math.MaxInt64); err != nil {
		return err
	}
	defer l.syncing.Done(nil) // an error concerns this call alone
	l.writer.Lock()
	defer l.writer.Unlock()
	if e := l.failed.Load(); e != nil {
		return readOnly(e)
	}
	l.synced.Store(min(l.synced.Load(), max(from, l.begin())))
	aside := *l.journal.Damaged()
	for _, p := range l.partitions() {
		for at := max(from, p.base); at < p.end.Load(); {
			at = layout.Past(aside, at)
			end := layout.Clear(aside, at, p.end.Load())
			if err := l.rewrite(p, at, end); err != nil {
				return err
			}
			at = max(at, end)
		}
	}
	return nil
}

// rewrite writes the bytes of a partition from one offset up to another again. Caller
// holds writer.
func (l *Log) rewrite(p *partition, from, to int64) error {
	if from >= to {
		return nil
	}
	f, err := l.pin(p, false) // until it is synced: see pinned
	if err == nil {
		err = files.Rewrite(f, from-p.base, to-p.base)
	}
	if err != nil {
		err = &Error{Op: "rewrite", Topic: l.name, File: p.file.Name(), Offset: from, Err: err}
		if files.Transient(err) {
			err = readOnly(err)
		}
	}
	return err
}
