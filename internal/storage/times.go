package storage

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// Times returns when the batches from one offset up to another were appended,
// as up to limit marks: one for the first batch at or after from, and one for
// each at which the time changes. Nothing at or behind to, or behind the
// readable end, is in them. They come from the index; the log itself is read
// where from is no offset that the index knows, a few KiB.
//
// Offsets ascend. Times do within a partition; see Seek for how exact they are.
func (l *Log) Times(from, to int64, limit int) (marks []TimeMark, err error) {
	err = again(func() error {
		marks, err = l.times(from, to, limit)
		return err
	})
	return marks, err
}

func (l *Log) times(from, to int64, limit int) ([]TimeMark, error) {
	var marks []TimeMark
	to = min(to, l.Readable())
	for _, p := range l.partitions() {
		if p.base >= to || len(marks) >= limit {
			break
		}
		if p.end.Load() <= max(from, p.base) {
			continue
		}
		n := len(marks)
		if sum := p.sum.Load(); sum != nil && (sum.Batches == 0 ||
			n > 0 && sum.First == marks[n-1].Millis && sum.Last == sum.First) {
			continue
		}
		if err := l.ensureIndex(p); err != nil {
			if l.justRemoved(p, err) {
				continue
			}
			return nil, err
		}
		ix := p.index()
		var err error
		if marks, err = l.partitionTimes(marks, p, ix, from, to, limit); err != nil {
			if l.justRemoved(p, err) {
				continue
			}
			return nil, l.readError(p, ix, max(from, p.base), err)
		}
	}
	return marks, nil
}

// justRemoved reports whether err says that retention has removed the partition
// a moment ago.
func (l *Log) justRemoved(p *partition, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && l.begin() > p.base
}

// partitionTimes is Times for one partition: it adds to marks.
func (l *Log) partitionTimes(marks []TimeMark, p *partition, ix *index, from, to int64, limit int) ([]TimeMark, error) {
	pos, millis := int64(0), int64(-1)
	if n := len(marks); n > 0 {
		millis = marks[n-1].Millis
	} else {
		first, err := l.firstAt(p, ix, max(from, p.base), min(to, p.end.Load()))
		if err != nil || first.pos < 0 {
			return marks, err
		}
		marks = append(marks, TimeMark{Offset: p.base + first.pos, Millis: first.millis})
		pos, millis = first.pos+1, first.millis
	}
	end := min(to, p.end.Load())
	err := ix.changes(pos, millis, func(e *entry) bool {
		offset := l.pastDamage(p.base + e.pos)
		if offset >= end {
			return false
		}
		if n := len(marks); n > 0 && marks[n-1].Offset >= offset {
			marks[n-1].Millis = e.millis // both were in the same damage
			return true
		}
		if len(marks) >= limit {
			return false
		}
		marks = append(marks, TimeMark{Offset: offset, Millis: e.millis})
		return true
	})
	return marks, err
}

// firstAt returns the position and time of a partition's first batch at or
// behind offset and before end; position -1 stands for none.
func (l *Log) firstAt(p *partition, ix *index, offset, end int64) (entry, error) {
	none := entry{pos: -1}
	at, next, err := ix.search(func(e *entry) bool { return e.pos <= offset-p.base })
	if err != nil {
		return none, err
	}
	if at.pos < 0 {
		if at = next; at.pos < 0 {
			return none, nil
		}
	}
	known := at.pos // the position up to which at's time holds
	if past := l.pastDamage(p.base + at.pos); past > p.base+at.pos {
		at.pos = past - p.base
	}
	if p.base+at.pos < offset {
		f, err := p.file.Acquire(files.ToRead)
		if err != nil {
			return none, err
		}
		defer p.file.Release()
		w := walkers.Get().(*walker)
		defer walkers.Put(w)
		w.f, w.topic, w.have, w.start = f, l.name, nil, 0
		for p.base+at.pos < min(offset, end) {
			if err := w.step(&at, l.segmentEnd(p, p.base+at.pos)-p.base); err != nil {
				return none, err
			}
			at.pos = l.pastDamage(p.base+at.pos) - p.base
		}
	}
	if p.base+at.pos >= end {
		return none, nil
	}
	if at.pos > known && next.pos >= 0 && at.pos >= next.pos {
		floor, _, err := ix.search(func(e *entry) bool { return e.pos <= at.pos })
		if err != nil {
			return none, err
		}
		at.millis = floor.millis
	}
	return at, nil
}

// pastDamage returns the offset behind the damage that offset lies in, or
// offset itself.
func (l *Log) pastDamage(offset int64) int64 {
	damaged := *l.damaged.Load()
	i, _ := slices.BinarySearchFunc(damaged, offset, func(r layout.Range, offset int64) int {
		if r.To <= offset {
			return -1
		}
		return 1
	})
	if i < len(damaged) && damaged[i].From <= offset {
		return damaged[i].To
	}
	return offset
}
