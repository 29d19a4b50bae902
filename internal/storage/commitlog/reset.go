package commitlog

import (
	"context"
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/partition"
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
		old := slices.Concat(l.condemned, l.parts.All())
		for _, p := range old {
			p.Loading.Lock() // nobody makes its index anew while it goes
			defer p.Loading.Unlock()
		}
		head := l.parts.New(base, base)
		head.Ready.Store(true)
		if err := l.announceReset(head); err != nil {
			return err
		}
		l.condemned = nil
		l.parts.HeadSum, l.parts.LastMillis, l.timesKept = journal.Totals{}, 0, nil
		l.parts.Unchecked = -1
		err = l.finishReset(head, old)
		l.numbers.Cut()
		l.watchers.wake() // the readable end is another one
		if err != nil {
			return l.fail("reset", head.File.Name(), base, err)
		}
		l.store.Logger.Info("topic emptied", "topic", l.name, "files", len(old), "offset", base)
		return nil
	})
}

// announceReset gives the log a journal by which all that it has is being cut off,
// durably, and shows it as it will be, with the partition head alone. Caller holds writer.
func (l *Log) announceReset(head *partition.Partition) error {
	replaced, err := l.journal.Restart(head.Base, l.renewJournal, func() {
		// Who finds the old files gone finds also that the log begins elsewhere.
		l.parts.Set([]*partition.Partition{head})
		l.next.Store(head.Base)
		l.synced.Store(head.Base)
		l.untell(head.Base)
	})
	switch {
	case err == nil:
		return nil
	case replaced:
		return l.fail("reset", l.journal.File.Name(), head.Base, err) // which journal a crash leaves is not known
	}
	err = &Error{Op: "reset", Topic: l.name, File: l.journal.File.Name(), Offset: head.Base, Err: err}
	if files.Transient(err) {
		err = ReadOnly(err)
	}
	return err
}

// finishReset removes the old partitions and makes the file of the new one.
func (l *Log) finishReset(head *partition.Partition, old []*partition.Partition) error {
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
	return l.record(journal.Synced, head.Base)
}
