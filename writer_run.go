package logd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
)

// sender is what only the Writer's goroutine uses.
type sender struct {
	flight  link.Queue[slot] // sent and not answered, in order
	held    *slot            // what is to be sent next, nil if that is still in its place
	refused int              // how often there was no connection for it
	barred  bool             // the last one of flight was refused without being sent: nothing follows it
	spare   []*slot          // memory for batches from the backlog
	cursor  int64            // number of the last batch that was taken from the backlog
	drained bool             // the backlog has nothing that is not in flight or held
	age     *time.Timer      // ends when the open batch may be due
	pause   *time.Timer      // ends when the next probe may begin
	reports reports

	reconnect reconnect // changed by its method on alone
	probed    chan error
	failures  int  // in a row, since the last batch that was delivered
	settled   bool // failing, and what was in flight and in the buffer is in the backlog
	closeSeen bool
}

// begin prepares the goroutine. Err is why the server was not reached, after so
// many failures.
func (w *Writer) begin(err error, failures int) {
	w.probed = make(chan error, 1)
	w.age, w.pause = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	w.reports = reports{handler: w.cfg.OnError, due: time.NewTimer(time.Hour)}
	w.age.Stop()
	w.pause.Stop()
	w.reports.due.Stop()
	w.backlogged, w.account.stats.Kept = w.backlog.Len() > 0, w.backlog.Messages()
	switch {
	case err != nil:
		w.state, w.cause = StateFailing, err
		w.failures = failures
		w.delay()
	case w.backlogged:
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
		for s := w.flight.Peek(); s != nil && s.pending.Ready(); s = w.flight.Peek() {
			w.answered(s.pending.Wait(context.Background()))
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
		if s := w.flight.Peek(); s == nil || !s.pending.Ready() {
			w.sleep()
		}
	}
	w.end()
}

// look reports whether the Writer is closed and has nothing more to do. It also
// tells of messages that were dropped.
func (w *Writer) look() (over bool) {
	w.mu.Lock()
	drops, orphans := w.buffer.unreported, w.buffer.orphans
	w.buffer.unreported, w.buffer.orphans = 0, nil
	closing := w.closing
	w.mu.Unlock()
	if drops > 0 {
		for _, o := range orphans {
			o.done(WriteResult{Delta: o.delta, Err: w.notTaken("write", ErrDropped)})
		}
		w.report(&DropError{Topic: w.topic, Messages: drops})
	}
	return closing && w.over()
}

// sleep waits for something to do, and does what only one of these events asks
// for.
func (w *Writer) sleep() {
	var answer <-chan struct{}
	head := w.flight.Peek()
	if head != nil {
		answer = head.pending.link.Answered()
	}
	select {
	case <-answer:
		head.pending.link.Taken()
	case <-w.wake:
	case <-w.age.C:
		w.mu.Lock()
		w.armed = false
		w.mu.Unlock()
	case <-w.pause.C:
		w.reconnect.on(pauseEnds)
	case now := <-w.reports.due.C:
		w.reports.tell(now)
	case err := <-w.probed:
		w.reconnect.on(probeEnds)
		w.reached(err)
	case <-w.life.Done():
		w.abort()
	}
}

// send sends what is due, as far as InFlight allows. After a failure it sends
// one batch at a time until one is delivered, so that a batch that is refused
// again is not overtaken again.
func (w *Writer) send() {
	limit := w.cfg.InFlight
	if w.failures > 0 {
		limit = 1
	}
	if w.barred && w.flight.Len() > 0 {
		return
	}
	w.barred = false
	for !w.reconnect.running() && w.flight.Len() < limit {
		s, err := w.next()
		if err != nil {
			w.report(err)
			w.fail(err)
			return
		}
		if s == nil {
			return
		}
		raw := s.raw
		if s.seq == 0 {
			// The topic and the messages were checked: this cannot fail.
			raw, _ = s.batch.finish(w.topic)
			s.raw = raw
		}
		if !w.client.tryAppend(w.topic, raw, &s.pending, w.only()) {
			w.held = s
			if w.refused++; w.refused > maxRefused || w.refused > 1 && w.failures > 0 {
				w.refused = 0
				err := w.notTaken("append", ErrConnectionLost)
				w.report(err)
				w.fail(err)
				return
			}
			w.startProbe()
			return
		}
		w.held, w.refused = nil, 0
		w.flight.Push(s)
		if s.pending.Ready() { // it was refused without being sent
			w.barred = true
			return
		}
	}
}

// maxRefused is for how many connections in a row it is no failure that they were
// found good and are lost, or replaced for another call, before a batch is sent on
// them. It is of no use to go on if that happens again and again.
const maxRefused = 3

// only returns the number of the one connection that may be used, and 0 for any: with
// RequireSync it is the one whose server was found to sync, since another call may
// have connected the Client anew.
func (w *Writer) only() int64 {
	if !w.cfg.RequireSync {
		return 0
	}
	if n := w.checked.Load(); n != 0 {
		return n
	}
	return -1 // none
}

// next returns the batch that is to be sent next, nil if none is due.
func (w *Writer) next() (*slot, error) {
	if w.held != nil {
		return w.held, nil
	}
	if !w.drained {
		if s, err := w.nextKept(); s != nil || err != nil {
			return s, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sealDue()
	if w.buffer.ready.Len() == 0 {
		return nil, nil
	}
	s := w.buffer.ready.Pop()
	if w.unsettled == 0 {
		w.unsettled = s.ticket
	}
	return s, nil
}

// nextKept returns the next batch of the backlog, nil if there is none.
func (w *Writer) nextKept() (*slot, error) {
	s := new(slot)
	if n := len(w.spare); n > 0 {
		s, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	var err error
	s.seq, s.raw, err = w.backlog.Next(w.cursor, s.raw)
	if s.seq == 0 || err != nil {
		s.seq = 0
		w.spare = append(w.spare, s)
		w.drained = err == nil
		return nil, err
	}
	w.cursor = s.seq
	h, _, _ := batch.Parse(s.raw) // which the backlog has checked
	s.messages = h.Messages
	return s, nil
}

// sealDue makes the open batch ready if it is old enough, and otherwise sets
// the timer for when it will be. Caller holds mu.
func (w *Writer) sealDue() {
	s := w.buffer.open
	if w.armed || w.cfg.BatchAge < 0 || s == nil || s.batch.Messages() == 0 {
		return
	}
	left := w.cfg.BatchAge - time.Since(w.buffer.since)
	if left <= 0 {
		w.buffer.seal()
		return
	}
	w.armed = true
	w.age.Reset(left)
}

// answered takes the answer to the oldest batch in flight.
func (w *Writer) answered(offset int64, err error) {
	s := w.flight.Pop()
	if err != nil {
		w.undelivered(s, err)
		return
	}
	if w.state != StateFailing { // else it overtook the one that failed, and proves nothing
		w.failures = 0
	}
	backlogged := false
	if s.seq != 0 {
		if err := w.backlog.Delivered(s.seq); err != nil {
			w.report(err)
		}
		backlogged = w.backlog.Len() > 0
	}
	w.mu.Lock()
	w.account.deliver(s)
	w.mu.Unlock()
	for i, done := range s.calls {
		done(WriteResult{Offset: offset, Delta: s.deltas[i]})
	}
	w.tellBatch(s, offset, nil)
	w.mu.Lock()
	if s.seq != 0 {
		w.backlogged = backlogged
	}
	w.settle(s)
	flushed := false
	if w.state == StateFlushing && !w.closing && !w.backlogged {
		flushed = w.enter(StateConnected, nil)
	}
	w.mu.Unlock()
	w.tellState(flushed)
}

// settle takes back the slot of a batch of which all is said. Caller holds mu.
func (w *Writer) settle(s *slot) {
	if s.seq != 0 {
		s.reset()
		w.spare = append(w.spare, s)
	} else {
		w.buffer.recycle(s)
		w.wakeForRoom()
	}
	w.unsettled = w.oldestOut()
	w.endFlushes()
}

// oldestOut returns the ticket of the oldest batch that is in flight or held
// and not from the backlog, 0 if there is none.
func (w *Writer) oldestOut() int64 {
	for s := range w.flight.All() {
		if s.ticket != 0 {
			return s.ticket
		}
	}
	if w.held != nil {
		return w.held.ticket
	}
	return 0
}

// undelivered says of a batch that it could not be delivered, and puts it into
// the backlog if it is not from there. The Writer is failing from then on.
func (w *Writer) undelivered(s *slot, cause error) {
	failure := &BatchError{Topic: w.topic, Messages: s.messages, Batches: 1, Err: cause, Kept: s.seq != 0}
	if s.seq == 0 {
		err := w.backlog.Put(&backlog.Entry{
			Raw: s.raw, Messages: s.messages, Reason: cause.Error(), Unknown: IsUnknown(cause), Time: time.Now(),
		})
		failure.Kept = err == nil
		if err != backlog.ErrNone {
			failure.Backlog = err
		}
	}
	w.mu.Lock()
	entered := false
	if w.state != StateFailing {
		entered = w.failNow(cause)
	}
	switch {
	case s.seq != 0:
	case failure.Kept:
		w.account.keep(s)
		w.backlogged = true
	default:
		w.account.lose(s, cause)
		if failure.Backlog != nil && !w.closing {
			// Even those who write while it is failing must know.
			w.refusal = w.notTaken("write", w.because(joined(failure.Backlog, bare(w.cause))))
			w.wakeForRoom()
		}
	}
	w.mu.Unlock()
	for i, done := range s.calls {
		done(WriteResult{Delta: s.deltas[i], Err: failure})
	}
	w.tellBatch(s, 0, failure)
	if !failure.Kept || !errors.Is(cause, errNotAsked) { // which is no failure
		w.report(failure)
	}
	w.mu.Lock()
	w.settle(s)
	w.mu.Unlock()
	w.tellState(entered)
}

// fail makes the Writer failing, because of cause, or notes the cause of
// another attempt's failure.
func (w *Writer) fail(cause error) {
	w.mu.Lock()
	entered := w.failNow(cause)
	w.mu.Unlock()
	w.tellState(entered)
}

// failNow is fail. It reports whether the state is another one now. Caller holds
// mu and calls tellState later.
func (w *Writer) failNow(cause error) (entered bool) {
	w.failures++
	if w.cfg.StopOnError || errors.Is(cause, ErrClosed) { // no use in reconnecting
		w.reconnect.on(noneFollows)
	}
	if w.state == StateFailing {
		w.cause = cause
		if !w.closing && !w.cfg.WriteWhileFailing {
			w.refusal = w.notTaken("write", w.because(cause))
		}
		return false
	}
	w.settled = false
	w.delay()
	return w.enter(StateFailing, cause)
}

// setState enters another state and tells of it.
func (w *Writer) setState(state WriterState, cause error) {
	w.mu.Lock()
	changed := w.enter(state, cause)
	w.mu.Unlock()
	w.tellState(changed)
}

// enter enters a state, and reports whether it is another one than before. Caller
// holds mu and calls tellState later.
func (w *Writer) enter(state WriterState, cause error) (changed bool) {
	changed = w.state != state
	w.state, w.cause = state, cause
	if !w.closing {
		w.refusal = nil
	}
	if state == StateFailing {
		err := w.because(cause)
		if !w.closing && !w.cfg.WriteWhileFailing {
			w.refusal = w.notTaken("write", err)
		}
		w.account.failFlushes(err)
		w.wakeForRoom()
	} else {
		w.endFlushes()
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
	w.reconnect.on(pauseEnds)
	if w.failures > 1 {
		w.reconnect.on(pauseBegins)
		w.pause.Reset(w.client.link.Backoff(w.failures - 2))
	}
}

// advance does the next thing while the Writer is failing: it waits for what is
// in flight, puts into the backlog what the buffer has, and then reconnects.
func (w *Writer) advance() {
	if w.flight.Len() > 0 {
		return
	}
	w.shelve()
	w.mu.Lock()
	closing, backlogged := w.closing, w.backlogged
	w.mu.Unlock()
	switch {
	case w.reconnect.running() || w.reconnect == reconnectOver:
	case !closing && w.reconnect == reconnectIdle:
		w.startProbe()
	case closing && backlogged: // Close has one more attempt
		w.client.link.SkipPause()
		w.startProbe()
		w.reconnect.on(noneFollows)
	}
}

// shelve puts into the backlog what was taken and will not be sent.
func (w *Writer) shelve() {
	cause := w.notTaken("append", w.because(w.cause))
	if !w.settled {
		w.settled = true
		if s := w.held; s != nil {
			w.held = nil
			if s.seq == 0 {
				w.undelivered(s, cause)
			} else {
				s.reset()
				w.spare = append(w.spare, s)
			}
		}
		w.mu.Lock()
		if !w.cfg.WriteWhileFailing {
			w.buffer.seal()
		}
		w.mu.Unlock()
	}
	for {
		w.mu.Lock()
		w.sealDue()
		if w.buffer.ready.Len() == 0 {
			w.mu.Unlock()
			break
		}
		s := w.buffer.ready.Pop()
		w.unsettled = s.ticket
		w.mu.Unlock()
		s.raw, _ = s.batch.finish(w.topic)
		w.undelivered(s, cause)
	}
}

// startProbe begins to reconnect.
func (w *Writer) startProbe() {
	w.reconnect.on(probeBegins)
	go func() { w.probed <- w.probe(w.life) }()
}

// reached takes a probe's result.
func (w *Writer) reached(err error) {
	if err != nil {
		if w.life.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(w.life), err)
		}
		w.report(err)
		w.fail(err)
		w.delay()
		return
	}
	if w.state != StateFailing || w.cfg.StopOnError { // what failed meanwhile has stopped it
		return
	}
	w.cursor, w.drained = 0, false
	backlogged := w.backlog.Len() > 0
	w.mu.Lock()
	w.backlogged = backlogged
	next := StateConnected
	if w.backlogged || w.closing {
		next = StateFlushing
	}
	changed := w.enter(next, nil)
	w.mu.Unlock()
	w.tellState(changed)
}

// tellBatch tells OnBatch what became of the batch.
func (w *Writer) tellBatch(s *slot, offset int64, err error) {
	if w.cfg.OnBatch != nil {
		w.cfg.OnBatch(BatchResult{Offset: offset, Messages: s.messages, Raw: s.raw, FromBacklog: s.seq != 0, Err: err})
	}
}

// report tells OnError.
func (w *Writer) report(err error) { w.reports.add(err) }
