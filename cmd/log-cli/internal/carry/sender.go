package carry

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// window is how many batches may be sent that are not kept: known to be stored, and
// their place saved. The server knows each of them again as long as it is among the 32
// newest of its producer, so a run that begins where the last one was saved may send
// all of them once more.
const window = 16

// errForgotten tells that the topic does not know a producer any more.
var errForgotten = errors.New("the topic does not know any more which batches it has of this copy")

// errConflict tells that the topic has another batch of a number.
var errConflict = errors.New("the topic has other batches of this copy")

// piece is a batch that is sent.
type piece struct {
	batch       logd.Batch
	pending     logd.Pending
	seq         int64
	from, after mark // which messages of the source it has
	offset      int64
	stored      bool
}

// sender stores batches in a topic, in order, each once. Batches that may have been
// stored when a connection was lost, or a process killed, are sent again with the same
// number and the same bytes, and the server does not store what it has.
//
//	p, err := s.next(ctx)      // waits for room
//	… fill p.batch, which has its number …
//	err = s.send(ctx, p)
//	err = s.flush(ctx)         // all is stored, and kept
type sender struct {
	*target
	outage
	pid  string
	seq  int64 // of the next batch
	done int64 // batches below this number are stored, and need not be sent
	base int64 // the numbers of the producer begin behind this one

	// keep saves that all up to the mark is stored, and which number comes next. It is
	// never more than window batches behind.
	keep func(ctx context.Context, after mark, seq int64) error
	// onStored is told of each batch that is stored, in order. Its offset is -1 if the
	// server does not tell it any more.
	onStored func(p *piece) error

	sent []*piece // not kept yet, in order
	free []*piece
}

// next returns a piece to fill and send. It waits until there is room for one.
func (s *sender) next(ctx context.Context) (*piece, error) {
	if len(s.sent) == window {
		// Half of them, so that the others are on their way while it is saved.
		if err := s.settle(ctx, window/2); err != nil {
			return nil, err
		}
	}
	p := new(piece)
	if n := len(s.free); n > 0 {
		p, s.free = s.free[n-1], s.free[:n-1]
	}
	p.seq, p.offset, p.stored = s.seq, -1, false
	return p, nil
}

// send sends a piece, whose batch has its number.
func (s *sender) send(ctx context.Context, p *piece) error {
	if err := ctx.Err(); err != nil {
		return errInterrupted
	}
	s.seq++
	s.sent = append(s.sent, p)
	if p.stored = p.seq < s.done; !p.stored {
		s.client.StartAppend(ctx, s.topic, &p.batch, &p.pending) // what it says, Wait says
	}
	return nil
}

// sendStored sends what is stored in st from one delta to before another, as one batch or
// as many as it takes. If before is not nil it is called with each of them, and with
// whether it is a batch that the target's settings have made. What it returns ends it.
func (s *sender) sendStored(ctx context.Context, st *stored, from, to int64, before func(p *piece, made bool) error) error {
	for begun, all := from, false; !all; {
		p, err := s.next(ctx)
		if err != nil {
			return err
		}
		var after int64
		after, all, err = s.fill(&p.batch, s.pid, max(p.seq-s.base, 1), st, begun, to)
		if err != nil {
			s.flush(ctx) // what is before it; if that fails the next run sends it once more
			return err
		}
		p.from, p.after = mark{st.offset, begun}, mark{st.offset, after}
		if after == 0 {
			p.after = mark{st.next(), 0}
		}
		if before != nil {
			if err := before(p, !all || begun > from || !s.takes(st.codec)); err != nil {
				return err
			}
		}
		if err := s.send(ctx, p); err != nil {
			return err
		}
		begun = after
	}
	return nil
}

// flush returns when all that was sent is stored and kept.
func (s *sender) flush(ctx context.Context) error {
	if len(s.sent) == 0 {
		return nil
	}
	return s.settle(ctx, len(s.sent))
}

// settle waits until at least the first n pieces are stored, and keeps that. Those that
// are answered by then are kept with them: to keep is what takes time.
func (s *sender) settle(ctx context.Context, n int) error {
	for i := 0; i < n; i++ {
		if err := s.await(ctx, i); err != nil {
			return err
		}
		if s.onStored != nil {
			if err := s.onStored(s.sent[i]); err != nil {
				return err
			}
		}
		if i == n-1 && n < len(s.sent) && (s.sent[n].stored || s.sent[n].pending.Ready()) {
			n++
		}
	}
	last := s.sent[n-1]
	if s.keep != nil {
		if err := s.keep(ctx, last.after, last.seq+1); err != nil {
			return err
		}
	}
	s.free = append(s.free, s.sent[:n]...)
	s.sent = append(s.sent[:0], s.sent[n:]...)
	return nil
}

// await waits until the i-th piece is stored, and sends it and those behind it as often
// as it takes.
func (s *sender) await(ctx context.Context, i int) error {
	for {
		err := s.wait(ctx, s.sent[i])
		if err == nil {
			s.over()
			return nil
		}
		// Nothing is sent again before all that was sent is answered.
		for _, p := range s.sent[i+1:] {
			s.wait(ctx, p)
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err := s.judge(ctx, s.sent[i:], err); err != nil {
			return err
		}
		for _, p := range s.sent[i:] {
			if !p.stored {
				s.client.StartAppend(ctx, s.topic, &p.batch, &p.pending)
			}
		}
	}
}

// wait waits for the answer to a piece.
func (s *sender) wait(ctx context.Context, p *piece) error {
	if p.stored {
		return nil
	}
	offset, err := p.pending.Wait(ctx)
	if err == nil {
		p.offset, p.stored = offset, true
	}
	return err
}

// judge decides what an error of the first of the pieces means: nil if they are to be
// sent again, as far as they are not stored. It waits if need be.
func (s *sender) judge(ctx context.Context, pieces []*piece, err error) error {
	first := pieces[0].seq
	order, ok := errors.AsType[*logd.OutOfOrderError](err)
	switch {
	case ok && order.Next+s.base >= first:
		for _, p := range pieces {
			p.stored = p.stored || p.seq < order.Next+s.base
		}
		return nil
	case ok && order.Next == 1:
		return errForgotten
	case ok:
		return lostBatches(s.topic, order.Next+s.base-1, first-1)
	case errors.Is(err, logd.ErrSequenceConflict):
		return errConflict
	}
	return s.outage.wait(ctx, err)
}

// lostBatches is the error of a topic that has fewer batches than it has answered.
func lostBatches(topic string, has, had int64) error {
	return fmt.Errorf("topic %q has lost what it had: it knows %s of this copy, and had answered that it has %d",
		topic, cli.Plural(has, "batch", "batches"), had)
}
