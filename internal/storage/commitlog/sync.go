package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// Commit waits until the batches of a may be acknowledged, as the store's
// FlushBatches says:
//
//   - 1: they are on stable storage.
//   - N > 1: at most N-1 batches of the log that may be acknowledged are not on
//     stable storage.
//   - 0: at once. They survive a crash of the process, and are synced after
//     FlushInterval.
//
// The errors are those of SyncTo. Unless one is ErrInDoubt, the batches are not
// stored.
func (l *Log) Commit(ctx context.Context, a topic.Appended) error {
	if a.Batches == 0 || !l.policy().awaitsSync(a.Ordinal, l.appendedDurably.Load()) {
		return nil
	}
	err := l.SyncTo(ctx, a.End)
	switch {
	case err == nil, errors.Is(err, topic.ErrNotFound), errors.Is(err, topic.ErrDeleted):
		return err
	case errors.Is(err, topic.ErrReadOnly) && !files.NoDescriptor(err) && l.dropped.Load():
		return err // with a descriptor missing, another sync may have come before what was dropped
	}
	return inDoubt(err)
}

func inDoubt(cause error) error { return fmt.Errorf("%w: %w", topic.ErrInDoubt, cause) }

// SyncTo returns when all before offset is on stable storage. Calls share
// syncs: one begins as soon as the one before has ended and serves all who
// then wait.
//
// The error is ErrReadOnly, with its cause, if a sync failed: the log then
// takes no more appends, and nothing after the last offset that was synced is
// known to be stored. After a failed write what was written before it is still
// synced. If only a descriptor was missing the log goes on, and a later sync makes
// good for this one. It is ErrNotFound if the log ends before offset, perhaps
// because it was cut off meanwhile. A done ctx ends the waiting for a sync that
// another caller is doing.
func (l *Log) SyncTo(ctx context.Context, offset int64) error {
	for l.synced.Load() < offset {
		if next := l.next.Load(); offset > next {
			return fmt.Errorf("%w: sync to %d of a log that ends at %d", topic.ErrNotFound, offset, next)
		}
		lead, err := l.syncing.Join(ctx, offset)
		if err != nil || !lead {
			return err
		}
		if err := l.leadSync(); err != nil {
			return err
		}
	}
	return nil
}

// leadSync syncs the log and ends the caller's lead.
func (l *Log) leadSync() (err error) {
	defer func() {
		if r := recover(); r != nil {
			l.syncing.Done(l.fail("sync", "", l.synced.Load(), fmt.Errorf("%w: %v", errPanic, r)))
			panic(r)
		}
		l.syncing.Done(err)
	}()
	return l.sync()
}

// syncWhole is SyncTo of all that is flushed, and of the names that have changed, as
// soon as a sync that is under way has ended.
func (l *Log) syncWhole() error {
	if err := l.syncing.Claim(context.Background()); err != nil {
		return err
	}
	if l.Unsyncable() == nil && l.isSynced() {
		l.syncing.Done(nil)
		return nil
	}
	return l.leadSync()
}

// isSynced reports whether there is nothing to sync. Only the leader of the sync
// group can tell: names that somebody is syncing do not count as changed.
func (l *Log) isSynced() bool {
	return l.synced.Load() >= l.next.Load() && !l.member.FolderDirty.Load() && !l.member.RootDirty.Load()
}

// WantsSync reports whether there is something to sync, by which something is told.
func (l *Log) WantsSync() bool { return l.syncFailed.Load() == nil && l.synced.Load() < l.next.Load() }

// WantsNames reports whether what wants to be synced has names that do, too.
func (l *Log) WantsNames() bool { return l.member.FolderDirty.Load() && l.WantsSync() }

// SyncAll is SyncTo of all that is flushed.
func (l *Log) SyncAll() error { return l.SyncTo(context.Background(), l.next.Load()) }

// sync makes all that is flushed when it begins durable. Only the leader of
// the sync group calls it.
func (l *Log) sync() error {
	if err := l.Unsyncable(); err != nil {
		return err
	}
	u := l.unsynced()
	return l.durable(u, l.store.Syncs.Sync(&l.member, u.target))
}

// unsynced is what a sync has to make durable.
type unsynced struct {
	begun           time.Time
	target, ordinal int64
}

func (l *Log) unsynced() unsynced {
	u := unsynced{begun: l.store.Clock.Now()}
	// In this order, see the fields' comment.
	u.ordinal = l.appended.Load()
	u.target = l.next.Load()
	return u
}

// durable notes how a sync has ended, and returns its error. Only the leader of
// the sync group calls it.
func (l *Log) durable(u unsynced, err error) error {
	now := l.store.Clock.Now()
	l.store.Observer.Synced(now.Sub(u.begun))
	if e := l.syncFailed.Load(); e != nil && err == nil {
		err = ReadOnly(e) // another sync has failed meanwhile, and may have been told of this one's bytes
	}
	if err == nil {
		err = l.inPlace(false)
	}
	if err != nil {
		if l.syncFailed.Load() != nil {
			l.dropUnacknowledged()
		}
		return err
	}
	before := l.synced.Load()
	l.synced.Store(u.target)
	l.appendedDurably.Store(u.ordinal)
	l.mark(now, u.target)
	if l.policy().SyncsFirst() {
		l.grown(before)
	}
	l.Unpin()
	return nil
}

// syncFiles syncs the partitions that have bytes between the synced end and
// target, and the names of files that are new. If all is true it syncs every
// partition that may have bytes which are not synced.
func (l *Log) syncFiles(target int64, all bool) error {
	from := l.synced.Load()
	for _, p := range l.parts.All() {
		unsynced := p.End.Load() > from && p.Base < target
		if !unsynced && !(all && l.isPinned(p)) {
			continue
		}
		if err := l.syncPartition(p, from); err != nil {
			return err
		}
	}
	return l.syncNames()
}

// syncPartition syncs the file of a partition. It was not closed since the first
// write that is not synced: see pinned.
func (l *Log) syncPartition(p *partition.Partition, from int64) error {
	f, err := p.File.Acquire(files.ToWrite)
	if err == nil {
		defer p.File.Release()
		return l.syncFile(f, "sync", p.File, from)
	}
	if errors.Is(err, fs.ErrNotExist) && p.Base < l.parts.Begin() {
		return nil // retention has removed it meanwhile
	}
	return l.fail("sync", p.File.Name(), from, err)
}

// syncFile syncs a file of the log. All who sync a partition use it: an error is
// told to one of those who share the descriptor, and a failure is final for all.
func (l *Log) syncFile(f vfs.File, op string, of *files.File, offset int64) error {
	l.fileSyncing.Lock()
	defer l.fileSyncing.Unlock()
	if err := l.Unsyncable(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return l.fail(op, of.Name(), offset, err)
	}
	return nil
}

// syncFolder makes the names in the topic's folder durable. A failure is final:
// some of the names that it concerns may be of others who sync them.
func (l *Log) syncFolder() error {
	l.folderSyncing.Lock()
	defer l.folderSyncing.Unlock()
	if err := l.Unsyncable(); err != nil {
		return err
	}
	return l.syncFolderLocked()
}

// syncRemoved is syncFolder for a removal, which goes on in a log that has failed:
// nobody is told that something is stored because of it.
func (l *Log) syncRemoved() error {
	l.folderSyncing.Lock()
	defer l.folderSyncing.Unlock()
	return l.syncFolderLocked()
}

func (l *Log) syncFolderLocked() error {
	err := l.store.FS.SyncDir(l.dir())
	if err != nil && !files.NoDescriptor(err) {
		return l.fail("sync folder of", l.dir(), -1, err)
	}
	return err
}

// syncRoot makes the name of the topic's folder durable. If it fails, that is so
// for all topics whose folders were made before.
func (l *Log) syncRoot() error {
	err := l.store.Syncs.SyncRootFor(&l.member)
	if err != nil && !files.NoDescriptor(err) {
		err = l.fail("sync work directory for", l.member.Parent, -1, err)
	}
	return err
}

// dropUnacknowledged cuts off what a failed sync leaves in the partitions
// beyond the synced end, where none of it was acknowledged or readable: its
// writers are told that it is not stored, and so it must not be there after a
// restart. It does what it can on a disk that fails; the log is read only
// already. If a file can't be cut off, the batches are in doubt. If it is cut off,
// and only the sync of that fails, they are reported as not stored. That is wrong
// only if the disk wrote what it reported as failed, and then lost power.
func (l *Log) dropUnacknowledged() {
	if !l.policy().SyncsFirst() {
		return
	}
	l.writer.Lock() // no write is under way, and no other begins
	defer l.writer.Unlock()
	synced := max(l.synced.Load(), l.shown.Load()) // what was acknowledged without a sync stays
	dropped := true
	for _, p := range l.parts.All() {
		if p.End.Load() <= synced {
			continue
		}
		f, err := p.File.Acquire(files.ToWrite)
		if err == nil {
			err = shorten(f, max(synced-p.Base, 0))
			dropped = dropped && err == nil
			if err == nil {
				err = f.Sync() // where it was another file's sync that failed; nobody relies on a later one
			}
			p.File.Release()
		} else {
			dropped = false
		}
		if err != nil {
			l.store.Logger.Error("batches that no writer was told are stored may be there after a restart", "topic", l.name, "file", p.File.Name(), "err", err)
		}
	}
	l.dropped.Store(dropped)
}

// shorten cuts a file off at size, if it is not shorter.
func shorten(f vfs.File, size int64) error {
	if st, err := f.Stat(); err == nil && st.Size() <= size {
		return nil
	}
	return f.Truncate(size)
}

// syncNames makes the topic's folder, the names in it and the journal durable
// if they have changed.
//
// To sync a folder takes a free descriptor. If there is none, a sync of all is
// done, which takes none. If that can't be relied on, nothing was synced and
// nothing is lost: the folder is tried again, for a second if writers wait for it,
// and otherwise at the next sync. If a second does not help, the writers' batches
// are in doubt, and the next sync, or reopening at the latest, makes them durable.
func (l *Log) syncNames() error {
	if !l.member.FolderDirty.Swap(false) && !l.member.RootDirty.Load() {
		return nil
	}
	s := l.store
	op, file, err := l.trySyncNames()
	if files.NoDescriptor(err) && !l.member.OtherDevice.Load() && s.Syncs.Alone(&l.member) {
		l.member.RootDirty.Store(false)
		return nil
	}
	for files.NoDescriptor(err) && l.policy().SyncsFirst() && s.lacks.lately(s.Clock.Now()) {
		clock.Sleep(s.Clock, namesPause)
		op, file, err = l.trySyncNames()
	}
	if !files.NoDescriptor(err) {
		s.lacks.over()
		return err
	}
	l.member.FolderDirty.Store(true)
	if l.policy().SyncsFirst() {
		s.Owner.SyncLater()
	}
	s.Logger.Error("topic is not synced yet; it is tried again", "topic", l.name, "file", file, "op", op, "err", err)
	return ReadOnly(&Error{Op: op, Topic: l.name, File: file, Offset: -1, Err: err})
}

// trySyncNames returns where it has failed. Unless it has found no descriptor
// the log has failed then.
func (l *Log) trySyncNames() (op, file string, err error) {
	if err := l.journal.Sync(); err != nil {
		return "sync", l.journal.File.Name(), err
	}
	if err := l.syncFolder(); err != nil {
		return "sync folder of", l.dir(), err
	}
	if l.member.RootDirty.Load() {
		if err := l.syncRoot(); err != nil {
			return "sync work directory for", l.member.Parent, err
		}
		l.member.RootDirty.Store(false)
	}
	return "", "", nil
}

// The names of topics are tried to sync each namesPause while descriptors are
// missing, and for namesPatience: all topics together, so that the writers of
// many do not wait for one after the other.
const (
	namesPause    = 10 * time.Millisecond
	namesPatience = time.Second
)

// lack knows since when names could not be synced for want of descriptors.
type lack struct{ since atomic.Pointer[time.Time] }

// lately notes that descriptors are missing, and reports whether that is so for
// less than namesPatience.
func (k *lack) lately(now time.Time) bool {
	since := k.since.Load()
	if since == nil {
		k.since.CompareAndSwap(nil, &now)
		return true
	}
	return now.Sub(*since) < namesPatience
}

// over notes that they are not missing any more.
func (k *lack) over() {
	if k.since.Load() != nil {
		k.since.Store(nil)
	}
}
