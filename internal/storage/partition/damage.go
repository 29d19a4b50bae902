package partition

import (
	"errors"
	"fmt"
	"io"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// setAsideAll sets ranges of positions of a partition aside.
func (l *List) setAsideAll(p *Partition, damaged []layout.Range) {
	for _, r := range damaged {
		l.SetAside(p, layout.Range{From: p.Base + r.From, To: p.Base + r.To})
	}
}

// SetAside notes that a range of a partition is damaged, and says so once.
func (l *List) SetAside(p *Partition, r layout.Range) {
	if !l.SetDamaged(r, p) {
		return
	}
	l.Logger.Error("corruption: the bytes are kept and set aside; reads of them answer not found, all else is served",
		"topic", l.Topic, "file", p.File.Name(), "position", r.From-p.Base, "offset", r.From, "bytes", r.To-r.From)
}

// SetDamaged adds a damaged range to what readers see and to the journal. It
// reports false if the range was known, or p, in which it was found, is not one of the
// log's any more.
func (l *List) SetDamaged(r layout.Range, p *Partition) bool {
	isNew, err := l.Journal.Damage(r, func() bool { return r.To <= l.Begin() || l.Gone(p) })
	if !isNew {
		return false
	}
	if err != nil {
		l.Logger.Warn("journal record not written; the damage will be found again", "topic", l.Topic, "err", err)
	}
	l.Dirty.Store(true)
	return true
}

// FirstBad returns the offset of the first batch of a view that is not what it
// must be, or -1.
func (l *List) FirstBad(v *View) (int64, error) {
	offset := v.offset
	for i := range v.sections {
		s := &v.sections[i]
		sc := &scan.Scanner{File: s.f, Size: s.pos + s.n, Topic: l.Topic}
		for pos := s.pos; pos < sc.Size; {
			_, n, ok, err := sc.BatchAt(pos)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				ok, err = false, nil // the file was cut short
			}
			if err != nil {
				return -1, &layout.Error{Op: "verify", Topic: l.Topic, File: s.file.Name(), Offset: offset, Err: err}
			}
			if !ok {
				return offset, nil
			}
			pos += n
			offset += n
		}
	}
	return -1, nil
}

// Examine has a partition scanned because no batch is at the offset where one
// must be, and what is damaged set aside. If that was done before and has not
// helped, the index leads astray.
func (l *List) Examine(offset int64, again int) error {
	parts := l.All()
	i := Find(parts, offset)
	if i < 0 {
		return topic.ErrNotFound // removed a moment ago
	}
	p := parts[i]
	ix := p.Index() // before the ranges are looked at: it is made after them
	if l.SegmentEnd(p, offset) == offset {
		return nil // somebody else has found it
	}
	var err error
	switch again {
	case 0:
		err = l.rescanFrom(p, ix, offset-p.Base)
	case 1:
		err = l.Rescan(p, ix)
	default:
		err = fmt.Errorf("%w, and a scan does not find it so", walk.ErrDamaged)
	}
	switch {
	case err == nil:
		return nil
	case l.JustRemoved(p, err):
		return topic.ErrNotFound
	}
	return &layout.Error{Op: "verify", Topic: l.Topic, File: p.File.Name(), Offset: offset, Err: err}
}
