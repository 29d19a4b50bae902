package grouplog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/logd-dev/logd/internal/entry"
)

// ErrNewer is what a newer version of logd wrote. Nothing is wrong with it.
var ErrNewer = entry.ErrNewer

// ErrDamaged is damage, or loss, of what was on stable storage. The error is a
// [DamageError].
var ErrDamaged = errors.New("grouplog: damaged")

// DamageError says what is damaged. It wraps [ErrDamaged].
type DamageError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("grouplog: %s is damaged at byte %d: %s", e.File, e.Offset, e.Reason)
}

// Unwrap returns ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

func damage(file string, offset int64, reason string) error {
	return &DamageError{file, offset, reason}
}

// Pos is a position in the member log. Of two positions the later one is greater,
// whatever files they are in.
type Pos uint64

func makePos(number uint32, offset int) Pos { return Pos(number)<<32 | Pos(offset) }

func (p Pos) number() uint32 { return uint32(p >> 32) }
func (p Pos) offset() int64  { return int64(uint32(p)) }

// String returns the position as number:offset.
func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.number(), p.offset()) }

// Kind tells records apart. The numbers are part of the format.
type Kind uint8

// The kinds of records.
const (
	Hard   Kind = 1 + iota // Term, Vote
	Entry                  // Index, Term, Type, Data
	Void                   // Index
	Commit                 // Index
	Synced                 // nothing; nor a group
	Table                  // Index, Term, CRC: see [Log.WriteTable]
	Clean                  // nothing; nor a group
)

// Record is a record, with the fields that its kind names.
type Record struct {
	Kind        Kind
	Group       int
	Index, Term uint64
	Vote        uint64
	Type        uint8 // raft's: 0 normal, 1 and 2 a change of the configuration
	CRC         uint32
	Data        []byte
}

// MaxData is how much data an entry may have.
const MaxData = entry.MaxLen

const (
	logMagic   = "logd-grp"
	logVersion = 1
	headerLen  = 44

	recordHeader = 20
	entryHeader  = 17 // of the payload
	maxPayload   = entryHeader + MaxData
	maxEntryType = 2
)

// payloadLens are the lengths of payloads; an entry's is the least.
var payloadLens = [...]int{Hard: 16, Entry: entryHeader, Void: 8, Commit: 8, Synced: 0, Table: 20, Clean: 0}

// header is what a file begins with.
type header struct {
	number uint32
	member uint64
	boot   uint64
	past   uint64
}

func (h header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, logMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, logVersion)
	dst = binary.LittleEndian.AppendUint32(dst, h.number)
	dst = binary.LittleEndian.AppendUint64(dst, h.member)
	dst = binary.LittleEndian.AppendUint64(dst, h.boot)
	dst = binary.LittleEndian.AppendUint64(dst, h.past)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// decodeHeader decodes the header of a file, of which only the name is for errors.
func decodeHeader(name string, b []byte) (h header, err error) {
	if len(b) < headerLen || string(b[:8]) != logMagic ||
		binary.LittleEndian.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return h, damage(name, 0, "no header")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != logVersion {
		return h, fmt.Errorf("%w: version %d of %s", ErrNewer, v, name)
	}
	h.number = binary.LittleEndian.Uint32(b[12:])
	h.member = binary.LittleEndian.Uint64(b[16:])
	h.boot = binary.LittleEndian.Uint64(b[24:])
	h.past = binary.LittleEndian.Uint64(b[32:])
	return h, nil
}

// appendRecord appends a record that is to stand at the position.
func appendRecord(dst []byte, at, synced Pos, r *Record) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(r.Kind), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(r.Group))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(synced))
	switch r.Kind {
	case Hard:
		dst = binary.LittleEndian.AppendUint64(dst, r.Term)
		dst = binary.LittleEndian.AppendUint64(dst, r.Vote)
	case Entry:
		dst = binary.LittleEndian.AppendUint64(dst, r.Index)
		dst = binary.LittleEndian.AppendUint64(dst, r.Term)
		dst = append(append(dst, r.Type), r.Data...)
	case Void, Commit:
		dst = binary.LittleEndian.AppendUint64(dst, r.Index)
	case Table:
		dst = binary.LittleEndian.AppendUint64(dst, r.Index)
		dst = binary.LittleEndian.AppendUint64(dst, r.Term)
		dst = binary.LittleEndian.AppendUint32(dst, r.CRC)
	}
	end := len(dst)
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(end-start-recordHeader))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at)) // here, for an array would escape
	binary.LittleEndian.PutUint32(dst[start:], crc32.Checksum(dst[start+4:], castagnoli))
	return dst[:end]
}

// checksum returns the checksum of the record b at a position.
func checksum(at Pos, b []byte) uint32 {
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], uint64(at))
	return crc32.Update(crc32.Checksum(b[4:], castagnoli), castagnoli, p[:])
}

// checkRecord returns the length of the record at the beginning of b, or 0 if
// there is none that checks, of whatever kind.
func checkRecord(at Pos, b []byte) int {
	if len(b) < recordHeader || b[8] == 0 || b[9] != 0 {
		return 0
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > maxPayload || int(n) > len(b)-recordHeader {
		return 0
	}
	b = b[:recordHeader+n]
	if binary.LittleEndian.Uint32(b) != checksum(at, b) {
		return 0
	}
	return len(b)
}

// decodeRecord decodes a record that checks. Its data is b's memory.
func decodeRecord(b []byte) (r Record, synced Pos, err error) {
	r.Kind = Kind(b[8])
	r.Group = int(binary.LittleEndian.Uint16(b[10:]))
	synced = Pos(binary.LittleEndian.Uint64(b[12:]))
	p := b[recordHeader:]
	if int(r.Kind) >= len(payloadLens) {
		return r, synced, fmt.Errorf("%w: record of kind %d", ErrNewer, r.Kind)
	}
	want := payloadLens[r.Kind]
	if len(p) != want && (r.Kind != Entry || len(p) < want) {
		return r, synced, errors.New("length of a record")
	}
	u64 := func(i int) uint64 { return binary.LittleEndian.Uint64(p[i:]) }
	switch r.Kind {
	case Hard:
		r.Term, r.Vote = u64(0), u64(8)
	case Entry:
		r.Index, r.Term, r.Type, r.Data = u64(0), u64(8), p[16], p[entryHeader:]
		if r.Type > maxEntryType {
			return r, synced, fmt.Errorf("%w: entry of raft's type %d", ErrNewer, r.Type)
		}
		if r.Type == 0 && len(r.Data) > 0 {
			if _, err := entry.Decode(r.Data); err != nil {
				return r, synced, err
			}
		}
	case Void, Commit:
		r.Index = u64(0)
	case Table:
		r.Index, r.Term, r.CRC = u64(0), u64(8), binary.LittleEndian.Uint32(p[16:])
	}
	return r, synced, nil
}
