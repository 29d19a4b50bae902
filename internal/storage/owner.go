package storage

import (
	"io/fs"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/numbers"
)

// shareWithLogs sets what the logs share. dir is the work directory.
func (s *Store) shareWithLogs(dir fs.FileInfo) {
	o, sh := &s.o, &s.shared
	sh.Clock, sh.Logger, sh.Observer, sh.Holder = o.Clock, s.log, o.Observer, o.Holder
	sh.FileMode, sh.Managed = o.FileMode, o.Managed
	sh.Policy = commitlog.Policy{Flush: o.FlushBatches, Every: o.FlushInterval, Told: o.TellReadable}
	if o.Managed {
		sh.Policy = commitlog.Policy{Told: true}
	}
	sh.QueueBytes, sh.JournalCompact = o.QueueBytes, o.journalCompact
	sh.FS, sh.Files, sh.Syncs, sh.Deleted, sh.Device = s.fs, s.files, s.syncs, s.deleted, commitlog.DeviceOf(dir)
	sh.Numbers = &numbers.Keeper{
		FS: s.fs, FileMode: o.FileMode, Clock: o.Clock, Logger: s.log, Memory: o.numberBytes, Managed: o.Managed, Books: s.books,
	}
	s.SetProducers(o.Producers)
	sh.Numbers.Start()
	s.interval = newInterval(s)
	sh.Owner, sh.Unsynced = owner{s}, s.interval.alarm
}

// SetProducers changes Options.Producers, of which 0 is none here. What topics know of
// numbered batches is read again from them if need be, when the next one comes.
func (s *Store) SetProducers(batches int64) {
	if batches > 0 {
		batches = max(batches, producers.MinWindow)
	}
	s.shared.Numbers.SetWindow(batches)
}

// books returns what the logs know of their numbered batches.
func (s *Store) books() (books []*numbers.Book) {
	for _, l := range s.All() {
		books = append(books, l.Numbers())
	}
	return books
}

// owner is the store as its logs see it.
type owner struct{ s *Store }

// FreeFiles implements Owner.
func (o owner) FreeFiles() { o.s.interval.makeRoom() }

// FreeRoom implements Owner.
func (o owner) FreeRoom() { o.s.retention.makeRoom() }

// SyncLater implements Owner.
func (o owner) SyncLater() {
	if o.s.reopening != nil { // else the log is being opened, and can't be yet
		o.s.reopening.arm()
	}
}

// Begun implements Owner.
func (o owner) Begun(l *Log) { o.s.retention.kick(l) }

// Gone implements Owner.
func (o owner) Gone(l *Log) { o.s.forget(l) }

// Unmake implements Owner.
func (o owner) Unmake(l *Log, gone func() bool) {
	o.s.creating.Lock()
	defer o.s.creating.Unlock()
	if gone() {
		o.s.unmake(l.Name())
	}
}
