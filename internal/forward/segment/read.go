package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/vfs"
)

// read returns the bytes of a segment.
func (l *Log) read(number uint64) ([]byte, error) {
	f, err := l.fsys.OpenFile(l.name(number), vfs.ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, st.Size())
	return data, vfs.ReadFull(f, data, 0)
}

// walk calls record for each record of a segment, and damage for what is none but has
// records behind it. It returns where the records end.
func (l *Log) walk(number uint64, data []byte, record func(Ref, uint32, []byte) error, damage func(at, n int64)) (end int64) {
	at := int64(len(l.line))
	bad := int64(-1) // where the damage begins
	if !strings.HasPrefix(string(data[:min(len(l.line), len(data))]), l.line) {
		bad, at = 0, 0
	} else {
		end = at
	}
	for at < int64(len(data)) {
		kind, n, ok := l.head16(number, at, data[at:])
		if !ok {
			if bad < 0 {
				bad = at
			}
			at = next(data, at+1)
			continue
		}
		content := data[at+headLen:]
		if int64(len(content)) < n || crc32.Checksum(content[:n], castagnoli) != binary.LittleEndian.Uint32(data[at+8:]) {
			if bad < 0 {
				bad = at
			}
			if at += headLen; int64(len(content)) >= n { // the head is good, so what follows begins there
				at += n
			}
			continue
		}
		if bad >= 0 {
			damage(bad, at-bad)
			bad = -1
		}
		if record(Ref{number, at}, kind, content[:n:n]) != nil {
			return end
		}
		at += headLen + n
		end = at
	}
	return end
}

// next returns the first place from at on where a head may begin, or the end: one that has
// a byte of its kind, the fifth, that is not zero. What is reserved is all zeros.
func next(data []byte, at int64) int64 {
	for at < int64(len(data)) && (at+5 > int64(len(data)) || data[at+4] == 0) {
		at++
	}
	return at
}

// head16 reads the head of a record.
func (l *Log) head16(number uint64, at int64, data []byte) (kind uint32, n int64, ok bool) {
	if len(data) < headLen {
		return 0, 0, false
	}
	n = int64(binary.LittleEndian.Uint32(data))
	if kind = binary.LittleEndian.Uint32(data[4:]); kind == 0 || kind > 255 {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(data[4:]), n, n <= MaxContent && headSum(number, at, data) == binary.LittleEndian.Uint32(data[12:])
}

func headSum(number uint64, at int64, head []byte) uint32 {
	var b [28]byte
	binary.LittleEndian.PutUint64(b[:], number)
	binary.LittleEndian.PutUint64(b[8:], uint64(at))
	copy(b[16:], head[:12])
	return crc32.Checksum(b[:], castagnoli)
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Each calls f with each record from a place on, in order. The content is f's only until
// it returns. An error of f ends it and is returned. Records that are appended meanwhile
// may be left out.
func (l *Log) Each(from Ref, f func(at Ref, kind uint32, content []byte) error) error {
	for _, s := range l.Segments() {
		if s.Number < from.Segment {
			continue
		}
		data, err := l.read(s.Number)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		} else if err != nil {
			return err
		}
		var stop error
		l.walk(s.Number, data, func(at Ref, kind uint32, content []byte) error {
			if at.Compare(from) >= 0 {
				stop = f(at, kind, content)
			}
			return stop
		}, func(int64, int64) {})
		if stop != nil {
			return stop
		}
	}
	return nil
}

// Read returns the record at a place, with its content appended to dst. The error is
// ErrNoRecord if there is none, or if it is damaged.
func (l *Log) Read(at Ref, dst []byte) (kind uint32, content []byte, err error) {
	f, err := l.file(at.Segment)
	if err != nil {
		return 0, dst, err
	}
	var head [headLen]byte
	if err := vfs.ReadFull(f, head[:], at.At); err != nil {
		return 0, dst, fmt.Errorf("%s: %w: %w", l.name(at.Segment), ErrNoRecord, err)
	}
	kind, n, ok := l.head16(at.Segment, at.At, head[:])
	if st, err := f.Stat(); err != nil || !ok || n > st.Size()-at.At-headLen {
		return 0, dst, fmt.Errorf("%s: at %d %w", l.name(at.Segment), at.At, ErrNoRecord)
	}
	was := len(dst)
	dst = slices.Grow(dst, int(n))[:was+int(n)]
	if err := vfs.ReadFull(f, dst[was:], at.At+headLen); err != nil {
		return 0, dst[:was], fmt.Errorf("%s: %w: %w", l.name(at.Segment), ErrNoRecord, err)
	}
	if crc32.Checksum(dst[was:], castagnoli) != binary.LittleEndian.Uint32(head[8:]) {
		return 0, dst[:was], fmt.Errorf("%s: the content at %d is damaged: %w", l.name(at.Segment), at.At, ErrNoRecord)
	}
	return kind, dst, nil
}

// file returns a segment's file, for reading.
func (l *Log) file(number uint64) (vfs.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segments); l.head != nil && n > 0 && l.segments[n-1].Number == number {
		return l.head, nil
	}
	if f := l.files[number]; f != nil {
		return f, nil
	}
	f, err := l.fsys.OpenFile(l.name(number), vfs.ReadOnly, 0)
	if err == nil {
		l.files[number] = f
	}
	return f, err
}
