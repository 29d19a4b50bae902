package commitlog

import (
	"context"
	"errors"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// Read returns whole batches from offset on: as many as it takes to reach
// messages messages, at most maxBytes bytes (0 for no such limit) but always
// one batch, up to the readable end or to bytes that were set aside. The
// caller closes the View.
//
// The error is ErrEnd at the readable end, ErrNotFound where no batch begins,
// and ErrDeleted for a topic that was deleted. Read blocks only for the disk.
func (l *Log) Read(offset, messages, maxBytes int64) (topic.View, error) {
	v, err := l.view(offset, messages, maxBytes)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (l *Log) view(offset, messages, maxBytes int64) (*partition.View, error) {
	v := partition.NewView(offset)
	err := partition.RetryOnce(func() error { return l.parts.Read(v, offset, messages, maxBytes, l.Readable()) })
	if errors.Is(err, partition.ErrRescanned) {
		err = topic.ErrNotFound
	}
	if err == nil {
		return v, nil
	}
	v.Close()
	if l.Deleted() {
		return nil, topic.ErrDeleted
	}
	if errors.Is(err, topic.ErrNotFound) {
		l.store.Misses.Add(1)
	}
	return nil, err
}

// Info describes the log. It reads partitions that no index knows, once.
func (l *Log) Info(ctx context.Context) (topic.Info, error) {
	parts, damaged := l.parts.All(), l.journal.Damaged()
	begin := parts[0].Base
	in := topic.Info{Next: l.Readable(), Partitions: len(parts), Synced: l.synced.Load(), ID: layout.HexID(l.parts.ID), ReadOnly: l.readOnly(), Codecs: l.journal.AllPacked()}
	in.Oldest = min(max(l.Oldest(), begin), in.Next)
	for _, r := range *damaged {
		if from := max(r.From, begin); r.To > from {
			in.Damaged += r.To - from
			in.DamagedAt = append(in.DamagedAt, [2]int64{from, r.To})
			in.DamagedIn = append(in.DamagedIn, parts[max(partition.Find(parts, from), 0)].File.Name())
		}
	}
	in.Bytes = max(in.Next-begin-in.Damaged, 0)
	var first, last int64
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return topic.Info{}, err
		}
		sum, err := l.parts.Totals(p, in.Next)
		if l.parts.JustRemoved(p, err) {
			return l.Info(ctx) // removed a moment ago
		}
		if err != nil && l.Deleted() {
			err = topic.ErrDeleted
		}
		if err != nil {
			return topic.Info{}, err
		}
		in.Messages += sum.Messages
		in.Batches += sum.Batches
		if sum.Batches > 0 {
			if first == 0 {
				first = sum.First
			}
			last = sum.Last
		}
	}
	if l.journal.Damaged() != damaged {
		return l.Info(ctx) // counting has found damage
	}
	if first > 0 {
		first, last = l.sensible(parts, first, last)
		in.OldestTime, in.NewestTime = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	}
	return in, nil
}

// Seek returns the offset of the first batch that was appended at t or later,
// or the readable end. Times are kept to the millisecond; those of batches
// appended shortly before a crash may be later than they were.
//
// Where the clock was wrong it is the first batch in whose partition times reach
// t, which may be too early. Times far ahead of the clock are not believed if a
// later partition began before them.
func (l *Log) Seek(t time.Time) (offset int64, err error) {
	return l.parts.SeekTime(t.UnixMilli(), l.Readable(), l.ages)
}

// Times returns when the batches from one offset up to another were appended,
// as up to limit marks: one for the first batch at or after from, and one for
// each at which the time changes. Nothing at or behind to, or behind the
// readable end, is in them. They come from the index; the log itself is read
// where from is no offset that the index knows, a few KiB.
//
// Offsets ascend. Times do within a partition; see Seek for how exact they are.
func (l *Log) Times(from, to int64, limit int) (marks []topic.TimeMark, err error) {
	return l.parts.Times(from, min(to, l.Readable()), limit)
}

// Ordinal returns how many batches the log has had before the one at offset,
// since its birth; for a log that began with files of the 0.3 layout, since
// the oldest of them. The error is ErrNotFound where no batch begins.
func (l *Log) Ordinal(offset int64) (ordinal int64, err error) {
	err = partition.RetryOnce(func() error {
		before, parts := l.trimmedBatches()
		ordinal, err = l.parts.Ordinal(parts, offset, l.next.Load())
		ordinal += before
		return err
	})
	return ordinal, err
}

// MessagesFrom is that of topic.Reader.
func (l *Log) MessagesFrom(offset int64) (messages int64, err error) {
	err = partition.RetryOnce(func() error {
		messages, err = l.parts.MessagesFrom(l.parts.All(), offset, l.Readable())
		return err
	})
	return messages, err
}

// OffsetOf returns the offset of the batch with the given ordinal, or the next
// offset for the ordinal that the next batch will have. The error is
// ErrNotFound for a batch that was removed or is not there yet.
func (l *Log) OffsetOf(ordinal int64) (offset int64, err error) {
	err = partition.RetryOnce(func() error {
		before, parts := l.trimmedBatches()
		offset, err = l.parts.OffsetOf(parts, ordinal-before, l.next.Load())
		return err
	})
	return offset, err
}

// trimmedBatches returns the partitions and how many batches came before them.
func (l *Log) trimmedBatches() (int64, []*partition.Partition) {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	_, _, batches := l.journal.Trimmed()
	return batches, l.parts.All()
}
