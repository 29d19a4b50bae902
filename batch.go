package logd

import (
	"fmt"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
)

// Batch collects messages to append to a topic together. They are encoded as
// they are added, in memory that goes to the connection as it is and is kept
// between uses.
//
// The zero Batch is empty and ready for use. A Batch is not safe for
// concurrent use, and while an append of it is under way it belongs to the
// Client.
type Batch struct {
	b   batch.Builder
	pid string
	seq int64
}

// Add appends a message with a copy of body, which may be empty and holds any
// bytes, and returns its delta. It panics if SetRaw has taken a compressed batch.
func (b *Batch) Add(body []byte) (delta int64) {
	if b.b.Packed() {
		panic("logd: Batch.Add to a compressed batch")
	}
	return b.b.Add(body)
}

// SetRaw makes the batch one with a copy of the data of a batch as [Batch.Raw] and
// [StoredBatch.Raw] return it, and without a number: to store it in another topic, say.
// What is compressed stays so, byte for byte; no message can be added to it, and the
// server it goes to must take its codec. The error is ErrCorrupt if raw is not one whole
// batch with a right checksum; the Batch is as before then. Messages inside are not
// looked at: the server does that.
func (b *Batch) SetRaw(raw []byte) error {
	h, n, err := batch.Parse(raw)
	if err == nil && n != int64(len(raw)) {
		err = batch.ErrShort
	}
	if err == nil && batch.Checksum(raw[n-h.Size:]) != h.CRC {
		err = batch.ErrChecksum
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	b.b.Load(&h, raw[n-h.Size:])
	b.pid, b.seq = "", 0
	return nil
}

// Messages returns the number of messages.
func (b *Batch) Messages() int64 { return b.b.Messages() }

// Size returns the length of the batch's data: its messages without the
// envelope.
func (b *Batch) Size() int64 { return b.b.Size() }

// SetNumber makes the batch the seq-th of the producer pid to its topic, or, with a seq
// of 0, one without a number, as it is at first. A server whose ServerLimits.Producers is
// not 0 stores each number once, however often its batch is sent, and only those that
// are next: the others are [ErrOutOfOrder]. The rules are those of docs/protocol.md,
// "numbered batches"; a [Writer] obeys them by itself.
//
// A pid is 1 to 32 of A-Z a-z 0-9 . _ -. It must be one sender's own: 128 random
// bits, say. The error is ErrInvalidRequest for any other, and for a seq below 0; the
// batch is as before then.
func (b *Batch) SetNumber(pid string, seq int64) error {
	if seq < 0 || seq > 0 && !batch.ValidPID(pid) {
		return fmt.Errorf("%w: number %d of producer %s: want 0 or more, and 1 to %d of A-Z a-z 0-9 . _ -",
			ErrInvalidRequest, seq, strconv.Quote(pid), batch.MaxPIDLen)
	}
	b.pid, b.seq = pid, seq
	if seq == 0 {
		b.pid = ""
	}
	return nil
}

// Reset makes the Batch empty and without a number, and keeps its memory.
func (b *Batch) Reset() {
	b.b.Reset()
	b.pid, b.seq = "", 0
}

// Len returns the length the whole batch has in a topic, envelope and data:
// what the server's MaxBatchSize limits and offsets grow by. It is 0 for an
// empty batch or an invalid topic. It computes the batch's checksum.
func (b *Batch) Len(topic string) int64 {
	if b.b.Messages() == 0 || !batch.ValidTopic(topic) {
		return 0
	}
	return int64(len(b.b.FinishNumbered(topic, b.pid, b.seq)))
}

// Raw returns the batch as it is sent to the topic and stored there, envelope
// and data; nil if the batch is empty or the topic's name invalid. The bytes are
// the Batch's own and good until it is changed.
func (b *Batch) Raw(topic string) []byte {
	raw, err := b.finish(topic)
	if err != nil {
		return nil
	}
	return raw
}

// Fits reports whether the batch, with one more message of n bytes, is sure to
// have a Len of at most max. The checksum of the result not being known, it
// may say no for a batch that would just fit, by at most nine bytes.
func (b *Batch) Fits(topic string, n int, max int64) bool {
	if b.seq == 0 {
		return b.b.Fits(topic, n, max)
	}
	numbered, plain := batch.Header{PID: []byte(b.pid), Seq: b.seq}, batch.Header{}
	return b.b.Fits(topic, n, max-int64(numbered.Len()-plain.Len()))
}

// finish returns the batch's bytes for topic, which alias its memory.
func (b *Batch) finish(topic string) ([]byte, error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	if b.b.Messages() == 0 {
		return nil, ErrEmptyBatch
	}
	return b.b.FinishNumbered(topic, b.pid, b.seq), nil
}

// checkTopic refuses names that the server would refuse, before they can break
// a request line.
func checkTopic(topic string) error {
	if batch.ValidTopic(topic) {
		return nil
	}
	shown := topic
	if len(shown) > batch.MaxTopicLen {
		shown = shown[:batch.MaxTopicLen] + "…"
	}
	return fmt.Errorf("%w: topic %s: want 1 to %d of A-Z a-z 0-9 . _ - and no leading dot",
		ErrInvalidRequest, strconv.Quote(shown), batch.MaxTopicLen)
}
