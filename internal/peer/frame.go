package peer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// Kind tells frames apart. The numbers are part of the protocol.
type Kind uint8

// The kinds of frames.
const (
	KindStart Kind = 1 + iota
	KindBeat
	KindMessage
	KindAppend
	KindTable
	KindSuggest
)

// Frame is a frame without the bytes of its body, which follow it.
type Frame struct {
	Kind    Kind
	Group   uint16
	Message []byte
	Body    uint32 // how many bytes
}

// MaxMessage bounds the messages of control connections, and of APPEND frames: an
// entry, and what raft adds. A table may have MaxTable.
const (
	MaxMessage = 1 << 20
	MaxTable   = 256 << 20
)

const headerLen = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fits reports whether a frame may come on connections of a use. maxBody is the
// largest body.
func (k Kind) fits(use Use, message, body, maxBody uint32) error {
	on, most := Control, uint32(MaxMessage)
	switch k {
	case KindStart, KindBeat, KindMessage, KindSuggest:
		maxBody = 0
	case KindAppend:
		on = Data
	case KindTable:
		on, most, maxBody = Data, MaxTable, 0
	default:
		return ErrInvalid
	}
	switch {
	case on != use:
		return ErrInvalid
	case message > most || body > maxBody:
		return ErrTooLong
	}
	return nil
}

// AppendFrame appends a frame up to its body.
func AppendFrame(dst []byte, f *Frame) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.Message)))
	dst = append(dst, 0, 0, 0, 0, byte(f.Kind), 0)
	dst = binary.LittleEndian.AppendUint16(dst, f.Group)
	dst = binary.LittleEndian.AppendUint32(dst, f.Body)
	dst = append(dst, f.Message...)
	b := dst[start:]
	binary.LittleEndian.PutUint32(b[4:], checksum(b[:headerLen], b[headerLen:]))
	return dst
}

func checksum(header, message []byte) uint32 {
	sum := crc32.Checksum(header[:4], castagnoli)
	sum = crc32.Update(sum, castagnoli, header[8:])
	return crc32.Update(sum, castagnoli, message)
}

// Start is the message of the first frame on control: which start of the member this
// is, by a number that is another one each time, and up to where its member log is
// on stable storage. So a peer knows one that has gone back, or that is there twice.
// Version is what the member runs, of at most MaxVersion bytes.
type Start struct {
	Number, Position uint64
	Version          string
}

// MaxVersion is the length of the longest Version. A longer one is cut off.
const MaxVersion = 64

// Append appends the message.
func (s Start) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, s.Number)
	dst = binary.LittleEndian.AppendUint64(dst, s.Position)
	return append(dst, s.Version[:min(len(s.Version), MaxVersion)]...)
}

// ParseStart parses the message.
func ParseStart(b []byte) (s Start, err error) {
	if len(b) < 16 || len(b) > 16+MaxVersion {
		return s, ErrInvalid
	}
	for _, c := range b[16:] {
		if c <= ' ' || c > '~' {
			return s, ErrInvalid // it is a word of CLUSTER
		}
	}
	return Start{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), string(b[16:])}, nil
}

// Beat is the message of what is said at a tick: of the member 8 position · 8 clock
// · 8 free · 1 flags · 2 number of groups, and of each group, in order,
//
//	2 group · 8 change · 8 applied · 8 stored · 8 term and 8 index of the table ·
//	4 length, message
//
// and then Auth, if there is one.
type Beat struct {
	Position uint64 // as in Start
	Clock    int64  // milliseconds since 1970
	Free     int64  // bytes of room
	Flags    Flags
	Groups   []GroupBeat
	// Auth is a digest of the file of identities that is in force: AuthDigits hexadecimal
	// digits, or nothing, as of a member without such a file.
	Auth string
}

// AuthDigits is the length of Beat.Auth.
const AuthDigits = 12

// Flags say what state a member is in.
type Flags uint8

// The flags. A bit that is none of them says nothing to this version.
const (
	Failed   Flags = 1 << iota // a write or sync of a group has failed
	Full                       // there is no room
	Draining                   // it is to lead nothing
	Lacking                    // bytes of topics are missing, and being fetched
)

// GroupBeat is what a beat says of a group.
type GroupBeat struct {
	Group   uint16
	Change  uint64 // the Members entry whose change was applied, and that is on stable storage
	Applied uint64 // index of the newest entry that was applied
	Stored  int64  // the sum of the ends of topics
	// TableTerm and TableIndex name the table that is being taken over; 0: none.
	TableTerm, TableIndex uint64
	Message               []byte // a heartbeat, or the answer to one; empty: none
}

const (
	beatLen      = 27
	groupBeatLen = 46
	maxGroups    = 64
)

// Append appends the message. It panics if there are too many groups.
func (b *Beat) Append(dst []byte) []byte {
	if len(b.Groups) > maxGroups {
		panic(ErrTooLong)
	}
	dst = binary.LittleEndian.AppendUint64(dst, b.Position)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.Clock))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.Free))
	dst = append(dst, byte(b.Flags))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(b.Groups)))
	for i := range b.Groups {
		g := &b.Groups[i]
		dst = binary.LittleEndian.AppendUint16(dst, g.Group)
		dst = binary.LittleEndian.AppendUint64(dst, g.Change)
		dst = binary.LittleEndian.AppendUint64(dst, g.Applied)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(g.Stored))
		dst = binary.LittleEndian.AppendUint64(dst, g.TableTerm)
		dst = binary.LittleEndian.AppendUint64(dst, g.TableIndex)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(g.Message)))
		dst = append(dst, g.Message...)
	}
	return append(dst, b.Auth...)
}

// Parse parses the message into b, whose memory it uses again. The messages of the
// groups are memory of p.
func (b *Beat) Parse(p []byte) error {
	if len(p) < beatLen {
		return ErrInvalid
	}
	b.Position = binary.LittleEndian.Uint64(p)
	b.Clock = int64(binary.LittleEndian.Uint64(p[8:]))
	b.Free = int64(binary.LittleEndian.Uint64(p[16:]))
	b.Flags = Flags(p[24])
	n := int(binary.LittleEndian.Uint16(p[25:]))
	p = p[beatLen:]
	b.Groups = b.Groups[:0]
	if n > maxGroups || b.Clock < 0 || b.Free < 0 {
		return ErrInvalid
	}
	for i := range n {
		if len(p) < groupBeatLen {
			return ErrInvalid
		}
		g := GroupBeat{
			Group:     binary.LittleEndian.Uint16(p),
			Change:    binary.LittleEndian.Uint64(p[2:]),
			Applied:   binary.LittleEndian.Uint64(p[10:]),
			Stored:    int64(binary.LittleEndian.Uint64(p[18:])),
			TableTerm: binary.LittleEndian.Uint64(p[26:]), TableIndex: binary.LittleEndian.Uint64(p[34:]),
		}
		size := binary.LittleEndian.Uint32(p[42:])
		p = p[groupBeatLen:]
		if int64(size) > int64(len(p)) || i > 0 && g.Group <= b.Groups[i-1].Group {
			return ErrInvalid
		}
		g.Message, p = p[:size:size], p[size:]
		b.Groups = append(b.Groups, g)
	}
	switch {
	case string(p) == b.Auth: // as in the beat before
	case len(p) == 0 || len(p) == AuthDigits && len(bytes.Trim(p, "0123456789abcdef")) == 0:
		b.Auth = string(p)
	default:
		return ErrInvalid
	}
	return nil
}
