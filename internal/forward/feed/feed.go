// Package feed is the contract between the agent's inputs, which take messages, and
// what delivers them. There is no code in it that does either.
//
// An input has sources: a file, a connection, a socket, a pipe, the journal. What a
// source can't read again is [Live]: it is put into the spool before it is sent. What can
// be read again is [Replayed]: only the position is kept, and it moves when what stands
// before it is stored.
package feed

import (
	"context"
	"errors"
	"time"
)

// Message is what an input has taken: the bytes as they came, and what is known of them.
// The zero value of a field means that it is not known.
type Message struct {
	Body []byte

	Sent               time.Time // the time that the message itself has
	Remote             string    // the address of its sender
	App, ProcID, Unit  string
	Facility, Severity string // names: daemon, err
	Topic              string // the topic that the sender asks for
	Part               int64  // 1… of a line that was split
	Last               bool   // it is the last part
}

// Position is a place in a source that can be read again. Of two, that with the larger
// At is later. Cursor is the journal's name for it, empty in files, where At is a
// number of bytes.
type Position struct {
	At     int64  `json:"at"`
	Cursor string `json:"c,omitempty"`
}

// Line is a message of a source that can be read again: all of it stands between two
// positions, and the next one begins where it ends. Lines that are left out of a source,
// as parts that are cut off, belong to no Line: the next one's From is behind them.
type Line struct {
	Message
	From, To Position
}

// Anchor is by what a place in a file is known again: At, and the first 8 bytes of the
// SHA-256 of the (at most 256) bytes before it.
type Anchor struct {
	At   int64
	Hash uint64
}

// File is what is known of a file. ID, the number of its source, is 0 before the file has
// one.
type File struct {
	ID    int64
	Input string
	// Path is where the input has found it. Real is where it is if that is another place:
	// where a symlink leads, or to where it was moved that the input does not look.
	Path, Real string
	Device     uint64
	Inode      uint64
	// PrefixLen is the length of the beginning whose hash is Prefix, up to 1024.
	PrefixLen int64
	Prefix    uint64
	// Text is an anchor in the first text of a file whose Prefix is that of NULs alone, once
	// that was read; At 0 for none. A program without O_APPEND leaves NULs where a file was
	// truncated, and they are the same in each.
	Text Anchor `json:",omitzero"`
	// Position: everything before it is stored, is a hole, or is safe in the spool.
	Position int64
	// Anchors are at the Position and at the end of the batch stored last, if it is
	// another place; At 0 for none.
	Anchors [2]Anchor
	// Size is the largest one seen by a look that found the anchor in its place.
	Size int64
	// Seen is the wall time of the last look, in seconds. It decides nothing but when the
	// record goes.
	Seen int64
	// How are the settings by which lines are made of the file's bytes, or of the journal's
	// entries, in a short form of the input's own. Batches are made again by those of their
	// time.
	How string

	// Wild is what the wildcards of the input's glob stand for. The ledger does not have it.
	Wild []string
}

// Kind is why something will not be stored.
type Kind string

// The kinds of holes. Those of the first line were taken; those of the second were
// never read.
const (
	Dropped, TooLong, Refused, Damaged, Unknown Kind = "dropped", "too-long", "refused", "damaged", "unknown"
	Truncated, Gone, KernelDropped, Vacuumed    Kind = "truncated", "gone", "kernel-dropped", "vacuumed"
)

// Kinds are all kinds.
var Kinds = []Kind{Dropped, TooLong, Refused, Damaged, Unknown, Truncated, Gone, KernelDropped, Vacuumed}

// Taken reports whether holes of the kind count as taken.
func (k Kind) Taken() bool {
	switch k {
	case Truncated, Gone, KernelDropped, Vacuumed:
		return false
	}
	return true
}

// Hole is what was there and will not be stored.
type Hole struct {
	Kind     Kind
	Topic    string // empty if it had none yet
	From, To int64  // the range in the source, 0 and 0 if there is none
	Messages int64  // -1 if unknown
	Bytes    int64
	Cause    string // one line
}

// Full is what becomes of messages for which there is no room.
type Full uint8

const (
	Block  Full = iota // wait for room
	Drop               // they are holes
	Refuse             // ErrFull, and none is taken
)

// Errors of putting. Where one is returned, none of the messages is taken.
var (
	ErrFull    = errors.New("no room in memory and spool")
	ErrClosing = errors.New("the agent is ending")
)

// Live is a source that can't be read again. Its methods are safe for concurrent use.
type Live interface {
	// Put takes all of the messages, or none if there is an error: ErrFull, ErrClosing,
	// or that of ctx while it waits for room. Bodies are copied. Messages of one source
	// are stored in the order in which they were put.
	//
	// If safe is not nil, it is called once, when all of the messages are safe, that is
	// stored, or in the spool and synced; dropped and refused ones count as safe. It is
	// called from another goroutine, or before Put returns, and must not block.
	Put(ctx context.Context, messages []Message, full Full, safe func()) error
	// Hole tells of what will not be stored.
	Hole(Hole)
	// Close ends the source. What was put is delivered.
	Close()
}

// Replayed is a source that can be read again. Its methods are safe for concurrent use,
// but Offer is for one goroutine.
type Replayed interface {
	// ID is the source's number in the ledger.
	ID() int64
	// Offer takes as many of the lines as there is room for, from the first one on, and
	// returns how many; the input offers the rest again later. It never waits. Bodies are
	// copied. anchor returns the anchor at the end of one of the lines.
	Offer(lines []Line, anchor func(to Position) Anchor) int
	// Spill is Offer of lines that soon can't be read again: they go to the spool, for as
	// much as it has room. What was offered before and is not stored goes there first.
	Spill(lines []Line, anchor func(to Position) Anchor) int
	// Read returns up to where everything was offered or is a hole: where the next
	// Offer begins.
	Read() Position
	// Position returns up to where everything is stored, a hole, or safe in the spool.
	Position() Position
	// Hole tells of a range that will not be stored, from Read on; both Read and, once all
	// before is stored, Position move behind it if its To is larger. anchor is the hash of
	// the Anchor there, 0 if nothing is read on. The hole is written down together with the
	// Position behind it, so that a kill loses neither and repeats neither. One with an
	// empty range is written down with the next Position. Of what was never read, what an
	// earlier run has sent is left out of the hole.
	Hole(h Hole, anchor uint64)
	// Seen updates what is known of the file besides its position: path, device, inode,
	// prefix, size, time, and how lines are made that are offered from now on. Of the
	// journal there is How alone.
	Seen(File)
	// Close ends reading. The ledger keeps the position.
	Close()
	// Forget ends the source once all is stored, and the ledger does not keep it.
	Forget()
}

// Replay reads a source again, for batches that were sent before a kill and not
// answered.
type Replay interface {
	// Replay calls yield with the lines between two positions, in order, made as the
	// settings how say (see File). An error says that they can't be read again.
	Replay(ctx context.Context, how string, from, to Position, yield func(*Line) error) error
}

// Sink is where inputs put what they take.
type Sink interface {
	// Live begins a source of an input. name is for people: a remote address, a path.
	Live(input, name string) Live
	// Files returns what is known of the files of an input.
	Files(input string) []File
	// File begins reading a file where Position is; a new one (ID 0) gets its number.
	// The ledger has the file when File returns. What was sent of it before and not
	// answered is read again by replay.
	File(f File, replay Replay) (Replayed, error)
	// Journal begins reading a journal after the position that is kept for the input; ok
	// tells whether there is one.
	Journal(input string, replay Replay) (r Replayed, ok bool, err error)
	// Room returns a channel on which a value comes when there may be room again for
	// lines that Offer did not take.
	Room() <-chan struct{}
}
