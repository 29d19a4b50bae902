package intake

import (
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/sequence"
)

// Slot is a batch on its way through a Writer, and its memory. It is guarded by the
// Buffer's lock until it is ready, and then its owner's.
type Slot[R any] struct {
	Messages int64
	Record   int64  // for a batch from the backlog: its number there
	Raw      []byte // its bytes: see Encode
	Num      sequence.Batch
	Pending  link.Pending
	Via      *link.Link // over which it was sent last

	// The callbacks of those messages that have one, in order.
	Calls  []func(R)
	Deltas []int64

	batch   batch.Builder
	ticket  int64           // its number in the order of sealing; 0 for one from the backlog
	most    int64           // Config.Target when its first message was taken
	extra   bool            // it is one of those that Split has made, and has no room of its own
	made    bool            // Raw has the batch's bytes
	encoded sequence.Number // which Raw has
	codec   string          // with which it was to be compressed
	packed  []byte          // the compressed data, behind room for the envelope; empty if there is none
}

// Codec is what packs the data of batches.
type Codec interface {
	Name() string
	Encode(dst, src []byte) []byte
}

// minPacked is the size of data below which it is not compressed: there is little to
// gain.
const minPacked = 512

// Data returns the data of a batch that is not from the backlog, not compressed.
func (s *Slot[R]) Data() []byte { return s.batch.Data() }

// Numbered is for sequence.Line.
func (s *Slot[R]) Numbered() *sequence.Batch { return &s.Num }

// Kept makes the slot a batch of the backlog, whose bytes it has.
func (s *Slot[R]) Kept(record, messages int64, number sequence.Number) {
	s.Record, s.Messages = record, messages
	s.made, s.encoded = true, number
}

// Encode makes the bytes of the batch, with the number, compressed by c if that is not
// nil and makes them fewer. One from the backlog stays as it is but for the number, and
// one that is Fixed altogether.
func (s *Slot[R]) Encode(topic string, number sequence.Number, c Codec) {
	if s.Fixed(number) {
		return
	}
	codec := ""
	if c != nil {
		codec = c.Name()
	}
	if s.Record != 0 {
		codec = s.codec
	}
	if !s.made || s.codec != codec {
		s.pack(c)
	}
	switch {
	case s.made && s.encoded == number && s.codec == codec:
	case s.Record != 0:
		s.Raw = batch.Renumber(s.Raw, number.PID, number.Seq)
	case len(s.packed) > 0:
		s.Raw = batch.Seal(s.packed, &batch.Header{
			Topic: []byte(topic), Messages: s.batch.Messages(), Codec: codec, PID: []byte(number.PID), Seq: number.Seq,
		})
	default:
		s.Raw = s.batch.FinishNumbered(topic, number.PID, number.Seq)
	}
	s.made, s.encoded, s.codec = true, number, codec
}

// Fixed reports whether the batch was sent with the number and may be stored: other bytes
// with that number would be another batch to the server.
func (s *Slot[R]) Fixed(number sequence.Number) bool {
	return s.made && s.encoded == number && number.Seq != 0 && s.Num.Doubt && !s.Num.Assumed
}

// pack compresses the batch's data, if that is of use.
func (s *Slot[R]) pack(c Codec) {
	s.packed = s.packed[:0]
	data := s.batch.Data()
	if c == nil || s.Record != 0 || len(data) < minPacked {
		return
	}
	if s.packed == nil {
		s.packed = make([]byte, batch.MaxHeaderLen, batch.MaxHeaderLen+len(data))
	}
	s.packed = c.Encode(s.packed[:batch.MaxHeaderLen], data)
	// The envelope gets longer, too, and nothing may be longer than it is plain.
	if len(s.packed)-batch.MaxHeaderLen+batch.MaxCodecLen >= len(data) {
		s.packed = s.packed[:0]
	}
}

// Unpack replaces the data of a compressed batch from the backlog by what it unpacks to.
func (s *Slot[R]) Unpack(data []byte) {
	h, _, _ := batch.Parse(s.Raw)
	h.Codec, h.Size, h.CRC = "", int64(len(data)), batch.Checksum(data)
	s.Raw = append(batch.AppendHeader(nil, &h), data...)
}

// Reset makes the slot empty and keeps its memory.
func (s *Slot[R]) Reset() {
	s.batch.Reset()
	clear(s.Calls)
	s.Calls, s.Deltas = s.Calls[:0], s.Deltas[:0]
	s.ticket, s.Record = 0, 0
	s.Num, s.encoded = sequence.Batch{}, sequence.Number{}
	s.made, s.codec = false, ""
}
