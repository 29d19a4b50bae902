package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/logd-dev/logd/internal/vfs"
)

// Append appends a record of a kind from 1 to 255. The error is ErrFull or ErrFailed.
func (l *Log) Append(kind uint32, parts ...[]byte) (Ref, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return Ref{}, l.failed
	}
	n := int64(0)
	sum := uint32(0)
	for _, p := range parts {
		n += int64(len(p))
		sum = crc32.Update(sum, castagnoli, p)
	}
	if n > MaxContent {
		return Ref{}, fmt.Errorf("a record of %d bytes, of at most %d", n, MaxContent)
	}
	if l.head == nil || l.end+headLen+n > l.o.Size && l.end > int64(len(l.line)) {
		if err := l.begin(); err != nil {
			return Ref{}, err
		}
	}
	last := &l.segments[len(l.segments)-1]
	var head [headLen]byte
	binary.LittleEndian.PutUint32(head[:], uint32(n))
	binary.LittleEndian.PutUint32(head[4:], kind)
	binary.LittleEndian.PutUint32(head[8:], sum)
	binary.LittleEndian.PutUint32(head[12:], headSum(last.Number, l.end, head[:]))
	if _, err := l.head.WritevAt(append([][]byte{head[:]}, parts...), l.end); err != nil {
		return Ref{}, l.undo(err)
	}
	at := Ref{last.Number, l.end}
	l.end += headLen + n
	last.Bytes = max(last.Bytes, l.end)
	return at, nil
}

// undo takes back what was written of a record that could not be written as a whole.
func (l *Log) undo(err error) error {
	name := l.name(l.segments[len(l.segments)-1].Number)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		l.failed = fmt.Errorf("%s: %w: %w", name, ErrFailed, err)
		return l.failed
	}
	if cut := l.head.Truncate(l.end); cut != nil {
		l.failed = fmt.Errorf("%s: %w: %w, and %w", name, ErrFailed, err, cut)
		return l.failed
	}
	l.segments[len(l.segments)-1].Bytes = l.end
	return fmt.Errorf("%s: %w: %w", name, ErrFull, err)
}

// begin begins a segment.
func (l *Log) begin() error {
	number := uint64(1)
	if n := len(l.segments); n > 0 {
		number = l.segments[n-1].Number + 1
	}
	name := l.name(number)
	f, err := l.fsys.OpenFile(name, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o600)
	if err == nil {
		if l.o.Reserve {
			err = f.Allocate(l.o.Size)
		}
		if err == nil {
			_, err = f.WriteAt([]byte(l.line), 0)
		}
		if err == nil {
			err = l.fsys.SyncDir(l.dir)
		}
		if err != nil {
			f.Close()
			l.fsys.Remove(name)
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("%s: %w: %w", name, ErrFull, err)
	} else if err != nil {
		l.failed = fmt.Errorf("%s: %w: %w", name, ErrFailed, err)
		return l.failed
	}
	if l.head != nil {
		if last := &l.segments[len(l.segments)-1]; last.Bytes > l.end && l.head.Truncate(l.end) == nil {
			last.Bytes = l.end
		}
		l.unsynced = append(l.unsynced, l.head)
		l.files[l.segments[len(l.segments)-1].Number] = l.head
	}
	l.head, l.end = f, int64(len(l.line))
	bytes := l.end
	if l.o.Reserve {
		bytes = l.o.Size
	}
	l.segments = append(l.segments, Info{number, bytes})
	return nil
}

// Roll has the next record begin a segment.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if l.head != nil && l.end == int64(len(l.line)) {
		return nil
	}
	return l.begin()
}

// Sync makes durable what was appended before. After an error, which is ErrFailed,
// nothing more is written.
func (l *Log) Sync() error {
	l.mu.Lock()
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	files, removed := l.unsynced, l.removed
	l.unsynced, l.removed = nil, false
	if l.head != nil {
		files = append(files, l.head)
	}
	l.mu.Unlock()
	var err error
	for _, f := range files {
		if err = f.Sync(); errors.Is(err, os.ErrClosed) {
			err = nil // the segment was removed meanwhile
		} else if err != nil {
			break
		}
	}
	if err == nil && removed {
		err = l.fsys.SyncDir(l.dir)
	}
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = fmt.Errorf("%s: %w: %w", l.dir, ErrFailed, err)
	return l.failed
}

// Segments returns the segments, the oldest first.
func (l *Log) Segments() []Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.segments)
}

// Bytes returns what the segments have on the disk.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int64(0)
	for _, s := range l.segments {
		n += s.Bytes
	}
	return n
}

// End returns the place of the next record, if it begins no segment.
func (l *Log) End() Ref {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return Ref{1, int64(len(l.line))}
	}
	return Ref{l.segments[len(l.segments)-1].Number, l.end}
}

// Remove removes a segment that is not the last one.
func (l *Log) Remove(number uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.segments, func(s Info) bool { return s.Number == number })
	if i < 0 || i == len(l.segments)-1 {
		return nil
	}
	if f := l.files[number]; f != nil {
		l.unsynced = slices.DeleteFunc(l.unsynced, func(o vfs.File) bool { return o == f })
		f.Close()
		delete(l.files, number)
	}
	if err := l.fsys.Remove(l.name(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.segments = slices.Delete(l.segments, i, i+1)
	l.removed = true
	return nil
}

// Close closes the files. It syncs nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%s: %w", l.dir, os.ErrClosed)
	}
	var errs []error
	if l.head != nil {
		errs = append(errs, l.head.Close())
		l.head = nil
	}
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}
