package logd

import (
	"iter"
	"math"
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

// Raw returns the batch byte for byte, envelope and data, as it is stored: a compressed
// one is not unpacked.
func (b *StoredBatch) Raw() []byte { return b.raw }

// Data returns the batch's data, unpacked: its messages without the envelope.
func (b *StoredBatch) Data() []byte { return b.data }

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

	in         *link.Batches // has the bytes; nil in a Result that no read has made
	unpacked   []byte        // memory for those that are compressed
	connection int64         // over which it came: see link.Call.Connection
}

// maxBatchesKept is for how many batches the memory of a Result is kept for
// another one.
const maxBatchesKept = 1 << 18

var results = sync.Pool{New: func() any { return new(Result) }}

// newResult returns the answer as a Result, to which it belongs from then on. It ends
// before a batch that can't be unpacked, or would take more than the limit together with
// those before it. If that is the first, the error is a *link.DamageError.
func (c *Client) newResult(in *link.Batches) (*Result, error) {
	r := results.Get().(*Result)
	r.Offset, r.Next, r.in = in.Offset, in.Next, in
	for i, at := range in.Extents {
		end := in.Next
		if i+1 < len(in.Extents) {
			end = in.Extents[i+1].Offset
		}
		raw := in.Buf[at.Offset-in.Offset : end-in.Offset : end-in.Offset]
		data := raw[at.Header:]
		if at.Packed {
			var err error
			if data, err = c.unpackInto(r, raw[:at.Header], data); err != nil && i == 0 {
				r.Release()
				return nil, &link.DamageError{Offset: at.Offset, Err: err}
			} else if err != nil {
				r.Next = at.Offset
				break
			}
		}
		r.Batches = append(r.Batches, StoredBatch{Offset: at.Offset, Messages: at.Messages, raw: raw, data: data})
	}
	return r, nil
}

// unpackInto returns the data of a compressed batch, in memory of the Result.
func (c *Client) unpackInto(r *Result, line, packed []byte) ([]byte, error) {
	h, _, err := batch.Parse(line)
	if err != nil {
		return nil, err
	}
	start := len(r.unpacked)
	left := int(min(c.cfg.MaxUncompressedSize, math.MaxInt)) - start
	if r.unpacked, err = unpack(c.codecs, r.unpacked, &h, packed, left); err != nil {
		return nil, err
	}
	return r.unpacked[start:len(r.unpacked):len(r.unpacked)], nil
}

// maxUnpackedKept is how much memory for compressed batches is kept for another Result.
const maxUnpackedKept = 16 << 20

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
	*r = Result{Batches: r.Batches[:0], unpacked: r.unpacked[:0]}
	if cap(r.unpacked) > maxUnpackedKept {
		r.unpacked = nil
	}
	results.Put(r)
}
