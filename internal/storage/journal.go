package storage

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
)

// publishState shows readers what of the journal's state they ask for: they wait
// for no one who writes it. Caller holds journalMu or is the log's only user.
func (l *Log) publishState() {
	if known := l.damaged.Load(); known == nil || !slices.Equal(*known, l.state.Damaged) {
		ranges := slices.Clone(l.state.Damaged)
		l.damaged.Store(&ranges)
	}
	l.holds.Store(&holds{due: l.state.Due, hooked: maps.Clone(l.state.Hooked)})
}

// changeState changes what the journal adds up to, after it was recorded or where
// that is not needed.
func (l *Log) changeState(change func(s *journal.State)) {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	change(&l.state)
	l.publishState()
}

// record appends a record to the journal and makes it durable.
func (l *Log) record(kind journal.Kind, ints ...int64) error {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	if _, err := l.recordLocked(kind, ints...); err != nil {
		return &Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: -1, Err: err}
	}
	return nil
}

// recordLocked is record for a caller who holds journalMu. It reports whether the
// record was written, and only its sync failed, if anything did.
func (l *Log) recordLocked(kind journal.Kind, ints ...int64) (written bool, err error) {
	return l.recordAll(journal.Append(nil, kind, ints...))
}

// recordAll is recordLocked for several records, which a crash may leave some of, the
// first ones.
func (l *Log) recordAll(records []byte) (written bool, err error) {
	// One descriptor from the write to the sync, which is told if it failed.
	if _, err := l.journal.File.Acquire(files.ToCreate); err != nil {
		return false, err
	}
	defer l.journal.File.Release()
	if err := l.journal.Append(records); err != nil {
		return false, err
	}
	return true, l.syncJournal()
}

func (l *Log) syncJournalOnce() error {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	return l.syncJournal()
}

// syncJournal makes the journal's records durable. Caller holds journalMu. A
// failure is final, as that of any sync is.
func (l *Log) syncJournal() error {
	if err := l.unsyncable(); err != nil {
		return err
	}
	err := l.journal.Sync()
	if err != nil && !files.NoDescriptor(err) {
		return l.fail("sync", l.journal.File.Name(), -1, err)
	}
	if err == nil && l.journal.Unnamed {
		err = l.syncFolder()
		l.journal.Unnamed = err != nil
	}
	return err
}

// setTotals notes what a complete partition holds, and has the journal know.
func (l *Log) setTotals(p *partition, sum journal.Totals) {
	p.sum.Store(&sum)
	end := journal.PartitionEnd{End: p.end.Load(), Totals: sum}
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	if l.state.Ends[p.base] == end || l.lost(p) {
		return
	}
	l.state.Ends[p.base] = end
	err := l.journal.Append(journal.Append(nil, journal.End, p.base, end.End, sum.Messages, sum.Batches, sum.First, sum.Last))
	if err != nil {
		// The totals can be had from the partition itself.
		l.store.log.Warn("journal record not written", "topic", l.name, "err", err)
	}
}

// markClean writes the clean record, durably, unless it is there already.
// Caller holds writer; the log is synced.
func (l *Log) markClean() error {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	next := l.next.Load()
	head := l.head()
	l.takeCount(head)
	if !head.ready.Load() || (l.state.Clean && l.state.Synced == next && !l.journal.Dirty) {
		// Nothing was read or written since recovery: its marks are good.
		return nil
	}
	l.flushIndex(head)
	l.state.Clean, l.state.Synced, l.state.Head = true, next, l.headSum
	s := l.headSum
	err := l.journal.Append(journal.Append(nil, journal.Clean, next, s.Messages, s.Batches, s.First, s.Last))
	if err == nil {
		err = l.journal.Sync()
	}
	if err != nil {
		return &Error{Op: "close", Topic: l.name, File: l.journal.File.Name(), Offset: next, Err: err}
	}
	return nil
}

// markInterval is how often a log notes in its journal how far it is synced, at
// most, and markRate how often all logs do together, a second. Recovery scans
// what came after the last mark.
const (
	markInterval = time.Second
	markRate     = 1000
)

// markLimit bounds the marks of all logs of a store.
type markLimit struct {
	second, n atomic.Int64
}

// allows reports whether one more mark is within markRate. Callers who come at
// once in a new second may get one more each.
func (m *markLimit) allows(now time.Time) bool {
	second := now.Unix()
	if m.second.Load() != second {
		m.second.Store(second)
		m.n.Store(0)
	}
	return m.n.Add(1) <= markRate
}

// mark notes in the journal that all before synced is durable, at most once
// in a markInterval, and less often where many logs do it. The note need not be
// durable itself: without it recovery scans more.
func (l *Log) mark(now time.Time, synced int64) {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	if now.Sub(l.lastMark) < markInterval || !l.store.marks.allows(now) {
		return
	}
	l.lastMark = now
	l.state.Synced, l.state.Clean = synced, false
	if err := l.journal.Append(journal.Append(nil, journal.Synced, synced)); err != nil {
		l.store.log.Warn("journal record not written; a restart will scan more", "topic", l.name, "err", err)
		return
	}
	if l.journal.Size > l.store.o.journalCompact {
		if _, err := l.compactJournal(); err != nil {
			l.store.log.Warn("journal not compacted", "topic", l.name, "err", err)
		}
	}
	// The times of recent appends are in the index alone. Writing its open
	// block along with each mark bounds how many a crash forgets.
	if l.writer.TryLock() {
		defer l.writer.Unlock()
		l.flushIndex(l.head())
	}
}

// compactJournal writes the journal's state anew, and reports whether the new journal has
// taken the place of the old one, be it not durably. Caller holds journalMu.
func (l *Log) compactJournal() (replaced bool, err error) {
	if err := l.folder.Enter(); err != nil {
		return false, err
	}
	defer l.folder.Leave()
	size, err := journal.Renew(l.store.fs, l.store.o.FileMode, l.dir(), &l.state)
	if err != nil {
		return false, err
	}
	l.journal.File.Replaced()
	l.journal.Size = size
	l.journal.Dirty = false
	err = l.syncFolder()
	l.journal.Unnamed = err != nil
	return true, err
}
