package commitlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/numbers"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// commitQueue holds the appends that wait for the one that is writing. Whoever
// finds nobody leading leads: it takes the writer lock and writes all that
// wait with as few system calls as it can, then hands the lead to the first
// that came meanwhile. See docs/design/append-path.md for what was measured.
type commitQueue struct {
	mu      sync.Mutex
	leading bool
	waiting []*appendRequest
	bytes   int64
	group   []*appendRequest // the leader's; its memory is reused
}

// appendRequest is one call of Append on its way through the queue.
type appendRequest struct {
	data    []byte
	extents []batch.Extent
	expect  int64 // offset the run must get, or -1

	placed bool       // it is a Run: written by itself, at a time and in a partition that it tells
	roll   bool       // see Run
	millis int64      // see Run
	led    *LedResult // it is a part of this LedRun: placed, and written with the others

	numbered bool // there are numbered batches in it
	gathered int  // extents that were decided on: to be written, or not to be
	done     int  // extents written, or passed over
	length   int64
	outcomes []topic.Outcome // one for each extent, once there was one that is not to be written
	result   topic.Appended
	err      error

	promoted bool      // guarded by the queue's mu: turn has or had a false
	turn     chan bool // true: answered; false: lead
}

// requestPool has what appends wait with, to be used again. Each store has its
// own: a channel that was made in a bubble of package testing/synctest must not
// get into another.
type requestPool struct{ pool sync.Pool }

func (p *requestPool) take() *appendRequest {
	if r, ok := p.pool.Get().(*appendRequest); ok {
		return r
	}
	return &appendRequest{turn: make(chan bool, 1)}
}

func (p *requestPool) free(r *appendRequest) {
	*r = appendRequest{turn: r.turn}
	p.pool.Put(r)
}

// Append appends a run of batches: data is their wire bytes one after another
// in canonical form, extents their lengths and message counts, at least one.
// The caller vouches that the batches are valid and for this topic.
//
// On return the batches are flushed: handed to the operating system, and safe
// from a crash of this process. They may be acknowledged once Commit of the
// result has returned nil. data belongs to the caller again.
//
// With an error, the first Appended.Batches of the run were appended all the
// same and the others certainly not, unless the error is ErrInDoubt. The others
// to test for are ErrDeleted, ErrReadOnly, ErrBusy and ErrClosed. Append blocks while the disk does; a done ctx ends
// the waiting for other appends, not a write that has begun.
func (l *Log) Append(ctx context.Context, data []byte, extents []batch.Extent) (topic.Appended, error) {
	return l.append(ctx, &Run{Offset: -1, Data: data, Extents: extents}, false)
}

// AppendAt is Append of a run that must get the given offset. If the log's
// next offset is another, nothing is appended and the error is ErrOffset.
func (l *Log) AppendAt(ctx context.Context, offset int64, data []byte, extents []batch.Extent) (topic.Appended, error) {
	return l.append(ctx, &Run{Offset: offset, Data: data, Extents: extents}, false)
}

// Gathers is that of topic.Gatherer.
func (l *Log) Gathers() bool { return true }

// AppendAll is Append of several runs, each of which has its own result. If nothing is in
// the way they are written by one call of the system.
func (l *Log) AppendAll(ctx context.Context, parts []topic.Part) {
	for i := range parts {
		p := &parts[i]
		p.Ticket = nil
		var r *appendRequest
		if r, p.Err = l.request(ctx, &Run{Offset: -1, Data: p.Data, Extents: p.Extents}, false); p.Err == nil {
			p.Ticket = r
		}
	}
	lead := -1
	for i := range parts {
		p := &parts[i]
		r, ok := p.Ticket.(*appendRequest)
		if !ok {
			continue
		}
		leads, err := l.enqueue(r)
		if err != nil {
			p.Ticket, p.Err = nil, err
			l.store.requests.free(r)
		} else if leads {
			lead = i
		}
	}
	for i := range parts {
		p := &parts[i]
		if r, ok := p.Ticket.(*appendRequest); ok {
			p.Ticket = nil
			p.Appended, p.Err = l.await(ctx, r, i == lead)
		}
	}
}

// append appends a run, which is placed if all of it counts, and otherwise gets the
// clock's time and the partition where it fits.
func (l *Log) append(ctx context.Context, run *Run, placed bool) (topic.Appended, error) {
	r, err := l.request(ctx, run, placed)
	if err != nil {
		return topic.Appended{}, err
	}
	lead, err := l.enqueue(r)
	if err != nil {
		l.store.requests.free(r)
		return topic.Appended{}, err
	}
	return l.await(ctx, r, lead)
}

// request returns what a run waits with. It blocks while numbers are read.
func (l *Log) request(ctx context.Context, run *Run, placed bool) (*appendRequest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e := l.failed.Load(); e != nil {
		return nil, ReadOnly(e)
	}
	numbered := run.Offset < 0 && l.store.Numbers.Window() > 0 && hasNumbered(run.Extents)
	if numbered {
		if err := l.ReadyNumbers(ctx); err != nil {
			return nil, err
		}
	}
	r := l.store.requests.take()
	r.data, r.extents, r.expect, r.numbered = run.Data, run.Extents, run.Offset, numbered
	r.placed, r.roll, r.millis = placed, run.Roll, run.Millis
	return r, nil
}

// enqueue has a request wait, and reports whether the caller has to lead.
func (l *Log) enqueue(r *appendRequest) (lead bool, err error) {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+int64(len(r.data)) > l.store.QueueBytes && q.bytes > 0 {
		return false, topic.ErrBusy
	}
	q.waiting = append(q.waiting, r)
	q.bytes += int64(len(r.data))
	lead = !q.leading
	q.leading = true
	return lead, nil
}

// await returns what has come of a request that waits. The caller leads, or is told to.
func (l *Log) await(ctx context.Context, r *appendRequest, lead bool) (topic.Appended, error) {
	q := &l.queue
	if !lead {
		select {
		case answered := <-r.turn:
			lead = !answered
		case <-ctx.Done():
			if q.withdraw(r) {
				l.store.requests.free(r)
				return topic.Appended{}, ctx.Err()
			}
			lead = !<-r.turn
		}
	}
	if lead {
		l.lead(r)
	}
	result, err := r.result, r.err
	l.store.requests.free(r)
	return result, err
}

func hasNumbered(extents []batch.Extent) bool {
	for i := range extents {
		if extents[i].Numbered {
			return true
		}
	}
	return false
}

// withdraw takes a request back that nobody has begun to write. It reports
// false if it is too late for that, or if the request was told to lead.
func (q *commitQueue) withdraw(r *appendRequest) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.promoted {
		return false
	}
	for i, w := range q.waiting {
		if w == r {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.bytes -= int64(len(r.data))
			return true
		}
	}
	return false
}

// lead writes all that wait, own among it, and answers them.
func (l *Log) lead(own *appendRequest) {
	q := &l.queue
	l.writer.Lock()
	q.mu.Lock()
	group := q.waiting
	q.waiting, q.group = q.group[:0], nil
	q.mu.Unlock()

	defer q.answer(group, own)
	defer func() {
		if r := recover(); r != nil {
			refuse(group, inDoubt(l.panicked("append", r)))
			panic(r)
		}
	}()
	if rest := l.writeAndUnlock(group, true); len(rest) > 0 {
		l.store.Owner.FreeFiles() // without writer: the syncs may want it
		l.writer.Lock()
		l.writeAndUnlock(rest, false)
	}
	if l.made && l.next.Load() == 0 && files.Shortage(group[0].err) {
		l.abandon()
	}
}

// writeAndUnlock is writeGroup, after which writer is let go of, come what may.
func (l *Log) writeAndUnlock(group []*appendRequest, patient bool) (rest []*appendRequest) {
	defer l.writer.Unlock()
	defer l.failOnPanic("append")
	return l.writeGroup(group, patient)
}

// answer tells all of the group but own that they are answered, and hands the
// lead on.
func (q *commitQueue) answer(group []*appendRequest, own *appendRequest) {
	var bytes int64
	for i, r := range group {
		bytes += int64(len(r.data))
		group[i] = nil
		if r != own {
			r.turn <- true
		}
	}
	q.mu.Lock()
	q.bytes -= bytes
	q.group = group[:0]
	if len(q.waiting) > 0 {
		q.waiting[0].promoted = true
		q.waiting[0].turn <- false
	} else {
		q.leading = false
	}
	q.mu.Unlock()
}

// writeGroup writes the requests in order, filling partition after partition.
// If patient is true it returns those for which a descriptor is missing, instead
// of refusing them. Caller holds writer.
func (l *Log) writeGroup(group []*appendRequest, patient bool) (rest []*appendRequest) {
	if e := l.failed.Load(); e != nil {
		l.refuse(group, ReadOnly(e))
		return nil
	}
	l.followDurability()
	l.numbers.Check()
	err := l.parts.ReadyHead()
	if ix := l.parts.Head().Index(); err == nil && ix.Stale {
		if err = ix.Settle(); ix.Unsynced != nil {
			l.refuse(group, l.failWrite("sync index of", ix.File.Name(), l.next.Load(), err))
			return nil
		}
	}
	if err != nil {
		return l.refusePassing("append", group, patient, err)
	}
	start := l.store.Clock.Now()
	now := max(start.UnixMilli(), 0)
	l.lookAtClock(now)
	l.keepTimes(now)
	before := l.next.Load()
	var batches, messages int64
	rotated := false
	for len(group) > 0 {
		n, bytes, codecs, full := l.gather(group)
		if n == 0 && full || bytes > 0 && l.rollsFor(group[0], bytes) {
			if err := l.rotate(); err != nil {
				rest = l.refusePassing("rotate", group, patient, err)
				break
			}
			rotated = true
			if bytes == 0 {
				continue
			}
		}
		if codecs != 0 {
			if err := l.parts.Pack(l.parts.Head(), codecs); err != nil {
				rest = l.refusePassing("append", group, patient, err)
				break
			}
		}
		if bytes > 0 {
			f, err := l.pin(l.parts.Head(), patient)
			if err != nil {
				rest = l.refusePassing("append", group, patient, err)
				break
			}
			if err := l.writeHead(f); err != nil {
				l.refuse(group, err)
				break
			}
			l.parts.LastMillis = l.timeOf(group[0], now)
			group[0].led.note(l, bytes)
		}
		b, m, hasNumbers := l.publish(group[:n], l.parts.LastMillis)
		if led := group[0].led; led != nil {
			led.Batches, led.Messages = b, m
		}
		batches += b
		messages += m
		l.numbers.Settle(hasNumbers, now)
		// All but perhaps the last that was gathered are done.
		for len(group) > 0 && (group[0].err != nil || group[0].done == len(group[0].extents)) {
			group = group[1:]
		}
	}
	clear(l.iovecs)
	if next := l.next.Load(); next != before {
		if len(group) == 0 {
			l.accepting()
		}
		l.store.Observer.Appended(l.store.Clock.Now().Sub(start), next-before, batches, messages)
		if !l.policy().SyncsFirst() {
			l.grown(before)
		}
		l.store.Unsynced.Arm()
	}
	if rotated {
		l.store.Owner.Begun(l) // now that what was to be written counts
	}
	return rest
}

// ungather takes back what gather has done with requests that were not written.
func (l *Log) ungather(group []*appendRequest) {
	l.numbers.Unstage()
	for _, r := range group {
		r.err, r.length, r.gathered = nil, 0, r.done
		for _, x := range r.extents[:r.done] {
			r.length += x.Len
		}
		if r.outcomes != nil {
			clear(r.outcomes[r.done:])
		}
	}
}

// errNoOffsets is an append whose end no number can tell.
var errNoOffsets = fmt.Errorf("it would end behind the last offset there is, %d; smaller ones may fit", int64(math.MaxInt64))

// gather fills iovecs with what of the group fits into the head partition. It
// returns how many requests take part, how many bytes that is, with which codecs
// batches among them are compressed, and whether the head is full before the group is at its end. Requests whose expected offset
// is wrong, and those that pass the last offset, are given their error. Numbered
// batches that are not to be stored get their outcome, and are passed over.
func (l *Log) gather(group []*appendRequest) (n int, bytes int64, codecs batch.Codecs, full bool) {
	l.iovecs = l.iovecs[:0]
	head := l.parts.Head()
	next := l.next.Load()
	size := next - head.Base
	most := l.kept().PartitionSize
	knows := l.numbers.Knows()
	var batches int64
	for _, r := range group {
		if n > 0 && r.led == nil && (r.placed || group[0].placed) {
			break
		}
		if r.err != nil {
			n++
			continue
		}
		if r.done == 0 && r.gathered == 0 && r.expect >= 0 && r.expect != next+bytes {
			if r.led != nil { // the rest of the run is stored
				r.refuseAll(ErrOffset)
			} else {
				r.err = ErrOffset
			}
			n++
			continue
		}
		if r.done == 0 && int64(len(r.data)) > math.MaxInt64-next-bytes {
			r.err = l.passingRefusal("append", errNoOffsets)
			n++
			continue
		}
		if r.numbered && !knows {
			r.err = topic.ErrBusy // it has gone out of memory a moment ago
			n++
			continue
		}
		if r.roll && r.done == 0 && size > 0 {
			return n, bytes, codecs, true
		}
		before, piece := r.gathered, r.length
		for r.gathered < len(r.extents) {
			x := &r.extents[r.gathered]
			var number producers.Batch
			if knows && x.Numbered {
				number = numbers.NumberOf(r.data[r.length:][:x.Len], next+bytes)
			}
			if r.numbered && x.Numbered {
				if o, store := l.numbers.Ask(&number, l.appended.Load()+batches); !store {
					l.takePiece(r, piece)
					r.length += x.Len
					piece = r.length
					r.passOver(o)
					continue
				}
			}
			// A batch of its own is written however large it is, so that every
			// batch has a place.
			if used := size + bytes; !r.placed && used+x.Len > most && used > 0 {
				full = true
				break
			}
			if knows {
				l.numbers.Stage(&number)
			}
			r.length += x.Len
			bytes += x.Len
			codecs |= x.Codec
			batches++
			r.gathered++
		}
		l.takePiece(r, piece)
		if r.gathered > before {
			n++
		}
		if full {
			break
		}
	}
	return n, bytes, codecs, full
}

// takePiece adds what was gathered of a request from a position in its data on to
// what is to be written.
func (l *Log) takePiece(r *appendRequest, from int64) {
	if r.length > from {
		l.iovecs = append(l.iovecs, r.data[from:r.length])
	}
}

// refuseAll passes over all batches.
func (r *appendRequest) refuseAll(err error) {
	for range r.extents {
		r.passOver(topic.Outcome{Err: err})
	}
	r.length = int64(len(r.data))
}

// passOver notes what became of the next batch that is gathered, and is not to be
// written.
func (r *appendRequest) passOver(o topic.Outcome) {
	if r.outcomes == nil {
		r.outcomes = make([]topic.Outcome, len(r.extents))
		offset, ordinal := r.result.Offset, r.result.Ordinal-int64(r.done)
		for i, x := range r.extents[:r.done] { // so far they followed one another
			ordinal++
			r.outcomes[i] = topic.Outcome{Offset: offset, End: offset + x.Len, Ordinal: ordinal}
			offset += x.Len
		}
	}
	r.outcomes[r.gathered] = o
	r.gathered++
}

// writeHead writes iovecs to the end of the head partition, whose file f is.
func (l *Log) writeHead(f vfs.File) error {
	head := l.parts.Head()
	pos := l.next.Load() - head.Base
	if e := l.failed.Load(); e != nil {
		return ReadOnly(e)
	}
	n, err := f.WritevAt(l.iovecs, pos)
	if err == nil {
		return nil
	}
	// Whole batches may be among what was written. They are refused, and must
	// not be there after a restart, nor after a power cut.
	if n > 0 {
		if terr := f.Truncate(pos); terr != nil {
			return inDoubt(l.failWrite("truncate after a partial write", head.File.Name(), l.next.Load(), errors.Join(err, terr)))
		}
		if serr := l.syncFile(f, "sync after a partial write", head.File, l.next.Load()); serr != nil {
			return errors.Join(serr, err)
		}
	}
	if !files.Transient(err) {
		return l.failWrite("write", head.File.Name(), l.next.Load(), err)
	}
	return l.passingRefusal("append", err)
}

// publish makes what writeHead wrote part of the log: the index first, then
// the end that readers look at.
func (l *Log) publish(group []*appendRequest, millis int64) (batches, messages int64, numbered bool) {
	head := l.parts.Head()
	next := l.next.Load()
	for _, r := range group {
		if r.err != nil {
			continue
		}
		if r.done == 0 {
			r.result.Offset = next
		}
		for ; r.done < r.gathered; r.done++ {
			x := &r.extents[r.done]
			if r.outcomes != nil {
				o := &r.outcomes[r.done]
				if o.Err != nil || o.End > 0 {
					continue // passed over
				}
				*o = topic.Outcome{Offset: next, End: next + x.Len, Ordinal: l.appended.Load() + batches + 1}
			}
			l.indexBatch(head, next-head.Base, millis)
			l.parts.HeadSum.Messages += int64(x.Messages)
			l.parts.HeadSum.Batches++
			next += x.Len
			batches++
			messages += int64(x.Messages)
			numbered = numbered || x.Numbered
		}
		r.result.Batches, r.result.End = r.done, next
		r.result.Ordinal = l.appended.Load() + batches
		if r.outcomes != nil {
			r.result.Outcomes = r.outcomes[:r.done]
		}
	}
	head.End.Store(next)
	l.next.Store(next)
	l.appended.Add(batches)
	return batches, messages, numbered
}

// indexBatch notes the batch at pos in the head's totals and, if it wants an
// entry, in its index.
func (l *Log) indexBatch(head *partition.Partition, pos, millis int64) {
	if l.parts.HeadSum.Batches == 0 {
		l.parts.HeadSum.First = millis
	}
	l.parts.HeadSum.Last = millis
	if !head.Index().Wants(pos, millis) {
		return
	}
	err := head.Index().Add(index.Entry{Pos: pos, Messages: l.parts.HeadSum.Messages, Batches: l.parts.HeadSum.Batches, Millis: millis})
	if err != nil {
		l.store.Logger.Warn("index entry not written", "file", head.Index().File.Name(), "err", err)
	}
}
