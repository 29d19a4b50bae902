package logd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/outage"
	"github.com/logd-dev/logd/internal/sequence"
)

// sender is what only the Writer's goroutine uses.
type sender struct {
	numbers *sequence.Numbers
	line    sequence.Line[*slot] // to be sent, and sent, without a final answer
	held    []*slot              // what is to follow them and is not in its place any more
	large   bool                 // the first one is too large: before it is split, the server is asked how large it may be
	asks    bool                 // the probe that is under way does
	share   int64                // up to which length messages share a batch: less than batches may have if nobody tells how much that is
	refused int                  // how often there was no connection for what is to be sent
	barred  bool                 // the last one that was sent was refused without that: nothing follows it
	spare   []*slot              // memory for batches from the backlog
	cursor  int64                // number of the last batch that was taken from the backlog
	drained bool                 // the backlog has nothing that is not in line or held
	pause   *time.Timer          // ends when the next probe may begin
	reports outage.Reports

	trial    outage.Trial // of what is in line and was sent in vain
	reason   error        // why it was, the last time
	sentOn   bool         // that is a server which has named another one
	patience *time.Timer  // ends when the Writer may fail for it

	reconnect outage.Reconnect
	probed    chan error
	failures  int // in a row, since the last batch that was delivered
}

// begin prepares the goroutine. Err is why the server was not reached, after so
// many failures.
func (w *Writer) begin(err error, failures int) {
	w.probed = make(chan error, 1)
	stopped := func() *time.Timer {
		timer := time.NewTimer(time.Hour)
		timer.Stop()
		return timer
	}
	w.pause, w.patience = stopped(), stopped()
	w.reports = outage.Reports{Handler: w.cfg.OnError, Kind: kindOf, Sum: addUp, Due: stopped()}
	w.numbers = sequence.New(w.newPID)
	w.buffer.Backlogged = w.backlog.Len() > 0
	w.buffer.Found(w.backlog.Messages())
	switch {
	case err != nil:
		w.state, w.cause = StateFailing, err
		w.failures = failures
		w.delay()
	case w.buffer.Backlogged:
		w.state = StateFlushing
	}
}

// run is the goroutine.
func (w *Writer) run() {
	defer close(w.done)
	if disk, ok := w.backlog.(*backlog.Disk); ok {
		if err := disk.Warning(); err != nil {
			w.report(err)
		}
	}
	for {
		for s, ok := w.line.UnderWay(); ok && s.Pending.Ready(); s, ok = w.line.UnderWay() {
			w.answered(s.Pending.Wait(context.Background()))
		}
		if w.state != StateFailing {
			w.send()
		}
		if w.state == StateFailing {
			w.advance()
		}
		if w.look() {
			break
		}
		if s, ok := w.line.UnderWay(); !ok || !s.Pending.Ready() {
			w.sleep()
		}
	}
	w.end()
}

// look reports whether the Writer is closed and has nothing more to do. It also
// tells of messages that were dropped.
func (w *Writer) look() (over bool) {
	w.buffer.Lock()
	drops, orphans := w.buffer.TakeDropped()
	closing := w.closing
	w.buffer.Unlock()
	if drops > 0 {
		for _, o := range orphans {
			o.Done(WriteResult{Delta: o.Delta, Err: w.notTaken("write", ErrDropped)})
		}
		w.report(&DropError{Topic: w.topic, Messages: drops})
	}
	return closing && w.over()
}

// sleep waits for something to do, and does what only one of these events asks
// for.
func (w *Writer) sleep() {
	var answer <-chan struct{}
	head, waits := w.line.UnderWay()
	if waits {
		answer = head.Pending.Answered()
	}
	select {
	case <-answer:
		head.Pending.Taken()
	case <-w.wake:
	case <-w.buffer.Due.C:
		w.buffer.Lock()
		w.buffer.Look()
		w.buffer.Unlock()
	case <-w.pause.C:
		w.reconnect.On(outage.PauseEnds)
	case <-w.patience.C:
		if w.trial != outage.Calm {
			w.fail(w.reason)
		}
	case now := <-w.reports.Due.C:
		w.reports.Tell(now)
	case err := <-w.probed:
		w.reconnect.On(outage.ProbeEnds)
		w.reached(err)
	case <-w.life.Done():
		w.abort()
	}
}

// fail makes the Writer failing, because of cause, or notes the cause of
// another attempt's failure.
func (w *Writer) fail(cause error) {
	w.buffer.Lock()
	entered := w.failNow(cause)
	w.buffer.Unlock()
	w.tellState(entered)
}

// failNow is fail. It reports whether the state is another one now. Caller holds
// the buffer's lock and calls tellState later.
func (w *Writer) failNow(cause error) (entered bool) {
	w.failures++
	w.large = false
	w.calm()
	if w.cfg.StopOnError || errors.Is(cause, ErrClosed) { // no use in reconnecting
		w.reconnect.On(outage.NoneFollows)
	}
	if w.state == StateFailing {
		w.cause = cause
		if !w.closing && !w.cfg.WriteWhileFailing {
			w.buffer.Refuse(w.notTaken("write", w.because(cause)))
		}
		return false
	}
	w.delay()
	return w.enter(StateFailing, cause)
}

// setState enters another state and tells of it.
func (w *Writer) setState(state WriterState, cause error) {
	w.buffer.Lock()
	changed := w.enter(state, cause)
	w.buffer.Unlock()
	w.tellState(changed)
}

// enter enters a state, and reports whether it is another one than before. Caller
// holds the buffer's lock and calls tellState later.
func (w *Writer) enter(state WriterState, cause error) (changed bool) {
	changed = w.state != state
	w.state, w.cause = state, cause
	var refusal error
	if state == StateFailing {
		err := w.because(cause)
		w.buffer.FailFlushes(err)
		if !w.cfg.WriteWhileFailing {
			refusal = w.notTaken("write", err)
		}
	} else {
		w.buffer.EndFlushes()
	}
	if !w.closing {
		w.buffer.Refuse(refusal)
	}
	return changed
}

// tellState tells OnState of the state if it has changed.
func (w *Writer) tellState(changed bool) {
	if changed && w.cfg.OnState != nil {
		w.cfg.OnState(w.state, w.cause) // which the goroutine alone changes
	}
}

// delay sets the pause before the next probe: none after the first failure,
// and then about twice as long each time.
func (w *Writer) delay() {
	w.reconnect.On(outage.PauseEnds)
	if w.failures > 1 {
		w.reconnect.On(outage.PauseBegins)
		w.pause.Reset(w.client.pool.Backoff(w.failures - 2))
	}
}

// advance does the next thing while the Writer is failing: it waits for what is
// in flight, puts into the backlog what the buffer has, and then reconnects.
func (w *Writer) advance() {
	w.flushAnswered()
	if _, waits := w.line.UnderWay(); waits {
		return
	}
	w.shelve()
	w.buffer.Lock()
	closing, backlogged := w.closing, w.buffer.Backlogged
	w.buffer.Unlock()
	switch {
	case w.reconnect.Running() || w.reconnect == outage.Over:
	case !closing && w.reconnect == outage.Idle:
		w.startProbe()
	case closing && backlogged: // Close has one more attempt
		w.client.pool.Route(w.topic).SkipPause()
		w.startProbe()
		w.reconnect.On(outage.NoneFollows)
	}
}

// shelve puts into the backlog what was taken and will not be sent.
func (w *Writer) shelve() {
	cause := w.notTaken("append", w.because(w.cause))
	for w.line.Len() > 0 {
		w.giveUp(w.line.Shift(), cause)
	}
	if !w.cfg.WriteWhileFailing { // else messages are still to come
		w.buffer.Lock()
		w.buffer.Seal()
		w.buffer.Unlock()
	}
	for s := w.nextNew(); s != nil; s = w.nextNew() {
		w.held = slices.Delete(w.held, 0, 1)
		w.giveUp(s, cause)
	}
}

// startProbe begins to reconnect.
func (w *Writer) startProbe() {
	w.reconnect.On(outage.ProbeBegins)
	w.asks = w.large
	go func(anew bool) { w.probed <- w.probe(w.life, anew) }(w.asks)
}

// reached takes a probe's result.
func (w *Writer) reached(err error) {
	if err != nil {
		if w.life.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(w.life), err)
		}
		if w.state != StateFailing && w.persists(err) {
			w.tryAgain(err)
			return
		}
		w.report(err)
		w.fail(err)
		w.delay()
		return
	}
	w.trial.On(outage.Reached)
	w.limit()
	if w.large && w.asks {
		w.large = false
		w.split()
		return
	}
	if w.state != StateFailing || w.cfg.StopOnError { // what failed meanwhile has stopped it
		return
	}
	w.cursor, w.drained = 0, false
	backlogged := w.backlog.Len() > 0
	w.buffer.Lock()
	w.buffer.Backlogged = backlogged
	next := StateConnected
	if w.buffer.Backlogged || w.closing {
		next = StateFlushing
	}
	changed := w.enter(next, nil)
	w.buffer.Unlock()
	w.tellState(changed)
}

// tellBatch tells OnBatch what became of the batch.
func (w *Writer) tellBatch(s *slot, offset int64, err error) {
	if w.cfg.OnBatch != nil {
		w.cfg.OnBatch(BatchResult{Offset: offset, Messages: s.Messages, Raw: s.Raw, FromBacklog: s.Record != 0, Err: err})
	}
}

// report tells OnError.
func (w *Writer) report(err error) { w.reports.Add(err) }
