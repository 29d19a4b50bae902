// Package segment keeps records in files that are only appended to, and begun anew when
// they are long: the agent's ledger and its spool. It is made for being killed, and for
// disks that do damage.
//
//	00000000000000000007.seg:
//	    logd-forwarder ledger 1\n        the form: a word, a version
//	    length  4 bytes, little endian   of the record's content
//	    kind    4 bytes, from 1 to 255
//	    check   4 bytes                  CRC-32C of the content
//	    head    4 bytes                  CRC-32C of the segment's number, the place of the
//	    content                          record in it, and the 12 bytes before
//	    …
//
// A record is good for its place alone: one that stands inside another's content, or was
// copied, is none. So the next one is found behind damage, and all that is good before and
// behind counts. What follows the last record of the newest segment, and is neither zeros
// nor a record, was torn by a kill or a power cut: it is cut off. What is cut off, and what
// is damaged, is kept in the folder damaged.
//
// Records are handed to the system when Append returns, and on stable storage when a Sync
// that began later has returned.
package segment

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/logd-dev/logd/internal/vfs"
)

// Errors of Open and Append.
var (
	// ErrNewer: a segment has a form of a later version.
	ErrNewer = errors.New("made by a newer version")
	// ErrFull: there is no room on the disk. The record is not there, and a later one may
	// find room.
	ErrFull = errors.New("no room on the disk")
	// ErrFailed: a write or a sync has failed, and nothing more is written.
	ErrFailed = errors.New("writing has failed")
	// ErrNoRecord: no record stands at the place.
	ErrNoRecord = errors.New("no record stands there")
)

// MaxContent is the length of the longest content of a record.
const MaxContent = 1 << 30

const (
	headLen = 16
	suffix  = ".seg"
	aside   = "damaged"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Ref is the place of a record. The zero Ref is that of none.
type Ref struct {
	Segment uint64 `json:"s"`
	At      int64  `json:"a"`
}

// Compare orders places as their records were appended.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Segment, o.Segment), cmp.Compare(r.At, o.At))
}

// Damage is what was found that is no record.
type Damage struct {
	File  string // relative to the file system's root
	At    int64
	Bytes int64
	Torn  bool   // it was cut off at the end
	Kept  string // the file that has the bytes now; empty if the log is read only
}

func (d Damage) String() string {
	what := "is damaged"
	if d.Torn {
		what = "was torn"
	}
	s := fmt.Sprintf("%s: %d bytes at %d %s", d.File, d.Bytes, d.At, what)
	if d.Kept != "" {
		s += ", kept in " + d.Kept
	}
	return s
}

// Options say how a Log is kept.
type Options struct {
	Form    string // a word
	Version int
	Size    int64 // a segment is begun when a record would make the last one longer
	Reserve bool  // room for a whole segment is reserved when it is begun
	// ReadOnly has Open change nothing. The log may be one that somebody writes: what has no
	// end yet counts as not there.
	ReadOnly bool
}

// Info is a segment.
type Info struct {
	Number uint64
	Bytes  int64 // that it has on the disk
}

// Log is a log of records. It is safe for concurrent use.
type Log struct {
	fsys vfs.FS
	dir  string
	o    Options
	line string // the first of each segment

	mu       sync.Mutex
	segments []Info // in order
	head     vfs.File
	end      int64 // of the head's records
	files    map[uint64]vfs.File
	unsynced []vfs.File // earlier heads that were not synced
	removed  bool       // a segment was, and the folder was not synced since
	failed   error
}

// Open opens the log in a folder, which it makes if need be. The damage is what was not
// known before.
func Open(fsys vfs.FS, dir string, o Options) (*Log, []Damage, error) {
	l := &Log{fsys: fsys, dir: dir, o: o, line: o.Form + " " + strconv.Itoa(o.Version) + "\n", files: map[uint64]vfs.File{}}
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && !o.ReadOnly {
		if err = fsys.Mkdir(dir, 0o700); err == nil {
			err = fsys.SyncDir(".")
		}
	}
	if err != nil && !(o.ReadOnly && errors.Is(err, fs.ErrNotExist)) {
		return nil, nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		n, err := strconv.ParseUint(name, 10, 64)
		if !ok || err != nil || l.name(n) != path.Join(dir, e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		l.segments = append(l.segments, Info{n, info.Size()})
	}
	slices.SortFunc(l.segments, func(a, b Info) int { return cmp.Compare(a.Number, b.Number) })
	var found []Damage
	for i, s := range l.segments {
		damage, err := l.check(s, i == len(l.segments)-1)
		if err != nil {
			l.Close()
			return nil, nil, err
		}
		found = append(found, damage...)
	}
	return l, found, nil
}

// name returns the name of a segment's file.
func (l *Log) name(number uint64) string {
	return path.Join(l.dir, fmt.Sprintf("%020d%s", number, suffix))
}

// check looks at a segment, and has what is damaged and not yet known kept aside. The
// torn end of the last one is cut off.
func (l *Log) check(s Info, last bool) ([]Damage, error) {
	data, err := l.read(s.Number)
	if err != nil {
		return nil, err
	}
	if word, rest, ok := strings.Cut(string(data[:min(len(data), 100)]), " "); ok && word == l.o.Form {
		version, _, ok := strings.Cut(rest, "\n")
		if n, err := strconv.Atoi(version); ok && err == nil && n > l.o.Version {
			return nil, fmt.Errorf("%s: %w: version %d, of at most %d", l.name(s.Number), ErrNewer, n, l.o.Version)
		}
	}
	var found []Damage
	end := l.walk(s.Number, data, func(Ref, uint32, []byte) error { return nil }, func(at, n int64) {
		found = append(found, Damage{File: l.name(s.Number), At: at, Bytes: n})
	})
	if torn := int64(len(data)) - end; last && !zeros(data[end:]) {
		found = append(found, Damage{File: l.name(s.Number), At: end, Bytes: torn, Torn: true})
	} else if !last && !zeros(data[end:]) {
		found = append(found, Damage{File: l.name(s.Number), At: end, Bytes: torn})
	}
	if l.o.ReadOnly {
		return found, nil
	}
	fresh := found[:0]
	for _, d := range found {
		kept, known, err := l.keep(s.Number, d, data[d.At:d.At+d.Bytes])
		if err != nil {
			return nil, err
		}
		if d.Kept = kept; !known || d.Torn {
			fresh = append(fresh, d)
		}
	}
	if !last {
		return fresh, nil
	}
	f, err := l.fsys.OpenFile(l.name(s.Number), vfs.ReadWrite, 0)
	if err != nil {
		return nil, err
	}
	l.head, l.end = f, end
	if end < int64(len(l.line)) { // even its first line is damaged: go on in another one
		l.end = s.Bytes
		l.head = nil
		return fresh, f.Close()
	}
	if s.Bytes > end {
		if err := f.Truncate(end); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name(s.Number), err)
		}
		l.segments[len(l.segments)-1].Bytes = end
	}
	if l.o.Reserve && end < l.o.Size && f.Allocate(l.o.Size) == nil { // else there is room once there is
		l.segments[len(l.segments)-1].Bytes = l.o.Size
	}
	return fresh, nil
}

// keep writes damaged bytes to the folder for them.
func (l *Log) keep(number uint64, d Damage, data []byte) (name string, known bool, err error) {
	folder := path.Join(l.dir, aside)
	err = l.fsys.Mkdir(folder, 0o700)
	if err == nil {
		err = l.fsys.SyncDir(l.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", false, err
	}
	base := fmt.Sprintf("%020d-%d-%d-%08x", number, d.At, d.Bytes, crc32.Checksum(data, castagnoli))
	name = path.Join(folder, base)
	if st, err := l.fsys.Stat(name); err == nil && st.Size() == d.Bytes {
		return name, true, nil
	}
	f, err := l.fsys.OpenFile(name, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o600)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fsys.SyncDir(folder)
	}
	if errors.Is(err, syscall.ENOSPC) { // what is in the segment stays there
		l.fsys.Remove(name)
		return "", false, nil
	}
	return name, false, err
}

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
