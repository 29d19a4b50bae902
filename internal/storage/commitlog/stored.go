package commitlog

import (
	"errors"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
)

// Stored returns the bytes from one offset up to another, also those that are not
// readable yet: to be sent to another copy of the log. Nothing is looked up or
// checked, also not that batches begin and end there; the View counts no batches.
// The caller closes it.
//
// What is cut off meanwhile may read as other bytes, or as none: who is sent them
// has to check them. The error is ErrNotFound if any of it is not stored, or set aside,
// and ErrDeleted for a topic that was deleted.
func (l *Log) Stored(from, to int64) (topic.View, error) {
	v := views.Get().(*View)
	v.offset = from
	if err := l.addStored(v, from, to); err != nil {
		v.Close()
		if l.Deleted() {
			err = topic.ErrDeleted
		}
		return nil, err
	}
	return v, nil
}

// addStored is Stored for a view that has nothing yet.
func (l *Log) addStored(v *View, from, to int64) error {
	parts := l.partitions()
	i := findPartition(parts, from)
	if i < 0 || from >= to || to > l.next.Load() || layout.Clear(*l.journal.Damaged(), from, to) < to {
		return topic.ErrNotFound
	}
	for ; from < to; i++ {
		if i == len(parts) || parts[i].base > from {
			return topic.ErrNotFound // cut off a moment ago
		}
		p := parts[i]
		end := min(to, p.end.Load())
		if end <= from {
			if p.base == p.end.Load() || i+1 < len(parts) && parts[i+1].base == from {
				continue
			}
			return topic.ErrNotFound
		}
		f, err := p.file.Acquire(files.ToRead)
		if errors.Is(err, fs.ErrNotExist) && l.lost(p) {
			return topic.ErrNotFound // removed a moment ago
		}
		if err != nil {
			return &Error{Op: "read", Topic: l.name, File: p.file.Name(), Offset: from, Err: err}
		}
		v.sections = append(v.sections, section{p.file, f, from - p.base, end - from})
		v.length += end - from
		from = end
	}
	return nil
}

// checkChunk is how much of a run is read at a time.
const checkChunk = 256 << 10

// CheckRun reports whether the bytes from one offset up to another are stored, also
// those that are not readable yet, with none of them set aside, and have this CRC-32C. The
// error is one of reading, or ErrDeleted.
func (l *Log) CheckRun(from, to int64, crc uint32) (bool, error) {
	if from == to {
		return crc == 0, nil
	}
	v, err := l.Stored(from, to)
	if errors.Is(err, topic.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer v.Close()
	sum := uint32(0)
	b := make([]byte, min(checkChunk, to-from))
	for i := range v.Sections() {
		f, pos, n := v.Section(i)
		for n > 0 {
			k, err := f.ReadAt(b[:min(int64(len(b)), n)], pos)
			if k == 0 && err == io.EOF {
				return false, nil // cut off a moment ago, or by something else
			}
			if k == 0 {
				return false, &Error{Op: "read", Topic: l.name, Offset: from, Err: err}
			}
			sum = crc32.Update(sum, castagnoli, b[:k])
			pos, n = pos+int64(k), n-int64(k)
		}
	}
	return sum == crc, nil
}
