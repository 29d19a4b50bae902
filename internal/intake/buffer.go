// Package intake is where a Writer takes messages: it collects them into batches, in
// bounded memory, and knows of each message that was taken where it is. It knows
// nothing of servers and backlogs: whoever takes batches out says what became of them.
//
// A [Buffer] has the lock of its owner, which guards also what the owner changes
// together with it; so its counts, its Flushes and the owner's state never contradict
// each other. Nobody waits while he holds it. All methods but Take and Flush.Wait are
// for who holds it, and it is the last in the order of locks.
package intake

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
)

// Errors of Take.
var (
	ErrFull    = errors.New("writer's buffer is full")
	ErrDropped = errors.New("message dropped")
)

// Policy is what Take does with a message that there is no room for.
type Policy uint8

// The policies, in the order of those of package logd, which says what they mean.
const (
	Block Policy = iota
	Fail
	DropNewest
	DropOldest
)

// Config says how a Buffer makes batches.
type Config struct {
	Topic string
	// A batch has at most Max bytes, envelope and data, and NumberLen of these are left
	// for its number. Messages share one up to Target bytes.
	Max, Target, NumberLen int64
	Messages               int64         // that a batch has at most
	Age                    time.Duration // after which a batch is sealed; negative for none
	Slots                  int           // how many batches there may be
	Full                   Policy
	TrimNewline            bool
	// Rouse has the owner look for what is ready or was dropped. It must not wait.
	Rouse func()
}

// Buffer holds the batches that are being filled or wait to be sent. R is what a
// message's callback is told.
type Buffer[R any] struct {
	sync.Mutex
	account[R]

	// Refusal is why messages are not taken, nil if they are.
	Refusal error
	// Backlogged tells that the owner has a backlog with something in it, for which
	// Flushes wait.
	Backlogged bool
	// Due ends when the batch that is being filled may be due: then Look is to be
	// called.
	Due *time.Timer

	cfg      Config              // Max and Target are as Limit says
	envelope int64               // its length at most
	target   int64               // of the data up to which messages share a batch
	surely   int64               // of the data that is sure to fit in a batch
	made     int                 // slots that there are
	free     []*Slot[R]          // those that are empty
	open     *Slot[R]            // takes messages; nil if none does
	since    time.Time           // when the open batch got its first message
	ready    link.Queue[Slot[R]] // sealed, oldest first
	room     chan struct{}       // wakes one caller who waits for room; holds one
	waiting  int                 // callers who wait for room
	armed    bool                // Due is set
	sealed   bool                // something became ready that the owner may not know of
	tickets  int64               // the last ticket given out
	out      int64               // ticket of the oldest slot that the owner has, 0 if none
	dropped  int64               // messages of which TakeDropped has not told
	orphans  []Orphan[R]         // their callbacks
}

// Orphan is the callback of a message that was dropped after it was taken.
type Orphan[R any] struct {
	Done  func(R)
	Delta int64
}

// maxOrphans bounds the callbacks that wait for the owner beside the batches.
// Beyond it, new messages are dropped in place of old ones.
const maxOrphans = 1 << 16

// Init makes b, which is zero, ready for use.
func (b *Buffer[R]) Init(cfg Config) {
	longest := batch.Header{Size: cfg.Max, CRC: 1<<32 - 1, Messages: cfg.Messages}
	b.cfg = cfg
	b.envelope = int64(longest.Len()+len(cfg.Topic)) + cfg.NumberLen
	b.Limit(cfg.Max, cfg.Target)
	b.room = make(chan struct{}, 1)
	b.Due = time.NewTimer(time.Hour)
	b.Due.Stop()
}

// Limit changes Config.Max and Config.Target. What was taken before may be longer: see
// Split.
func (b *Buffer[R]) Limit(most, target int64) {
	b.cfg.Max, b.cfg.Target = most, target
	b.surely = most - b.envelope
	b.target = target - b.envelope
}

// slots returns how many slots can be begun.
func (b *Buffer[R]) slots() int { return b.cfg.Slots - b.made + len(b.free) }

// Crowded reports whether only a quarter of the room is left.
func (b *Buffer[R]) Crowded() bool { return b.slots() <= b.cfg.Slots/4 }

// begin opens a slot, or returns nil if there is none.
func (b *Buffer[R]) begin() *Slot[R] {
	if n := len(b.free); n > 0 {
		b.open, b.free = b.free[n-1], b.free[:n-1]
		b.open.most = b.cfg.Target
		return b.open
	}
	if b.made == b.cfg.Slots {
		return nil
	}
	b.made++
	b.open = &Slot[R]{most: b.cfg.Target}
	return b.open
}

// Seal makes the batch that is being filled ready, if there are messages in it.
func (b *Buffer[R]) Seal() {
	if b.open == nil || b.open.batch.Messages() == 0 {
		return
	}
	b.tickets++
	b.open.ticket, b.open.Messages = b.tickets, b.open.batch.Messages()
	b.ready.Push(b.open)
	b.open, b.sealed = nil, true
}

// Look notes that Due has ended.
func (b *Buffer[R]) Look() { b.armed = false }

// sealDue makes the open batch ready if it is old enough, and otherwise sets
// Due for when it will be.
func (b *Buffer[R]) sealDue() {
	if b.armed || b.cfg.Age < 0 || b.open == nil || b.open.batch.Messages() == 0 {
		return
	}
	left := b.cfg.Age - time.Since(b.since)
	if left <= 0 {
		b.Seal()
		return
	}
	b.armed = true
	b.Due.Reset(left)
}

// Next takes the oldest batch out that is ready, nil if none is. It is its owner's
// until Settle.
func (b *Buffer[R]) Next() *Slot[R] {
	b.sealDue()
	if b.ready.Len() == 0 {
		return nil
	}
	s := b.ready.Pop()
	if b.out == 0 {
		b.out = s.ticket
	}
	return s
}

// Ready reports whether there is a batch for Next.
func (b *Buffer[R]) Ready() bool { return b.ready.Len() > 0 }

// Settle takes a slot back of which all is said, unless it is of the backlog. What the
// owner still has are those in line, in their order, and then those that are held.
func (b *Buffer[R]) Settle(s *Slot[R], line, held []*Slot[R]) {
	if s.Record == 0 {
		b.recycle(s)
		b.wakeForRoom()
	}
	b.out = 0
	for _, has := range [...][]*Slot[R]{line, held} {
		if i := slices.IndexFunc(has, func(s *Slot[R]) bool { return s.ticket != 0 }); i >= 0 {
			b.out = has[i].ticket
			break
		}
	}
	b.EndFlushes()
}

func (b *Buffer[R]) recycle(s *Slot[R]) {
	if s.extra {
		return
	}
	s.Reset()
	b.free = append(b.free, s)
}

// Refuse makes Take return the error, also to those who wait. With nil messages are
// taken again.
func (b *Buffer[R]) Refuse(err error) {
	b.Refusal = err
	b.wakeForRoom()
}

// wakeForRoom wakes a caller who waits, for new room or for the news that there
// will be none. A quarter of all room is waited for, so that nobody wakes for
// each batch that is answered; in the end all of it comes back.
func (b *Buffer[R]) wakeForRoom() {
	if b.Refusal != nil || b.slots() >= max(1, b.cfg.Slots/4) {
		b.passRoom()
	}
}

// passRoom wakes a caller who waits, if there is any and he need not wait any
// longer. The woken one passes it on.
func (b *Buffer[R]) passRoom() {
	if b.waiting == 0 || b.Refusal == nil && b.slots() == 0 {
		return
	}
	select {
	case b.room <- struct{}{}:
	default:
	}
}
