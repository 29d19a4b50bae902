// Package entry encodes and decodes what the log of a group says: the data of
// its entries, and the tables that stand for all that came before them. It is
// what a group, which decides, and the member log, which stores, both know.
// Everything here is a pure function on bytes.
//
// Numbers are little endian and of fixed length, so that one meaning has one
// encoding: what decodes without an error encodes to the same bytes. The first
// byte of an entry is its type:
//
//	1 Round    1 type · 1 zero · 2 number of runs · each run, 40 bytes:
//	             4 topic · 4 bytes · 8 offset · 4 batches · 4 messages ·
//	             4 CRC-32C of the bytes · 4 flags (1: roll) · 8 time
//	2 Create   1 type · 4 topic · 16 id · 8 time · 1 length, name
//	3 Delete   1 type · 4 topic · 1 now
//	4 Trim     1 type · 4 topic · 8 offset
//	5 Roll     1 type · 4 topic · 8 offset
//	6 Members  1 type · 1 number of members · each as in a table
//	7 Setting  1 type · 1 length, key · 2 length, value
//	8 Leader   1 type · 2 group · 8 member
//
// Topics have numbers in their group's log, which are never used again. Times are
// in milliseconds since 1970 and the leader's. The layout of tables is beside
// [Table].
//
// A type, or a version of a table, that this program does not know is
// [ErrNewer] and not damage: whoever meets it stops, since to skip it would be to
// disagree with those who know it. Anything else that is not as it must be is
// [ErrInvalid].
package entry

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
)

// The limits of entries. A round that holds more than one batch has at most
// MaxRoundBytes.
const (
	MaxRuns       = 64
	MaxRoundBytes = 1 << 20
	MaxMembers    = 16
	MaxKey        = 64
	MaxValue      = 32 << 10
	MaxName       = 32
	MaxAddr       = 1 + 255 + 1 + 5 // a name of DNS, or an address in brackets, and a port

	// MaxLen is no less than the length of any valid entry.
	MaxLen = 64 << 10
)

var (
	// ErrNewer is what a newer version of logd wrote. Nothing is wrong with it.
	ErrNewer = errors.New("written by a newer version of logd")
	// ErrInvalid is what no version of logd would have written.
	ErrInvalid = errors.New("entry: invalid")
)

// newerError says what it is that a newer version wrote.
type newerError string

func (e newerError) Error() string { return ErrNewer.Error() + ": " + string(e) }
func (e newerError) Unwrap() error { return ErrNewer }

// The types of entries. They are part of the format.
const (
	typeRound = 1 + iota
	typeCreate
	typeDelete
	typeTrim
	typeRoll
	typeMembers
	typeSetting
	typeLeader
)

// Data is what one entry says: a *[Round], [Create], [Delete], [Trim], [Roll],
// [Members], [Setting] or [Leader].
type Data interface {
	valid() bool
	append(dst []byte) []byte
}

// Round is what one group commit appended to the topics of a group.
type Round struct{ Runs []Run }

// Run is a run of batches of one topic that stand one after another.
type Run struct {
	Topic    uint32 // its number
	Offset   int64  // of the first batch
	Bytes    uint32
	Batches  uint32
	Messages uint32
	CRC      uint32 // CRC-32C of the bytes
	Time     int64  // of the append
	Roll     bool   // a partition begins with the run
}

// End returns the offset behind the run.
func (r *Run) End() int64 { return r.Offset + int64(r.Bytes) }

// ID tells topics apart that have the same name one after another.
type ID [16]byte

// Create makes a topic.
type Create struct {
	Topic uint32
	ID    ID
	Name  string
	Time  int64
}

// Delete deletes a topic: with Now its files, too, and else after a while.
type Delete struct {
	Topic uint32
	Now   bool
}

// Trim removes what a topic has before an offset.
type Trim struct {
	Topic  uint32
	Offset int64
}

// Roll begins a partition of a topic at its end, which is the offset.
type Roll struct {
	Topic  uint32
	Offset int64
}

// Members gives each of the members the place that it says. Only group 0 has it.
type Members struct{ Members []Member }

// Setting gives a setting of the cluster a value. Only group 0 has it.
type Setting struct{ Key, Value string }

// Leader says which member is to lead a group; 0: any. Only group 0 has it.
type Leader struct {
	Group  uint16
	Member uint64
}

// Append appends the encoding of d to dst. It panics if d is not valid: what is
// proposed is the program's own.
func Append(dst []byte, d Data) []byte {
	if !d.valid() {
		panic(ErrInvalid)
	}
	return d.append(dst)
}

// Decode decodes an entry. What it returns shares no memory with b.
func Decode(b []byte) (Data, error) {
	if len(b) == 0 || len(b) > MaxLen || b[0] == 0 {
		return nil, ErrInvalid
	}
	r := reader{b: b[1:]}
	var d Data
	switch b[0] {
	case typeRound:
		d = r.round()
	case typeCreate:
		d = Create{Topic: r.u32(), ID: r.id(), Time: r.i64(), Name: r.string(int(r.u8()))}
	case typeDelete:
		d = Delete{Topic: r.u32(), Now: r.bool()}
	case typeTrim:
		d = Trim{Topic: r.u32(), Offset: r.i64()}
	case typeRoll:
		d = Roll{Topic: r.u32(), Offset: r.i64()}
	case typeMembers:
		d = Members{r.members(int(r.u8()))}
	case typeSetting:
		d = Setting{Key: r.string(int(r.u8())), Value: r.string(int(r.u16()))}
	case typeLeader:
		d = Leader{Group: r.u16(), Member: r.u64()}
	default:
		return nil, newerError("entry of type " + strconv.Itoa(int(b[0])))
	}
	if r.failed || len(r.b) > 0 || !d.valid() {
		return nil, ErrInvalid
	}
	return d, nil
}

const (
	runLen   = 40
	flagRoll = 1
)

func (d *Round) valid() bool {
	if len(d.Runs) == 0 || len(d.Runs) > MaxRuns {
		return false
	}
	var bytes, batches int64
	for i := range d.Runs {
		r := &d.Runs[i]
		if r.Bytes == 0 || r.Batches == 0 || r.Time < 0 || r.Offset < 0 || r.Offset > math.MaxInt64-int64(r.Bytes) {
			return false
		}
		bytes += int64(r.Bytes)
		batches += int64(r.Batches)
	}
	return bytes <= MaxRoundBytes || batches == 1
}

func (d *Round) append(dst []byte) []byte {
	dst = append(dst, typeRound, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(d.Runs)))
	for i := range d.Runs {
		r := &d.Runs[i]
		dst = binary.LittleEndian.AppendUint32(dst, r.Topic)
		dst = binary.LittleEndian.AppendUint32(dst, r.Bytes)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Offset))
		dst = binary.LittleEndian.AppendUint32(dst, r.Batches)
		dst = binary.LittleEndian.AppendUint32(dst, r.Messages)
		dst = binary.LittleEndian.AppendUint32(dst, r.CRC)
		var flags uint32
		if r.Roll {
			flags = flagRoll
		}
		dst = binary.LittleEndian.AppendUint32(dst, flags)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Time))
	}
	return dst
}

func (r *reader) round() *Round {
	zero, n := r.u8(), int(r.u16())
	if zero != 0 || n > MaxRuns || len(r.b) != n*runLen {
		r.failed = true
		return nil
	}
	d := &Round{Runs: make([]Run, n)}
	for i := range d.Runs {
		run := Run{Topic: r.u32(), Bytes: r.u32(), Offset: r.i64(), Batches: r.u32(), Messages: r.u32(), CRC: r.u32()}
		flags := r.u32()
		run.Roll = flags == flagRoll
		run.Time = r.i64()
		r.failed = r.failed || flags > flagRoll
		d.Runs[i] = run
	}
	return d
}

func (d Create) valid() bool { return batch.ValidTopic(d.Name) && d.Time >= 0 }

func (d Create) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, typeCreate), d.Topic)
	dst = append(dst, d.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Time))
	return append(append(dst, byte(len(d.Name))), d.Name...)
}

func (d Delete) valid() bool { return true }

func (d Delete) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, typeDelete), d.Topic)
	return appendBool(dst, d.Now)
}

func (d Trim) valid() bool { return d.Offset >= 0 }

func (d Trim) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, typeTrim), d.Topic)
	return binary.LittleEndian.AppendUint64(dst, uint64(d.Offset))
}

func (d Roll) valid() bool { return d.Offset >= 0 }

func (d Roll) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, typeRoll), d.Topic)
	return binary.LittleEndian.AppendUint64(dst, uint64(d.Offset))
}

func (d Members) valid() bool {
	return len(d.Members) > 0 && len(d.Members) <= MaxMembers && validMembers(d.Members)
}

func (d Members) append(dst []byte) []byte {
	return appendMembers(append(dst, typeMembers, byte(len(d.Members))), d.Members)
}

// Valid reports whether there can be such a setting.
func (d Setting) Valid() bool { return d.valid() }

func (d Setting) valid() bool {
	return d.Key != "" && len(d.Key) <= MaxKey && len(d.Value) <= MaxValue
}

func (d Setting) append(dst []byte) []byte {
	dst = append(append(dst, typeSetting, byte(len(d.Key))), d.Key...)
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(d.Value))), d.Value...)
}

func (d Leader) valid() bool { return true }

func (d Leader) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, typeLeader), d.Group)
	return binary.LittleEndian.AppendUint64(dst, d.Member)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// reader takes numbers from the front of b. One that is missing is 0, and failed
// is set.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.failed = nil, true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) i64() int64 { return int64(r.u64()) }

func (r *reader) bool() bool {
	n := r.u8()
	r.failed = r.failed || n > 1
	return n == 1
}

func (r *reader) id() (id ID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) string(n int) string { return string(r.take(n)) }
