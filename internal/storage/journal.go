package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"slices"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// The journal of a topic is a small file of what its log can't say itself.
// Recovery begins with it.
//
// Layout, little endian (docs/format.md): a header of 16 bytes, the magic
// "logd-jnl", a four-byte version and the CRC-32 (IEEE) of the twelve bytes
// before; then records
//
//	0  4  CRC-32 (IEEE) of the rest of the record
//	4  1  kind
//	5  1  reserved, 0
//	6  2  length of the payload
//	8  …  payload; numbers are int64
//
// Only whole records are appended. A record that is cut short or does not
// check ends the journal if nothing valid follows it; records of unknown kinds
// are kept.
const (
	journalMagic   = "logd-jnl"
	journalVersion = 1
	journalHeader  = 16
	recordHeader   = 8
	maxPayload     = 1 << 10
)

// recordKind tells records apart. Their numbers are part of the format.
type recordKind uint8

const (
	// recStart: topic id (16 bytes), creation time (ms). The first record.
	recStart recordKind = 1
	// recSynced: offset. All before it is on stable storage.
	recSynced recordKind = 2
	// recClean: next, and the head's messages, batches, first and last append
	// times (ms). As synced, and the log ends there.
	recClean recordKind = 3
	// recEnd: base, end, messages, batches, first and last append times (ms)
	// of a partition that is complete.
	recEnd recordKind = 4
	// recTrim: oldest, and the messages and batches removed before it since
	// the topic's birth. What lies before it is being removed.
	recTrim recordKind = 5
	// recDamaged: from, to. The bytes between are set aside.
	recDamaged recordKind = 6
	// recCut: next. What lies at and after it is being cut off; done when a
	// synced or clean record follows.
	recCut recordKind = 7
	// recDue: offset. The partitions before it are to be removed when their
	// hooks have been run.
	recDue recordKind = 8
	// recHooked: base. The hook of the partition there need not be run again.
	recHooked recordKind = 9
	// recAdopted: offset. The partitions that begin before it were there before
	// the journal: whether they were ever whole is not known. The partition that
	// begins there was the head.
	recAdopted recordKind = 10
)

var recordInts = map[recordKind]int{recSynced: 1, recClean: 5, recEnd: 6, recTrim: 3, recDamaged: 2, recCut: 1, recDue: 1, recHooked: 1, recAdopted: 1}

// ErrNewer is returned for a topic whose files a newer version of logd wrote.
// It is not damage: nothing is wrong with the data.
var ErrNewer = errors.New("storage: written by a newer version")

// topicID tells topics apart that have the same name one after another.
type topicID [16]byte

// totals sums up a partition, or the part of it before some position.
type totals struct {
	messages, batches int64
	first, last       int64 // append times of its oldest and newest batch, ms; 0 when empty
}

// journalState is what the records of a journal add up to.
type journalState struct {
	id      topicID
	created int64

	synced  int64
	clean   bool // the last mark is a clean one, at synced
	head    totals
	cut     int64 // -1, or where a truncation has begun that is not known to be done
	trimmed struct{ oldest, messages, batches int64 }
	ends    map[int64]partitionEnd
	damaged []layout.Range
	adopted int64          // the partitions before it are older than the journal, as is the beginning of the next; -1: none is
	due     int64          // the partitions before it are to be removed
	hooked  map[int64]bool // by base: those of them whose hooks need not be run again
	unknown [][]byte       // whole records
}

func newJournalState() journalState {
	return journalState{cut: -1, adopted: -1, ends: make(map[int64]partitionEnd), hooked: make(map[int64]bool)}
}

type partitionEnd struct {
	end int64
	totals
}

// journal appends to a topic's journal file. Its methods are for one
// goroutine at a time; log.journalMu sees to that.
type journal struct {
	file  *files.File
	size  int64
	dirty bool // the file has records or a name that were not synced

	unnamed bool // the file took the place of another, and that is not durable
}

// appendRecord appends one record to dst.
func appendRecord(dst []byte, kind recordKind, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(kind), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	binary.LittleEndian.PutUint32(dst[start:], crc32.ChecksumIEEE(dst[start+4:]))
	return dst
}

func appendInts(dst []byte, kind recordKind, ints ...int64) []byte {
	payload := make([]byte, 0, 64)
	for _, n := range ints {
		payload = binary.LittleEndian.AppendUint64(payload, uint64(n))
	}
	return appendRecord(dst, kind, payload)
}

func journalHead() []byte {
	h := append(make([]byte, 0, journalHeader), journalMagic...)
	h = binary.LittleEndian.AppendUint32(h, journalVersion)
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}

// encode writes the whole state as a new journal.
func (s *journalState) encode() []byte {
	b := journalHead()
	start := append(make([]byte, 0, 24), s.id[:]...)
	b = appendRecord(b, recStart, binary.LittleEndian.AppendUint64(start, uint64(s.created)))
	for _, rec := range s.unknown {
		b = append(b, rec...)
	}
	if t := s.trimmed; t.oldest > 0 {
		b = appendInts(b, recTrim, t.oldest, t.messages, t.batches)
	}
	if s.adopted >= 0 {
		b = appendInts(b, recAdopted, s.adopted)
	}
	for _, base := range sortedKeys(s.ends) {
		e := s.ends[base]
		b = appendInts(b, recEnd, base, e.end, e.messages, e.batches, e.first, e.last)
	}
	for _, r := range s.damaged {
		b = appendInts(b, recDamaged, r.From, r.To)
	}
	if s.due > 0 {
		b = appendInts(b, recDue, s.due)
	}
	for _, base := range sortedKeys(s.hooked) {
		b = appendInts(b, recHooked, base)
	}
	if s.clean {
		b = appendInts(b, recClean, s.synced, s.head.messages, s.head.batches, s.head.first, s.head.last)
	} else {
		b = appendInts(b, recSynced, s.synced)
	}
	if s.cut >= 0 {
		b = appendInts(b, recCut, s.cut)
	}
	return b
}

func sortedKeys[V any](m map[int64]V) []int64 {
	keys := make([]int64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// errJournal is a journal with damage before its end.
var errJournal = errors.New("storage: damaged journal")

// decodeJournal reads a journal. size is the length of the part that was
// understood: where the next record goes. The state is good up to there
// whatever the error: nil for a whole journal or one with a torn end,
// errJournal for one with damage that more records follow, and ErrNewer.
func decodeJournal(b []byte) (s journalState, size int64, err error) {
	s = newJournalState()
	if len(b) < journalHeader || string(b[:8]) != journalMagic ||
		binary.LittleEndian.Uint32(b[12:]) != crc32.ChecksumIEEE(b[:12]) {
		if slices.IndexFunc(b, func(c byte) bool { return c != 0 }) < 0 {
			return s, 0, nil // created, but nothing of it reached the disk
		}
		return s, 0, fmt.Errorf("%w: header", errJournal)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != journalVersion {
		return s, 0, fmt.Errorf("%w: journal version %d, this logd knows %d", ErrNewer, v, journalVersion)
	}
	pos := journalHeader
	for pos < len(b) {
		n, ok := recordLen(b[pos:])
		if !ok || !s.apply(b[pos:pos+n]) {
			if anyRecord(b[pos+1:]) {
				return s, int64(pos), fmt.Errorf("%w at byte %d", errJournal, pos)
			}
			break
		}
		pos += n
	}
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

// apply adds one valid record to the state. It reports false for a known kind
// with the wrong length or impossible numbers.
func (s *journalState) apply(rec []byte) bool {
	kind, payload := recordKind(rec[4]), rec[recordHeader:]
	if kind == recStart {
		if len(payload) != 24 {
			return false
		}
		copy(s.id[:], payload)
		s.created = int64(binary.LittleEndian.Uint64(payload[16:]))
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
	if s.cut >= 0 && (kind == recSynced || kind == recClean) {
		s.forget(0, s.cut) // the truncation is done
	}
	switch kind {
	case recSynced:
		s.synced, s.clean, s.cut = n[0], false, -1
	case recClean:
		s.synced, s.clean, s.cut = n[0], true, -1
		s.head = totals{messages: n[1], batches: n[2], first: n[3], last: n[4]}
	case recEnd:
		if n[1] < n[0] {
			return false
		}
		s.ends[n[0]] = partitionEnd{end: n[1], totals: totals{messages: n[2], batches: n[3], first: n[4], last: n[5]}}
	case recTrim:
		s.trimmed.oldest, s.trimmed.messages, s.trimmed.batches = n[0], n[1], n[2]
		s.forget(n[0], math.MaxInt64)
	case recDamaged:
		if n[1] <= n[0] {
			return false
		}
		s.addDamage(layout.Range{From: n[0], To: n[1]})
	case recCut:
		s.cut = n[0]
		s.due = min(s.due, s.cut)
		maps.DeleteFunc(s.hooked, func(base int64, _ bool) bool { return base >= s.cut })
	case recDue:
		s.due = max(s.due, n[0])
	case recHooked:
		s.hooked[n[0]] = true
	case recAdopted:
		s.adopted = max(s.adopted, n[0])
	}
	return true
}

// addDamage sets a range aside, joined with those that it touches.
func (s *journalState) addDamage(r layout.Range) { s.damaged = layout.Join(s.damaged, r) }

// forget drops what concerns only offsets before oldest or any at and after
// next. A partition that was complete is not, and may grow to another content
// of the same size, once its end is cut off.
func (s *journalState) forget(oldest, next int64) {
	maps.DeleteFunc(s.ends, func(base int64, e partitionEnd) bool { return base < oldest || base >= next || e.end > next })
	maps.DeleteFunc(s.hooked, func(base int64, _ bool) bool { return base < oldest || base >= next })
	s.due = min(s.due, next)
	s.damaged = slices.DeleteFunc(s.damaged, func(r layout.Range) bool { return r.To <= oldest || r.From >= next })
}

// complete returns what is known of the complete partition at base. Nothing is
// while its end is not durably behind the log's: it may have been lost, and
// other batches have taken its place.
func (s *journalState) complete(base int64) (partitionEnd, bool) {
	e, ok := s.ends[base]
	return e, ok && e.end < s.synced
}

// readJournal reads the journal file of a topic's folder.
func readJournal(fsys vfs.FS, dir string) ([]byte, error) {
	f, err := fsys.OpenFile(layout.JournalFile(dir), vfs.ReadOnly, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, st.Size())
	return b, vfs.ReadFull(f, b, 0)
}

// append adds records to the file without syncing them.
func (j *journal) append(records []byte) error {
	f, err := j.file.Acquire(files.ToCreate)
	if err != nil {
		return err
	}
	defer j.file.Release()
	if _, err := f.WriteAt(records, j.size); err != nil {
		return err
	}
	j.size += int64(len(records))
	j.dirty = true
	return nil
}

// sync makes the appended records durable, though not the file's name.
func (j *journal) sync() error {
	f, err := j.file.Acquire(files.ToWrite)
	if err != nil {
		return err
	}
	defer j.file.Release()
	if err := f.Sync(); err != nil {
		return err
	}
	j.dirty = false
	return nil
}

// replaceJournal writes the whole state as a new journal in place of the old
// one, durable on return. With an error it may have taken the place already.
func replaceJournal(fsys vfs.FS, perm fs.FileMode, dir string, s *journalState) (size int64, replaced bool, err error) {
	if size, err = renewJournal(fsys, perm, dir, s); err != nil {
		return 0, false, err
	}
	return size, true, fsys.SyncDir(dir)
}

// renewJournal is replaceJournal without a sync of the folder. With an error
// the old journal is in its place.
func renewJournal(fsys vfs.FS, perm fs.FileMode, dir string, s *journalState) (size int64, err error) {
	temp := layout.JournalFile(dir) + ".new"
	b := s.encode()
	if err := writeFile(fsys, temp, perm, b); err != nil {
		return 0, err
	}
	return int64(len(b)), fsys.Rename(temp, layout.JournalFile(dir))
}

// writeFile makes a file with the given bytes, which are durable on return; its
// name is not.
func writeFile(fsys vfs.FS, name string, perm fs.FileMode, b []byte) error {
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
