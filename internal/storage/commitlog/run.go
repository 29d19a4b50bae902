package commitlog

import (
	"context"
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/topic"
)

// Run is batches that are stored as whoever replicates the log has decided: where,
// at which time and in which partition. So all copies have the same files.
type Run struct {
	// Offset is that of the first batch.
	Offset int64
	// Millis is when they are appended, in ms since 1970. In a log times never go
	// back: a time before that of the batch before the run counts as that one. A
	// crash may forget it, as that of any append; then the clock here counts.
	Millis int64
	// Roll tells that a partition begins with the run. Where it does not say so the
	// run goes into the partition before it, however large that is, and also if one
	// was begun here for a run that was cut off again, unless damage ends the one
	// before.
	Roll bool

	Data    []byte         // as Append has it
	Extents []batch.Extent // as Append has them
}

// AppendRun is Append of a run. What the log has at and after its offset is cut off
// first, as TruncateTo does it: another copy of the log has won. What is
// readable never is: the error is ErrOffset then, and if the log ends before the
// offset. Only one goroutine may append to a log in this way.
//
// If r is refused after something was cut off, that stays so.
func (l *Log) AppendRun(ctx context.Context, r *Run) (topic.Appended, error) {
	if err := l.makeWay(ctx, r.Offset, cutting{unread: true, join: !r.Roll}); err != nil {
		return topic.Appended{}, err
	}
	return l.append(ctx, r, true)
}

// WriteOut has what was appended from an offset on begin to go to the disk, as far as it is
// in the newest partition, so that a sync later has less to do. Nothing is durable by it.
func (l *Log) WriteOut(from int64) {
	head := l.parts.Head()
	f, err := head.File.Acquire(files.ToWrite)
	if err != nil {
		return // the sync will tell
	}
	defer head.File.Release()
	pos := max(from-head.Base, 0)
	f.WriteOut(pos, head.End.Load()-head.Base-pos)
}

// makeWay cuts off what the log has where a run goes.
func (l *Log) makeWay(ctx context.Context, offset int64, how cutting) error {
	if offset < 0 {
		return ErrOffset
	}
	if l.hasAt(offset, how) {
		if err := l.truncate(ctx, offset, how); err != nil {
			return err
		}
	}
	l.findLastTime()
	return nil
}

// hasAt reports whether a run at offset has something to be cut off first: batches,
// or a partition that was begun.
func (l *Log) hasAt(offset int64, how cutting) bool {
	next := l.next.Load()
	if offset != next {
		return offset < next
	}
	parts := l.parts.All()
	return l.headAt(parts, offset, how) != len(parts)-1
}

// Roll begins a partition at offset, which must be next, or the error is ErrOffset. If
// the newest partition is empty and begins there, that is it. A power cut may take it
// away as long as nothing is in it: whoever appends a run next has to say that a partition
// begins with it (Run.Roll).
func (l *Log) Roll(ctx context.Context, offset int64) error {
	err := l.tryRoll(ctx, offset)
	if files.NoDescriptor(err) {
		l.store.Owner.FreeFiles()
		err = l.tryRoll(ctx, offset)
	}
	return err
}

func (l *Log) tryRoll(ctx context.Context, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.writer.Lock()
	defer l.writer.Unlock()
	defer l.failOnPanic("rotate")
	head := l.parts.Head()
	switch e := l.failed.Load(); {
	case e != nil:
		return ReadOnly(e)
	case offset != l.next.Load():
		return fmt.Errorf("%w: a partition at %d of a log that ends at %d", ErrOffset, offset, l.next.Load())
	case head.End.Load() == head.Base:
		return nil
	}
	err := l.parts.ReadyHead()
	if err == nil {
		err = l.rotate()
	}
	if err != nil {
		return l.passingRefusal("rotate", err)
	}
	return nil
}
