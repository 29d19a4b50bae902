package ledger

import (
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// Kinds of records. Those that are not known are left as they are.
const (
	kindStart      = 1  // Start
	kindFound      = 2  // Source: a file was found, or is known better
	kindSent       = 3  // Sent
	kindStored     = 4  // Stored
	kindHole       = 5  // Hole
	kindGone       = 6  // gone: a source is forgotten
	kindCheckpoint = 7  // nothing: what follows, up to kindEnd, is all of the State
	kindEnd        = 8  // counts: the end of a checkpoint
	kindMoved      = 9  // Moved
	kindTopic      = 10 // topic: one that a template has made
	kindTotal      = 11 // total: in a checkpoint
	kindSpoolDone  = 12 // refs: records of the spool that are stored; in a checkpoint
	kindSpoolGone  = 13 // spoolGone: a segment of the spool was removed
	kindSplit      = 14 // split: two batches take the place of one
	kindInput      = 16 // input: one that has begun
	kindReplaced   = 15 // replaced: batches in the spool have taken the place of another one there
	kindPlace      = 17 // place: where these are sent, in a checkpoint
)

// Start is the beginning of a run of the agent.
type Start struct {
	PID  string `json:"pid"` // the id under which it numbers its batches
	Time int64  `json:"t"`   // wall time, in nanoseconds
}

// Key names a batch: the Seq-th that the producer PID has made for the topic. It does so
// whether or not the server is told the number.
type Key struct {
	Topic string `json:"topic"`
	PID   string `json:"pid"`
	Seq   int64  `json:"seq"`
}

// Run is what a batch has of one source. Of an input whose sources can't be read again
// it is what the batch has of all of them, with a Source of 0 and no positions.
type Run struct {
	Input  string        `json:"i"`
	Source int64         `json:"s,omitempty"`
	From   feed.Position `json:"f,omitzero"`
	To     feed.Position `json:"t,omitzero"`
	Lines  int64         `json:"n"`
	Bytes  int64         `json:"b"`           // of the bodies as they were taken
	Anchor uint64        `json:"a,omitempty"` // at To
	How    string        `json:"h,omitempty"` // feed.File.How
	Format string        `json:"m,omitempty"` // the input's, of the bodies
	Path   string        `json:"p,omitempty"` // of a file, if the bodies have it
}

// Sent is a batch that is about to be sent for the first time under its Key.
type Sent struct {
	Key
	Numbered bool         `json:"numbered,omitempty"` // the server is told the number
	Size     int64        `json:"size"`               // envelope and data
	CRC      uint32       `json:"crc"`
	Messages int64        `json:"messages"`
	Time     int64        `json:"time"` // of the first message, in nanoseconds; in envelopes of lines
	Runs     []Run        `json:"runs"`
	Skip     int64        `json:"skip,omitempty"`  // messages at the beginning of Runs that are another batch's
	Spool    *segment.Ref `json:"spool,omitempty"` // the record that has it
	Was      *Key         `json:"was,omitempty"`   // the number that it had until now
}

// Pos is how far a source is delivered.
type Pos struct {
	Source   int64         `json:"s"`
	Position feed.Position `json:"p"`
	Anchor   uint64        `json:"a,omitempty"` // at the Position
}

// Stored is a batch that is stored.
type Stored struct {
	Key
	Offset int64 `json:"offset"`        // -1 if it is not known
	Pos    []Pos `json:"pos,omitempty"` // what moves by it
	Time   int64 `json:"time"`
}

// Moved is positions that move because what stood before them is safe in the spool, or a
// hole.
type Moved struct {
	Pos []Pos `json:"pos"`
}

// Hole is a feed.Hole and where it is.
type Hole struct {
	feed.Hole
	Input  string `json:"input"`
	Source int64  `json:"source,omitempty"`
	Time   int64  `json:"time"`
	// Key is the batch that is given up, if the hole is of one that was sent.
	Key *Key  `json:"key,omitempty"`
	Pos []Pos `json:"pos,omitempty"`
	// Spool is the record of the spool that is given up, of a batch that was not sent.
	Spool *segment.Ref `json:"spool,omitempty"`
}

type gone struct {
	Source int64 `json:"source"`
}

type inputBegun struct {
	Input string `json:"input"`
}

type topicMade struct {
	Topic string `json:"topic"`
}

type spoolGone struct {
	Segment uint64 `json:"segment"`
}

type split struct {
	Was  Key     `json:"was"`
	Sent []*Sent `json:"sent"`
}

type replaced struct {
	Key   Key         `json:"key"`
	Spool segment.Ref `json:"spool"`
	Parts int         `json:"parts,omitempty"`
}

type place struct {
	Key   Key `json:"key"`
	Parts int `json:"parts"`
}

type end struct {
	NextID int64 `json:"next"`
}

type refs struct {
	Refs []segment.Ref `json:"refs"`
}

type totalRecord struct {
	TotalKey
	Total
}
