// Package commitlog is the log of one topic on disk: append, commit, recovery,
// what a failure means for it, removal. Who has the logs, and makes and opens them, is
// package storage, the only one that sees this one. A log knows of it what is in
// [Shared], and asks it for help by [Owner]. What a log has, and how a batch is found in
// it, is package partition's, and what it knows of numbered batches package numbers'.
//
// # Writing
//
// [Log.Append] hands batches to the operating system and returns where they
// went; [Log.Commit] waits until they are as durable as the store's flush
// settings ask before they may be acknowledged; [Log.SyncTo] waits until they
// are on stable storage. Appends to one log are written in groups: whoever
// finds no write under way writes for all who wait.
//
// After a write or a sync has failed, a log takes no more appends until the
// store is opened again: what is on disk is then unknown, and trying the sync
// again would report a success that isn't one. A full disk is not such a
// failure: the partial write is cut off and later appends succeed when there
// is room.
//
// A log that is [Shared].Managed is a copy of one that somebody replicates.
// [Log.AppendRun] stores what a leader has decided, [Log.Stored] gives what another
// copy needs, [Log.Refill] puts back what is damaged here. One of the copies leads:
// [Log.AppendLed].
//
// # Reading
//
// [Log.Read] returns a [partition.View]: sections of files, never past the readable end,
// for the caller to send. Readers take no lock that a writer holds. A
// partition that is removed under a View stays readable until it is closed.
//
// # Concurrency and lock order
//
// All methods of Log are safe for concurrent use. Locks are taken in this order:
// Log.trimming, numbers.Book.Keeping, Log.writer, partition.Partition.Loading, Log.syncing,
// journal.Journal, files.File.opening, folder, Log.fileSyncing, Log.folderSyncing, those
// of syncs.Queue, then the leaves: commitQueue, watchers, numbers.Book, Log.pinnedMu,
// files.Cache. Those of a store come before them, but for its leaves.
package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/numbers"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/storage/syncs"
	"github.com/logd-dev/logd/internal/topic"
)

// ErrOffset is an append at an offset that is not the log's next.
var ErrOffset = topic.ErrOffset

// Error is a failure at a place: which topic and partition file, and where.
type Error = layout.Error

// Log is the log of one topic.
type Log struct {
	store  *Shared
	name   string
	made   bool // since the store was opened, with its name
	folder *files.Folder

	// writer is held by whoever changes the log: the leader of a group of
	// appends, rotation, truncation, close. It guards the fields up to the
	// next blank line and the growth of all that follow.
	writer sync.Mutex
	iovecs [][]byte

	queue   commitQueue
	numbers numbers.Book

	// What readers see.
	parts  partition.List
	next   atomic.Int64          // offset the next batch gets: all before is flushed
	synced atomic.Int64          // all before is on stable storage
	told   atomic.Int64          // by SetReadable
	shown  atomic.Int64          // all before was readable when syncsEach was set
	failed atomic.Pointer[Error] // why the log takes no more appends

	// syncFailed is set when a sync has failed: later syncs prove nothing. A write
	// that failed sets failed only: earlier bytes can still be synced.
	syncFailed atomic.Pointer[Error]

	// dropped tells that what a failed sync should have made durable was cut off
	// again: those who were waiting for it are told that it is not stored.
	dropped atomic.Bool

	// lastRefusal is why the last append was refused although the log has not
	// failed: no room, say. It is forgotten when one succeeds, and after a
	// while, so that somebody tries.
	lastRefusal atomic.Pointer[Error]

	// Batches appended and batches synced since the log was opened. appended
	// is advanced after next, so that who reads appended first and next second
	// never counts a batch that is not before next.
	appended        atomic.Int64
	appendedDurably atomic.Int64

	syncing syncs.Group
	member  syncs.Member // of the store's syncs

	// fileSyncing is held while a partition is synced, folderSyncing while the
	// folder is, until a failure is noted: who syncs next has to know, for the error
	// is not told again. The journal has a lock for that.
	fileSyncing, folderSyncing sync.Mutex

	// trimming is held while partitions are removed; before writer. condemned are
	// those that are no longer served and whose files are still to go.
	trimming  sync.Mutex
	condemned []*partition.Partition

	// pinned are the partitions whose descriptor is kept from the first write
	// that was not synced until the sync: the descriptor through which a page
	// was written is the one whose sync reports that it could not be.
	pinnedMu sync.Mutex
	pinned   []*partition.Partition

	adopted  bool // opened without a journal; for recovery
	journal  journal.Journal
	lastMark time.Time // when the newest synced record was written; the leader of the sync group has it

	// Times, in ms since 1970: see clock.go.
	clockBehind   bool                 // the clock was found behind it, which was said; guarded by writer
	timesKept     *partition.Partition // whose index has been made durable since the clock went behind; guarded by writer
	newestRemoved atomic.Int64         // of what retention has removed

	watchers watchers

	keptBy    atomic.Pointer[keptBy] // see kept
	syncsEach atomic.Bool            // as Kept.SyncsFirst; changed by who holds writer
}

// dir returns the folder that the log's files are in. Who uses it to find a file
// keeps TakeName out meanwhile, as a deletion is kept out, or has entered folder.
func (l *Log) dir() string { return l.folder.Path() }

// Name returns the topic's name.
func (l *Log) Name() string { return l.name }

// ID returns the topic's identity, which another topic of the same name does
// not have.
func (l *Log) ID() [16]byte { return l.parts.ID }

// HexID returns the identity in hexadecimal.
func (l *Log) HexID() string { return layout.HexID(l.parts.ID) }

// Oldest returns the first offset that is still stored and not set aside.
func (l *Log) Oldest() int64 {
	oldest := l.parts.Begin()
	for _, r := range *l.journal.Damaged() {
		if r.From <= oldest {
			oldest = max(oldest, r.To)
		}
	}
	return oldest
}

// Next returns the offset that the next batch will get.
func (l *Log) Next() int64 { return l.next.Load() }

// Failed returns why the log takes no more appends until it is opened again,
// or nil.
func (l *Log) Failed() error {
	if e := l.failed.Load(); e != nil {
		return e
	}
	return nil
}

// readOnly returns why the log takes no appends, for now or until it is opened
// again, or nil.
func (l *Log) readOnly() error {
	if e := l.failed.Load(); e != nil {
		return e
	}
	if e := l.lastRefusal.Load(); e != nil {
		return e
	}
	return nil
}

// LacksRoom reports whether the last append was refused for want of room.
func (l *Log) LacksRoom() bool {
	e := l.lastRefusal.Load()
	return e != nil && files.NoRoom(e)
}

// Forgive forgets why the last append was refused: until the next one the log counts as
// one that takes appends.
func (l *Log) Forgive() { l.lastRefusal.Store(nil) }

// fail ends writing to the log for good and returns err with its place. The
// first cause is kept.
func (l *Log) fail(op, file string, offset int64, err error) error {
	l.syncFailed.CompareAndSwap(nil, &Error{Op: op, Topic: l.name, File: file, Offset: offset, Err: err})
	return l.failWrite(op, file, offset, err)
}

// failWrite is fail for a write, after which what was written before can still
// be synced.
func (l *Log) failWrite(op, file string, offset int64, err error) error {
	e := &Error{Op: op, Topic: l.name, File: file, Offset: offset, Err: err}
	if l.failed.CompareAndSwap(nil, e) {
		l.store.Troubles.Add(1)
		l.store.Logger.Error("topic is read only until logd is restarted: what is on disk is not known",
			"topic", l.name, "file", file, "offset", offset, "op", op, "err", err)
	}
	return ReadOnly(e)
}

// Unsyncable returns why a sync would tell nothing, or nil.
func (l *Log) Unsyncable() error {
	if e := l.syncFailed.Load(); e != nil {
		return ReadOnly(e)
	}
	return nil
}

// ReadOnly makes an error that is ErrReadOnly and keeps its cause.
func ReadOnly(cause error) error { return fmt.Errorf("%w: %w", topic.ErrReadOnly, cause) }

// Create makes the first partition of a new topic, which begins at base, in the folder
// dir, which is there, and its journal. It returns where it has failed; what it has made
// then is the caller's to remove. rootSeen is for NameMade.
func Create(s *Shared, dir string, id journal.ID, base, millis, rootSeen int64) (l *Log, file string, err error) {
	l = newLog(s, dir)
	if file, err := l.start(id, base, millis); err != nil {
		return nil, file, err
	}
	l.NameMade(rootSeen)
	l.made = l.Named()
	return l, "", nil
}

// NameMade notes that the name of the log's folder is to be synced: rootSeen syncs of
// what it is in had failed when it was made, see syncs.Member.
func (l *Log) NameMade(rootSeen int64) {
	l.member.RootSeen = rootSeen
	l.member.RootDirty.Store(true)
}

// start writes the journal and makes the first partition of a new topic, which begins
// at base. It returns where it has failed.
func (l *Log) start(id journal.ID, base, created int64) (file string, err error) {
	l.parts.ID = id
	l.parts.Created = created
	state := journal.NewState()
	state.ID, state.Created = id, created
	state.Trimmed.Oldest, state.Synced = base, base
	if err := l.journal.Begin(state); err != nil {
		return l.journal.File.Name(), err
	}
	head, err := l.createPartition(base)
	if err != nil {
		return layout.Partition(l.dir(), base), err
	}
	l.parts.Set([]*partition.Partition{head})
	l.next.Store(base)
	l.synced.Store(base)
	return "", nil
}

// newLog returns the log of the topic whose folder dir is.
func newLog(s *Shared, dir string) *Log {
	l := &Log{store: s, name: layout.TopicOf(dir), folder: files.NewFolder(dir)}
	p := &l.parts
	p.Topic, p.Folder, p.Files, p.FS, p.Logger, p.Clock = l.name, l.folder, s.Files, s.FS, s.Logger, s.Clock
	p.Journal, p.RenewJournal = &l.journal, l.renewJournal
	p.Writer, p.Dirty, p.Unchecked = &l.writer, &l.member.FolderDirty, -1
	l.syncing = syncs.Group{Queue: s.Syncs, Synced: &l.synced, Failed: l.Unsyncable}
	l.member.Sync, l.member.Parent = l.syncFiles, path.Dir(dir)
	l.journal.File, l.journal.Unsyncable, l.journal.SyncFolder = p.FileOf(layout.JournalFile("")), l.Unsyncable, l.syncFolder
	l.journal.Changed = func() { l.store.Troubles.Add(1) }
	l.journal.Failed = func(err error) error { return l.fail("sync", l.journal.File.Name(), -1, err) }
	l.journal.Load(journal.NewState(), 0)
	l.numbers.Keeper, l.numbers.Log, l.numbers.Folder = s.Numbers, numbered{l}, l.folder
	l.numbers.Journal, l.numbers.Writer = &l.journal, &l.writer
	return l
}

// createPartition makes an empty partition file, which must not exist unless
// it is empty.
func (l *Log) createPartition(base int64) (*partition.Partition, error) {
	p := l.parts.New(base, base)
	if err := l.makeFile(p); err != nil {
		return nil, err
	}
	p.Ready.Store(true)
	return p, nil
}

// makeFile makes the file of a partition that is empty.
func (l *Log) makeFile(p *partition.Partition) error {
	f, err := p.File.Acquire(files.ToCreate)
	if err != nil {
		return err
	}
	defer p.File.Release()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	l.locate(st)
	if st.Size() != 0 {
		return fmt.Errorf("file exists with %d bytes: %w", st.Size(), fs.ErrExist)
	}
	// An index that was left behind by a crash may be of other batches.
	if err := l.parts.DropIndex(p); err != nil {
		return err
	}
	l.member.FolderDirty.Store(true)
	return nil
}

// locate notes where a partition is.
func (l *Log) locate(st fs.FileInfo) {
	if DeviceOf(st) != l.store.Device {
		l.member.OtherDevice.Store(true)
	}
}

// rotate completes the head partition and begins a new one at next. Caller
// holds writer.
func (l *Log) rotate() error { return l.rotateTo(l.next.Load()) }

// rotateTo is rotate to an offset at or behind next, which is next then: what is between is
// set aside. Caller holds writer.
func (l *Log) rotateTo(offset int64) error {
	old := l.parts.Head()
	p, err := l.createPartition(offset)
	if err != nil {
		return err
	}
	l.parts.FlushIndex(old)
	l.numbers.Rolled()
	sum := l.parts.HeadSum
	l.parts.HeadSum = journal.Totals{}
	l.parts.Add(p)
	l.next.Store(offset)
	l.parts.SetTotals(old, sum)
	l.store.Logger.Debug("partition begun", "topic", l.name, "base", p.Base)
	return nil
}

// TopicStats is the state of one topic at a moment.
type TopicStats struct {
	Topic        string
	Oldest, Next int64
	Partitions   int
	Bytes        int64 // that can be read
	Unsynced     int64 // bytes appended and not yet on stable storage
	Damaged      int64 // bytes set aside
	Err          error // why the topic takes no appends, or nil
}

// Stats returns the state of the log at a moment. It reads no files.
func (l *Log) Stats() TopicStats {
	st := TopicStats{Topic: l.name, Next: l.next.Load(), Err: l.readOnly()}
	parts := l.parts.All()
	st.Oldest, st.Partitions = l.Oldest(), len(parts)
	st.Unsynced = max(st.Next-l.synced.Load(), 0)
	for _, r := range *l.journal.Damaged() {
		st.Damaged += r.To - r.From
	}
	st.Bytes = max(st.Next-parts[0].Base-st.Damaged, 0)
	return st
}

// Close syncs the log and marks it as closed cleanly. It takes no appends any more.
func (l *Log) Close() error {
	err := l.Failed()
	if l.syncFailed.Load() == nil {
		err = errors.Join(err, l.SyncAll())
	}
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.Deleted() {
		return nil // meanwhile
	}
	closed := &Error{Op: "use", Topic: l.name, Offset: -1, Err: topic.ErrClosed}
	l.failed.CompareAndSwap(nil, closed)
	l.syncFailed.CompareAndSwap(nil, closed)
	if err == nil {
		l.numbers.Close()
		err = l.markClean()
	}
	l.unpinIf(func(*partition.Partition) bool { return true })
	return err
}
