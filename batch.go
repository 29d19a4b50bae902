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
	b batch.Builder
}

// Add appends a message with a copy of body, which may be empty and holds any
// bytes, and returns its delta.
func (b *Batch) Add(body []byte) (delta int64) { return b.b.Add(body) }

// Messages returns the number of messages.
func (b *Batch) Messages() int64 { return b.b.Messages() }

// Size returns the length of the batch's data: its messages without the
// envelope.
func (b *Batch) Size() int64 { return b.b.Size() }

// Reset makes the Batch empty and keeps its memory.
func (b *Batch) Reset() { b.b.Reset() }

// Len returns the length the whole batch has in a topic, envelope and data:
// what the server's MaxBatchSize limits and offsets grow by. It is 0 for an
// empty batch or an invalid topic. It computes the batch's checksum.
func (b *Batch) Len(topic string) int64 {
	if b.b.Messages() == 0 || !batch.ValidTopic(topic) {
		return 0
	}
	return int64(len(b.b.Finish(topic)))
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
func (b *Batch) Fits(topic string, n int, max int64) bool { return b.b.Fits(topic, n, max) }

// finish returns the batch's bytes for topic, which alias its memory.
func (b *Batch) finish(topic string) ([]byte, error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	if b.b.Messages() == 0 {
		return nil, ErrEmptyBatch
	}
	return b.b.Finish(topic), nil
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
