package entry

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
)

// Table is what a group is after one of its entries, so that the entries up to
// there are needed no more. Two members have the same bytes for the same entry.
//
// A table is, beside the numbers of its fields,
//
//	 0  8  magic "logd-tab"            48  …  Voters, Learners, Outgoing, Next,
//	 8  4  version, 1                         each 1 number, 8 each; 1 AutoLeave
//	12  2  group                        …  …  topics, members, settings, leaders
//	14  2  zero                         …  4  CRC-32C of all before
//	16  8  index
//	24  8  term                        a topic: 4 number · 16 id · 8 time ·
//	32  8  change                        8 oldest · 8 end · 1 length, name
//	40  4  next topic                  a member: 8 id · 1 role · 1 length, name ·
//	44  4  number of topics              2 length, addr · 2 length, peer addr
//
// where members follow 8 members at, 8 next member and 2 their number, settings and leaders 2
// their number each, and both are encoded as in their entries.
type Table struct {
	Group       uint16
	Index, Term uint64 // of the last entry that the table stands for
	Conf        Conf
	Change      uint64 // the Members entry of group 0 that Conf comes from
	NextTopic   uint32 // the number that the next topic gets
	Topics      []Topic

	// Only group 0 has these.
	MembersAt  uint64 // index of the Members entry that Members comes from
	NextMember uint64 // the id that the next member gets
	Members    []Member
	Settings   []Setting
	Leaders    []Leader
}

// Conf says who votes in a group, and who only listens: raft's ConfState.
type Conf struct {
	Voters, Learners []uint64
	Outgoing         []uint64 // the voters before, in a joint configuration
	Next             []uint64 // of those, who becomes a learner when it is left
	AutoLeave        bool
}

// Topic is a topic of a table.
type Topic struct {
	Number      uint32
	ID          ID
	Name        string
	Time        int64 // of its Create
	Oldest, End int64
}

// Member is a node of the cluster.
type Member struct {
	ID             uint64
	Role           Role
	Name           string
	Addr, PeerAddr string // where clients and where the others find it
}

// Role is the place of a member. The numbers are part of the format.
type Role uint8

// The roles of members. Gone is who is none any more.
const (
	Voter Role = 1 + iota
	Learner
	Joining
	Leaving
	Gone
)

const (
	tableMagic   = "logd-tab"
	tableVersion = 1
	minTopicLen  = 4 + 16 + 8 + 8 + 8 + 1 + 1
	maxCount     = 1<<16 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the bytes of the table. It panics if the table is not valid:
// where something is out of order, or has a number twice.
func (t *Table) Encode() []byte {
	if !t.valid() {
		panic(ErrInvalid)
	}
	b := append(make([]byte, 0, 256+len(t.Topics)*(minTopicLen+32)), tableMagic...)
	b = binary.LittleEndian.AppendUint32(b, tableVersion)
	b = binary.LittleEndian.AppendUint16(b, t.Group)
	b = append(b, 0, 0)
	for _, n := range []uint64{t.Index, t.Term, t.Change} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, t.NextTopic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Topics)))
	for _, ids := range [][]uint64{t.Conf.Voters, t.Conf.Learners, t.Conf.Outgoing, t.Conf.Next} {
		b = append(b, byte(len(ids)))
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	b = appendBool(b, t.Conf.AutoLeave)
	for i := range t.Topics {
		p := &t.Topics[i]
		b = binary.LittleEndian.AppendUint32(b, p.Number)
		b = append(b, p.ID[:]...)
		for _, n := range []int64{p.Time, p.Oldest, p.End} {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
		b = append(append(b, byte(len(p.Name))), p.Name...)
	}
	b = binary.LittleEndian.AppendUint64(b, t.MembersAt)
	b = binary.LittleEndian.AppendUint64(b, t.NextMember)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.Members)))
	b = appendMembers(b, t.Members)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.Settings)))
	for _, s := range t.Settings {
		b = s.append(b)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.Leaders)))
	for _, l := range t.Leaders {
		b = l.append(b)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeTable decodes a table. It shares no memory with b.
func DecodeTable(b []byte) (*Table, error) {
	body := len(b) - 4
	if body < 12 || string(b[:8]) != tableMagic || binary.LittleEndian.Uint32(b[body:]) != crc32.Checksum(b[:body], castagnoli) {
		return nil, ErrInvalid
	}
	r := reader{b: b[8:body]}
	if v := r.u32(); v > tableVersion {
		return nil, newerError("version " + strconv.FormatUint(uint64(v), 10) + " of tables")
	} else if v == 0 {
		return nil, ErrInvalid
	}
	t := &Table{Group: r.u16()}
	if r.u16() != 0 {
		r.failed = true
	}
	t.Index, t.Term, t.Change, t.NextTopic = r.u64(), r.u64(), r.u64(), r.u32()
	topics := int(r.u32())
	for _, ids := range []*[]uint64{&t.Conf.Voters, &t.Conf.Learners, &t.Conf.Outgoing, &t.Conf.Next} {
		for range r.u8() {
			*ids = append(*ids, r.u64())
		}
	}
	t.Conf.AutoLeave = r.bool()
	if topics > len(r.b)/minTopicLen {
		return nil, ErrInvalid
	}
	if topics > 0 {
		t.Topics = make([]Topic, topics)
	}
	for i := range t.Topics {
		t.Topics[i] = Topic{Number: r.u32(), ID: r.id(), Time: r.i64(), Oldest: r.i64(), End: r.i64(), Name: r.string(int(r.u8()))}
	}
	t.MembersAt, t.NextMember = r.u64(), r.u64()
	t.Members = r.members(int(r.u16()))
	for range r.u16() {
		if r.u8() != typeSetting {
			r.failed = true
			break
		}
		t.Settings = append(t.Settings, Setting{Key: r.string(int(r.u8())), Value: r.string(int(r.u16()))})
	}
	for range r.u16() {
		if r.u8() != typeLeader {
			r.failed = true
			break
		}
		t.Leaders = append(t.Leaders, Leader{Group: r.u16(), Member: r.u64()})
	}
	if r.failed || len(r.b) > 0 || !t.valid() {
		return nil, ErrInvalid
	}
	return t, nil
}

// valid reports whether the table has everything once and in order, and no
// more than fits.
func (t *Table) valid() bool {
	for _, ids := range [][]uint64{t.Conf.Voters, t.Conf.Learners, t.Conf.Outgoing, t.Conf.Next} {
		if len(ids) > 255 || !ascending(ids, func(id uint64) uint64 { return id }) || len(ids) > 0 && ids[0] == 0 {
			return false
		}
	}
	for i := range t.Topics {
		if p := &t.Topics[i]; p.Number >= t.NextTopic || !batch.ValidTopic(p.Name) || p.Time < 0 || p.Oldest < 0 || p.Oldest > p.End {
			return false
		}
	}
	if slices.ContainsFunc(t.Settings, func(s Setting) bool { return !s.valid() }) || len(t.Settings) > maxCount ||
		len(t.Members) > maxCount || len(t.Leaders) > maxCount || len(t.Topics) > 1<<31-1 {
		return false
	}
	if n := len(t.Members); n > 0 && t.Members[n-1].ID >= t.NextMember {
		return false
	}
	if t.MembersAt > t.Index || t.Group != 0 && (t.MembersAt != 0 || t.NextMember != 0 || t.Settings != nil || t.Leaders != nil) {
		return false
	}
	return validMembers(t.Members) &&
		ascending(t.Topics, func(p Topic) uint32 { return p.Number }) &&
		ascending(t.Settings, func(s Setting) string { return s.Key }) &&
		ascending(t.Leaders, func(l Leader) uint16 { return l.Group })
}

// ascending reports whether the keys of the elements go up, none of them twice.
func ascending[E any, K cmp.Ordered](s []E, key func(E) K) bool {
	for i := 1; i < len(s); i++ {
		if key(s[i-1]) >= key(s[i]) {
			return false
		}
	}
	return true
}

func validMembers(members []Member) bool {
	for i := range members {
		m := &members[i]
		if m.ID == 0 || m.Role == 0 || m.Role > Gone || !ValidName(m.Name) || !ValidAddr(m.Addr) || !ValidAddr(m.PeerAddr) {
			return false
		}
	}
	return ascending(members, func(m Member) uint64 { return m.ID })
}

// ValidName reports whether a member may have the name: 1 to 32 bytes of A-Z
// a-z 0-9 . _ -
func ValidName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= MaxName
}

// ValidAddr reports whether s can stand as an address in a line of the protocol:
// up to MaxAddr bytes of ASCII that are seen.
func ValidAddr(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= MaxAddr
}

func appendMembers(b []byte, members []Member) []byte {
	for i := range members {
		m := &members[i]
		b = append(binary.LittleEndian.AppendUint64(b, m.ID), byte(m.Role), byte(len(m.Name)))
		b = append(b, m.Name...)
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(m.Addr))), m.Addr...)
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(m.PeerAddr))), m.PeerAddr...)
	}
	return b
}

func (r *reader) members(n int) (members []Member) {
	for range n {
		if r.failed {
			return nil
		}
		members = append(members, Member{
			ID: r.u64(), Role: Role(r.u8()), Name: r.string(int(r.u8())), Addr: r.string(int(r.u16())), PeerAddr: r.string(int(r.u16())),
		})
	}
	return members
}
