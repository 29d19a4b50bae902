package partition

import (
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/retain"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// Times returns when the batches from one offset up to another were appended,
// as up to limit marks: one for the first batch at or after from, and one for
// each at which the time changes. They come from the index; the log itself is read
// where from is no offset that the index knows, a few KiB.
//
// Offsets ascend. Times do within a partition.
func (l *List) Times(from, to int64, limit int) (marks []topic.TimeMark, err error) {
	err = RetryOnce(func() error {
		marks, err = l.times(from, to, limit)
		return err
	})
	return marks, err
}

func (l *List) times(from, to int64, limit int) ([]topic.TimeMark, error) {
	var marks []topic.TimeMark
	for _, p := range l.All() {
		if p.Base >= to || len(marks) >= limit {
			break
		}
		if p.End.Load() <= max(from, p.Base) {
			continue
		}
		n := len(marks)
		if sum := p.Sum.Load(); sum != nil && (sum.Batches == 0 ||
			n > 0 && sum.First == marks[n-1].Millis && sum.Last == sum.First) {
			continue
		}
		if err := l.EnsureIndex(p); err != nil {
			if l.JustRemoved(p, err) {
				continue
			}
			return nil, err
		}
		ix := p.Index()
		var err error
		if marks, err = l.partitionTimes(marks, p, ix, from, to, limit); err != nil {
			if l.JustRemoved(p, err) {
				continue
			}
			return nil, l.ReadError(p, ix, max(from, p.Base), err)
		}
	}
	return marks, nil
}

// partitionTimes is Times for one partition: it adds to marks.
func (l *List) partitionTimes(marks []topic.TimeMark, p *Partition, ix *index.Index, from, to int64, limit int) ([]topic.TimeMark, error) {
	pos, millis := int64(0), int64(-1)
	if n := len(marks); n > 0 {
		millis = marks[n-1].Millis
	} else {
		first, err := l.firstAt(p, ix, max(from, p.Base), min(to, p.End.Load()))
		if err != nil || first.Pos < 0 {
			return marks, err
		}
		marks = append(marks, topic.TimeMark{Offset: p.Base + first.Pos, Millis: first.Millis})
		pos, millis = first.Pos+1, first.Millis
	}
	end := min(to, p.End.Load())
	err := ix.Changes(pos, millis, func(e *index.Entry) bool {
		offset := l.PastDamage(p.Base + e.Pos)
		if offset >= end {
			return false
		}
		if n := len(marks); n > 0 && marks[n-1].Offset >= offset {
			marks[n-1].Millis = e.Millis // both were in the same damage
			return true
		}
		if len(marks) >= limit {
			return false
		}
		marks = append(marks, topic.TimeMark{Offset: offset, Millis: e.Millis})
		return true
	})
	return marks, err
}

// firstAt returns the position and time of a partition's first batch at or
// behind offset and before end; position -1 stands for none.
func (l *List) firstAt(p *Partition, ix *index.Index, offset, end int64) (index.Entry, error) {
	none := index.Entry{Pos: -1}
	at, next, err := ix.Search(func(e *index.Entry) bool { return e.Pos <= offset-p.Base })
	if err != nil {
		return none, err
	}
	if at.Pos < 0 {
		if at = next; at.Pos < 0 {
			return none, nil
		}
	}
	known := at.Pos // the position up to which at's time holds
	if past := l.PastDamage(p.Base + at.Pos); past > p.Base+at.Pos {
		at.Pos = past - p.Base
	}
	if p.Base+at.Pos < offset {
		f, err := p.File.Acquire(files.ToRead)
		if err != nil {
			return none, err
		}
		defer p.File.Release()
		w := walk.New(f, l.Topic)
		defer w.Free()
		for p.Base+at.Pos < min(offset, end) {
			if err := w.Step(&at, l.SegmentEnd(p, p.Base+at.Pos)-p.Base); err != nil {
				return none, err
			}
			at.Pos = l.PastDamage(p.Base+at.Pos) - p.Base
		}
	}
	if p.Base+at.Pos >= end {
		return none, nil
	}
	if at.Pos > known && next.Pos >= 0 && at.Pos >= next.Pos {
		floor, _, err := ix.Search(func(e *index.Entry) bool { return e.Pos <= at.Pos })
		if err != nil {
			return none, err
		}
		at.Millis = floor.Millis
	}
	return at, nil
}

// SeekTime returns the offset of the first batch before the readable end that was appended at
// a time or later, or the readable end, see commitlog.Log.Seek. ages says which times are
// to be believed.
func (l *List) SeekTime(millis, readable int64, ages func(parts []*Partition, now int64) *retain.View) (offset int64, err error) {
	err = RetryOnce(func() error {
		offset, err = l.seek(millis, readable, ages)
		return err
	})
	return offset, err
}

func (l *List) seek(millis, readable int64, ages func(parts []*Partition, now int64) *retain.View) (int64, error) {
	parts := l.All()
	now := l.Clock.Now().UnixMilli()
	for i, p := range parts {
		if sum := p.Sum.Load(); sum != nil && (sum.Batches == 0 || sum.Last < millis) {
			continue
		}
		if err := l.EnsureIndex(p); err != nil {
			return 0, err
		}
		ix := p.Index()
		_, next, err := ix.Search(func(e *index.Entry) bool { return e.Millis < millis })
		if err != nil {
			return 0, l.ReadError(p, ix, p.Base, err)
		}
		if next.Pos < 0 || p.Base+next.Pos >= readable {
			continue
		}
		if next.Millis-now > retain.Doubt && ages(parts, now).StoredBefore(i, millis) < millis {
			continue
		}
		return p.Base + next.Pos, nil
	}
	return readable, nil
}
