// Package numbers keeps what a log knows of its numbered batches in step with it: a
// producers.Table in memory, and a cache of it in a file.
//
// A [Book] belongs to a log. It looks a batch up between those before it and those after
// it, as the log is written, so that an old connection and a new one can't both store
// it. The table is made when a numbered batch comes, from the cache that was written
// last and from what follows it in the log (load.go), and stays in memory as long as
// there is room for it. While it is made numbered batches are refused: topic.ErrBusy. What
// else is appended does not wait. A [Keeper] belongs to a store: it writes the caches
// (cache.go), and lets tables go that nobody uses.
//
// Which batches are to be stored, the table says (package producers); what is stored,
// the log, see [Log]. Locks: Book.Keeping, then the log's own, of which
// Book.Writer is the one that is used here, then Book.mu. Those of the Keeper come before
// them, but for Keeper.mu.
package numbers

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
)

// Log is a log as its Book sees it.
type Log interface {
	Name() string
	ID() [16]byte
	// Begin returns where the oldest partition begins, Next where the log ends, and
	// Synced up to where it is on stable storage.
	Begin() int64
	Next() int64
	Synced() int64
	// Deleted reports whether the topic was deleted.
	Deleted() bool
	// Newest returns an offset from which on there are as many batches, or at which the
	// log begins. It ends early, with its error, if wanted returns one: that is asked
	// between the reads.
	Newest(batches int64, wanted func() error) (int64, error)
	// Envelopes calls visit for the batches from one offset, where one begins, up to
	// another, without those that are set aside, and returns the latter. It ends with
	// an error of visit. If the log has changed before its end it is ErrChanged.
	Envelopes(from, to int64, visit func(offset, length int64, h *batch.Header) error) (int64, error)
	// Examine looks into an error of Envelopes, and returns it: ErrChanged if something
	// was found damaged by that. The caller holds no lock of the log.
	Examine(err error) error
}

// Book is what a log knows of its numbered batches. The exported fields are set before
// the first call.
type Book struct {
	Keeper  *Keeper
	Log     Log
	Folder  *files.Folder
	Journal *journal.Journal
	Writer  *sync.Mutex // held by whoever changes the log

	// Keeping is held while a cache is written or removed; before Writer.
	Keeping sync.Mutex

	// Guarded by Writer. In table nothing is staged but while a group is written.
	table    *producers.Table // nil: not in memory
	numbered int64            // when the newest numbered batch was appended, ms; 0 if none was since the cache was written
	rolled   bool             // a partition was begun since the cache was written
	snapshot []byte           // a cache that is written as soon as the log is synced to snapAt
	snapAt   int64

	// cuts is how often the log was cut off: a table that is being made meanwhile
	// is not what it says. It grows under Writer.
	cuts atomic.Int64
	// made is what was set aside when the table in memory was made, as Journal.Damaged
	// has it; nil if there is none. If that is another now the table is not what
	// the log says.
	made  atomic.Pointer[[]layout.Range]
	looks atomic.Int64 // how many batches the table in memory looks back
	used  atomic.Int64 // when it was last used, ms
	bytes atomic.Int64 // that it took when it was last looked at
	saved atomic.Int64 // the offset that the newest cache is good for

	trimmed atomic.Int64 // nobody misses what was before it

	mu      sync.Mutex
	loading chan struct{} // closed when a table was made, or not; nil if nobody makes one
}

// loadPatience is how long an append waits for the table before it is refused.
const loadPatience = time.Second

// IsReady reports whether there is a table in memory that is what the log says, and looks
// back as far as it is to.
func (b *Book) IsReady() bool {
	made := b.made.Load()
	return made != nil && made == b.Journal.Damaged() && b.looks.Load() == b.Keeper.Window()
}

// Ready sees to it that the table is in memory, and returns topic.ErrBusy if
// that takes long or can't be done.
func (b *Book) Ready(ctx context.Context) error {
	if b.IsReady() {
		return nil
	}
	b.mu.Lock()
	if b.loading == nil {
		over := make(chan struct{})
		if !b.Keeper.begin(func() {
			b.load()
			b.mu.Lock()
			defer b.mu.Unlock()
			b.loading = nil
			close(over)
		}) {
			b.mu.Unlock()
			return topic.ErrClosed
		}
		b.loading = over
	}
	over := b.loading
	b.mu.Unlock()
	late := make(chan struct{})
	timer := b.Keeper.Clock.AfterFunc(loadPatience, func() { close(late) })
	defer timer.Stop()
	select {
	case <-over:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !b.IsReady() {
		return topic.ErrBusy
	}
	return nil
}

// Check lets go of a table that is not what the log says. Caller holds Writer, as that of
// all methods below.
func (b *Book) Check() {
	if b.table != nil && !b.IsReady() {
		b.letGo()
	}
}

// Knows reports whether the table is in memory: Ask and Stage need it.
func (b *Book) Knows() bool { return b.table != nil }

// NumberOf returns what the table wants to know of a batch whose bytes these are.
func NumberOf(wire []byte, offset int64) producers.Batch {
	h, n, err := batch.Parse(wire)
	if err != nil {
		return producers.Batch{Offset: offset, Len: int64(len(wire))} // the caller has vouched for it
	}
	return producers.Batch{PID: h.PID, Seq: h.Seq, Offset: offset, Len: n, CRC: h.CRC}
}

// Ask asks the table for a batch that would come after the one with an ordinal, as
// topic.Appended has it, and returns what became of it unless it is to be stored.
func (b *Book) Ask(number *producers.Batch, ordinal int64) (o topic.Outcome, store bool) {
	a := b.table.Ask(number)
	o = topic.Outcome{Offset: a.Offset, End: a.End, Ordinal: ordinal - a.Behind}
	switch a.Verdict {
	case producers.Next:
		return topic.Outcome{}, true
	case producers.Duplicate:
		b.Keeper.duplicates.Add(1)
	case producers.Conflict:
		o.Err = topic.ErrConflict
	case producers.OutOfOrder:
		o.Err = &topic.OutOfOrderError{Next: a.Seq}
	}
	return o, false
}

// Stage notes in the table that a batch is about to be written.
func (b *Book) Stage(number *producers.Batch) {
	if number.Seq > 0 || !b.table.Idle() {
		b.table.Stage(number)
	}
}

// Unstage takes back what was staged and not written.
func (b *Book) Unstage() {
	if b.table != nil {
		b.table.Drop()
	}
}

// Settle notes that what was staged was written, at a time in ms, and whether numbered
// batches are among it.
func (b *Book) Settle(numbered bool, millis int64) {
	if b.table == nil {
		return
	}
	b.table.Settle(b.table.Staged())
	if numbered {
		b.numbered = max(millis, 1)
		b.used.Store(millis)
		b.Keeper.alarm.Arm()
	}
}

// Rolled notes that a partition was begun.
func (b *Book) Rolled() { b.rolled = true }

// Trim notes that nothing before the offset is stored any more.
func (b *Book) Trim(oldest int64) {
	if b.table != nil {
		b.table.Trim(oldest)
	}
}

// Unmissed notes that nobody misses what was before an offset, though it may be set
// aside. Caller is alone with what is removed of the log, and need not hold Writer.
func (b *Book) Unmissed(offset int64) { b.trimmed.Store(max(b.trimmed.Load(), offset)) }

// Cut notes that the log was cut off. INVARIANT: all of that is done, and the cache is
// removed. Who has begun to make a table before notices by the number of cuts; who begins
// after this must find nothing any more of what there was.
func (b *Book) Cut() {
	b.letGo()
	b.cuts.Add(1)
}

func (b *Book) letGo() {
	b.made.Store(nil)
	b.table, b.snapshot = nil, nil
	b.numbered, b.rolled = 0, false
}

// drop lets go of the table, unless somebody is writing: then it returns false. Caller
// does not hold Writer.
func (b *Book) drop() bool {
	if !b.Writer.TryLock() {
		return false
	}
	defer b.Writer.Unlock()
	b.letGo()
	return true
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
		binary.LittleEndian.PutUint64(b[:], uint64(r.From))
		binary.LittleEndian.PutUint64(b[8:], uint64(min(r.To, offset)))
		sum.Write(b[:])
	}
	return sum.Sum32()
}
