package logd

import (
	"context"
	"fmt"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/outage"
)

// over reports whether nothing is left to do once Close was called.
func (w *Writer) over() bool {
	w.buffer.Lock()
	state := w.state
	taken, backlogged := w.buffer.Ready(), w.buffer.Backlogged
	w.buffer.Unlock()
	if state == StateConnected && (taken || w.line.Len() > 0 || len(w.held) > 0) {
		w.setState(StateFlushing, nil)
	}
	switch {
	case w.line.Len() > 0 || w.reconnect.Running() || taken:
		return false
	case state == StateFailing:
		return w.reconnect == outage.Over || !backlogged
	default:
		return len(w.held) == 0 && !backlogged
	}
}

// abort gives up what is in flight, because CloseContext's context has ended.
// A probe that is under way has ended, too.
func (w *Writer) abort() {
	cause := context.Cause(w.life)
	if w.reconnect.Running() {
		<-w.probed
		w.reconnect.On(outage.ProbeEnds)
	}
	for s, ok := w.line.UnderWay(); ok; s, ok = w.line.UnderWay() {
		w.answered(s.Pending.Abandon(cause))
	}
	if w.state != StateFailing {
		w.fail(w.opError("close", cause))
	}
	w.reconnect.On(outage.NoneFollows)
	w.flushAnswered()
	w.shelve()
}

// end says what is left, and enters the last state.
func (w *Writer) end() {
	w.buffer.Due.Stop()
	w.pause.Stop()
	w.patience.Stop()
	var given int64 // messages of a backlog that ends with the Writer
	own, _ := w.backlog.(*backlog.Memory)
	if w.cfg.Backlog != nil {
		own = nil
	}
	batches, size := w.backlog.Len(), w.backlog.Bytes()
	if own != nil {
		given = own.Messages()
		own.Close()
	}
	w.backlog.Release()
	w.stop(nil)

	w.buffer.Lock()
	untold := w.buffer.Untold()
	switch {
	case w.state == StateFailing:
		w.closeErr = w.leftovers(batches, size, untold)
	case untold != nil:
		w.closeErr = w.opError("close", untold)
	}
	w.buffer.GiveUp(given)
	if w.closeErr == nil {
		w.buffer.EndFlushes()
	}
	w.buffer.FailFlushes(errWriterClosed)
	changed := w.enter(StateClosed, nil)
	w.buffer.Unlock()
	w.look()
	w.reports.Flush()
	w.tellState(changed)
}

// leftovers returns the error for what Close could not deliver, nil if there
// is nothing: so many batches that are left in the backlog, and losses. Caller
// holds the buffer's lock.
func (w *Writer) leftovers(batches, size int64, untold error) error {
	var what errorList
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
	return &OpError{Op: "close", Topic: w.topic, Err: fmt.Errorf("%w: %w", what, bare(w.cause))}
}
