package commitlog

import (
	"context"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
)

// numbers is what a log knows of its numbered batches: a producers.Table, which
// is kept in step with the log by whoever writes to it. A batch is looked up
// there between those before it and those after it, so that an old connection
// and a new one can't both store it.
//
// The table is made when a numbered batch comes, from the cache that was written
// last and from what follows it in the log (numbers_load.go), and stays in memory
// as long as there is room for it (numbers_keep.go). While it is made numbered
// batches are refused: ErrBusy. What else is appended does not wait.
type numbers struct {
	// Guarded by Log.writer. In table nothing is staged but while a group is
	// written.
	table    *producers.Table // nil: not in memory
	numbered int64            // when the newest numbered batch was appended, ms; 0 if none was since the cache was written
	rolled   bool             // a partition was begun since the cache was written
	snapshot []byte           // a cache that is written as soon as the log is synced to snapshotAt
	snapAt   int64

	// cuts is how often the log was cut off: a table that is being made meanwhile
	// is not what it says. It grows under Log.writer.
	cuts atomic.Int64
	// made is what was set aside when the table in memory was made, as Log.damaged
	// has it; nil if there is none. If that is another now the table is not what
	// the log says.
	made  atomic.Pointer[[]layout.Range]
	used  atomic.Int64 // when it was last used, ms
	bytes atomic.Int64 // that it took when it was last looked at
	saved atomic.Int64 // the offset that the newest cache is good for

	// keeping is held while a cache is written or removed; before Log.writer.
	keeping sync.Mutex

	mu      sync.Mutex
	loading chan struct{} // closed when a table was made, or not; nil if nobody makes one
}

// loadPatience is how long an append waits for the table before it is refused.
const loadPatience = time.Second

// hasNumbers reports whether there is a table in memory that is what the log says.
func (l *Log) hasNumbers() bool {
	made := l.numbers.made.Load()
	return made != nil && made == l.journal.Damaged()
}

// readyNumbers sees to it that the table is in memory, and returns ErrBusy if
// that takes long or can't be done.
func (l *Log) readyNumbers(ctx context.Context) error {
	nb := &l.numbers
	if l.hasNumbers() {
		return nil
	}
	nb.mu.Lock()
	if nb.loading == nil {
		over := make(chan struct{})
		if !l.store.Owner.Go(func() {
			l.loadNumbers()
			nb.mu.Lock()
			defer nb.mu.Unlock()
			nb.loading = nil
			close(over)
		}) {
			nb.mu.Unlock()
			return topic.ErrClosed
		}
		nb.loading = over
	}
	over := nb.loading
	nb.mu.Unlock()
	late := make(chan struct{})
	timer := l.store.Clock.AfterFunc(loadPatience, func() { close(late) })
	defer timer.Stop()
	select {
	case <-over:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	if e := l.failed.Load(); e != nil {
		return ReadOnly(e) // it was deleted, perhaps
	}
	if !l.hasNumbers() {
		return topic.ErrBusy
	}
	return nil
}

// numberOf returns what the table wants to know of a batch whose bytes these are.
func numberOf(wire []byte, offset int64) producers.Batch {
	h, n, err := batch.Parse(wire)
	if err != nil {
		return producers.Batch{Offset: offset, Len: int64(len(wire))} // the caller has vouched for it
	}
	return producers.Batch{PID: h.PID, Seq: h.Seq, Offset: offset, Len: n, CRC: h.CRC}
}

// ask asks the table for a batch that would come after so many that are about to
// be written, and returns what became of it unless it is to be stored. Caller holds
// writer; the table is in memory.
func (l *Log) ask(b *producers.Batch, before int64) (o topic.Outcome, store bool) {
	a := l.numbers.table.Ask(b)
	o = topic.Outcome{Offset: a.Offset, End: a.End, Ordinal: l.appended.Load() + before - a.Behind}
	switch a.Verdict {
	case producers.Next:
		return topic.Outcome{}, true
	case producers.Duplicate:
		l.store.Duplicates.Add(1)
	case producers.Conflict:
		o.Err = topic.ErrConflict
	case producers.OutOfOrder:
		o.Err = &topic.OutOfOrderError{Next: a.Seq}
	}
	return o, false
}

// stage notes in the table that a batch is about to be written. Caller holds
// writer; the table is in memory.
func (nb *numbers) stage(b *producers.Batch) {
	if b.Seq > 0 || !nb.table.Idle() {
		nb.table.Stage(b)
	}
}

// unstage takes back what was staged and not written. Caller holds writer.
func (nb *numbers) unstage() {
	if nb.table != nil {
		nb.table.Drop()
	}
}

// settle notes that what was staged was written. Caller holds writer.
func (l *Log) settleNumbers(numbered bool, millis int64) {
	nb := &l.numbers
	if nb.table == nil {
		return
	}
	nb.table.Settle(nb.table.Staged())
	if numbered {
		nb.numbered = max(millis, 1)
		nb.used.Store(millis)
		l.store.Numbered.Arm()
	}
}

// checkNumbers lets go of a table that is not what the log says. Caller holds
// writer.
func (l *Log) checkNumbers() {
	if l.numbers.table != nil && !l.hasNumbers() {
		l.numbers.letGo()
	}
}

// letGo lets go of the table. Caller holds writer.
func (nb *numbers) letGo() {
	nb.made.Store(nil)
	nb.table, nb.snapshot = nil, nil
	nb.numbered, nb.rolled = 0, false
}

// damageBefore returns a checksum of those ranges that are before the offset. A cache
// that was written when others were set aside is not what the log says.
func damageBefore(aside []layout.Range, offset int64) uint32 {
	sum := crc32.NewIEEE()
	var b [16]byte
	for _, r := range aside {
		if r.From >= offset {
			break
		}
		putInt64(b[:], r.From)
		putInt64(b[8:], min(r.To, offset))
		sum.Write(b[:])
	}
	return sum.Sum32()
}

func putInt64(b []byte, n int64) {
	for i := range 8 {
		b[i] = byte(n >> (8 * i))
	}
}
