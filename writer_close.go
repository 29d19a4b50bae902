package logd

import (
	"context"
	"errors"
	"fmt"
)

// over reports whether nothing is left to do once Close was called.
func (w *Writer) over() bool {
	w.mu.Lock()
	state := w.state
	taken, backlogged := w.buffer.ready.len() > 0, w.backlogged
	w.mu.Unlock()
	if !w.closeSeen {
		w.closeSeen = true
		if state == StateConnected && (taken || w.flight.len() > 0 || w.held != nil) {
			w.setState(StateFlushing, nil)
		}
	}
	switch {
	case w.flight.len() > 0 || w.probing || taken:
		return false
	case state == StateFailing:
		return w.lastTry || w.hopeless || !backlogged
	default:
		return w.held == nil && !backlogged
	}
}

// abort gives up what is in flight, because CloseContext's context has ended.
// A probe that is under way has ended, too.
func (w *Writer) abort() {
	cause := context.Cause(w.life)
	if w.probing {
		<-w.probed
		w.probing = false
	}
	for w.flight.len() > 0 {
		w.answered(w.flight.peek().pending.abandon(cause))
	}
	if !w.failing {
		w.fail(w.opError("close", cause))
	}
	w.lastTry = true
	w.shelve()
}

// end says what is left, and enters the last state.
func (w *Writer) end() {
	w.age.Stop()
	w.pause.Stop()
	w.mu.Lock()
	state, cause, untold := w.state, w.cause, w.untold.take()
	w.mu.Unlock()
	var err error
	switch {
	case state == StateFailing:
		err = w.leftovers(cause, untold)
	case untold != nil:
		err = w.opError("close", untold)
	}
	w.backlog.release()
	if own, ok := w.backlog.(*MemoryBacklog); ok && w.cfg.Backlog == nil {
		w.giveUp(own)
	}
	w.stop(nil)
	w.mu.Lock()
	w.closeErr = err
	if err == nil {
		w.endFlushes(nil)
	}
	w.endFlushes(ErrWriterClosed)
	w.mu.Unlock()
	w.look()
	w.setState(StateClosed, nil)
}

// giveUp counts as lost what is in the Writer's own backlog. The error that says
// so is leftovers'.
func (w *Writer) giveUp(own *MemoryBacklog) {
	var messages int64
	for e := range own.All() {
		messages += e.Messages
	}
	own.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Lost += messages
}

// leftovers returns the error for what Close could not deliver, nil if there
// is nothing.
func (w *Writer) leftovers(cause, untold error) error {
	batches, size := w.backlog.Len(), w.backlog.Bytes()
	var what []error
	switch {
	case batches == 0:
	case w.cfg.Backlog == nil:
		what = append(what, fmt.Errorf("%d batches (%d bytes) could not be delivered and are lost", batches, size))
	default:
		what = append(what, fmt.Errorf("%d batches (%d bytes) are %w", batches, size, ErrBacklogged))
	}
	if untold != nil {
		what = append(what, untold)
	}
	if len(what) == 0 {
		return nil
	}
	return &OpError{Op: "close", Topic: w.topic, Err: fmt.Errorf("%w: %w", errors.Join(what...), bare(cause))}
}
