// Package walk finds batches in a partition and steps over them, by their
// envelopes. The index leads it near what is sought; the rest are small reads,
// several envelopes with one where they are close together.
//
// Positions are those in the partition's file, and a state, what the partition
// has before a position, is an [index.Entry]. That an envelope fits, and is of the
// topic, is checked; what the batches hold is not (package scan does that). Where
// an envelope must be and none is, the error is [ErrDamaged]; where no batch
// begins, it is topic.ErrNotFound.
package walk

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// ErrDamaged is a walk that met bytes that are no batch where one must be.
var ErrDamaged = errors.New("no batch where one must be")

// Walker steps over the batches of a partition. [New] makes it.
type Walker struct {
	f     io.ReaderAt
	topic string
	buf   [chunk]byte
	have  []byte // part of buf
	start int64  // position of have
}

var walkers = sync.Pool{New: func() any { return new(Walker) }}

// New returns a Walker over the partition of a topic that is in f. Free gives it
// back.
func New(f io.ReaderAt, topic string) *Walker {
	w := walkers.Get().(*Walker)
	w.f, w.topic, w.have, w.start = f, topic, nil, 0
	return w
}

// Free gives the Walker's memory back. It is not to be used after that.
func (w *Walker) Free() {
	w.f = nil
	walkers.Put(w)
}

// chunk covers the batches between two index entries and the envelope
// after them, in most cases.
const chunk = index.Interval + batch.MaxHeaderLen

// Header returns the envelope of the batch at pos, which must end at or before
// limit, and the batch's length. What aliases the Walker in it is good until the
// next call.
func (w *Walker) Header(pos, limit int64) (batch.Header, int64, error) { return w.header(pos, limit) }

// header reads the envelope at pos; its batch must end at or before limit.
func (w *Walker) header(pos, limit int64) (batch.Header, int64, error) {
	for try := 0; ; try++ {
		if at := pos - w.start; at >= 0 && at < int64(len(w.have)) {
			h, n, err := batch.Parse(w.have[at:])
			if err == nil && (n > limit-pos || string(h.Topic) != w.topic) {
				err = batch.ErrHeader
			}
			if err == nil {
				return h, n, nil
			}
			if err != batch.ErrShort || try > 0 {
				return h, 0, fmt.Errorf("%w: position %d: %w", ErrDamaged, pos, err)
			}
		} else if try > 0 {
			return batch.Header{}, 0, fmt.Errorf("%w: position %d: %w", ErrDamaged, pos, batch.ErrShort)
		}
		b := w.buf[:min(int64(chunk), limit-pos)]
		if err := vfs.ReadFull(w.f, b, pos); err != nil {
			return batch.Header{}, 0, err
		}
		w.have, w.start = b, pos
	}
}

// Find returns the state of the partition before the batch at pos, topic.ErrNotFound
// if none begins there.
func (w *Walker) Find(ix *index.Index, pos, limit int64) (index.Entry, error) {
	at, _, err := ix.Search(func(e *index.Entry) bool { return e.Pos <= pos })
	if err != nil {
		return index.Entry{}, err
	}
	if at.Pos < 0 {
		return index.Entry{}, fmt.Errorf("%w: no entry for position %d", index.ErrUnfit, pos)
	}
	before := at
	for at.Pos < pos {
		before = at
		if err := w.Step(&at, limit); err != nil {
			return index.Entry{}, err
		}
	}
	if at.Pos != pos {
		return index.Entry{}, w.inside(before.Pos, pos, limit)
	}
	// That a batch begins here is certain only when its envelope was seen.
	if _, _, err := w.header(pos, limit); err != nil {
		return index.Entry{}, err
	}
	return at, nil
}

// inside says what a position is that lies within the batch at start: no batch
// begins there, unless that batch's envelope is damaged. If what stands there
// looks like an envelope, the batch is checked.
func (w *Walker) inside(start, pos, limit int64) error {
	if _, _, err := w.header(pos, limit); err != nil {
		return topic.ErrNotFound
	}
	h, n, err := w.header(start, limit)
	if err != nil {
		return err
	}
	sc := scan.Scanner{File: w.f, Size: start + n}
	if ok, err := sc.Holds(start+n-h.Size, &h); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("%w: position %d: its batch is not what the envelope says", ErrDamaged, start)
	}
	return topic.ErrNotFound
}

// Step moves at past the batch there, which must end at or before limit.
func (w *Walker) Step(at *index.Entry, limit int64) error {
	h, n, err := w.header(at.Pos, limit)
	if err != nil {
		return err
	}
	at.Pos += n
	at.Messages += h.Messages
	at.Batches++
	return nil
}

// Walk steps over whole batches from start on, until they have as many messages,
// would pass maxBytes bytes, or reach limit, and returns the state behind them.
// If always is true, the first is taken whatever its size. Batches before damage
// are no error.
func (w *Walker) Walk(ix *index.Index, start index.Entry, messages, maxBytes int64, always bool, limit int64) (index.Entry, error) {
	wantMessages := start.Messages + min(messages, math.MaxInt64-start.Messages)
	wantPos := limit
	if maxBytes < limit-start.Pos {
		wantPos = start.Pos + maxBytes
	}
	at := start
	// Small reads end in what finding the start has read already. For others the
	// index leads near the end, and the rest is walked.
	for led := false; at.Messages < wantMessages && at.Pos < limit; {
		if !led && !w.holds(at.Pos) {
			led = true
			near, _, err := ix.Search(func(e *index.Entry) bool {
				return e.Pos <= at.Pos || (e.Messages < wantMessages && e.Pos <= wantPos && e.Pos < limit)
			})
			if err != nil {
				return index.Entry{}, err
			}
			if near.Pos > at.Pos {
				at = near
				continue
			}
		}
		next := at
		if err := w.Step(&next, limit); err != nil {
			if at.Pos > start.Pos {
				return at, nil // what comes before the damage is good
			}
			return index.Entry{}, err
		}
		if next.Pos > wantPos && (at.Pos > start.Pos || !always) {
			break
		}
		at = next
	}
	return at, nil
}

// holds reports whether the envelope at pos can be parsed without a read.
func (w *Walker) holds(pos int64) bool {
	at := pos - w.start
	return at >= 0 && at+int64(batch.MaxHeaderLen) <= int64(len(w.have))
}
