// Package journal reads and writes the journal of a topic: a small file of what
// the topic's log can't say itself. Recovery begins with it.
//
// A journal is a header and records (docs/format.md), all little endian:
//
//	header, 16 bytes                    record, any number
//	 0  8  magic "logd-jnl"              0  4  CRC-32 (IEEE) of the rest of the record
//	 8  4  version, 1 or 2               4  1  kind
//	12  4  CRC-32 of bytes 0 to 11       5  1  reserved, 0
//	                                     6  2  length of the payload
//	                                     8  …  payload; numbers are int64
//
// Only whole records are appended. A record that is cut short or does not
// check ends the journal if nothing valid follows it; records of unknown kinds
// are kept. Version 2 is for a topic that may have compressed batches: to a logd that
// does not know them they are a torn end, and it must not open such a topic. [Decode] tells what the records add up to, a [State], and
// [State.Encode] writes a journal that says the same in fewer records. A
// [Journal] is that of a log that is open (open.go).
//
// "Damaged" and "newer than this program knows" are different errors:
// [ErrDamaged], [ErrNewer].
package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// The header, and the bounds of records.
const (
	Magic        = "logd-jnl"
	Version      = 2 // the newest
	plainVersion = 1 // of a topic without compressed batches
	HeaderLen    = 16
	recordHeader = 8
	maxPayload   = 1 << 10
)

// Kind tells records apart. Their numbers are part of the format.
type Kind uint8

// The kinds of records.
const (
	// Start: topic id (16 bytes), creation time (ms). The first record.
	Start Kind = 1
	// Synced: offset. All before it is on stable storage.
	Synced Kind = 2
	// Clean: next, and the head's messages, batches, first and last append
	// times (ms). As synced, and the log ends there.
	Clean Kind = 3
	// End: base, end, messages, batches, first and last append times (ms)
	// of a partition that is complete.
	End Kind = 4
	// Trim: oldest, and the messages and batches removed before it since
	// the topic's birth. What lies before it is being removed.
	Trim Kind = 5
	// Damaged: from, to. The bytes between are set aside.
	Damaged Kind = 6
	// Cut: next. What lies at and after it is being cut off; done when a
	// synced or clean record follows.
	Cut Kind = 7
	// Due: offset. The partitions before it are to be removed when their
	// hooks have been run.
	Due Kind = 8
	// Hooked: base. The hook of the partition there need not be run again.
	Hooked Kind = 9
	// Adopted: offset. The partitions that begin before it were there before
	// the journal: whether they were ever whole is not known. The partition that
	// begins there was the head.
	Adopted Kind = 10
	// Healed: from, to. The bytes between, which were set aside, are on stable
	// storage again as they were. Earlier END and CLEAN records do not count them.
	Healed Kind = 11
	// Packed: base, codecs (a bit each: batch.Codecs). The partition there may have
	// batches that are compressed with these. It is durable before the first of them is
	// written. A base of EveryBase stands for every partition.
	Packed Kind = 12
)

// EveryBase is where no partition begins.
const EveryBase = math.MaxInt64

var recordInts = map[Kind]int{Synced: 1, Clean: 5, End: 6, Trim: 3, Damaged: 2, Cut: 1, Due: 1, Hooked: 1, Adopted: 1, Healed: 2, Packed: 2}

// ErrNewer is returned for a topic whose files a newer version of logd wrote.
// It is not damage: nothing is wrong with the data.
var ErrNewer = errors.New("storage: written by a newer version")

// ID tells topics apart that have the same name one after another.
type ID [16]byte

// Totals sums up a partition, or the part of it before some position.
type Totals struct {
	Messages, Batches int64
	First, Last       int64 // append times of its oldest and newest batch, ms; 0 when empty
}

// State is what the records of a journal add up to.
type State struct {
	ID      ID
	Created int64

	Synced  int64
	Clean   bool // the last mark is a clean one, at synced
	Head    Totals
	Cut     int64 // -1, or where a truncation has begun that is not known to be done
	Trimmed struct{ Oldest, Messages, Batches int64 }
	Ends    map[int64]PartitionEnd
	Damaged []layout.Range
	Adopted int64          // the partitions before it are older than the journal, as is the beginning of the next; -1: none is
	Due     int64          // the partitions before it are to be removed
	Hooked  map[int64]bool // by base: those of them whose hooks need not be run again
	// Packed are, by base, the codecs that batches of a partition may be compressed with.
	Packed  map[int64]batch.Codecs
	unknown [][]byte // whole records
	behind  bool     // see Behind
}

// Behind reports whether the file that the state was read from is one that older versions
// read, though there may be compressed batches.
func (s *State) Behind() bool { return s.behind }

// NewState returns the state of a journal without records.
func NewState() State {
	return State{
		Cut: -1, Adopted: -1, Ends: make(map[int64]PartitionEnd), Hooked: make(map[int64]bool), Packed: make(map[int64]batch.Codecs),
	}
}

// PartitionEnd is where a partition ends that is complete, and what is in it.
type PartitionEnd struct {
	End int64 // offset
	Totals
}

// AppendRecord appends one record to dst.
func AppendRecord(dst []byte, kind Kind, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(kind), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	binary.LittleEndian.PutUint32(dst[start:], crc32.ChecksumIEEE(dst[start+4:]))
	return dst
}

// Append appends a record of numbers to dst.
func Append(dst []byte, kind Kind, ints ...int64) []byte {
	payload := make([]byte, 0, 64)
	for _, n := range ints {
		payload = binary.LittleEndian.AppendUint64(payload, uint64(n))
	}
	return AppendRecord(dst, kind, payload)
}

// NewHeader returns the header of the journal of a new topic.
func NewHeader() []byte { return header(plainVersion) }

func header(version uint32) []byte {
	h := append(make([]byte, 0, HeaderLen), Magic...)
	h = binary.LittleEndian.AppendUint32(h, version)
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}

// Encode writes the whole state as a new journal.
func (s *State) Encode() []byte {
	b := NewHeader()
	if len(s.Packed) > 0 {
		b = header(Version)
	}
	start := append(make([]byte, 0, 24), s.ID[:]...)
	b = AppendRecord(b, Start, binary.LittleEndian.AppendUint64(start, uint64(s.Created)))
	for _, rec := range s.unknown {
		b = append(b, rec...)
	}
	if t := s.Trimmed; t.Oldest > 0 {
		b = Append(b, Trim, t.Oldest, t.Messages, t.Batches)
	}
	if s.Adopted >= 0 {
		b = Append(b, Adopted, s.Adopted)
	}
	for _, base := range slices.Sorted(maps.Keys(s.Packed)) {
		b = Append(b, Packed, base, int64(s.Packed[base]))
	}
	for _, base := range slices.Sorted(maps.Keys(s.Ends)) {
		e := s.Ends[base]
		b = Append(b, End, base, e.End, e.Messages, e.Batches, e.First, e.Last)
	}
	for _, r := range s.Damaged {
		b = Append(b, Damaged, r.From, r.To)
	}
	if s.Due > 0 {
		b = Append(b, Due, s.Due)
	}
	for _, base := range slices.Sorted(maps.Keys(s.Hooked)) {
		b = Append(b, Hooked, base)
	}
	if s.Clean {
		b = Append(b, Clean, s.Synced, s.Head.Messages, s.Head.Batches, s.Head.First, s.Head.Last)
	} else {
		b = Append(b, Synced, s.Synced)
	}
	if s.Cut >= 0 {
		b = Append(b, Cut, s.Cut)
	}
	return b
}

// ErrDamaged is a journal with damage before its end.
var ErrDamaged = errors.New("storage: damaged journal")

// Decode reads a journal. size is the length of the part that was
// understood: where the next record goes. The state is good up to there
// whatever the error: nil for a whole journal or one with a torn end,
// ErrDamaged for one with damage that more records follow, and ErrNewer.
func Decode(b []byte) (s State, size int64, err error) {
	s = NewState()
	if len(b) < HeaderLen || string(b[:8]) != Magic ||
		binary.LittleEndian.Uint32(b[12:]) != crc32.ChecksumIEEE(b[:12]) {
		if slices.IndexFunc(b, func(c byte) bool { return c != 0 }) < 0 {
			return s, 0, nil // created, but nothing of it reached the disk
		}
		s.Packed[EveryBase] = batch.AllCodecs // what told which is lost
		return s, 0, fmt.Errorf("%w: header", ErrDamaged)
	}
	v := binary.LittleEndian.Uint32(b[8:])
	if v < plainVersion || v > Version {
		return s, 0, fmt.Errorf("%w: journal version %d, this logd knows %d", ErrNewer, v, Version)
	}
	pos := HeaderLen
	for pos < len(b) {
		n, ok := recordLen(b[pos:])
		if !ok || !s.Apply(b[pos:pos+n]) {
			if anyRecord(b[pos+1:]) {
				if v != plainVersion {
					s.Packed[EveryBase] = batch.AllCodecs // what told which is perhaps lost
				}
				return s, int64(pos), fmt.Errorf("%w at byte %d", ErrDamaged, pos)
			}
			break
		}
		pos += n
	}
	s.behind = v == plainVersion && len(s.Packed) > 0
	return s, int64(pos), nil
}

// recordLen returns the length of the record that b begins with, if it checks.
func recordLen(b []byte) (int, bool) {
	if len(b) < recordHeader {
		return 0, false
	}
	n := recordHeader + int(binary.LittleEndian.Uint16(b[6:]))
	if n > recordHeader+maxPayload || n > len(b) || binary.LittleEndian.Uint32(b) != crc32.ChecksumIEEE(b[4:n]) {
		return 0, false
	}
	return n, true
}

// anyRecord reports whether a valid record begins anywhere in b.
func anyRecord(b []byte) bool {
	for i := 0; i+recordHeader <= len(b); i++ {
		// Zeros are no record, and are what a torn end is often made of.
		if b[i+4] == 0 {
			continue
		}
		if _, ok := recordLen(b[i:]); ok {
			return true
		}
	}
	return false
}

// Apply adds one valid record to the state. It reports false for a known kind
// with the wrong length or impossible numbers.
func (s *State) Apply(rec []byte) bool {
	kind, payload := Kind(rec[4]), rec[recordHeader:]
	if kind == Start {
		if len(payload) != 24 {
			return false
		}
		copy(s.ID[:], payload)
		s.Created = int64(binary.LittleEndian.Uint64(payload[16:]))
		return true
	}
	want, known := recordInts[kind]
	if !known {
		s.unknown = append(s.unknown, slices.Clone(rec))
		return true
	}
	if len(payload) != 8*want {
		return false
	}
	var n [6]int64
	for i := range want {
		n[i] = int64(binary.LittleEndian.Uint64(payload[8*i:]))
		if n[i] < 0 {
			return false
		}
	}
	if s.Cut >= 0 && (kind == Synced || kind == Clean) {
		s.Forget(0, s.Cut) // the truncation is done
	}
	switch kind {
	case Synced:
		s.Synced, s.Clean, s.Cut = n[0], false, -1
	case Clean:
		s.Synced, s.Clean, s.Cut = n[0], true, -1
		s.Head = Totals{Messages: n[1], Batches: n[2], First: n[3], Last: n[4]}
	case End:
		if n[1] < n[0] {
			return false
		}
		s.Ends[n[0]] = PartitionEnd{End: n[1], Totals: Totals{Messages: n[2], Batches: n[3], First: n[4], Last: n[5]}}
	case Trim:
		s.Trimmed.Oldest, s.Trimmed.Messages, s.Trimmed.Batches = n[0], n[1], n[2]
		s.Forget(n[0], math.MaxInt64)
	case Damaged:
		if n[1] <= n[0] {
			return false
		}
		s.AddDamage(layout.Range{From: n[0], To: n[1]})
	case Cut:
		s.Cut = n[0]
		s.Due = min(s.Due, s.Cut)
		maps.DeleteFunc(s.Hooked, func(base int64, _ bool) bool { return base >= s.Cut })
	case Healed:
		if n[1] <= n[0] {
			return false
		}
		s.Heal(layout.Range{From: n[0], To: n[1]})
	case Due:
		s.Due = max(s.Due, n[0])
	case Hooked:
		s.Hooked[n[0]] = true
	case Adopted:
		s.Adopted = max(s.Adopted, n[0])
	case Packed:
		if n[1] < 1 || n[1] > int64(batch.AllCodecs) {
			return false
		}
		s.Packed[n[0]] |= batch.Codecs(n[1])
	}
	return true
}

// AddDamage sets a range aside, joined with those that it touches.
func (s *State) AddDamage(r layout.Range) { s.Damaged = layout.Join(s.Damaged, r) }

// Heal takes a range back from what is set aside. What was counted of the partitions
// that it lies in, or follows, was counted without it.
func (s *State) Heal(r layout.Range) {
	s.Damaged = layout.Without(s.Damaged, r)
	maps.DeleteFunc(s.Ends, func(base int64, e PartitionEnd) bool { return base < r.To && e.End >= r.From })
	s.Clean = false
}

// Forget drops what concerns only offsets before oldest, and all that is at and
// after next. A partition that was complete is not, and may grow to another content
// of the same size, once its end is cut off.
func (s *State) Forget(oldest, next int64) {
	maps.DeleteFunc(s.Ends, func(base int64, e PartitionEnd) bool { return base < oldest || base >= next || e.End > next })
	maps.DeleteFunc(s.Hooked, func(base int64, _ bool) bool { return base < oldest || base >= next })
	maps.DeleteFunc(s.Packed, func(base int64, _ batch.Codecs) bool { return base < oldest })
	s.Due = min(s.Due, next)
	s.Damaged = slices.DeleteFunc(layout.Without(s.Damaged, layout.Range{From: next, To: math.MaxInt64}),
		func(r layout.Range) bool { return r.To <= oldest })
}

// FinishCut notes that the truncation at s.Cut is done.
func (s *State) FinishCut() {
	s.Synced, s.Clean = min(s.Synced, s.Cut), false
	s.Forget(0, s.Cut)
	s.Cut = -1
}

// Restart makes the state that of a log that is about to be emptied and to begin at
// base: what was known of its files is not, and the cut is announced.
func (s *State) Restart(base int64) {
	before := *s
	*s = NewState()
	s.ID, s.Created, s.unknown = before.ID, before.Created, before.unknown
	s.Trimmed = before.Trimmed
	s.Trimmed.Oldest, s.Synced, s.Cut = base, base, base
}

// Complete returns what is known of the complete partition at base. Nothing is
// while its end is not durably behind the log's: it may have been lost, and
// other batches have taken its place.
func (s *State) Complete(base int64) (PartitionEnd, bool) {
	e, ok := s.Ends[base]
	return e, ok && e.End < s.Synced
}

// Read reads the journal file of a topic's folder.
func Read(fsys vfs.FS, dir string) ([]byte, error) {
	b, err := vfs.ReadFile(fsys, layout.JournalFile(dir), math.MaxInt64)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Replace writes the whole state as a new journal in place of the old
// one, durable on return. With an error it may have taken the place already.
func Replace(fsys vfs.FS, perm fs.FileMode, dir string, s *State) (size int64, replaced bool, err error) {
	if size, err = Renew(fsys, perm, dir, s); err != nil {
		return 0, false, err
	}
	return size, true, fsys.SyncDir(dir)
}

// Renew is Replace without a sync of the folder. With an error
// the old journal is in its place.
func Renew(fsys vfs.FS, perm fs.FileMode, dir string, s *State) (size int64, err error) {
	temp := layout.JournalFile(dir) + ".new"
	b := s.Encode()
	if err := WriteFile(fsys, temp, perm, b); err != nil {
		return 0, err
	}
	return int64(len(b)), fsys.Rename(temp, layout.JournalFile(dir))
}

// WriteFile makes a file with the given bytes, which are durable on return; its
// name is not.
func WriteFile(fsys vfs.FS, name string, perm fs.FileMode, b []byte) error {
	f, err := fsys.OpenFile(name, vfs.ReadWrite|vfs.Create|vfs.Truncate, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// IsBlank reports whether a journal knows nothing but, perhaps, who its topic
// would be.
func IsBlank(b []byte) bool {
	if known := bytes.TrimRight(b, "\x00"); len(known) < HeaderLen && bytes.HasPrefix(NewHeader(), known) {
		return true // created, and at most a part of its first bytes written
	}
	s, _, err := Decode(b)
	return err == nil && s.Synced == 0 && s.Cut < 0 && s.Trimmed.Oldest == 0 && len(s.Ends) == 0 && s.Damaged == nil &&
		s.Adopted < 0 && s.Due == 0 && len(s.Hooked) == 0 && s.unknown == nil
}

// NewID returns an id that no other topic has.
func NewID() (id ID) {
	rand.Read(id[:]) // never fails
	return id
}

// A journal whose header has the letter of DeletedMark at its place, and is
// otherwise as it must be, belongs to a topic that is deleted and whose files
// are being removed. To write it needs no room, and no crash can tear it.
const (
	MarkAt      = 5
	DeletedMark = 'd'
	WholeMark   = 'j'
)

// IsDeleted reports whether a journal has the mark of a deleted topic.
func IsDeleted(b []byte) bool {
	if len(b) < HeaderLen || b[MarkAt] != DeletedMark {
		return false
	}
	head := [HeaderLen]byte(b)
	head[MarkAt] = Magic[MarkAt]
	return string(head[:len(Magic)]) == Magic && binary.LittleEndian.Uint32(head[12:]) == crc32.ChecksumIEEE(head[:12])
}
