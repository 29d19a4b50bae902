package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// inFlight is how many batches are on their way at once.
const inFlight = 8

// slot is a batch that is being filled or on its way.
type slot struct {
	batch   *logd.Batch
	pending logd.Pending
	sent    bool
	first   int64 // number of its first message
}

// sender packs messages into batches and sends them, several at once. It
// prints what became of each batch, and keeps account of what became of every
// message.
//
// If the server goes away, what is not stored waits in the spool, and is
// delivered when the server is back: see reach.
type sender struct {
	client *logd.Client
	note   func(format string, args ...any) // tells the user something
	life   context.Context                  // ends when nothing more is to be waited for
	retry  time.Duration                    // how long to wait for a server that went away; less than 0 for ever
	topic  string
	limit  int64 // the largest batch that the server takes
	target int64 // the largest batch to make if it can be helped
	count  int64 // how many messages make a batch full; 0 for any number

	out  *bufio.Writer // where the batches' offsets go; nil for nowhere
	json bool

	slots    [inFlight]slot
	cur      int          // the slot that is being filled
	underWay atomic.Int64 // how many slots are on their way
	messages int64        // how many messages there were so far
	account  account
	err      error // the first failure; nothing is sent after it

	spool spool
	next  int64 // where a batch may stand of which nobody knows whether it is stored
	last  int64 // offset of the last batch that is known to be stored; -1 for none
}

// newSender returns a sender of nothing yet.
func newSender() *sender {
	s := &sender{last: -1}
	for i := range s.slots {
		s.slots[i].batch = new(logd.Batch)
	}
	return s
}

// dial makes a connection, but none while batches are on their way: what was on
// the one that is lost may not be stored, and nothing is to be sent behind it.
func (s *sender) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if s.underWay.Load() > 0 {
		return nil, errors.New("the connection was lost, and nothing more is sent")
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// errTooLong is the error of a message that no batch can hold.
var errTooLong = errors.New("no batch can hold it")

// add takes a message. An error means that the message, and what comes after
// it, is not stored.
func (s *sender) add(ctx context.Context, body []byte) error {
	if s.err != nil {
		return s.err
	}
	b := s.slots[s.cur].batch
	if b.Messages() > 0 && !b.Fits(s.topic, len(body), s.target) {
		if err := s.flush(ctx); err != nil {
			return err
		}
		b = s.slots[s.cur].batch
	}
	if b.Messages() > 0 {
		b.Add(body)
	} else if err := s.begin(body); err != nil {
		return err
	}
	s.messages++
	if b.Messages() == s.count {
		return s.flush(ctx)
	}
	return nil
}

// begin takes the first message of a batch, which alone may be longer than the
// target.
func (s *sender) begin(body []byte) error {
	sl := &s.slots[s.cur]
	sl.first = s.messages + 1
	if int64(len(body)) > s.limit {
		return errTooLong
	}
	fits := sl.batch.Fits(s.topic, len(body), s.limit)
	sl.batch.Add(body)
	if !fits && sl.batch.Len(s.topic) > s.limit { // Fits is careful, Len exact
		sl.batch.Reset()
		return errTooLong
	}
	return nil
}

// flush sends the batch that is being filled, and makes room for another one,
// for which it may have to wait. While the server is away the batch joins those
// that wait.
func (s *sender) flush(ctx context.Context) error {
	sl := &s.slots[s.cur]
	if sl.batch.Messages() == 0 {
		return s.err
	}
	if s.err != nil {
		s.giveUp(sl, s.err)
		return s.err
	}
	s.awaitRoom()
	switch {
	case s.err != nil:
		s.giveUp(sl, s.err)
		return s.err
	case s.spool.away():
		s.keep(sl, false, errAway)
		return s.err
	}
	if err := s.client.StartAppend(ctx, s.topic, sl.batch, &sl.pending); err != nil {
		for i := range inFlight - 1 { // the reason is with those before
			s.settle(ctx, &s.slots[(s.cur+1+i)%inFlight])
		}
		s.fail(sl, err)
		return s.err
	}
	sl.sent = true
	s.underWay.Add(1)
	s.cur = (s.cur + 1) % inFlight
	s.settle(ctx, &s.slots[s.cur])
	if s.spool.away() {
		s.settleAll(ctx)
	}
	return s.err
}

// settleAll waits until nothing is on its way. The slot that is being filled
// stays as it is.
func (s *sender) settleAll(ctx context.Context) {
	for i := range inFlight {
		s.settle(ctx, &s.slots[(s.cur+1+i)%inFlight])
	}
}

// push sends what is left and waits until nothing is on its way. What waits for
// a server that is away goes on waiting.
func (s *sender) push(ctx context.Context) error {
	s.flush(ctx)
	s.settleAll(ctx)
	if err := s.flushOutput(); s.err == nil {
		s.err = err
	}
	return s.err
}

// finish sends what is left and waits until all is stored.
func (s *sender) finish(ctx context.Context) error {
	s.push(ctx)
	s.awaitServer()
	if err := s.flushOutput(); s.err == nil {
		s.err = err
	}
	return s.err
}

// settle waits until the slot's batch is not on its way any more and accounts
// for it.
func (s *sender) settle(ctx context.Context, sl *slot) {
	if !sl.sent {
		return
	}
	sl.sent = false
	s.underWay.Add(-1)
	offset, err := sl.pending.Wait(ctx)
	if err != nil {
		s.fail(sl, err)
		return
	}
	s.stored(sl.first, sl.batch, offset)
	sl.batch.Reset()
}

// stored accounts for a stored batch and prints it.
func (s *sender) stored(first int64, b *logd.Batch, offset int64) {
	s.next, s.last = offset, offset
	if first > 0 {
		s.account.add(first, first+b.Messages()-1, stored)
	}
	if err := s.print(offset, b); err != nil && s.err == nil {
		s.err = err
	}
}

// fail deals with a batch that is not stored, or perhaps not. It waits for the
// server, or is given up and ends the sending.
func (s *sender) fail(sl *slot, err error) {
	if s.err == nil && s.waits(err) {
		s.goneAway(err)
		s.keep(sl, logd.IsUnknown(err), err)
		return
	}
	s.giveUp(sl, err)
	if s.err == nil {
		s.err = err
	}
}

// giveUp deals with a batch that is not stored, or perhaps not, when the sending
// has ended: the next run finds it in the backlog, if there is one.
func (s *sender) giveUp(sl *slot, err error) {
	if sl.batch.Messages() == 0 {
		return
	}
	if s.spool.backlog != nil && s.spool.broken == nil {
		s.keep(sl, logd.IsUnknown(err), err)
		return
	}
	if logd.IsUnknown(err) {
		s.account.add(sl.first, sl.first+sl.batch.Messages()-1, unknown)
	}
	sl.batch.Reset()
}

// errAway is the reason of a batch that waits although it was never sent.
var errAway = errors.New("the server was away")

// print prints a stored batch. That nobody reads it is no reason to stop
// writing.
func (s *sender) print(offset int64, b *logd.Batch) error {
	if s.out == nil {
		return nil
	}
	var err error
	if s.json {
		err = printJSON(s.out, struct {
			Topic    string `json:"topic"`
			Offset   int64  `json:"offset"`
			Messages int64  `json:"messages"`
			Bytes    int64  `json:"bytes"`
		}{s.topic, offset, b.Messages(), b.Len(s.topic)})
	} else {
		err = printf(s.out, "%d\n", offset)
	}
	return s.unread(err)
}

func (s *sender) flushOutput() error {
	if s.out == nil {
		return nil
	}
	return s.unread(exit.OutputError(s.out.Flush()))
}

// unread drops the output when its reader went away.
func (s *sender) unread(err error) error {
	if errors.Is(err, exit.ErrQuiet) {
		s.out = bufio.NewWriter(io.Discard)
		return nil
	}
	return err
}

// idle reports whether there is nothing to send, to wait for or to print.
func (s *sender) idle() bool {
	return s.underWay.Load() == 0 && s.slots[s.cur].batch.Messages() == 0
}

// fate is what became of a message that was sent and not refused.
type fate uint8

const (
	stored fate = iota
	unknown
	waiting // in the backlog
)

// account says what became of the messages, by their numbers, from 1 on. What
// it does not name is not stored.
type account struct {
	spans []span
}

type span struct {
	first, last int64
	fate        fate
}

// add accounts for some messages.
func (a *account) add(first, last int64, f fate) {
	if n := len(a.spans); n > 0 && a.spans[n-1].fate == f && a.spans[n-1].last+1 == first {
		a.spans[n-1].last = last
		return
	}
	a.spans = append(a.spans, span{first, last, f})
}

// report says what became of the messages, each called what ("line").
func (a *account) report(what string) string {
	if len(a.spans) == 0 {
		return "no " + what + " is stored"
	}
	// A batch that had to wait may have been stored after later ones.
	spans := slices.Clone(a.spans)
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	a.spans = nil
	for _, s := range spans {
		a.add(s.first, s.last, s.fate)
	}
	var b strings.Builder
	for _, s := range a.spans {
		verb := "are stored"
		if s.first == s.last {
			fmt.Fprintf(&b, "%s %d ", what, s.first)
			verb = "is stored"
		} else {
			fmt.Fprintf(&b, "%ss %d to %d ", what, s.first, s.last)
		}
		switch s.fate {
		case unknown:
			verb = "may be stored or not"
		case waiting:
			verb = strings.Replace(verb, "stored", "in the backlog", 1)
		}
		b.WriteString(verb + "; ")
	}
	b.WriteString("no other " + what + " is stored")
	return b.String()
}
