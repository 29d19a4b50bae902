// Package peer is what members of a cluster say to each other: lines to begin
// with, frames, and ranges of topics. It reads and writes bytes, knows no socket,
// clock or goroutine, and nothing of raft: a message is bytes. Deadlines are the
// caller's.
//
// A connection begins with a line, and is then for one thing:
//
//	PEER 1 <cluster> <from> <to> control|data|fetch\r\n
//	JOIN <cluster> <name> <addr> <peer-addr>\r\n
//	REPLACE <cluster> <old> <new>\r\n
//
// cluster is 32 hexadecimal digits, from, to, old and new are ids of members. The answer is a
// line:
//
//	OK\r\n                      to PEER, and to REPLACE once it is done
//	OK <id> <members> <groups>\r\n
//	                            to JOIN; then a line a member: <id> <name> <addr> <peer-addr>\r\n
//	ERR <reason>\r\n            to each; see the Reasons
//
// On control and data connections the one who dialed sends frames from then on, and
// the other nothing but perhaps a refusal of START, the line above, and then the end:
// there are connections in each direction. Little endian:
//
//	0  4  length of the message       10  2  group
//	4  4  CRC-32C of all bytes of     12  4  length of the body
//	      header and message but      16  …  message
//	      these four                   …  …  body
//	8  1  kind
//	9  1  zero
//
// The body is bytes of topics, in the order of the runs that the message names: they
// go from file to socket as they are, and have their checksums in the runs. The
// kinds are
//
//	1 START    control, first and once                                 [Start]
//	2 BEAT     control: what is said at every tick                     [Beat]
//	3 MESSAGE  control: a message of the group
//	4 APPEND   data: a message of the group, and the bytes of its runs
//	5 TABLE    data: a message of the group, with a table in it
//	6 SUGGEST  control: an entry that who leads group 0 is to propose
//
// On a fetch connection requests follow, and each is answered before the next is
// read; see [Fetch] and [Sum].
//
// A length is checked before memory is taken for it, and memory is taken as bytes
// arrive. Another version of the first line is refused with both numbers, and one that
// is none with [Invalid]. What else is not as it must be is [ErrInvalid], and ends the
// connection.
package peer

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/entry"
)

// Version is the version of the first line.
const Version = 1

// maxLine is the length of the longest line, with its CRLF.
const maxLine = 1024

// MaxMembers is how many members an answer to JOIN may list.
const MaxMembers = 1024

var (
	// ErrInvalid is what no member sends.
	ErrInvalid = errors.New("peer: invalid")
	// ErrTooLong is a line, message or body over its limit.
	ErrTooLong = errors.New("peer: too long")
)

// The reasons of refusals that members act upon. NotLeader may be followed by a
// space and the peer address of who leads.
const (
	NotLeader    = "not leader"
	GoneBack     = "gone back"     // the log has been put back to an older state
	InUse        = "in use"        // another start of the same member is connected
	Removed      = "removed"       // the member is none any more
	WrongCluster = "wrong cluster" // or another member lives at the address

	// Invalid is a first line that no member sends: clients have another port.
	Invalid = "invalid request"
)

// Refused is an answer with a reason.
type Refused struct{ Reason string }

func (e *Refused) Error() string { return "peer: refused: " + e.Reason }

// VersionError is the first line of another version.
type VersionError struct{ Theirs uint64 }

func (e *VersionError) Error() string { return "peer: " + e.Reason() }

// Reason is what to refuse it with.
func (e *VersionError) Reason() string {
	return "version " + strconv.FormatUint(e.Theirs, 10) + ", this member speaks version " + strconv.Itoa(Version)
}

// Use is what a connection is for.
type Use uint8

// The uses of connections.
const (
	Control Use = 1 + iota
	Data
	ForFetch
)

var useWords = [...]string{Control: "control", Data: "data", ForFetch: "fetch"}

// ID is the id of a cluster or of a topic.
type ID = entry.ID

// Request is a line: a [Hello], [Join] or [Replace] at the beginning, a [Fetch] or [Sum]
// on fetch connections.
type Request interface {
	valid() bool
	append(dst []byte) []byte
}

// Hello begins a connection between members.
type Hello struct {
	Cluster  ID
	From, To uint64
	Use      Use
}

// Join asks for admission as a learner.
type Join struct {
	Cluster        ID
	Name           string
	Addr, PeerAddr string
}

// Replace asks that a member, which has come back under another id and has what the
// others have, votes in the place of the one that it was. It says OK, and no more.
type Replace struct {
	Cluster  ID
	Old, New uint64
}

// AppendOK appends the answer to a Replace.
func AppendOK(dst []byte) []byte { return append(dst, "OK\r\n"...) }

// Fetch asks for bytes of a topic below the readable end. The answer is one of
//
//	OK <bytes> <parts>\r\n   then the parts, and the bytes from <from> on; see [Parts]
//	GONE <oldest>\r\n        the log says that what is before was trimmed
//	ERR <reason>\r\n
type Fetch struct {
	Topic    ID
	From, To int64
}

// Sum asks for CRC-32Cs of bytes of a topic, one for each MiB from From on and what
// remains. It is answered as Fetch is, with sums in place of parts and bytes:
// OK <sums>\r\n, then the sums; see [Sums].
type Sum struct {
	Topic    ID
	From, To int64
}

// AppendRequest appends the line of a request. It panics if the request is not
// valid.
func AppendRequest(dst []byte, r Request) []byte {
	if !r.valid() {
		panic(ErrInvalid)
	}
	return append(r.append(dst), "\r\n"...)
}

// ParseRequest parses a line without its CRLF.
func ParseRequest(line []byte) (Request, error) {
	words := bytes.Split(line, []byte(" "))
	var r Request
	switch word := string(words[0]); {
	case word == "PEER" && len(words) > 1:
		if v, ok := parseUint(words[1]); ok && v != Version && v > 0 {
			return nil, &VersionError{v}
		}
		if len(words) != 6 || string(words[1]) != strconv.Itoa(Version) {
			return nil, ErrInvalid
		}
		h := &Hello{Cluster: parseID(words[2])}
		h.From, _ = parseUint(words[3])
		h.To, _ = parseUint(words[4])
		for use, word := range useWords {
			if use > 0 && word == string(words[5]) {
				h.Use = Use(use)
			}
		}
		r = h
	case word == "JOIN" && len(words) == 5:
		r = &Join{Cluster: parseID(words[1]), Name: string(words[2]), Addr: string(words[3]), PeerAddr: string(words[4])}
	case word == "REPLACE" && len(words) == 4:
		p := &Replace{Cluster: parseID(words[1])}
		p.Old, _ = parseUint(words[2])
		p.New, _ = parseUint(words[3])
		r = p
	case word == "FETCH" && len(words) == 4:
		r = &Fetch{Topic: parseID(words[1]), From: parseOffset(words[2]), To: parseOffset(words[3])}
	case word == "SUM" && len(words) == 4:
		r = &Sum{Topic: parseID(words[1]), From: parseOffset(words[2]), To: parseOffset(words[3])}
	}
	// One form for each meaning: leading zeros and capitals are none.
	if r == nil || !r.valid() || !bytes.Equal(r.append(nil), line) {
		return nil, ErrInvalid
	}
	return r, nil
}

func (h *Hello) valid() bool {
	return h.From != 0 && h.To != 0 && h.From != h.To && h.Use != 0 && int(h.Use) < len(useWords)
}

func (h *Hello) append(dst []byte) []byte {
	dst = appendWords(dst, "PEER", strconv.Itoa(Version), formatID(h.Cluster))
	dst = strconv.AppendUint(append(dst, ' '), h.From, 10)
	dst = strconv.AppendUint(append(dst, ' '), h.To, 10)
	return append(append(dst, ' '), useWords[h.Use]...)
}

func (j *Join) valid() bool {
	return entry.ValidName(j.Name) && entry.ValidAddr(j.Addr) && entry.ValidAddr(j.PeerAddr)
}

func (j *Join) append(dst []byte) []byte {
	return appendWords(dst, "JOIN", formatID(j.Cluster), j.Name, j.Addr, j.PeerAddr)
}

func (r *Replace) valid() bool { return r.Old != 0 && r.New != 0 && r.Old != r.New }

func (r *Replace) append(dst []byte) []byte {
	dst = appendWords(dst, "REPLACE", formatID(r.Cluster))
	dst = strconv.AppendUint(append(dst, ' '), r.Old, 10)
	return strconv.AppendUint(append(dst, ' '), r.New, 10)
}

func (f *Fetch) valid() bool { return 0 <= f.From && f.From < f.To }

func (f *Fetch) append(dst []byte) []byte { return appendRange(dst, "FETCH", f.Topic, f.From, f.To) }

func (s *Sum) valid() bool { return 0 <= s.From && s.From < s.To }

func (s *Sum) append(dst []byte) []byte { return appendRange(dst, "SUM", s.Topic, s.From, s.To) }

func appendRange(dst []byte, word string, id ID, from, to int64) []byte {
	dst = appendWords(dst, word, formatID(id))
	dst = strconv.AppendInt(append(dst, ' '), from, 10)
	return strconv.AppendInt(append(dst, ' '), to, 10)
}

func appendWords(dst []byte, words ...string) []byte {
	for i, word := range words {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, word...)
	}
	return dst
}

func parseUint(word []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(word), 10, 64)
	return n, err == nil
}

// parseOffset returns -1 for what is none.
func parseOffset(word []byte) int64 {
	n, err := strconv.ParseInt(string(word), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

const digits = "0123456789abcdef"

func formatID(id ID) string {
	b := make([]byte, 0, 2*len(id))
	for _, c := range id {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return string(b)
}

// parseID returns an id; what is none does not come out as it went in.
func parseID(word []byte) (id ID) {
	for i, c := range word[:min(len(word), 2*len(id))] {
		id[i/2] = id[i/2]<<4 | byte(strings.IndexByte(digits, c)&15)
	}
	return id
}

// AppendRefusal appends an answer with a reason, in which what does not fit in a
// line is replaced or cut off.
func AppendRefusal(dst []byte, reason string) []byte {
	dst = append(dst, "ERR "...)
	for i := range min(len(reason), maxLine-len("ERR \r\n")) {
		c := reason[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		dst = append(dst, c)
	}
	return append(dst, "\r\n"...)
}

// Welcome is the answer to a Join: the id that the member gets, the number of groups,
// and all members. What is not in their lines, the role above all, is not said.
type Welcome struct {
	ID      uint64
	Groups  int
	Members []entry.Member
}

// AppendWelcome appends the answer to a Join. It panics if a member is not valid.
func AppendWelcome(dst []byte, w *Welcome) []byte {
	dst = strconv.AppendUint(append(dst, "OK "...), w.ID, 10)
	dst = strconv.AppendInt(append(dst, ' '), int64(len(w.Members)), 10)
	dst = strconv.AppendInt(append(dst, ' '), int64(w.Groups), 10)
	dst = append(dst, "\r\n"...)
	for i := range w.Members {
		m := &w.Members[i]
		if m.ID == 0 || !entry.ValidName(m.Name) || !entry.ValidAddr(m.Addr) || !entry.ValidAddr(m.PeerAddr) {
			panic(ErrInvalid)
		}
		dst = append(strconv.AppendUint(dst, m.ID, 10), ' ')
		dst = append(appendWords(dst, m.Name, m.Addr, m.PeerAddr), "\r\n"...)
	}
	return dst
}

// parseMember parses a line of the answer to a Join.
func parseMember(line []byte) (m entry.Member, err error) {
	words := bytes.Split(line, []byte(" "))
	if len(words) != 4 {
		return m, ErrInvalid
	}
	m = entry.Member{Name: string(words[1]), Addr: string(words[2]), PeerAddr: string(words[3])}
	m.ID, _ = parseUint(words[0])
	if m.ID == 0 || string(words[0]) != strconv.FormatUint(m.ID, 10) ||
		!entry.ValidName(m.Name) || !entry.ValidAddr(m.Addr) || !entry.ValidAddr(m.PeerAddr) {
		return m, ErrInvalid
	}
	return m, nil
}
