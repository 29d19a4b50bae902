package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/exit"
)

// What a delivery does while the server is away.

// put takes a message while the server is away.
func (d *delivery) put(ctx context.Context, body []byte) error {
	b := &d.batch
	if b.Messages() > 0 && !b.Fits(d.topic, len(body), d.target) {
		d.keepBatch()
		if d.writer != nil { // it is there again
			return d.add(ctx, body)
		}
		if d.err != nil {
			return d.err
		}
	}
	if int64(len(body)) > d.limit {
		return errTooLong
	}
	fits := b.Fits(d.topic, len(body), d.limit)
	b.Add(body)
	if !fits && b.Len(d.topic) > d.limit { // Fits is careful, Len exact
		b.Reset()
		return errTooLong
	}
	d.messages++
	if b.Messages() == d.count {
		d.keepBatch()
		return d.failed()
	}
	return nil
}

// keepBatch puts the batch that is being filled among those that wait, for which
// it may have to wait for room. If the server is there again, the batch has gone
// to the Writer.
func (d *delivery) keepBatch() {
	for d.writer == nil && d.err == nil && d.spool.full() {
		d.attempt()
	}
	b := &d.batch
	if b.Messages() == 0 {
		return
	}
	k := kept{first: d.settled + 1, messages: b.Messages()}
	d.settled += k.messages
	if d.err == nil {
		d.keep(k, b.Raw(d.topic), errAway)
	} else {
		d.giveUp(k, b.Raw(d.topic), d.err)
	}
	b.Reset()
}

// goneAway notes that the server is away, and says so.
func (d *delivery) goneAway(err error) {
	d.spool.leave()
	why := cli.Plain(err)
	if op, ok := errors.AsType[*logd.OpError](err); ok && op.Addr != "" {
		why = fmt.Sprintf("%s: %v", op.Addr, op.Err) // what was on its way is found out later
	}
	d.note("%s; trying on", why)
}

// reach tries once whether the server is there again, and delivers what waits.
// It sets d.err if there is no use in further attempts.
func (d *delivery) reach() {
	err := d.resolve(d.life)
	if err == nil {
		err = d.deliver(d.life)
	}
	if err == nil {
		err = d.fit(d.life)
	}
	if err == nil {
		err = d.begin(d.life)
	}
	switch {
	case err == nil:
		d.back()
		d.note("the server answers again; all that waited is stored")
		d.handOver()
	case d.life.Err() != nil:
		d.err = errInterrupted
	case !d.awaits(err):
		d.err = err
	case d.retry > 0 && time.Since(d.spool.since) >= d.retry:
		d.err = fmt.Errorf("the server was away for %v: %w", d.retry, err)
	default:
		d.spool.pause = min(2*d.spool.pause, maxPause)
	}
}

// resolve finds out which of the batches whose fate is unknown are stored, by
// looking for their bytes. They were sent in order behind the last one that was
// answered, and so they are stored in order behind it, or not at all. Those between
// them may be known not to be stored.
func (d *delivery) resolve(ctx context.Context) error {
	left := 0
	for _, k := range d.spool.kept {
		if k.unknown {
			left++
		}
	}
	number := int64(0)
	for i := 0; left > 0; {
		raw, n, err := d.spool.batch(i, number)
		if err != nil {
			return err
		}
		number = n
		if !d.spool.kept[i].unknown {
			i++
			continue
		}
		left--
		offset, found, err := d.find(ctx, raw)
		if err != nil {
			return err
		}
		if !found {
			i++
		} else if err := d.storedKept(i, number, raw, offset); err != nil {
			return err
		}
	}
	for i := range d.spool.kept {
		d.spool.kept[i].unknown = false
	}
	return nil
}

// find looks for a batch behind the last one that is known to be stored. It may be
// there compressed or not, whatever raw is: see deliver.
func (d *delivery) find(ctx context.Context, raw []byte) (offset int64, found bool, err error) {
	data, err := d.data(raw)
	if err != nil {
		return 0, false, err
	}
	for next := d.next; ; {
		res, err := d.client.Read(ctx, d.topic, next, logd.ReadOptions{})
		if err != nil && cli.ExitCode(err) == exit.Temporary {
			return 0, false, err
		}
		if err != nil {
			return 0, false, nil // the topic is another one, or retention was faster: nothing is known to be stored
		}
		for i := range res.Batches {
			b := &res.Batches[i]
			// The last one that was answered may have the same messages.
			if b.Offset != d.last && bytes.Equal(b.Data(), data) {
				offset, found = b.Offset, true
				break
			}
		}
		end := len(res.Batches) == 0
		next = res.Next
		res.Release()
		if found || end {
			return offset, found, nil
		}
	}
}

// maxUnpacked is how large the data of a compressed batch may be: as the client has it
// for what it reads.
const maxUnpacked = 64 << 20

// data returns the messages of a batch, unpacked.
func (d *delivery) data(raw []byte) ([]byte, error) {
	h, n, err := batch.Parse(raw)
	if err != nil {
		return nil, err
	}
	data := raw[n-h.Size:]
	if h.Codec != "" {
		d.unpacked, err = d.unpacker.Unpack(h.Codec, d.unpacked[:0], data, h.Messages, maxUnpacked)
		data = d.unpacked
	}
	return data, err
}

// bodies calls f with each message of a batch.
func (d *delivery) bodies(raw []byte, f func(body []byte) error) error {
	data, err := d.data(raw)
	if err != nil {
		return err
	}
	for m := (batch.Messages{Data: data}); m.Next(); {
		if err := f(m.Body()); err != nil {
			return err
		}
	}
	return nil
}

// deliver sends what waits, one batch after another, each as it was before it was
// compressed: the server that is there now may not know the codec.
func (d *delivery) deliver(ctx context.Context) error {
	var b logd.Batch
	for len(d.spool.kept) > 0 {
		raw, number, err := d.spool.batch(0, 0)
		if err != nil {
			return err
		}
		b.Reset()
		if err := d.bodies(raw, func(body []byte) error { b.Add(body); return nil }); err != nil {
			return err
		}
		offset, err := d.client.Append(ctx, d.topic, &b)
		if err != nil {
			d.spool.kept[0].unknown = logd.IsUnknown(err)
			return err
		}
		if err := d.storedKept(0, number, raw, offset); err != nil {
			return err
		}
	}
	return nil
}

// storedKept accounts for the i-th batch that waits, with its number in the backlog:
// it is stored.
func (d *delivery) storedKept(i int, number int64, raw []byte, offset int64) error {
	k := d.spool.kept[i]
	d.stored(k.first, k.messages, int64(len(raw)), offset)
	return d.spool.drop(i, number)
}

// back notes that the server is there, and nothing waits any more.
func (d *delivery) back() {
	d.spool.back()
	d.lost, d.cause = nil, nil
}

// handOver gives the Writer what waits for more to fill a batch.
func (d *delivery) handOver() {
	if d.batch.Messages() == 0 {
		return
	}
	err := d.bodies(d.batch.Raw(d.topic), func(body []byte) error {
		_, err := d.writer.Write(body) // which has room for a batch
		return err
	})
	d.batch.Reset()
	if err != nil {
		d.stop(err)
	}
}

// attempt waits for the time of the next attempt and makes it.
func (d *delivery) attempt() {
	timer := time.NewTimer(d.spool.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		d.reach()
	case <-d.life.Done():
		d.err = errInterrupted
	}
}

// open also asks where the topic ends: what is written stands behind it.
func (d *delivery) open(path string) error {
	if d.retry != 0 || path != "" {
		if err := d.setNext(d.life); err != nil {
			return err
		}
	}
	if path != "" {
		if err := d.openBacklog(path); err != nil {
			return err
		}
	}
	return d.begin(d.life)
}

// openBacklog opens the backlog, and delivers what an earlier run has left
// there.
func (d *delivery) openBacklog(path string) error {
	b, err := backlog.OpenDisk(backlog.DiskConfig{Path: path})
	if err != nil {
		return err
	}
	d.spool.backlog = b
	if b.Len() == 0 {
		return nil
	}
	if err := d.checkOwner(b, path); err != nil {
		return err
	}
	messages, err := d.spool.load()
	if err != nil {
		return err
	}
	if err := d.deliver(d.life); err != nil {
		return err
	}
	d.back()
	d.noteLeft(messages, path)
	return d.flushOutput()
}
