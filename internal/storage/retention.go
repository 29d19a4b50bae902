package storage

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// retentionInterval is how often retention looks at every topic: often enough
// for the age that it enforces. A topic that begins a partition is looked at
// right away.
func retentionInterval(age time.Duration) time.Duration {
	const least, most = 100 * time.Millisecond, 10 * time.Second
	if age <= 0 {
		return most
	}
	return min(max(age/10, least), most)
}

// retention removes the oldest partitions of logs, in one goroutine, so that
// no append waits for it.
type retention struct {
	store *Store
	timer Timer
	clock clockWatch // run's own
	kicks chan struct{}
	quit  chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	kicked map[*Log]bool
	due    bool // the timer fired: all logs are to be looked at
	short  bool // an append was refused for want of room
}

func startRetention(s *Store) *retention {
	r := &retention{
		store: s, clock: newClockWatch(s), kicks: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		kicked: make(map[*Log]bool), due: true,
	}
	r.timer = s.o.Clock.AfterFunc(r.interval(), func() { r.wake(nil) })
	r.wake(nil)
	go r.run()
	return r
}

// interval is how often to look.
func (r *retention) interval() time.Duration {
	o := &r.store.o
	return min(retentionInterval(o.RetentionAge), retentionInterval(o.DeleteAfter))
}

// makeRoom asks for the room of deleted topics whose files are kept.
func (r *retention) makeRoom() {
	r.mu.Lock()
	r.short = true
	r.mu.Unlock()
	r.signal()
}

// kick asks for a look at one log.
func (r *retention) kick(l *Log) { r.wake(l) }

func (r *retention) wake(l *Log) {
	r.mu.Lock()
	if l != nil {
		r.kicked[l] = true
	} else {
		r.due = true
	}
	r.mu.Unlock()
	r.signal()
}

func (r *retention) signal() {
	select {
	case r.kicks <- struct{}{}:
	default:
	}
}

// stop ends the goroutine and waits for it.
func (r *retention) stop() {
	close(r.quit)
	<-r.ended
	r.timer.Stop() // last: run sets it again
}

func (r *retention) run() {
	defer close(r.ended)
	looked := r.store.o.Clock.Now() // at a start all is in place
	for {
		select {
		case <-r.quit:
			return
		case <-r.kicks:
		}
		r.mu.Lock()
		logs, due, short := r.kicked, r.due, r.short
		r.kicked, r.due, r.short = make(map[*Log]bool), false, false
		r.mu.Unlock()
		if due || short {
			r.store.emptyDeleted()
		}
		r.clock.look()
		if due {
			for _, l := range r.store.all() {
				logs[l] = true
			}
			r.timer.Reset(r.interval())
		}
		look := due && r.store.o.Clock.Now().Sub(looked) >= lookInterval
		if look {
			looked = r.store.o.Clock.Now()
		}
		for l := range logs {
			if due {
				l.refused.Store(nil)
			}
			if look {
				l.look()
			}
			select {
			case <-r.quit:
				return
			default:
			}
			if err := l.retain(); err != nil && !l.Deleted() {
				r.store.log.Error("retention failed; it is tried again", "topic", l.name, "err", err)
			}
		}
	}
}

// retain removes what the store's retention settings say is to go, or has it
// held first. This is the one place that decides it.
func (l *Log) retain() error {
	if l.Deleted() {
		return nil
	}
	o := &l.store.o
	parts := l.partitions()
	k := l.expired(parts, l.Retention())
	if k == len(parts)-1 && o.RetentionAge > 0 && !l.store.ageHeld.Load() {
		done, err := l.retireHead(parts, o.RetentionAge)
		if err != nil {
			return err
		}
		if done {
			parts = l.partitions()
			k = len(parts) - 1
		}
	}
	for readable := l.Readable(); k > 0 && parts[k].base > readable; {
		k-- // not durable yet
	}
	if o.Holder != nil {
		return l.removeHeld(parts[k].base)
	}
	return l.AdvanceOldest(parts[k].base)
}

// expired returns how many of the partitions are to be removed: the head never
// is.
func (l *Log) expired(parts []*partition, s RetentionSettings) int {
	k, a := 0, l.ages(parts)
	for k < len(parts)-1 && l.expiry(a, k, s) != Keep {
		k++
	}
	return k
}

// retireHead begins a new partition if the newest batch of the head, the last of
// parts, is older than the age, and reports whether it did.
func (l *Log) retireHead(parts []*partition, age time.Duration) (bool, error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	head := l.head()
	if l.failed.Load() != nil || head.end.Load() == head.base || head != parts[len(parts)-1] {
		return false, nil
	}
	if err := l.readyHead(); err != nil {
		return false, err
	}
	a := l.ages(parts)
	if !a.expired(len(parts)-1, l.headSum.Last, age) {
		return false, nil
	}
	if err := l.rotate(); err != nil {
		return false, err
	}
	return true, l.syncFolder() // its name tells which offsets were given out
}

// AdvanceOldest removes the partitions that end at or before offset; the head
// stays, and so does what is not readable yet. Once it returns nil they do not
// come back, whatever happens. Readers that have a View of them keep it.
func (l *Log) AdvanceOldest(offset int64) error {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return ErrDeleted
	}
	offset = min(offset, l.Readable())
	parts := l.partitions()
	k := 0
	for k < len(parts)-1 && parts[k].end.Load() <= offset && parts[k+1].base <= offset {
		k++
	}
	if k > 0 {
		l.giveUp(parts[:k], parts[k].base)
	}
	return l.removeGivenUp()
}

// giveUp takes the oldest partitions from what is served; their files are still
// to be removed. Caller holds trimming.
func (l *Log) giveUp(gone []*partition, oldest int64) {
	var messages, batches int64
	for _, p := range gone {
		var sum journal.Totals
		err := again(func() (err error) {
			sum, err = l.partitionTotals(p, p.end.Load())
			return err
		})
		if err != nil {
			l.store.log.Warn("partition is removed uncounted", "file", p.file.Name, "err", err)
		}
		messages += sum.Messages
		batches += sum.Batches
	}
	l.noteRemoved(gone)

	l.writer.Lock()
	now := l.partitions() // may have grown
	kept := slices.Clone(now[len(gone):])
	l.parts.Store(&kept)
	l.writer.Unlock()

	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	t := &l.state.Trimmed
	t.Oldest, t.Messages, t.Batches = oldest, t.Messages+messages, t.Batches+batches
	l.state.Forget(oldest, math.MaxInt64)
	l.publishState()
	l.removing = append(l.removing, gone...)
}

// removeGivenUp removes the files of what was given up, also of what an earlier
// call could not. Caller holds trimming.
func (l *Log) removeGivenUp() error {
	gone := l.removing
	if len(gone) == 0 {
		return nil
	}
	l.journalMu.Lock()
	trimmed := l.state.Trimmed
	l.journalMu.Unlock()
	// With the record on disk a crash in the middle is finished at the next
	// start. Without it, on a full disk, which is when removal is wanted most, or
	// after a failure, the files go one by one, the oldest first.
	err := l.record(journal.Trim, trimmed.Oldest, trimmed.Messages, trimmed.Batches)
	if err != nil && !passing(err) && l.failed.Load() == nil {
		return err
	}
	if err != nil {
		if err := l.syncRemoved(); err != nil {
			return err
		}
		for i := range gone {
			if err := l.removeFiles(gone[i : i+1]); err != nil {
				return err
			}
		}
	} else if err := l.removeFiles(gone); err != nil {
		return err
	}
	l.removing = nil
	l.store.log.Info("partitions removed", "topic", l.name, "partitions", len(gone), "from", gone[0].base, "oldest", trimmed.Oldest)
	return nil
}

// removeFiles removes partitions and their indexes, durably.
func (l *Log) removeFiles(parts []*partition) error {
	if len(parts) == 0 {
		return nil
	}
	for _, p := range parts {
		l.pinnedMu.Lock()
		if i := slices.Index(l.pinned, p); i >= 0 {
			l.pinned = slices.Delete(l.pinned, i, i+1)
			p.pinned = false
			p.file.Release()
		}
		l.pinnedMu.Unlock()
		if err := errors.Join(p.file.Remove(), p.index().File.Remove()); err != nil {
			return &Error{Op: "remove partition of", Topic: l.name, File: p.file.Name, Offset: p.base, Err: err}
		}
	}
	return l.syncRemoved()
}

// TruncateTo cuts the log off at offset, where a batch begins or which is
// next: what lies at and after it is gone for good when TruncateTo returns nil,
// and offset is next. Offsets that it frees are given out again. It does not
// reach behind the head of what retention has left.
func (l *Log) TruncateTo(ctx context.Context, offset int64) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if l.Deleted() {
		return ErrDeleted
	}
	// No sync may be under way: it would count what it began with as synced
	// after that was cut off.
	if _, err := l.syncing.join(ctx, l, math.MaxInt64); err != nil {
		return err
	}
	defer func() {
		if l.unsyncable.Load() == nil {
			l.syncing.done(l, nil) // an error that concerns this call alone
			return
		}
		l.syncing.done(l, err)
	}()
	defer l.failOnPanic("truncate")
	if offset > l.next.Load() {
		return ErrNotFound
	}
	// What is kept will be marked as synced.
	if err := l.sync(); err != nil {
		return err
	}
	if findPartition(l.partitions(), offset) < 0 {
		return ErrNotFound
	}
	// What is before offset does not change meanwhile.
	var at index.Entry
	err = again(func() error {
		parts := l.partitions()
		at, err = l.stateAt(parts[findPartition(parts, offset)], offset)
		return err
	})
	if err != nil {
		return err
	}
	l.writer.Lock()
	defer l.writer.Unlock()
	defer l.failOnPanic("truncate")
	if e := l.failed.Load(); e != nil {
		return readOnly(e)
	}
	if offset == l.next.Load() {
		return nil
	}
	parts := l.partitions()
	i := findPartition(parts, offset)
	if i < 0 {
		return ErrNotFound
	}
	p := parts[i]
	if offset == p.base {
		at = index.Entry{} // begun since, perhaps
	}
	if err := l.announceCut(offset); err != nil {
		return err
	}
	// From here on a failure leaves a truncation that only opening the log again
	// can finish.
	if err := l.cut(parts[:i+1], parts[i+1:], offset, at); err != nil {
		return l.fail("truncate", p.file.Name, offset, err)
	}
	return nil
}

// announceCut records durably that the log is being cut off at offset. If it
// can't tell whether the record will be found after a crash, the log takes no
// more appends: they might be cut off with the rest.
func (l *Log) announceCut(offset int64) error {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	written, err := l.recordLocked(journal.Cut, offset)
	if err != nil && !written && passing(err) {
		return readOnly(&Error{Op: "truncate", Topic: l.name, File: layout.JournalFile(l.name), Offset: offset, Err: err})
	}
	if err != nil {
		return l.fail("truncate", layout.JournalFile(l.name), offset, err)
	}
	return nil
}

// cut takes from the log what TruncateTo gives up. Caller holds writer.
func (l *Log) cut(keep, drop []*partition, offset int64, at index.Entry) error {
	p := keep[len(keep)-1]
	p.loading.Lock() // nobody makes its index anew
	defer p.loading.Unlock()
	l.untell(offset)
	l.next.Store(offset)
	l.synced.Store(min(l.synced.Load(), offset))
	p.end.Store(offset)
	p.sum.Store(nil)
	kept := slices.Clone(keep)
	l.parts.Store(&kept)
	if err := l.removeFiles(drop); err != nil {
		return err
	}
	if err := files.Truncate(p.file, offset-p.base); err != nil {
		return err
	}
	ix := p.index()
	if err := ix.Truncate(offset - p.base); err != nil {
		return err
	}
	if err := ix.Settle(); err != nil {
		return err
	}
	p.counted.Store(nil)
	l.headSum = journal.Totals{Messages: at.Messages, Batches: at.Batches, Last: ix.Last.Millis}
	if first, err := ix.First(); err == nil && first.Pos >= 0 {
		l.headSum.First = first.Millis
	}
	l.synced.Store(offset)
	l.journalMu.Lock()
	l.state.Synced, l.state.Clean = offset, false
	l.state.Forget(0, offset)
	l.publishState()
	l.journalMu.Unlock()
	return l.record(journal.Synced, offset)
}

// stateAt returns the state of a partition before the batch that begins at
// offset, or at the partition's end.
func (l *Log) stateAt(p *partition, offset int64) (index.Entry, error) {
	if err := l.ensureIndex(p); err != nil {
		return index.Entry{}, err
	}
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return index.Entry{}, err
	}
	defer p.file.Release()
	w := walker{f: f, topic: l.name}
	ix := p.index()
	at, err := w.find(ix, offset-p.base, p.end.Load()-p.base)
	if err != nil {
		return index.Entry{}, l.readError(p, ix, offset, err)
	}
	return at, nil
}

// Ordinal returns how many batches the log has had before the one at offset,
// since its birth; for a log that began with files of the 0.3 layout, since
// the oldest of them. The error is ErrNotFound where no batch begins.
func (l *Log) Ordinal(offset int64) (ordinal int64, err error) {
	err = again(func() error {
		ordinal, err = l.ordinal(offset)
		return err
	})
	return ordinal, err
}

func (l *Log) ordinal(offset int64) (int64, error) {
	n, parts := l.trimmedBatches()
	for _, p := range parts {
		if offset >= p.base && offset < p.end.Load() {
			at, err := l.stateAt(p, offset)
			return n + at.Batches, err
		}
		sum, err := l.partitionTotals(p, p.end.Load())
		if err != nil {
			return 0, err
		}
		n += sum.Batches
	}
	if offset == l.next.Load() {
		return n, nil
	}
	return 0, ErrNotFound
}

// OffsetOf returns the offset of the batch with the given ordinal, or the next
// offset for the ordinal that the next batch will have. The error is
// ErrNotFound for a batch that was removed or is not there yet.
func (l *Log) OffsetOf(ordinal int64) (offset int64, err error) {
	err = again(func() error {
		offset, err = l.offsetOf(ordinal)
		return err
	})
	return offset, err
}

func (l *Log) offsetOf(ordinal int64) (int64, error) {
	n, parts := l.trimmedBatches()
	if ordinal < n {
		return 0, ErrNotFound
	}
	for _, p := range parts {
		sum, err := l.partitionTotals(p, p.end.Load())
		if err != nil {
			return 0, err
		}
		if ordinal >= n+sum.Batches {
			n += sum.Batches
			continue
		}
		f, err := p.file.Acquire(files.ToRead)
		if err != nil {
			return 0, err
		}
		defer p.file.Release()
		if err := l.ensureIndex(p); err != nil {
			return 0, err
		}
		ix := p.index()
		at, _, err := ix.Search(func(e *index.Entry) bool { return e.Batches <= ordinal-n })
		w := walker{f: f, topic: l.name}
		for err == nil && at.Batches < ordinal-n {
			err = w.step(&at, p.end.Load()-p.base)
		}
		if err != nil {
			return 0, l.readError(p, ix, p.base+at.Pos, err)
		}
		return p.base + at.Pos, nil
	}
	if ordinal == n {
		return l.next.Load(), nil
	}
	return 0, ErrNotFound
}

// trimmedBatches returns the partitions and how many batches came before them.
func (l *Log) trimmedBatches() (int64, []*partition) {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	return l.state.Trimmed.Batches, l.partitions()
}
