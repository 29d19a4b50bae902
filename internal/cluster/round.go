package cluster

import (
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/grouplog"
)

// round syncs the member log and all topics that were written, one sync at a time.
// What was written when it begins is durable when it ends.
type round struct {
	actor
	n     *Node
	under bool         // one is under way; of the disk
	since atomic.Int64 // tick at which it has begun; 0: none
}

// begin begins a round, unless one is under way: the next one begins when it ends.
// It is called by the disk.
func (r *round) begin() {
	d := &r.n.disk
	if r.under {
		return
	}
	r.under, d.asked = true, false
	r.since.Store(max(r.n.ticks.Load(), 1))
	pos := d.log.End()
	file := d.log.File()
	logs, in := d.dirty, d.dirtyIn
	d.dirty, d.dirtyIn = nil, nil
	r.post(func() {
		began := time.Now()
		var logErr error
		errs := r.n.topics.Sync(logs, func() error {
			logErr = file.Sync()
			return logErr
		})
		r.n.o.Observer.SyncRound(time.Since(began), len(logs)+1)
		d.post(func() { r.end(pos, in, errs, logErr) })
	})
}

// end tells what is durable. It is done by the disk.
func (r *round) end(pos grouplog.Pos, in []int, errs []error, logErr error) {
	d := &r.n.disk
	r.under = false
	r.since.Store(0)
	if logErr != nil {
		d.log.Fail(logErr)
		d.failed(-1, logErr)
		return
	}
	whole := true
	for i, err := range errs {
		if err != nil {
			whole = false
			d.failed(in[i], err)
		}
	}
	if !whole {
		d.work() // the next round, which has the VOID, tells of the others, too
		return
	}
	if err := d.log.Durable(pos); err != nil {
		return
	}
	d.position.Store(d.log.Position())
	told := make(map[int]uint64)
	var order []int
	n := 0
	for _, w := range d.waiting {
		if w.pos > pos {
			break
		}
		if _, ok := told[w.group]; !ok {
			order = append(order, w.group)
		}
		told[w.group] = w.seq
		n++
	}
	clear(d.waiting[:n])
	if d.waiting = d.waiting[n:]; len(d.waiting) == 0 {
		d.waiting = nil
	}
	for _, number := range order {
		if d.doubted[number] {
			continue
		}
		bytes := d.log.Bytes(number)
		r.n.core.post(func() {
			r.n.core.groups[number].logBytes = bytes
			r.n.core.groups[number].g.Durable(told[number])
			r.n.core.take(number)
		})
	}
	d.work()
}
