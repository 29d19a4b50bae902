package commitlog

import (
	"context"
	"errors"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// Deleted reports whether the topic was deleted.
func (l *Log) Deleted() bool { return l.folder.IsGone() }

// Delete takes the log from the store and its folder away. It returns where the
// files are.
func (l *Log) Delete(ctx context.Context, now bool) (kept deleted.Kept, err error) {
	// All who change the log or use names in its folder are kept out: retention,
	// syncs, writers, and readers that open files.
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return kept, topic.ErrNotFound
	}
	if err := l.syncing.Claim(ctx); err != nil {
		return kept, err
	}
	var told error // what those who wait for a sync are told
	defer func() { l.syncing.Done(told) }()
	l.writer.Lock()
	defer l.writer.Unlock()
	if e := l.failed.Load(); e != nil && errors.Is(e, topic.ErrClosed) {
		return kept, topic.ErrClosed
	}
	_, held := l.released()

	gone, from := false, l.dir()
	l.folder.Take(func() bool {
		kept, gone, err = l.store.Deleted.Take(l.dir(), l.parts.ID, now)
		return gone
	})
	if err != nil {
		err = &Error{Op: "delete", Topic: l.name, File: l.dir(), Offset: -1, Err: err}
		if files.Transient(err) {
			err = ReadOnly(err)
		}
	}
	if !gone {
		// The sync that waiters want is still to be done, by one of them.
		return kept, err
	}
	// Who waits for a sync is told that the batches are not stored, but not while
	// a power cut may bring them back.
	why := &Error{Op: "use", Topic: l.name, Offset: -1, Err: topic.ErrDeleted}
	told = ReadOnly(why)
	if err != nil {
		told = inDoubt(err)
		l.syncFailed.Store(&Error{Op: "delete", Topic: l.name, Offset: -1, Err: err})
	} else {
		l.syncFailed.Store(why)
	}
	l.failed.Store(why)
	l.store.Owner.Gone(l)
	LeaveNew(l.store.FS, from)
	l.letGo()
	if h := l.holder(); h != nil {
		for _, p := range held {
			h.Gone(p)
		}
	}
	l.watchers.wake()
	return kept, err
}

// letGo closes the files of a log that was deleted, but for those that somebody
// reads. Caller holds writer and leads the sync group.
func (l *Log) letGo() {
	l.unpinIf(func(*partition.Partition) bool { return true })
	for _, p := range append(l.parts.All(), l.condemned...) {
		p.File.Drop()
		p.Index().File.Drop()
	}
	l.journal.File.Drop()
}

// abandon takes a topic away of which nothing was ever stored, when its first
// append was refused. Whoever has the log gets ErrDeleted from it. The caller
// leads the commit queue.
func (l *Log) abandon() {
	l.store.Owner.Unmake(l, func() bool {
		l.trimming.Lock()
		defer l.trimming.Unlock()
		l.writer.Lock()
		defer l.writer.Unlock()
		if l.next.Load() > 0 || l.failed.Load() != nil {
			return false
		}
		gone := &Error{Op: "use", Topic: l.name, Offset: -1, Err: topic.ErrDeleted}
		l.folder.Take(func() bool { return true })
		l.syncFailed.Store(gone)
		l.failed.Store(gone)
		l.store.Owner.Gone(l)
		l.letGo()
		return true
	})
	if l.Deleted() {
		l.watchers.wake()
	}
}
