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
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
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
