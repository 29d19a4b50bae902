package logd

import (
	"fmt"
	"slices"
)

// account knows where a Writer's messages are. Each message that was taken is in
// one place at any moment:
//
//	pending    in the buffer, on its way, or just being put into the backlog
//	kept       in the backlog
//	delivered  stored by the server
//	lost       given up: neither delivered nor kept
//	displaced  dropped for a newer message
//
// INVARIANT: nothing but the methods below moves a message, and whoever calls
// them holds Writer.mu until the Writer's state says the same. So Flush, Close,
// State and Stats never see a message between two places, and a callback that is
// called after the move finds what it is told.
type account struct {
	stats   WriterStats
	untold  losses // of which neither Flush nor Close has told
	flushes []*flushing
}

// flushing is a Flush that waits.
type flushing struct {
	ticket int64      // of the last batch that it waits for
	lost   losses     // which it has to tell of
	done   chan error // gets what Flush returns
}

// take counts a message that becomes pending.
func (a *account) take() {
	a.stats.Taken++
	a.stats.Pending++
}

// leave takes a batch's messages from where they are.
func (a *account) leave(s *slot) {
	if s.record != 0 {
		a.stats.Kept -= s.messages
	} else {
		a.stats.Pending -= s.messages
	}
}

// deliver moves the messages of a batch that the server has stored.
func (a *account) deliver(s *slot) {
	a.leave(s)
	a.stats.Delivered += s.messages
	a.stats.DeliveredBatches++
}

// keep moves the messages of a batch that is in the backlog from now on.
func (a *account) keep(s *slot) {
	a.leave(s)
	a.stats.Kept += s.messages
	a.stats.Backlogged += s.messages
}

// lose moves the messages of a batch that is neither stored nor kept.
func (a *account) lose(s *slot, cause error) {
	a.leave(s)
	a.stats.Lost += s.messages
	a.miss(s, cause)
}

// displace moves the messages of a batch that makes room for newer ones. Whoever
// waits for them need not wait any longer.
func (a *account) displace(s *slot) {
	a.leave(s)
	a.stats.Dropped += s.messages
	a.stats.Displaced += s.messages
	a.miss(s, ErrDropped)
	a.endFlushes(func(f *flushing) bool { return f.ticket >= s.ticket })
}

// giveUp moves messages out of a backlog that ends with the Writer.
func (a *account) giveUp(messages int64) {
	a.stats.Kept -= messages
	a.stats.Lost += messages
}

// miss notes that a batch's messages will not be stored, for each Flush that is
// to tell of it: those that wait for the batch, and the next one to come.
func (a *account) miss(s *slot, cause error) {
	a.untold.add(s.messages, cause)
	for _, f := range a.flushes {
		if f.ticket >= s.ticket {
			f.lost.add(s.messages, cause)
		}
	}
}

// beginFlush notes a Flush that waits for the batches up to this ticket.
func (a *account) beginFlush(ticket int64) *flushing {
	f := &flushing{ticket: ticket, lost: a.untold, done: make(chan error, 1)}
	a.flushes = append(a.flushes, f)
	return f
}

// endFlushes ends each Flush for which over is true. What a Flush is told of
// losses, a Flush that begins later is not told again.
func (a *account) endFlushes(over func(f *flushing) bool) {
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

// failFlushes ends every Flush with an error that tells of no losses.
func (a *account) failFlushes(err error) {
	for _, f := range a.flushes {
		f.done <- err
	}
	a.flushes = nil
}

// leaveFlush is for a Flush that can't wait any longer. If it is over all the
// same, leaveFlush returns its result.
func (a *account) leaveFlush(f *flushing) (err error, over bool) {
	select {
	case err := <-f.done:
		return err, true
	default:
	}
	a.flushes = slices.DeleteFunc(a.flushes, func(g *flushing) bool { return g == f })
	return nil, false
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

// err returns an error that tells of the losses, nil if there are none.
func (l *losses) err() error {
	if l.messages == 0 {
		return nil
	}
	return fmt.Errorf("%d messages are lost: %w", l.messages, bare(l.cause))
}
