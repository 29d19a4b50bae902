package commitlog

import (
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
)

// record appends a record to the journal and makes it durable, and then it counts.
func (l *Log) record(kind journal.Kind, ints ...int64) error {
	if _, err := l.journal.Record(journal.Append(nil, kind, ints...)); err != nil {
		return &Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: -1, Err: err}
	}
	return nil
}

// markClean writes the clean record, durably, unless it is there already.
// Caller holds writer; the log is synced.
func (l *Log) markClean() error {
	next := l.next.Load()
	head := l.parts.Head()
	l.parts.TakeCount(head)
	if !head.Ready.Load() || l.journal.IsClosed(next) {
		// Nothing was read or written since recovery: its marks are good.
		return nil
	}
	l.parts.FlushIndex(head)
	if err := l.journal.Close(next, l.parts.HeadSum); err != nil {
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
// durable itself: without it recovery scans more. Only the leader of the sync group
// calls it.
func (l *Log) mark(now time.Time, synced int64) {
	if now.Sub(l.lastMark) < markInterval || !l.store.marks.allows(now) {
		return
	}
	l.lastMark = now
	if err := l.journal.Note(journal.Synced, synced); err != nil {
		l.store.Logger.Warn("journal record not written; a restart will scan more", "topic", l.name, "err", err)
		return
	}
	if err := l.journal.Compact(l.store.JournalCompact, l.renewJournal); err != nil {
		l.store.Logger.Warn("journal not compacted", "topic", l.name, "err", err)
	}
	// The times of recent appends are in the index alone. Writing its open
	// block along with each mark bounds how many a crash forgets.
	if l.writer.TryLock() {
		defer l.writer.Unlock()
		l.parts.FlushIndex(l.parts.Head())
	}
}

// renewJournal puts a file with the state in the place of the journal.
func (l *Log) renewJournal(s *journal.State) (size int64, err error) {
	if err := l.folder.Enter(); err != nil {
		return 0, err
	}
	defer l.folder.Leave()
	return journal.Renew(l.store.FS, l.store.FileMode, l.dir(), s)
}
