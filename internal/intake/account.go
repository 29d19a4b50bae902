package intake

// Counts counts what became of messages: logd.WriterStats says what each field means.
type Counts struct {
	Taken, Refused, Pending, Kept, Delivered, DeliveredBatches, Backlogged, Lost, InDoubt, Dropped, Displaced int64
}

// account knows where the messages are. Each message that was taken is in one place
// at any moment:
//
//	pending    in the buffer, on its way, or just being put into the backlog
//	kept       in the backlog
//	delivered  stored by the server
//	lost       given up: neither delivered nor kept
//	displaced  dropped for a newer message
//
// INVARIANT: nothing but the methods below moves a message, and whoever calls them
// holds the lock until the owner's state says the same. So Flush, Close, State and
// Stats never see a message between two places, and a callback that is called after
// the move finds what it is told.
type account[R any] struct {
	counts  Counts
	untold  losses // of which no Flush has told
	flushes []*Flush[R]
}

// Counts returns the counts of this moment.
func (a *account[R]) Counts() Counts { return a.counts }

// take counts a message that becomes pending.
func (a *account[R]) take() {
	a.counts.Taken++
	a.counts.Pending++
}

// leave takes a batch's messages from where they are.
func (a *account[R]) leave(s *Slot[R]) {
	if s.Record != 0 {
		a.counts.Kept -= s.Messages
	} else {
		a.counts.Pending -= s.Messages
	}
}

// Found counts messages that the backlog has at first.
func (a *account[R]) Found(messages int64) { a.counts.Kept += messages }

// Deliver moves the messages of a batch that the server has stored.
func (a *account[R]) Deliver(s *Slot[R]) {
	a.leave(s)
	a.counts.Delivered += s.Messages
	a.counts.DeliveredBatches++
}

// Keep moves the messages of a batch that is in the backlog from now on.
func (a *account[R]) Keep(s *Slot[R]) {
	a.leave(s)
	a.counts.Kept += s.Messages
	a.counts.Backlogged += s.Messages
}

// Lose moves the messages of a batch that is neither stored nor kept.
func (a *account[R]) Lose(s *Slot[R], cause error) {
	a.leave(s)
	a.counts.Lost += s.Messages
	a.miss(s, cause)
}

// Doubt counts the messages of a batch that may be stored twice.
func (a *account[R]) Doubt(s *Slot[R]) { a.counts.InDoubt += s.Messages }

// displace moves the messages of a batch that makes room for newer ones. Whoever
// waits for them need not wait any longer.
func (a *account[R]) displace(s *Slot[R]) {
	a.leave(s)
	a.counts.Dropped += s.Messages
	a.counts.Displaced += s.Messages
	a.miss(s, ErrDropped)
	a.endFlushes(func(f *Flush[R]) bool { return f.ticket >= s.ticket })
}

// GiveUp moves messages out of a backlog that ends with its Writer.
func (a *account[R]) GiveUp(messages int64) {
	a.counts.Kept -= messages
	a.counts.Lost += messages
}
