package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/topic"
)

// ErrMisfit is a refill with other bytes than those that are missing.
var ErrMisfit = errors.New("storage: the bytes do not fit there")

// Refill puts back what is set aside from one offset up to another: data is the
// bytes that were there, as another copy of the log has them, and times when they
// were appended, as [Log.Times] tells, or nil for as late as can have been. When
// Refill returns nil they are on stable storage, and served.
//
// It begins where a range begins that is set aside, or a partition in it, and
// ends there or before that, where a batch ends: a long range takes several calls.
// What was looked at lately may be older than what a scan finds now; Info tells the
// ranges.
//
// The error is ErrNotFound if that is not set aside, and ErrMisfit, with the
// reason, if data is not whole valid batches of the topic from from to to, or has
// one that reaches from one partition into the next: then nothing was changed.
// With any other error what is not served yet stays set aside, whatever stands
// there; ErrReadOnly is one of room, or of a log that has failed.
func (l *Log) Refill(ctx context.Context, from, to int64, data []byte, times []topic.TimeMark) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.trimming.Lock() // nothing is removed or cut off meanwhile
	defer l.trimming.Unlock()
	l.numbers.Keeping.Lock() // no cache is written meanwhile
	defer l.numbers.Keeping.Unlock()
	if l.Deleted() {
		return topic.ErrDeleted
	}
	if err := l.Unsyncable(); err != nil {
		return err
	}
	defer l.failOnPanic("refill")
	gaps, err := l.gapsFor(layout.Range{From: from, To: to}, data)
	if err != nil {
		return err
	}
	// What was found damaged may be in memory alone, and half of what is written
	// now must not be searched for batches after a crash.
	if err := l.record(journal.Damaged, from, to); err != nil {
		return refillError(err)
	}
	for _, g := range gaps {
		if err := l.fillGap(g, data[g.From-from:g.To-from]); err != nil {
			return err
		}
		if err := l.heal(g, times); err != nil {
			return err
		}
	}
	l.store.Logger.Info("damage is repaired: the bytes are served again", "topic", l.name, "offset", from, "bytes", to-from)
	return nil
}

// refillError is what Refill returns for an error that has done no harm.
func refillError(err error) error {
	if files.Transient(err) {
		return ReadOnly(err)
	}
	return err
}

// gap is what is to be refilled in one partition.
type gap struct {
	layout.Range
	p *partition.Partition
}

// gapsFor returns what is to be refilled of each partition, if that is set aside
// and data fits there.
func (l *Log) gapsFor(r layout.Range, data []byte) (gaps []gap, err error) {
	parts := l.parts.All()
	i := partition.Find(parts, r.From)
	if i < 0 || r.To <= r.From {
		return nil, topic.ErrNotFound
	}
	for ; i < len(parts) && parts[i].Base < r.To; i++ {
		// Where nobody has read yet it is only known how long the file is: a
		// scan tells where its last batch ends.
		if err := partition.RetryOnce(func() error { return l.parts.EnsureIndex(parts[i]) }); err != nil {
			return nil, &Error{Op: "refill", Topic: l.name, File: parts[i].File.Name(), Offset: r.From, Err: err}
		}
		end := r.To
		if i+1 < len(parts) {
			end = min(end, parts[i+1].Base)
		}
		gaps = append(gaps, gap{layout.Range{From: max(r.From, parts[i].Base), To: end}, parts[i]})
	}
	known := *l.journal.Damaged()
	k := slices.IndexFunc(known, func(o layout.Range) bool { return o.From <= r.From && o.To >= r.To })
	if k < 0 || (known[k].From != r.From && gaps[0].p.Base != r.From) {
		return nil, fmt.Errorf("%w: from %d to %d is not what is set aside", topic.ErrNotFound, r.From, r.To)
	}
	return gaps, l.fits(gaps, r, data)
}

// fits returns nil if data is whole valid batches that fill the gaps, each of which
// begins with one.
func (l *Log) fits(gaps []gap, r layout.Range, data []byte) error {
	if int64(len(data)) != r.To-r.From {
		return fmt.Errorf("%w: %d bytes for %d", ErrMisfit, len(data), r.To-r.From)
	}
	for _, g := range gaps {
		sc := &scan.Scanner{File: bytes.NewReader(data), Size: g.To - r.From, Topic: l.name}
		for pos := g.From - r.From; pos < sc.Size; {
			_, n, ok, err := sc.BatchAt(pos)
			if err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("%w: no valid batch of the topic at %d that ends by %d", ErrMisfit, r.From+pos, g.To)
			}
			pos += n
		}
	}
	return nil
}

// fillGap writes the bytes of a gap and makes them durable. They are set aside
// still: nobody reads them.
func (l *Log) fillGap(g gap, data []byte) error {
	f, err := g.p.File.Acquire(files.ToWrite)
	if err == nil {
		// Through one descriptor from the write to the sync, which is told if it failed.
		defer g.p.File.Release()
		_, err = f.WriteAt(data, g.From-g.p.Base)
	}
	if err != nil {
		return refillError(&Error{Op: "refill", Topic: l.name, File: g.p.File.Name(), Offset: g.From, Err: err})
	}
	return l.syncFile(f, "sync", g.p.File, g.From)
}

// heal serves what a gap was filled with.
func (l *Log) heal(g gap, times []topic.TimeMark) error {
	return l.remake(g.p, g.From, func(known []index.Entry) ([]index.Entry, error) {
		// Whatever becomes of the record, the bytes are there. And if its sync has
		// failed, a restart may find it all the same, and has to count as it says.
		healed, err := l.journal.RecordHidden(journal.Append(nil, journal.Healed, g.From, g.To))
		if healed {
			g.p.End.Store(max(g.p.End.Load(), g.To))
			known = partition.WithTimes(known, g.p.Base, g.Range, times)
		}
		return known, err
	})
}

// remake makes the index of a partition anew, from an offset on, since note changes what
// is set aside of it, in the journal first. The index, and the cache of numbers, were
// made as it was: they go before, durably, or a crash would leave them to be believed. Those who read the
// partition meanwhile have the one that is open, and see what they have seen until there is a
// new one: note records what changes hidden. It may change the times that are known.
func (l *Log) remake(p *partition.Partition, from int64, note func(known []index.Entry) ([]index.Entry, error)) error {
	unlock := l.parts.LockPartition(p)
	defer unlock()
	old := p.Index()
	known, newest := l.parts.KnownTimes(p)
	if _, err := old.File.Acquire(files.ToRead); err == nil {
		defer old.File.Release()
	}
	err := old.File.Remove()
	if err == nil {
		err = l.syncFolder()
	}
	if err == nil {
		err = l.numbers.RemoveCache()
	}
	if err == nil {
		known, err = note(known)
	}
	l.parts.Recounts()
	aside := l.journal.State().Damaged
	p.Sum.Store(nil)
	// Also if nothing was changed: the index has no file any more.
	rerr := l.parts.Recount(p, known, newest, from-p.Base, aside)
	if rerr == nil {
		rerr = l.syncFolder() // the index has a new file
	}
	if rerr != nil && err == nil {
		p.Ready.Store(false)
		err = &Error{Op: "count", Topic: l.name, File: p.File.Name(), Offset: from, Err: rerr}
	}
	l.journal.Show()
	if err != nil {
		return refillError(err)
	}
	return nil
}
