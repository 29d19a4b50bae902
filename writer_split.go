package logd

import (
	"errors"
	"math"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/sequence"
)

// rewriter is a Backlog whose batches can be split: see backlog.Disk.
type rewriter interface {
	Rewrite(remake func(raw []byte) (pieces [][]byte)) error
}

// limit has batches be as large as the server that was asked last takes them. If it does not
// tell how large that is for the topic, what was found out by trying stays.
func (w *Writer) limit() {
	most := w.most.Load()
	if w.tells.Load() {
		w.share = most
	}
	w.share = min(w.share, most)
	w.buffer.Lock()
	w.buffer.Limit(most, min(w.cfg.BatchTarget, w.share))
	w.buffer.Unlock()
	if s, ok := w.line.TakeBack(); ok { // it may have to be split
		w.held = slices.Insert(w.held, 0, s)
	}
}

// splits reports whether a batch was refused because it is too large, and its messages
// can be sent in other batches: it is certainly not stored. If a message of the backlog is
// too large by itself it stays there.
func (w *Writer) splits(s *slot) bool {
	if !errors.Is(s.Num.Err, ErrTooLarge) || !s.Num.Absent() || w.life.Err() != nil {
		return false
	}
	_, can := w.backlog.(rewriter)
	return s.Record == 0 || can && s.Messages > 1
}

// split makes what is in line anew, in smaller batches and under another producer's id:
// what was sent under the old one may still be on its way. The first batch was too large.
// If it is not larger than the server says that batches may be, halves are tried. If it is one
// message, that is given up alone.
func (w *Writer) split() {
	first := w.line.First()
	cause, number, data := first.Num.Err, first.Num.Number, first.Data()
	var err error
	if first.Record != 0 {
		data, err = w.plain(first.Raw)
	}
	all, ok := []*slot(nil), false
	if err == nil {
		all, ok = w.line.Withdraw()
	}
	if !ok {
		w.fail(cause)
		return
	}
	if w.buffer.Whole(first.Messages, int64(len(data))) && first.Messages > 1 {
		w.share = w.buffer.Half(first.Messages, int64(len(data)))
		w.buffer.Lock()
		w.buffer.Limit(w.most.Load(), min(w.cfg.BatchTarget, w.share))
		w.buffer.Unlock()
	}
	fromBacklog := first.Record != 0
	all = append(all, w.held...)
	w.held = w.held[:0]
	for _, s := range all {
		switch {
		case s.Num.Settled():
			if s.Record != 0 { // its number there will not be the same
				w.backlog.Delivered(s.Record)
			}
			w.held = append(w.held, s)
		case s.Record != 0: // it comes again
			w.spareKept(s)
		default:
			s.Num = sequence.Batch{}
			w.held = append(w.held, s)
		}
	}
	if !fromBacklog {
		if first.Messages == 1 {
			first.Num.Refuse(cause)
		}
		w.numbers.Renew()
		return
	}
	w.cursor, w.drained = 0, false
	if err := w.splitKept(number); err != nil {
		w.report(err)
		w.fail(cause)
	}
}

// splitKept splits the batches of the backlog that have the producer of the number, and
// gives them numbers of another one, which they keep there: the next process sends the same.
func (w *Writer) splitKept(number sequence.Number) error {
	old := w.numbers
	w.numbers = sequence.New(w.newPID)
	return w.backlog.(rewriter).Rewrite(func(raw []byte) (pieces [][]byte) {
		h, _, _ := batch.Parse(raw)
		its, doubt, lost := old.Read(h.PID, h.Seq)
		if lost {
			its.PID = old.PID()
		}
		if its.PID != number.PID {
			return nil
		}
		if lost && doubt { // as if it had been renumbered
			w.inDoubt(&slot{Messages: h.Messages})
		}
		next := func() (n sequence.Number) {
			if h.Seq > 0 {
				n = w.numbers.Take()
			}
			return n
		}
		data, err := w.plain(raw)
		if err != nil || w.buffer.Whole(h.Messages, int64(len(data))) {
			n := next()
			return append(pieces, batch.Renumber(raw, n.PID, n.Seq))
		}
		for run, messages := range w.buffer.Runs(data) {
			n := next()
			piece := append(make([]byte, batch.MaxHeaderLen, batch.MaxHeaderLen+len(run)), run...)
			pieces = append(pieces, batch.Seal(piece, &batch.Header{Topic: h.Topic, Messages: messages, PID: []byte(n.PID), Seq: n.Seq}))
		}
		return pieces
	})
}

// plain returns the data of a batch as it was before it was compressed.
func (w *Writer) plain(raw []byte) ([]byte, error) {
	h, n, err := batch.Parse(raw)
	if err != nil {
		return nil, err
	}
	data := raw[n-h.Size:]
	if h.Codec == "" {
		return data, nil
	}
	return unpack(w.client.codecs, nil, &h, data, int(min(w.client.cfg.MaxUncompressedSize, math.MaxInt)))
}

// refuse says of a message that it is given up alone: it is too large for any batch.
func (w *Writer) refuse(s *slot) {
	cause := s.Num.Err
	s.Encode(w.topic, sequence.Number{}, w.packs())
	w.buffer.Lock()
	w.buffer.Lose(s, bare(cause))
	w.buffer.Unlock()
	w.tellFailure(s, &BatchError{Topic: w.topic, Messages: s.Messages, Batches: 1, Err: cause})
}
