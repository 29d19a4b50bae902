package logd

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/intake"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/outage"
	"github.com/logd-dev/logd/internal/sequence"
)

// newPID returns an id for a producer of batches: 128 random bits.
func newPID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// send sends what is due, as far as InFlight allows. After a failure it sends
// one batch at a time until one is delivered, so that a batch that is refused
// again is not overtaken again.
func (w *Writer) send() {
	limit := w.cfg.InFlight
	if w.failures > 0 {
		limit = 1
	}
	if w.barred && w.line.Awaiting() > 0 {
		return
	}
	w.barred = false
	if w.crowded() {
		w.fail(w.reason)
		return
	}
	for !w.reconnect.Running() {
		if w.trial == outage.Waiting || w.large {
			if w.reconnect == outage.Idle {
				w.startProbe()
			}
			return
		}
		s, err := w.due(limit)
		if err != nil {
			w.report(err)
			w.fail(err)
			return
		}
		if s == nil {
			return
		}
		numbered := w.encode(s)
		s.Via = w.via
		if !s.Via.TryStart(s.Raw, &s.Pending, w.only(), numbered) {
			w.noConnection()
			return
		}
		w.refused = 0
		w.numbers.Sent(s.Num.Number)
		w.line.Sent()
		if s.Num.Plain && s.Num.Doubt {
			w.inDoubt(s)
		}
		if s.Pending.Ready() { // it was refused without being sent
			w.barred = true
			return
		}
	}
}

// maxRefused is for how many connections in a row it is no failure that they were
// found good and are lost, or replaced for another call, before a batch is sent on
// them. It is of no use to go on if that happens again and again.
const maxRefused = 3

// noConnection is for a batch that can't be sent: there is no connection, or none
// whose server was asked.
func (w *Writer) noConnection() {
	if w.refused++; w.refused <= 1 || w.refused <= maxRefused && w.failures == 0 {
		w.startProbe()
		return
	}
	w.refused = 0
	err := w.notTaken("append", ErrConnectionLost)
	if w.persists(err) {
		w.tryAgain(err)
		return
	}
	w.report(err)
	w.fail(err)
}

// only returns the number of the one connection that may be used, and 0 for any: it
// is the one whose server was asked whether it knows numbers, and whether it syncs,
// since another call may have connected the Client anew.
func (w *Writer) only() int64 {
	if w.cfg.NoSequence && !w.cfg.RequireSync && w.codec == nil {
		return 0
	}
	if n := w.checked.Load(); n != 0 {
		return n
	}
	return -1 // none
}

// due returns the batch that is to be sent next, nil if none is.
func (w *Writer) due(limit int) (*slot, error) {
	if w.line.Answered() || w.line.Awaiting() >= limit {
		return nil, nil
	}
	if s, ok := w.line.Next(); ok {
		return s, nil
	}
	for w.line.Len() < limit && w.state != StateFailing {
		s, err := w.next()
		switch {
		case s == nil || err != nil:
			return nil, err
		case s.Num.Refused() && w.cfg.StopOnError && w.line.Len() > 0, !s.Num.Settled() && !w.line.Takes(s.Num.Number):
			return nil, nil
		}
		w.held = slices.Delete(w.held, 0, 1)
		w.line.Push(s)
		w.settleAll()
		if s, ok := w.line.Next(); ok {
			return s, nil
		}
	}
	return nil, nil
}

// next returns the batch that follows those in line, which is the first of those that
// are held; nil if none is due.
func (w *Writer) next() (*slot, error) {
	if !w.drained && (len(w.held) == 0 || w.held[0].Record == 0) {
		s, err := w.nextKept()
		if err != nil {
			return nil, err
		}
		if s != nil {
			w.held = slices.Insert(w.held, 0, s)
		}
	}
	return w.nextNew(), nil
}

// nextNew is next, if nothing is left in the backlog.
func (w *Writer) nextNew() *slot {
	if len(w.held) == 0 {
		w.buffer.Lock()
		s := w.buffer.Next()
		w.buffer.Unlock()
		if s == nil {
			return nil
		}
		w.held = append(w.held, s)
	}
	if pieces := w.buffer.Split(w.held[0]); pieces != nil {
		w.held = slices.Replace(w.held, 0, 1, pieces...)
	}
	s := w.held[0]
	if s.Record != 0 || s.Num.Settled() {
		return s
	}
	if err := w.buffer.TooLarge(s); err != nil {
		s.Num.Refuse(w.notTaken("append", err))
	} else if s.Num.Number.Seq == 0 && !w.cfg.NoSequence && w.offered.Load() {
		s.Num.Number = w.numbers.Take()
	}
	return s
}

// nextKept returns the next batch of the backlog, nil if there is none.
func (w *Writer) nextKept() (*slot, error) {
	s := new(slot)
	if n := len(w.spare); n > 0 {
		s, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	record, raw, err := w.backlog.Next(w.cursor, s.Raw)
	s.Raw = raw
	if record == 0 || err != nil {
		w.spare = append(w.spare, s)
		w.drained = err == nil
		return nil, err
	}
	w.cursor = record
	h, _, _ := batch.Parse(s.Raw) // which the backlog has checked
	var lost bool
	s.Num.Number, s.Num.Doubt, lost = w.numbers.Read(h.PID, h.Seq)
	s.Num.Assumed = s.Num.Doubt
	s.Kept(record, h.Messages, s.Num.Number)
	if lost {
		w.renumbered(s)
		s.Num.Number = w.numbers.Take()
	}
	return s, nil
}

// encode makes the bytes of a batch, with the number that it is sent with, if any.
func (w *Writer) encode(s *slot) (numbered bool) {
	number := s.Num.Number
	if s.Num.Plain = number.Seq != 0 && !w.offered.Load(); s.Num.Plain {
		number = sequence.Number{}
	}
	if s.Record != 0 && !s.Fixed(number) {
		w.unpackKept(s)
	}
	s.Encode(w.topic, number, w.packs())
	return number.Seq != 0
}

// packs returns what compresses batches now, nil if nothing does.
func (w *Writer) packs() intake.Codec {
	if w.codec == nil || batch.CodecOf(w.codec.Name())&batch.Codecs(w.takes.Load()) == 0 {
		return nil
	}
	return w.codec
}

// unpackKept makes a compressed batch of the backlog plain if the server does not take
// its codec. If that can't be done the server refuses it.
func (w *Writer) unpackKept(s *slot) {
	h, _, err := batch.Parse(s.Raw)
	if err != nil || h.Codec == "" || batch.CodecOf(h.Codec)&batch.Codecs(w.takes.Load()) != 0 {
		return
	}
	if data, err := w.plain(s.Raw); err == nil {
		s.Unpack(data)
	}
}

// answered takes the answer to the oldest batch that is under way.
func (w *Writer) answered(offset int64, f *link.Failure) {
	w.flushAnswered()
	s, _ := w.line.UnderWay()
	a := sequence.Answer{Kind: sequence.Stored, Offset: offset}
	if f != nil {
		w.client.pool.Failed(w.topic, s.Via, f)
		err := failed("append", w.topic, f)
		a = sequence.Answer{Kind: sequence.Again, Doubt: IsUnknown(err), Err: err}
		if order, ok := errors.AsType[*OutOfOrderError](err); ok {
			a.Kind, a.Next = sequence.OutOfOrder, order.Next
		}
	}
	first := !w.line.Answered()
	w.line.Answer(a)
	if _, stored := s.Num.Stored(); first && !stored && !w.goesOn(a) {
		w.undelivered(w.line.Shift(), w.failureOf(s))
	}
	w.settleAll()
	if w.line.Stopped() {
		w.resume()
	}
}

// settleAll says of the first batches what became of them, as far as they are settled.
func (w *Writer) settleAll() {
	for s, ok := w.line.Settled(); ok; s, ok = w.line.Settled() {
		w.giveUp(s, nil)
	}
}

// goesOn reports whether a batch that got the answer is sent again, before it counts
// as failed.
func (w *Writer) goesOn(a sequence.Answer) bool {
	return w.state != StateFailing && (a.Kind == sequence.OutOfOrder || w.persists(a.Err) || w.splits(w.line.First()))
}

// persists reports whether the Writer does not fail because of err, but sends what is
// in line again: it can, and that may help.
func (w *Writer) persists(err error) bool {
	return w.cfg.Patience != 0 && w.line.Exact() && IsRetryable(err) && !errors.Is(err, ErrInternal) && w.life.Err() == nil
}

// resume begins again with the first batch that is not stored. All that was sent is
// answered.
func (w *Writer) resume() {
	err := w.line.First().Num.Err
	if w.splits(w.line.First()) {
		w.large = true
		return
	}
	doubtful, renumbered := w.line.Resume(w.numbers)
	for _, s := range doubtful {
		w.inDoubt(s)
	}
	switch {
	case renumbered:
	case w.cfg.Patience == 0:
		w.fail(err)
	default:
		w.tryAgain(err)
	}
}

// renumbered counts a batch that gets another number, since the server has forgotten
// what it may have of it.
func (w *Writer) renumbered(s *slot) {
	if s.Num.Doubt {
		w.inDoubt(s)
	}
	s.Num.Doubt = false
}

// inDoubt counts messages that may be stored twice.
func (w *Writer) inDoubt(s *slot) {
	w.buffer.Lock()
	w.buffer.Doubt(s)
	w.buffer.Unlock()
}

// tryAgain has what is in line sent again after a pause, because of err. If that goes
// on for too long the Writer fails. There is no pause before a server that another one
// has named, unless it was itself named: they may name each other.
func (w *Writer) tryAgain(err error) {
	op, _ := err.(*OpError)
	leads, named := errors.AsType[*NotLeaderError](err)
	named = named && op != nil && leads.Addr != op.Addr
	sentOn := named && !w.sentOn
	w.sentOn = named
	w.failures++
	w.reason = err
	if w.trial == outage.Calm && w.cfg.Patience > 0 {
		w.patience.Reset(w.cfg.Patience)
	}
	w.trial.On(outage.Vain)
	if sentOn {
		w.reconnect.On(outage.PauseEnds)
	} else {
		w.delay()
	}
	w.report(err)
}

// crowded reports whether the Writer should fail although it has patience, because
// messages that it takes have more room in the backlog than in its buffer.
func (w *Writer) crowded() bool {
	if w.trial == outage.Calm || !w.cfg.WriteWhileFailing {
		return false
	}
	w.buffer.Lock()
	defer w.buffer.Unlock()
	return w.buffer.Crowded()
}

// calm notes that nothing is sent again any more.
func (w *Writer) calm() {
	if w.trial != outage.Calm {
		w.trial.On(outage.Ended)
		w.reason, w.sentOn = nil, false
		w.patience.Stop()
	}
}

// failureOf returns why a batch could not be delivered, as its last answer says. If it
// may be stored because it was sent before, the error is IsUnknown.
func (w *Writer) failureOf(s *slot) error {
	err := s.Num.Err
	if e, ok := err.(*OpError); ok && s.Num.Doubt && !s.Num.Assumed && e.Outcome == OutcomeNotStored {
		unknown := *e
		unknown.Outcome = OutcomeUnknown
		return &unknown
	}
	return err
}

// flushAnswered says what became of the first batches, if the Writer fails and they
// were to be sent again.
func (w *Writer) flushAnswered() {
	for w.state == StateFailing && w.line.Answered() {
		w.giveUp(w.line.Shift(), nil)
		w.settleAll()
	}
}

// giveUp says what became of a batch that is taken out of the line. If it was not
// sent, cause says why.
func (w *Writer) giveUp(s *slot, cause error) {
	switch _, stored := s.Num.Stored(); {
	case stored:
		w.delivered(s)
	case s.Num.Refused() && !w.cfg.StopOnError:
		w.refuse(s)
	case s.Num.Err != nil:
		w.undelivered(s, w.failureOf(s))
	case s.Record != 0: // it has stayed in the backlog
		w.spareKept(s)
	default:
		w.undelivered(s, cause)
	}
}

// delivered notes that a batch is stored.
func (w *Writer) delivered(s *slot) {
	offset, _ := s.Num.Stored()
	if w.state != StateFailing { // else it overtook the one that failed, and proves nothing
		w.failures = 0
		w.calm()
	}
	backlogged := false
	if s.Record != 0 {
		if err := w.backlog.Delivered(s.Record); err != nil {
			w.report(err)
		}
		backlogged = w.backlog.Len() > 0
	}
	w.buffer.Lock()
	w.buffer.Deliver(s)
	w.buffer.Unlock()
	for i, done := range s.Calls {
		done(WriteResult{Offset: offset, Delta: s.Deltas[i]})
	}
	w.tellBatch(s, offset, nil)
	w.buffer.Lock()
	if s.Record != 0 {
		w.buffer.Backlogged = backlogged
	}
	w.settle(s)
	flushed := false
	if w.state == StateFlushing && !w.closing && !w.buffer.Backlogged {
		flushed = w.enter(StateConnected, nil)
	}
	w.buffer.Unlock()
	w.tellState(flushed)
}

// settle takes back the slot of a batch of which all is said. Caller holds the buffer's lock.
func (w *Writer) settle(s *slot) {
	w.buffer.Settle(s, w.line.All(), w.held)
	if s.Record != 0 {
		w.spareKept(s)
	}
}

// spareKept keeps the memory of a batch of the backlog.
func (w *Writer) spareKept(s *slot) {
	s.Reset()
	w.spare = append(w.spare, s)
}

// undelivered says of a batch that it could not be delivered, and puts it into
// the backlog if it is not from there. The Writer is failing from then on.
func (w *Writer) undelivered(s *slot, cause error) {
	failure := &BatchError{Topic: w.topic, Messages: s.Messages, Batches: 1, Err: cause, Kept: s.Record != 0}
	if s.Record == 0 {
		s.Encode(w.topic, s.Num.Number, w.packs())
		err := w.backlog.Put(&backlog.Entry{
			Raw: s.Raw, Messages: s.Messages, Reason: cause.Error(), Unknown: IsUnknown(cause), Time: time.Now(),
		})
		failure.Kept = err == nil
		if err != backlog.ErrNone {
			failure.Backlog = err
		}
	}
	switch {
	case !failure.Kept && s.Num.Number.PID == w.numbers.PID():
		w.numbers.Renew()
	case failure.Kept && IsUnknown(cause) && (s.Num.Plain || s.Num.Number.Seq == 0):
		w.inDoubt(s)
	}
	w.buffer.Lock()
	entered := false
	if w.state != StateFailing {
		entered = w.failNow(cause)
	}
	switch {
	case s.Record != 0:
	case failure.Kept:
		w.buffer.Keep(s)
		w.buffer.Backlogged = true
	default:
		w.buffer.Lose(s, bare(cause))
		if failure.Backlog != nil && !w.closing {
			// Even those who write while it is failing must know.
			w.buffer.Refuse(w.notTaken("write", w.because(joined(failure.Backlog, bare(w.cause)))))
		}
	}
	w.buffer.Unlock()
	w.tellFailure(s, failure)
	w.tellState(entered)
}

// tellFailure tells of a batch that could not be delivered.
func (w *Writer) tellFailure(s *slot, failure *BatchError) {
	for i, done := range s.Calls {
		done(WriteResult{Delta: s.Deltas[i], Err: failure})
	}
	w.tellBatch(s, 0, failure)
	if !failure.Kept || !errors.Is(failure.Err, errNotAsked) { // which is no failure
		w.report(failure)
	}
	w.buffer.Lock()
	w.settle(s)
	w.buffer.Unlock()
}
