package commitlog

import (
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
)

// record appends a record to the journal and makes it durable, and then it counts.
func (l *Log) record(kind journal.Kind, ints ...int64) error {
	if _, err := l.journal.Record(journal.Append(nil, kind, ints...)); err != nil {
		return &Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: -1, Err: err}
	}
	return nil
}

// setTotals notes what a complete partition holds, and has the journal know.
func (l *Log) setTotals(p *partition, sum journal.Totals) {
	p.sum.Store(&sum)
	end := journal.PartitionEnd{End: p.end.Load(), Totals: sum}
	if err := l.journal.Complete(p.base, end, func() bool { return l.lost(p) }); err != nil {
		// The totals can be had from the partition itself.
		l.store.Logger.Warn("journal record not written", "topic", l.name, "err", err)
	}
}

// recounts notes that the journal does not know any more what the head holds. A
// start that finds otherwise counts it anew.
func (l *Log) recounts() {
	if err := l.journal.Recount(); err != nil {
		l.store.Logger.Warn("journal record not written", "topic", l.name, "err", err)
	}
}

// markClean writes the clean record, durably, unless it is there already.
// Caller holds writer; the log is synced.
func (l *Log) markClean() error {
	next := l.next.Load()
	head := l.head()
	l.takeCount(head)
	if !head.ready.Load() || l.journal.IsClosed(next) {
		// Nothing was read or written since recovery: its marks are good.
		return nil
	}
	l.flushIndex(head)
	if err := l.journal.Close(next, l.headSum); err != nil {
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
		l.flushIndex(l.head())
	}
}

// pack has the journal know, durably, that a partition may have batches that are
// compressed with these codecs: before the first of them is written.
func (l *Log) pack(p *partition, c batch.Codecs) error {
	if err := l.journal.Pack(p.base, c, l.renewJournal); err != nil {
		return &Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: p.base, Err: err}
	}
	return nil
}

// packed notes that a scan has found batches that are compressed with these codecs.
func (l *Log) packed(p *partition, c batch.Codecs) {
	if c&^l.journal.Packed(p.base) == 0 {
		return
	}
	if err := l.pack(p, c); err != nil {
		l.store.Logger.Warn("journal record not written", "topic", l.name, "err", err)
		l.journal.Remember(journal.Packed, p.base, int64(c))
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
