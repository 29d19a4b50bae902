package intake

import (
	"context"
	"fmt"
	"slices"
)

// Flush is a flush that waits for the batches up to a ticket.
type Flush[R any] struct {
	b      *Buffer[R]
	ticket int64
	lost   losses     // which it has to tell of
	done   chan error // gets what Wait returns
}

// BeginFlush begins to wait for all that was taken.
func (b *Buffer[R]) BeginFlush() *Flush[R] {
	b.Seal()
	f := &Flush[R]{b: b, ticket: b.tickets, lost: b.untold, done: make(chan error, 1)}
	b.flushes = append(b.flushes, f)
	b.EndFlushes()
	return f
}

// Wait waits until all is settled, or ctx ends, by a caller who does not hold the
// lock. The error tells of losses.
func (f *Flush[R]) Wait(ctx context.Context) error {
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
	}
	f.b.Lock()
	defer f.b.Unlock()
	select {
	case err := <-f.done:
		return err
	default:
	}
	f.b.flushes = slices.DeleteFunc(f.b.flushes, func(g *Flush[R]) bool { return g == f })
	return ctx.Err()
}

// EndFlushes ends every Flush whose messages are all settled.
func (b *Buffer[R]) EndFlushes() {
	if len(b.flushes) == 0 || b.Backlogged {
		return
	}
	oldest := b.out
	if s := b.ready.Peek(); oldest == 0 && s != nil {
		oldest = s.ticket
	}
	b.endFlushes(func(f *Flush[R]) bool { return oldest == 0 || oldest > f.ticket })
}

// FailFlushes ends every Flush with an error that tells of no losses.
func (a *account[R]) FailFlushes(err error) {
	for _, f := range a.flushes {
		f.done <- err
	}
	a.flushes = nil
}

// Untold returns an error that tells of the losses of which no Flush has told, nil if
// there are none.
func (a *account[R]) Untold() error { return a.untold.err() }

// miss notes that a batch's messages will not be stored, for each Flush that is
// to tell of it: those that wait for the batch, and the next one to come.
func (a *account[R]) miss(s *Slot[R], cause error) {
	a.untold.add(s.Messages, cause)
	for _, f := range a.flushes {
		if f.ticket >= s.ticket {
			f.lost.add(s.Messages, cause)
		}
	}
}

// endFlushes ends each Flush for which over is true. What a Flush is told of
// losses, a Flush that begins later is not told again.
func (a *account[R]) endFlushes(over func(f *Flush[R]) bool) {
	waiting, told := a.flushes[:0], false
	for _, f := range a.flushes {
		if !over(f) {
			waiting = append(waiting, f)
			continue
		}
		err := f.lost.err()
		told = told || err != nil
		f.done <- err
	}
	clear(a.flushes[len(waiting):])
	a.flushes = waiting
	if told {
		a.untold = losses{}
	}
}

// losses are messages that were taken and will not be stored.
type losses struct {
	messages int64
	cause    error // of the newest
}

func (l *losses) add(messages int64, cause error) {
	l.messages += messages
	l.cause = cause
}

func (l *losses) err() error {
	if l.messages == 0 {
		return nil
	}
	return fmt.Errorf("%d messages are lost: %w", l.messages, l.cause)
}
