package logd

import (
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
)

// Message is one message of a topic. Body aliases the memory of the [Result]
// it came from.
type Message struct {
	Offset int64 // of the message's batch
	Delta  int64
	Body   []byte
	// Time is when the batch was appended, by the server's clock: of a Scanner's
	// messages, with [ScannerConfig] Times, and zero if it is not known.
	Time time.Time
}

// ID returns the message's name.
func (m Message) ID() ID { return ID{m.Offset, m.Delta} }

// StoredBatch is a batch as the server stores it: checked against its
// checksum, and made of well-formed messages. It aliases the memory of the
// [Result] it came from.
type StoredBatch struct {
	// Offset is the batch's place in its topic.
	Offset int64
	// Messages is how many messages the batch has, at least 1.
	Messages int64

	raw, data []byte
}

// ParseBatch reads a batch that is not compressed from bytes as [Batch.Raw] and
// [StoredBatch.Raw] return them, which it aliases. It has no Offset. The error is
// ErrCorrupt if they are anything else.
func ParseBatch(raw []byte) (StoredBatch, error) {
	h, n, err := batch.Parse(raw)
	switch {
	case err == nil && n != int64(len(raw)):
		err = batch.ErrShort
	case err == nil && h.Codec != "":
		err = ErrUnsupportedCodec
	case err == nil:
		err = batch.Check(&h, raw[n-h.Size:])
	}
	if err != nil {
		return StoredBatch{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return StoredBatch{Messages: h.Messages, raw: raw, data: raw[n-h.Size:]}, nil
}

// Topic returns the topic that the batch's envelope names.
func (b *StoredBatch) Topic() string {
	h, _, _ := batch.Parse(b.raw)
	return string(h.Topic)
}

// Raw returns the batch byte for byte, envelope and data, as it is stored: a compressed
// one is not unpacked.
func (b *StoredBatch) Raw() []byte { return b.raw }

// Data returns the batch's data, unpacked: its messages without the envelope.
func (b *StoredBatch) Data() []byte { return b.data }

// Number returns which producer's batch it is, and which of its batches; "" and 0 for a
// batch without a number.
func (b *StoredBatch) Number() (pid string, seq int64) {
	h, _, _ := batch.Parse(b.raw)
	return string(h.PID), h.Seq
}

// Checksum returns the CRC-32 (IEEE) of what follows the envelope in Raw.
func (b *StoredBatch) Checksum() uint32 {
	h, _, _ := batch.Parse(b.raw)
	return h.CRC
}

// Next returns the offset of the batch that follows.
func (b *StoredBatch) Next() int64 { return b.Offset + int64(len(b.raw)) }

// All returns the batch's messages in order.
func (b *StoredBatch) All() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		messages := batch.Messages{Data: b.Data()}
		for messages.Next() {
			if !yield(Message{Offset: b.Offset, Delta: messages.Delta(), Body: messages.Body()}) {
				return
			}
		}
	}
}

// Result is what a read got: whole batches, one after another. It may be used
// by several goroutines at once until Release.
type Result struct {
	// Offset is where the first batch stands. It is set also when there is
	// none: where the next one will stand, or, from Tail on an empty topic, 0.
	Offset int64
	// Next is the offset that follows the last batch: where to read on.
	Next int64
	// Batches are in the topic's order. There are none at the end of the log.
	Batches []StoredBatch

	in *link.Batches // has the bytes; nil in a Result that no read has made
}

// maxBatchesKept is for how many batches the memory of a Result is kept for
// another one.
const maxBatchesKept = 1 << 18

var results = sync.Pool{New: func() any { return new(Result) }}

// newResult returns the answer as a Result, to which it belongs from then on.
func newResult(in *link.Batches) *Result {
	r := results.Get().(*Result)
	r.Offset, r.Next, r.in = in.Offset, in.Next, in
	for i, at := range in.Extents {
		r.Batches = append(r.Batches, StoredBatch{Offset: at.Offset, Messages: at.Messages, raw: in.Raw(i), data: in.Data(i)})
	}
	return r
}

// Release gives the memory of a Result back to be used by later reads. It is
// optional. Afterwards neither the Result nor anything it gave out may be
// used.
func (r *Result) Release() {
	if r == nil {
		return
	}
	r.in.Release()
	if cap(r.Batches) > maxBatchesKept {
		return
	}
	clear(r.Batches)
	*r = Result{Batches: r.Batches[:0]}
	results.Put(r)
}
