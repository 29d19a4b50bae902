package commitlog

import (
	"errors"
	"hash/crc32"
	"io"

	"github.com/logd-dev/logd/internal/storage/partition"
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
	err := topic.ErrNotFound
	v := partition.NewView(from)
	if to <= l.next.Load() {
		err = l.parts.AddStored(v, from, to)
	}
	if err != nil {
		v.Close()
		if l.Deleted() {
			err = topic.ErrDeleted
		}
		return nil, err
	}
	return v, nil
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
