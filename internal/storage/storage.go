// Package storage keeps the logs of topics on disk: who has them, makes, opens, names
// and deletes them, and passes over all of them, to sync, to remove what is old and to
// look whether it is still what was written. What is in one log, and how it is written,
// recovered and read, is package commitlog's. It knows nothing of networks, flags or the
// protocol beyond the bytes of a batch.
//
// A [Store] is a work directory with a [Log] for each topic. A log is one
// ordered sequence of batches, addressed by offset, in partition files that
// hold the batches' wire bytes and nothing else (docs/format.md). The formats and
// what decides about them are in the packages below this one.
//
// A store that is [Options].Managed holds copies of logs that somebody replicates.
// A topic is made by [Store.CreateAs] before all agree that there is one, and
// [Store.TakeName] shows it; [Store.SyncTogether] makes what all of them have durable.
//
// # Concurrency and lock order
//
// All methods of Store and Log are safe for concurrent use. Locks are taken in
// this order: reopening.passing, Store.creating, interval.passing, deleted.Topics, those
// of a log, as package commitlog says, then the leaves: Store.mu, retention.mu.
// A log calls its store, see commitlog.Owner, with what locks it says there.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scrub"
	"github.com/logd-dev/logd/internal/storage/syncs"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

type noObserver struct{}

func (noObserver) Appended(time.Duration, int64, int64, int64) {}
func (noObserver) Synced(time.Duration)                        {}

// Options are the settings of a store. FS is required; the zero value of
// every other field is its default.
type Options struct {
	FS       vfs.FS
	Clock    Clock        // default: the system's
	Logger   *slog.Logger // default: discard
	Observer Observer     // default: none
	FileMode fs.FileMode  // of data files; default 0600

	PartitionSize int64 // bytes; a partition is closed before it would pass this; default 2000 MiB
	Partitions    int   // partitions kept per topic; default 8, negative for all

	RetentionAge   time.Duration // 0 for none: oldest partitions go by the age of their newest batch
	RetentionBytes int64         // 0 for none: oldest partitions go when a topic has more bytes
	// Managed leaves the logs to whoever replicates them. Nothing is removed of a log
	// but by its AdvanceOldest, TruncateTo, AppendRun and Trim (see Log.Decide).
	// Nothing is synced but by its SyncTo, and before Close or for want of
	// descriptors; FlushBatches and FlushInterval do not count. What a failed sync
	// leaves in the files stays there. Readers see what SetReadable tells, as with
	// TellReadable. Topics that do not have their names yet, see CreateAs, are opened as
	// others are; else they are left alone.
	Managed bool

	// Holder is asked before partitions are removed; default: nobody.
	Holder Holder
	// KeepFree is the room on the disk below which what is held is removed all
	// the same, in bytes; 0 for never.
	KeepFree int64

	// DeleteAfter is how long the files of a deleted topic are kept; default 24
	// hours, negative for not at all.
	DeleteAfter time.Duration

	FlushBatches  int           // see Log.Commit; default 0
	FlushInterval time.Duration // sync this long after an append; 0 or negative for never
	// TellReadable keeps batches from readers until Log.SetReadable says that they
	// may be seen, as whoever replicates the log knows.
	TellReadable bool

	MaxTopics     int      // 0 for no limit
	AllowedTopics []string // only these may be created; nil for any
	Own           Own      // settings of single topics
	OpenFiles     int      // files kept open; default 1024, at most MaxFiles
	// MaxFiles bounds the files that are open at once. What was written stays open
	// until it is synced, and the sync comes early when there would be more; default
	// 16 times OpenFiles, which is the most.
	MaxFiles int

	// ScrubRate is how many bytes a second of what is stored are checked, after
	// Open and every 7 days; 0 for none. Damage is set aside.
	ScrubRate int64

	// Producers is how many of a topic's newest batches are looked through for the
	// number of a batch; default 262144, at least 32, negative for none: numbers are
	// not looked at then.
	Producers int64

	// QueueBytes bounds the appends that wait for one log's disk; default
	// 64 MiB. Above it appends fail with ErrBusy.
	QueueBytes int64

	// Progress is how far Open is, for who asks meanwhile. Default: nobody does.
	Progress *Progress

	// For tests. journalCompact is the size past which a journal is written
	// anew, in bytes; default 256 KiB. syncTogether is from how many logs that
	// wait to be synced one sync of the whole file system serves all; default
	// 4.
	journalCompact int64
	syncTogether   int
	numberBytes    int64 // of tables of numbered batches in memory; default 64 MiB
}

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	if o.FileMode == 0 {
		o.FileMode = 0o600
	}
	if o.PartitionSize <= 0 {
		o.PartitionSize = 2000 << 20
	}
	if o.Partitions == 0 {
		o.Partitions = 8
	}
	if o.DeleteAfter == 0 {
		o.DeleteAfter = 24 * time.Hour
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = 1024
	}
	if o.MaxFiles <= 0 || o.MaxFiles > 16*o.OpenFiles {
		o.MaxFiles = 16 * o.OpenFiles
	}
	o.OpenFiles = min(o.OpenFiles, o.MaxFiles)
	if o.Producers == 0 {
		o.Producers = 1 << 18
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 64 << 20
	}
	if o.journalCompact <= 0 {
		o.journalCompact = 256 << 10
	}
	if o.numberBytes <= 0 {
		o.numberBytes = 64 << 20
	}
	if o.syncTogether <= 0 {
		o.syncTogether = 4
	}
}

// parallelOpens bounds the logs that are recovered at once.
const parallelOpens = 16

// Store is an open work directory.
type Store struct {
	o      Options
	fs     vfs.FS
	log    *slog.Logger
	files  *files.Cache
	lock   *layout.Lock
	syncs  *syncs.Queue
	shared commitlog.Shared // by the logs

	creation   atomic.Pointer[creation]
	disallowed atomic.Int64

	creating sync.Mutex      // held while a topic is made; before mu
	halfMade map[string]bool // folders that could not be removed yet; guarded by creating

	mu     sync.RWMutex
	logs   map[string]*Log     // that have their names
	new    map[*Log]bool       // that do not
	ids    map[journal.ID]*Log // all of them
	broken map[string]error    // topics that could not be opened
	closed bool

	interval  *interval
	retention *retention
	scrub     atomic.Pointer[scrub.Scrubber]
	deleted   *deleted.Topics
	reopening *reopening
}

// Open locks the work directory o.FS and opens every topic in it, recovering
// those that were not closed cleanly. What it then serves is on stable
// storage. It returns an error that wraps vfs.ErrLocked if another store has
// the directory.
//
// A topic that can't be opened does not stop the others: it is logged, is
// named by Broken, and every use of it fails. If room or descriptors are
// missing it is opened as soon as they are there.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	s.retention = startRetention(s)
	s.scrub.Store(startScrub(s))
	return s, nil
}

// open is Open without retention, which has yet to be started.
func open(ctx context.Context, o Options) (*Store, error) {
	o.setDefaults()
	s := &Store{
		o: o, log: o.Logger,
		logs: make(map[string]*Log), new: make(map[*Log]bool), ids: make(map[journal.ID]*Log),
		broken: make(map[string]error), halfMade: make(map[string]bool),
	}
	// A quarter is for what is not kept for a sync.
	s.files = &files.Cache{Perm: o.FileMode, Limit: o.OpenFiles, Most: max(o.MaxFiles*3/4, 1), CloseFailed: func(name string, err error) {
		s.log.Error("closing a file failed", "file", name, "err", err)
	}}
	s.fs = s.files.Spare(o.FS)
	s.syncs = &syncs.Queue{FS: s.fs, Now: o.Clock.Now, Logger: s.log, Together: o.syncTogether}
	s.deleted = &deleted.Topics{
		FS: s.fs, Now: o.Clock.Now, Logger: s.log, Files: s.files, Syncs: s.syncs, After: o.DeleteAfter, Full: s.isFull,
	}
	s.setLimits(Limits{
		MaxTopics: o.MaxTopics, AllowedTopics: o.AllowedTopics, KeepFree: o.KeepFree, Own: o.Own,
		Retention: topic.Limits{Partitions: int64(max(o.Partitions, 0)), Bytes: o.RetentionBytes, Age: o.RetentionAge},
	})
	lock, err := layout.LockDir(s.fs)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := lock.RemoveOld(); err != nil {
		return nil, errors.Join(fmt.Errorf("remove the lock file of an older version: %w", err), s.unlock())
	}
	dir, err := s.fs.Stat(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at work directory: %w", err), s.unlock())
	}
	s.shareWithLogs(dir)
	if err := s.openLogs(ctx); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	s.reopening = startReopening(s)
	return s, nil
}

func (s *Store) openLogs(ctx context.Context) error {
	// A process that was killed may have made folders that are not durable.
	if err := s.fs.SyncDir("."); err != nil {
		return fmt.Errorf("sync work directory: %w", err)
	}
	dir, err := s.fs.ReadDir(".")
	if err != nil {
		return fmt.Errorf("list work directory: %w", err)
	}
	s.o.Progress.expect(s.fs, dir)
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(parallelOpens)
	for _, d := range dir {
		name := d.Name()
		if !layout.IsFolder(d) || layout.Reserved(name) {
			continue
		}
		if !batch.ValidTopic(name) {
			s.log.Warn("folder in the work directory is no topic; left alone", "folder", name)
			continue
		}
		g.Go(func() error {
			if err := group.Err(); err != nil {
				return err
			}
			l, err := s.openFolder(name)
			s.o.Progress.opened(name)
			if err != nil {
				s.noteBroken(name, err)
				return nil
			}
			if l != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.keep(l)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || !s.o.Managed {
		return err
	}
	return s.openNew(ctx)
}

// keep makes a log one of the store's. Caller holds mu.
func (s *Store) keep(l *Log) {
	if l.Named() {
		s.logs[l.Name()] = l
	} else {
		s.new[l] = true
	}
	if s.ids[l.ID()] == nil {
		s.ids[l.ID()] = l
	}
}

// Log returns the log of an existing topic. The error is ErrNotFound, or why
// the topic could not be opened: where that is room or descriptors it is tried
// once more, and the error is ErrReadOnly if they are missing still. The name is
// not kept.
func (s *Store) Log(topic []byte) (*Log, error) {
	var err error
	s.mu.RLock()
	l, closed := s.logs[string(topic)], s.closed
	if l == nil {
		err = s.broken[string(topic)]
	}
	s.mu.RUnlock()
	switch {
	case closed:
		return nil, ErrClosed
	case l != nil:
		return l, nil
	case err == nil:
		return nil, ErrNotFound
	case files.Shortage(err):
		return s.reopen(string(topic))
	}
	return nil, err
}

// known returns a topic's log, or why there is none: nil if there is no such
// topic.
func (s *Store) known(topic string) (*Log, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	return s.logs[topic], s.broken[topic]
}

// Create returns the log of a topic, which it makes if it does not exist. The
// errors to test for are ErrTopicName, ErrTopicNotAllowed, ErrMaxTopics and
// ErrReadOnly. A new topic is durable when the first of its batches is.
func (s *Store) Create(topic []byte) (*Log, error) {
	if l, err := s.Log(topic); err == nil || !errors.Is(err, ErrNotFound) {
		return l, err
	}
	name := string(topic)
	if !batch.ValidTopic(name) {
		return nil, fmt.Errorf("%w: %q", ErrTopicName, name)
	}
	own := batch.Own(name)
	if c := s.creation.Load(); c.allowed != nil && !c.allowed[name] && !own {
		s.disallowed.Add(1)
		return nil, ErrTopicNotAllowed
	}
	s.creating.Lock()
	defer s.creating.Unlock()
	if l, err := s.known(name); l != nil || err != nil {
		return l, err // since a moment ago
	}
	if most := s.creation.Load().most; most > 0 && s.count() >= most && !own {
		s.disallowed.Add(1)
		return nil, ErrMaxTopics
	}
	l, err := s.createLog(name)
	if files.NoDescriptor(err) {
		s.interval.makeRoom()
		l, err = s.createLog(name)
	}
	if err != nil {
		if errors.Is(err, layout.ErrLinked) {
			s.noteBroken(name, err)
		}
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.keep(l)
	return l, nil
}

// count returns the number of topics, but for the server's own.
func (s *Store) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := len(s.logs) + len(s.broken)
	if s.logs[topic.Positions] != nil || s.broken[topic.Positions] != nil {
		n--
	}
	return n
}

// Announce notes in the work directory where its server answers: see ServerOf.
// The note need not be durable.
func (s *Store) Announce(addr string) error { return s.lock.Announce(addr) }

// Topics returns the names of all topics, sorted.
func (s *Store) Topics() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.logs)+len(s.broken))
	for name := range s.logs {
		names = append(names, name)
	}
	for name := range s.broken {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Broken returns why topics could not be opened, by name.
func (s *Store) Broken() map[string]error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := make(map[string]error, len(s.broken))
	for name, err := range s.broken {
		m[name] = err
	}
	return m
}

// All returns every open log, also those that do not have their names yet.
func (s *Store) All() []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	logs := make([]*Log, 0, len(s.logs)+len(s.new))
	for _, l := range s.logs {
		logs = append(logs, l)
	}
	for l := range s.new {
		logs = append(logs, l)
	}
	return logs
}

// Counts are the store's counts over all topics.
type Counts struct {
	Topics     int
	Disallowed int64 // topics refused by the list or the limit
	Misses     int64 // reads of offsets that do not exist
	Duplicates int64 // numbered batches that came again and were not stored again
	OpenFiles  int
	Forced     int64 // partitions removed although they were held

	Scrubbed     int64     // bytes that were checked on the disk
	ScrubDamaged int64     // places where that has found damage
	ScrubPassed  time.Time // when all that is stored was last checked; zero for never
}

// Counts returns the counts. It costs no more with more topics.
func (s *Store) Counts() Counts {
	c := Counts{
		Topics: s.count(), Disallowed: s.disallowed.Load(), Misses: s.shared.Misses.Load(), Duplicates: s.shared.Numbers.Duplicates(),
		OpenFiles: s.files.Count(), Forced: s.shared.Forced.Load(),
	}
	if sb := s.scrub.Load(); sb != nil {
		n := sb.Counts()
		c.Scrubbed, c.ScrubDamaged, c.ScrubPassed = n.Checked, n.Damaged, n.Passed
	}
	return c
}

// Stats is the state of the store at a moment.
type Stats struct {
	Counts
	Topics []TopicStats // in no particular order
}

// Stats returns the state of every topic, for people and metrics. It reads no
// files.
func (s *Store) Stats() Stats {
	st := Stats{Counts: s.Counts()}
	for _, l := range s.All() {
		if l.Named() {
			st.Topics = append(st.Topics, l.Stats())
		}
	}
	return st
}

// Close syncs every log, marks it as closed cleanly and unlocks the work
// directory. Appends and reads must have ended; later ones fail. It returns
// what could not be made durable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	s.shared.Numbers.Stop()
	s.reopening.stop()
	if sb := s.scrub.Load(); sb != nil {
		sb.Stop()
	}
	s.retention.stop()
	s.interval.stop()
	var g errgroup.Group
	g.SetLimit(parallelOpens)
	var mu sync.Mutex
	var errs []error
	for _, l := range s.All() {
		g.Go(func() error {
			if err := l.Close(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	g.Wait() // the functions return no errors: all of them are collected
	s.syncs.Wait()
	return errors.Join(errors.Join(errs...), s.unlock())
}

// unlock closes what is open of the work directory and unlocks it.
func (s *Store) unlock() error { return errors.Join(s.files.Close(), s.lock.Close()) }

// Troubles returns another number whenever something was set aside of a log, or put
// back, and when a log has failed, since it was called last.
func (s *Store) Troubles() uint64 { return s.shared.Troubles.Load() }
