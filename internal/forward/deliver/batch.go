package deliver

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// batch is messages on their way. Until it is closed it is its lane's, under lane.mu; then
// it belongs to the lane's goroutine, but for what says that lane.mu guards it.
type batch struct {
	lane *lane
	b    logd.Batch // empty if only the spool has the messages
	runs []ledger.Run
	// marks are those of runs, nil for a run without a source that can be read again, or
	// when the position has moved.
	marks []*mark
	skip  int64 // messages of the runs that are another batch's

	messages int64
	bytes    int64 // of the bodies as they were taken
	cost     int64 // of memory, that is counted
	windowed bool  // the cost counts against the lane's window
	reserved int64 // of the spool
	taken    time.Time
	age      *time.Timer

	// Under lane.mu.
	spooling bool // it goes to the spool before it is sent
	spill    bool // it should go there, since its source is about to be lost
	rec      segment.Ref
	place    []segment.Ref // of a part: see spool.Head
	instead  *replaced     // what it is to take the place of, before it may be sent
	put      int64         // how many records the spool had then
	safe     bool
	waiters  []*waiter

	key      ledger.Key // the number, with a Seq of 0 before it has one
	sent     bool       // it is in the ledger under its key
	numbered bool       // the server is told the number
	doubt    bool       // it may be stored
	early    bool       // it was sent by an earlier run
	making   bool       // it has to be made again before it can be sent
	crc      uint32     // of what was sent by an earlier run
	damaged  int        // how often it arrived damaged
	sends    int        // how often it was sent
	pending  logd.Pending
	stored   *ledger.Stored // the answer, if the ledger had no room for it
	holes    []*ledger.Hole // to be written down behind it
}

// replaced is a batch in the spool that others take the place of, once all of them are in
// the spool. As long as it is there none of them is sent: after a kill it is what is sent,
// and they are not. It is under the spoolMu of their lane.
type replaced struct {
	rec  segment.Ref
	key  ledger.Key
	by   []*batch
	left int // of by, how many are not in the spool
}

// replace has batches take the place of b, which is in the spool.
func (b *batch) replace(by ...*batch) {
	r := &replaced{b.rec, b.key, by, len(by)}
	for _, o := range by {
		o.place, o.instead, o.key = b.order(), r, b.key
	}
}

// waiter waits until messages are safe.
type waiter struct {
	left atomic.Int64
	f    func()
}

func (w *waiter) done() {
	if w != nil && w.left.Add(-1) == 0 {
		w.f()
	}
}

// perMessage is what a message costs besides its body.
const perMessage = 24

// costs is what messages cost in memory.
func costs(n int, bytes int64) int64 { return bytes + int64(n)*perMessage }

// part is messages that follow each other, with where they stand in their source.
type part struct {
	from, to     feed.Position
	lines, bytes int64
}

// run notes messages of a source, or of none, that were added. It is called before lane.mu
// is let go.
func (b *batch) run(in *Input, src *source, how, path string, p *part) {
	id := int64(0)
	if src != nil {
		id = src.id
	}
	n := len(b.runs)
	if n == 0 || b.runs[n-1].Source != id || b.runs[n-1].Input != in.Name || b.runs[n-1].How != how || b.runs[n-1].Path != path || b.runs[n-1].Format != in.Format.String() {
		b.runs = append(b.runs, ledger.Run{Input: in.Name, Source: id, From: p.from, How: how, Path: path, Format: in.Format.String()})
		b.marks = append(b.marks, nil)
		n++
	}
	r := &b.runs[n-1]
	r.To = p.to
	r.Lines += p.lines
	r.Bytes += p.bytes
	if src != nil {
		b.marks[n-1] = src.mark(b.marks[n-1], p.from, p.to)
	}
	b.messages += p.lines
	b.bytes += p.bytes
}

// order is the batch's place in the order of the spool, nil if it is not there: see
// spool.Head.
func (b *batch) order() []segment.Ref {
	if b.rec == (segment.Ref{}) {
		return nil
	}
	return append(slices.Clip(b.place), b.rec)
}

// settle notes that the batch needs no source any more, and returns how positions move.
func (b *batch) settle() (all moves) {
	b.lane.mu.Lock()
	defer b.lane.mu.Unlock()
	for i, m := range b.marks {
		if m == nil {
			continue
		}
		b.marks[i] = nil
		if m.src == nil { // of an earlier run, and the source is not there
			m.batches--
			continue
		}
		all.add(m.settled())
	}
	return all
}

// saved says that the batch is stored, in the spool and synced, or a hole.
func (b *batch) saved() {
	b.lane.mu.Lock()
	if !b.safe && len(b.waiters) > 0 {
		b.lane.d.waiting.Add(-1)
	}
	b.safe = true
	waiters := b.waiters
	b.waiters = nil
	b.lane.mu.Unlock()
	for _, w := range waiters {
		w.done()
	}
}

// drop gives the memory back. lane.mu is held; the caller tells how much is free.
func (b *batch) drop() (n int64) {
	n = b.cost
	l := b.lane
	if b.b.Messages() > 0 {
		spare := b.b
		spare.Reset()
		l.d.spare.Put(&spare)
	}
	b.b, b.cost = logd.Batch{}, 0
	l.mem -= n
	if b.windowed {
		l.lines -= n
	}
	return n
}

// sentRecord is what the ledger notes before the batch is sent.
func (b *batch) sentRecord(raw []byte, was *ledger.Key) *ledger.Sent {
	s := &ledger.Sent{Key: b.key, Numbered: b.numbered, Size: int64(len(raw)), Messages: b.messages, Time: b.taken.UnixNano(), Runs: b.runs, Skip: b.skip, Was: was}
	if stored, err := logd.ParseBatch(raw); err == nil {
		s.CRC = stored.Checksum()
	}
	if b.rec != (segment.Ref{}) {
		rec := b.rec
		s.Spool = &rec
	}
	return s
}
