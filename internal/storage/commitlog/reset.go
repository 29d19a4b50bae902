package commitlog

import (
	"context"
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
)

// Reset empties the log: all of its files go, also what is readable, and it begins
// again at base, which is readable. When it returns nil that is durable. A crash
// meanwhile leaves the log as it was, or emptied. Readers that have a View keep it.
//
// The error is ErrReadOnly, and nothing was changed, if there is no room for the
// journal, or if the log has failed.
func (l *Log) Reset(ctx context.Context, base int64) error {
	if base < 0 {
		return fmt.Errorf("%w: a log that begins at %d", ErrOffset, base)
	}
	return l.alone(ctx, "reset", func() (err error) {
		l.writer.Lock()
		defer l.writer.Unlock()
		if e := l.failed.Load(); e != nil {
			return ReadOnly(e)
		}
		old := slices.Concat(l.condemned, l.partitions())
		for _, p := range old {
			p.loading.Lock() // nobody makes its index anew while it goes
			defer p.loading.Unlock()
		}
		head := l.newPartition(base, base)
		head.ready.Store(true)
		if err := l.announceReset(head); err != nil {
			return err
		}
		l.condemned = nil
		l.headSum, l.lastMillis, l.timesKept = journal.Totals{}, 0, nil
		l.uncheckedBefore = -1
		l.numbers.Cut()
		err = l.finishReset(head, old)
		l.watchers.wake() // the readable end is another one
		if err != nil {
			return l.fail("reset", head.file.Name(), base, err)
		}
		l.store.Logger.Info("topic emptied", "topic", l.name, "files", len(old), "offset", base)
		return nil
	})
}

// announceReset gives the log a journal by which all that it has is being cut off,
// durably, and shows it as it will be, with the partition head alone. Caller holds writer.
func (l *Log) announceReset(head *partition) error {
	replaced, err := l.journal.Restart(head.base, l.renewJournal, func() {
		// Who finds the old files gone finds also that the log begins elsewhere.
		l.parts.Store(&[]*partition{head})
		l.next.Store(head.base)
		l.synced.Store(head.base)
		l.untell(head.base)
	})
	switch {
	case err == nil:
		return nil
	case replaced:
		return l.fail("reset", l.journal.File.Name(), head.base, err) // which journal a crash leaves is not known
	}
	err = &Error{Op: "reset", Topic: l.name, File: l.journal.File.Name(), Offset: head.base, Err: err}
	if files.Transient(err) {
		err = ReadOnly(err)
	}
	return err
}

// finishReset removes the old partitions and makes the file of the new one.
func (l *Log) finishReset(head *partition, old []*partition) error {
	if err := l.numbers.RemoveCache(); err != nil {
		return err
	}
	if err := l.removeFiles(old); err != nil {
		return err
	}
	if err := l.makeFile(head); err != nil {
		return err
	}
	if err := l.syncNames(); err != nil {
		return err
	}
	return l.record(journal.Synced, head.base)
}
