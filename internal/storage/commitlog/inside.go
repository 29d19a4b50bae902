package commitlog

import (
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/syncs"
)

// Inside is a log as tests see it that go through a store, as nearly all do: they open,
// kill and open again, and want to know, or to bring about, what no caller can. Nothing
// else uses it; the test of imports makes sure of that.
type Inside struct{ l *Log }

// Inside is for tests.
func (l *Log) Inside() Inside { return Inside{l} }

// Trimming returns the lock that is held while partitions are removed.
func (in Inside) Trimming() *sync.Mutex { return &in.l.trimming }

// Group returns those who wait for syncs of the log.
func (in Inside) Group() *syncs.Group { return &in.l.syncing }

// Member returns the log as one whose syncs the store shares.
func (in Inside) Member() *syncs.Member { return &in.l.member }

// Journal returns the log's journal.
func (in Inside) Journal() *journal.Journal { return &in.l.journal }

// HeadIndex returns the index of the newest partition.
func (in Inside) HeadIndex() *index.Index { return in.l.parts.Head().Index() }

// Compact writes the journal anew.
func (in Inside) Compact() error { return in.l.journal.Compact(0, in.l.renewJournal) }

// Trimmed returns how many batches were removed.
func (in Inside) Trimmed() int64 {
	batches, _ := in.l.trimmedBatches()
	return batches
}

// SetAside sets a range of a partition aside.
func (in Inside) SetAside(p Partition, r Range) { in.l.parts.SetAside(p.p, r) }

// Tell tells the readable end, also one before that which was told.
func (in Inside) Tell(offset int64) { in.l.told.Store(offset) }

// MarkNow has the next sync noted in the journal, however soon it comes.
func (in Inside) MarkNow() { in.l.lastMark = time.Time{} }

// SetSynced notes what is synced, as a sync does.
func (in Inside) SetSynced(offset int64) { in.l.synced.Store(offset) }

// SyncNames syncs the names in the log's folder, if they have changed.
func (in Inside) SyncNames() error { return in.l.syncNames() }

// Pinned returns the files that are kept open until they are synced.
func (in Inside) Pinned() (pinned []*files.File) {
	for _, p := range in.l.pinned {
		pinned = append(pinned, p.File)
	}
	return pinned
}

// RetireHead does the first half of what Retain does with an expired log.
func (in Inside) RetireHead(now time.Time) (begun int64, err error) {
	return in.l.retireHead(in.l.limits(), now)
}

// UpTo returns what the second half advances to.
func (in Inside) UpTo(base int64, now time.Time) int64 { return in.l.upTo(base, now) }
