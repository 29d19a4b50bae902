package carry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/exit"
)

// target is a topic to which batches go.
type target struct {
	client *logd.Client
	topic  string
	id     string // of the topic
	limit  int64  // length of the largest batch
	codecs string // that its server takes, as CONFIG has them

	producers int64 // among so many newest batches the topic knows a number again
}

// newTarget asks what the topic's server takes, and makes the topic if there is none.
func newTarget(ctx context.Context, client *logd.Client, topic string) (*target, error) {
	limits, err := client.Limits(ctx, topic)
	if err != nil {
		return nil, err
	}
	if limits.Producers == 0 {
		return nil, exit.With(exit.Failed, errors.New("the server takes no numbered batches (producers = 0): what is sent again after a lost connection would be stored twice"))
	}
	config, err := admin.New(client).Config(ctx)
	if err != nil {
		return nil, err
	}
	t := &target{client: client, topic: topic, limit: limits.MaxBatchSize, producers: limits.Producers}
	for _, f := range config.Fields {
		if f.Name == "Codecs" {
			t.codecs = f.Value
		}
	}
	info, err := client.Info(ctx, topic)
	if errors.Is(err, logd.ErrNotFound) {
		// A batch that is refused for its number makes the topic.
		if _, err = t.expects(ctx, "copy"); err == nil {
			info, err = client.Info(ctx, topic)
		}
	}
	if err == nil && info.ID == "" {
		err = errors.New("the server is too old: it does not tell the ids of topics")
	}
	t.id = info.ID
	return t, err
}

// expects returns which number the topic takes next from a producer: 1 if it does not
// know it. Nothing is stored.
func (t *target) expects(ctx context.Context, pid string) (int64, error) {
	var b logd.Batch
	b.Add(nil)
	if err := b.SetNumber(pid, math.MaxInt64); err != nil {
		return 0, err
	}
	_, err := t.client.Append(ctx, t.topic, &b)
	if order, ok := errors.AsType[*logd.OutOfOrderError](err); ok {
		return order.Next, nil
	}
	if err == nil {
		err = errors.New("the server takes numbers in any order")
	}
	return 0, err
}

// takes reports whether a batch can be sent as it is packed.
func (t *target) takes(codec string) bool {
	if codec == "" {
		return true
	}
	for name := range strings.FieldsFuncSeq(t.codecs, func(r rune) bool { return r == ',' || r == ' ' }) {
		if name == codec {
			return true
		}
	}
	return false
}

// fill fills the batch b with what is stored in s from one delta to before another, as
// far as it fits, and returns the delta behind that, 0 behind the last message, and
// whether that is all. What goes into a batch depends on nothing but what is stored and on the target's limit.
func (t *target) fill(b *logd.Batch, pid string, seq int64, s *stored, from, to int64) (after int64, all bool, err error) {
	b.Reset()
	number := func() error { return b.SetNumber(pid, seq) }
	if from == 0 && to == wholly && t.takes(s.codec) {
		if err := b.SetRaw(s.raw); err != nil {
			return 0, false, err
		}
		if err := number(); err != nil || b.Len(t.topic) <= t.limit {
			return 0, true, err
		}
		b.Reset()
	}
	if err := number(); err != nil {
		return 0, false, err
	}
	for m := (batch.Messages{Data: s.data}); m.Next(); {
		if m.Delta() < from {
			continue
		}
		if m.Delta() >= to {
			return m.Delta(), true, nil
		}
		if b.Messages() > 0 && !b.Fits(t.topic, len(m.Body()), t.limit) {
			return m.Delta(), false, nil
		}
		if b.Add(m.Body()); b.Messages() == 1 && b.Len(t.topic) > t.limit {
			return 0, false, exit.With(exit.Refused, fmt.Errorf("message %v is too long: %d bytes, for batches of at most %d in topic %q",
				mark{s.offset, m.Delta()}, len(m.Body()), t.limit, t.topic))
		}
	}
	return 0, true, nil
}

// wholly is a delta behind those of any batch.
const wholly = math.MaxInt64

// own is what a topic has of a producer.
type own struct {
	last int64    // the number of its newest batch; 0 if none was found
	data [][]byte // its batches from the wanted number on, in order: messages, unpacked
	full bool     // they are all
}

// lookBack looks for the batches of a producer from the number seq on, from the newest
// batch of the topic back, through at most so many bytes.
func (t *target) lookBack(ctx context.Context, pid string, seq, most int64) (found own, err error) {
	_, err = t.back(ctx, most, func(from, end int64) (first int64, done bool, err error) {
		var data [][]byte
		last := int64(0)
		first, err = t.between(ctx, from, end, func(b *logd.StoredBatch) {
			if id, n := b.Number(); id == pid {
				last = n
				done = done || n <= seq // it, or an earlier one of the producer
				if n >= seq {
					data = append(data, bytes.Clone(b.Data()))
				}
			}
		})
		if found.last == 0 {
			found.last = last
		}
		found.data = append(data, found.data...)
		found.full = done
		return first, done, err
	})
	if err != nil {
		return own{}, err
	}
	found.full = found.full || found.last > 0 && int64(len(found.data)) == found.last-seq+1
	return found, nil
}

// newest is the newest batch of some producers, or what is known without there being one.
type newest struct {
	pid   string // empty: there is none
	seq   int64
	data  []byte // its messages, unpacked
	whole bool   // all of the topic was looked through
}

// lookForNewest looks for the newest batch of the producers whose ids are such, through at
// most so many bytes.
func (t *target) lookForNewest(ctx context.Context, is func(pid string) bool, most int64) (found newest, err error) {
	found.whole, err = t.back(ctx, most, func(from, end int64) (first int64, done bool, err error) {
		first, err = t.between(ctx, from, end, func(b *logd.StoredBatch) {
			if id, n := b.Number(); is(id) {
				found.pid, found.seq, found.data = id, n, bytes.Clone(b.Data())
			}
		})
		return first, found.pid != "", err
	})
	return found, err
}

// back goes through the topic from its end to its beginning, as far as so many bytes back.
// f looks between two offsets, and returns the offset of the first batch there, the second
// one if there is none, and whether that is enough. whole is whether the beginning was
// reached.
func (t *target) back(ctx context.Context, most int64, f func(from, end int64) (first int64, done bool, err error)) (whole bool, err error) {
	const step = 4 << 20
	info, err := t.client.Info(ctx, t.topic)
	if err != nil {
		return false, err
	}
	oldest := max(info.Oldest, info.Next-most)
	for end, from := info.Next, info.Next; end > oldest; {
		from = max(oldest, from-step)
		first, done, err := f(from, end)
		if err != nil || done {
			return false, err
		}
		if first < end {
			end, from = first, first
		} else if from == oldest {
			break
		}
	}
	return oldest == info.Oldest, nil
}

// between calls f with the batches that begin between two offsets, in order, and returns the
// offset of the first of them, end if there is none.
func (t *target) between(ctx context.Context, from, end int64, f func(b *logd.StoredBatch)) (first int64, err error) {
	marks, err := admin.New(t.client).Times(ctx, t.topic, from, end)
	if err != nil || len(marks) == 0 {
		return end, err
	}
	first = marks[0].Offset
	for at := first; at < end; {
		r, err := t.client.Read(ctx, t.topic, at, logd.ReadOptions{})
		if errors.Is(err, logd.ErrNotFound) {
			f := places.Finder{Client: t.client, Topic: t.topic}
			if gone, ok := errors.AsType[*logd.GoneError](f.Check(ctx, at, 0)); ok && gone.Oldest > at {
				at = gone.Oldest
				continue
			}
		}
		if err != nil {
			return 0, err
		}
		if len(r.Batches) == 0 {
			break
		}
		for i := range r.Batches {
			if r.Batches[i].Offset >= end {
				break
			}
			f(&r.Batches[i])
		}
		at = r.Next
		r.Release()
	}
	return first, nil
}
