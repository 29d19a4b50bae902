package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// Verify is Read of batches that are checked first, envelope and data. What is
// damaged is set aside, each batch by itself: Verify returns those before it,
// and ErrNotFound at it, as every Read does from then on.
//
// It reads all that it returns, and holds a lock that writers take only if
// damage is found in the newest partition.
func (l *Log) Verify(offset, messages, maxBytes int64) (topic.View, error) {
	for last, again := int64(-1), 0; ; {
		v, err := l.view(offset, messages, maxBytes)
		if err != nil {
			return nil, err
		}
		bad, err := l.firstBad(v)
		if err == nil && bad < 0 {
			return v, nil
		}
		v.Close()
		if again++; bad != last {
			last, again = bad, 0
		}
		if err == nil {
			err = l.examine(bad, again)
		}
		if err != nil {
			return nil, err
		}
	}
}

// firstBad returns the offset of the first batch of a view that is not what it
// must be, or -1.
func (l *Log) firstBad(v *View) (int64, error) {
	offset := v.offset
	for i := range v.sections {
		s := &v.sections[i]
		sc := &scan.Scanner{File: s.f, Size: s.pos + s.n, Topic: l.name}
		for pos := s.pos; pos < sc.Size; {
			_, n, ok, err := sc.BatchAt(pos)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				ok, err = false, nil // the file was cut short
			}
			if err != nil {
				return -1, &Error{Op: "verify", Topic: l.name, File: s.file.Name(), Offset: offset, Err: err}
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

// examine has a partition scanned because no batch is at the offset where one
// must be, and what is damaged set aside. If that was done before and has not
// helped, the index leads astray.
func (l *Log) examine(offset int64, again int) error {
	parts := l.partitions()
	i := findPartition(parts, offset)
	if i < 0 {
		return topic.ErrNotFound // removed a moment ago
	}
	p := parts[i]
	ix := p.index() // before the ranges are looked at: it is made after them
	if l.segmentEnd(p, offset) == offset {
		return nil // somebody else has found it
	}
	var err error
	switch again {
	case 0:
		err = l.rescanFrom(p, ix, offset-p.base)
	case 1:
		err = l.rescan(p, ix)
	default:
		err = fmt.Errorf("%w, and a scan does not find it so", walk.ErrDamaged)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist) && l.lost(p):
		return topic.ErrNotFound
	}
	return &Error{Op: "verify", Topic: l.name, File: p.file.Name(), Offset: offset, Err: err}
}
