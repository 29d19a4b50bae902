package write

import (
	"context"
	"errors"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/codec"
)

// sender delivers messages to a topic. It prints where each batch is stored, and
// keeps account of what became of every message.
type sender interface {
	// open opens the backlog at the path, "" for none, and delivers what an earlier run
	// has left there.
	open(path string) error
	// add takes a message. An error means that the message, and what comes after it, is
	// not stored.
	add(ctx context.Context, body []byte) error
	// push sends what is left and waits until nothing is on its way. What waits for a
	// server that is away goes on waiting.
	push(ctx context.Context) error
	// tend is push, and tries whether a server that went away is there again.
	tend(ctx context.Context) error
	// finish sends what is left and waits until all is stored.
	finish(ctx context.Context) error
	// rest reports whether there is nothing to send, to wait for or to print, and else
	// for how long to wait before it is tended again.
	rest(interval time.Duration) (idle bool, pause time.Duration)
	// end ends the sending, and accounts for what is not stored. It may be called again.
	end()
}

// delivery is the sender to a server that knows no numbers.
//
// A Writer makes the batches, sends several at once, and stops at the first that
// fails. If it failed because the server went away, what is not stored waits in
// the spool, with what comes meanwhile. When all of that is stored, another Writer
// goes on: see reach.
type delivery struct {
	ledger

	writer *logd.Writer // nil while the server is away
	batch  logd.Batch   // being filled while the server is away
	pushed int64        // how many messages there were at the last push

	unpacker codec.Unpacker // of compressed batches that waited
	unpacked []byte         // memory for what it makes

	// Guarded by mu.
	lost  error // why the server is away
	cause error // why the Writer is failing
	spool spool
	next  int64 // where a batch may stand of which nobody knows whether it is stored
	last  int64 // offset of the last batch that is known to be stored; -1 for none
}

// errAway is the reason of a batch that waits although it was never sent.
var errAway = errors.New("the server was away")

// begin makes a Writer, if the server is there.
func (d *delivery) begin(ctx context.Context) (err error) {
	d.writer, err = logd.NewWriter(ctx, d.client, d.topic, logd.WriterConfig{
		BatchBytes: d.limit, BatchTarget: d.target, BatchMessages: d.count,
		Codec: d.codec, BatchAge: -1, StopOnError: true, NoSequence: true, OnBatch: d.result, OnState: d.state,
	})
	return err
}

func (d *delivery) add(ctx context.Context, body []byte) error {
	if err := d.failed(); err != nil {
		return err
	}
	if d.writer == nil {
		return d.put(ctx, body)
	}
	_, err := d.writer.WriteContext(ctx, body)
	switch {
	case err == nil:
		d.messages++
		return nil
	case errors.Is(err, logd.ErrFailing):
		if err := d.stop(err); err != nil {
			return err
		}
		return d.put(ctx, body)
	case errors.Is(err, logd.ErrTooLarge):
		return errTooLong
	}
	return err
}

func (d *delivery) tend(ctx context.Context) error {
	if err := d.push(ctx); err != nil || d.writer != nil {
		return err
	}
	d.reach()
	return d.failed()
}

func (d *delivery) push(ctx context.Context) error {
	if d.writer == nil {
		d.keepBatch()
	}
	if d.writer != nil {
		if err := d.writer.Flush(ctx); err != nil {
			d.stop(err)
		}
	}
	d.pushed = d.messages
	return d.flushOutput()
}

func (d *delivery) rest(interval time.Duration) (idle bool, pause time.Duration) {
	if d.writer == nil {
		interval = max(interval, d.spool.pause)
	}
	return d.writer != nil && d.pushed == d.messages, interval
}

func (d *delivery) finish(ctx context.Context) error {
	for {
		if err := d.push(ctx); err != nil || d.writer != nil || len(d.spool.kept) == 0 {
			return err // what is sent later would need a Writer, but nothing is
		}
		d.attempt()
	}
}

// stop takes leave of the Writer, which is failing because of err: what became
// of its messages is told then. It returns the failure, or nil if what is not
// stored waits.
func (d *delivery) stop(err error) error {
	d.close()
	if d.err == nil && d.lost == nil {
		d.err = err
	}
	if d.lost != nil && !d.spool.away() {
		d.goneAway(d.lost)
	}
	return d.err
}

func (d *delivery) end() {
	d.close()
	if d.spool.backlog != nil {
		d.spool.backlog.Close()
	}
	for _, k := range d.spool.kept {
		switch last := k.first + k.messages - 1; {
		case k.first == 0:
		case k.raw == nil:
			d.account.add(k.first, last, waiting)
		case k.unknown:
			d.account.add(k.first, last, unknown)
		}
	}
	d.spool.kept = nil
}

// close ends the Writer.
func (d *delivery) close() {
	if d.writer != nil {
		d.writer.Close() // what it says was told of each batch
		d.writer = nil
	}
}

// state notes why the Writer is failing, which the batches that were never sent
// are told as well.
func (d *delivery) state(state logd.WriterState, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if op, ok := cause.(*logd.OpError); ok && op.Op == "connect" { // to append
		cause = &logd.OpError{Op: "append", Topic: d.topic, Addr: op.Addr, Err: op.Err}
	}
	if state == logd.StateFailing {
		d.cause = cause
	}
}

// result deals with a batch that was stored or not. Of a batch that is not, or
// perhaps not, it waits for the server, or gives it up and ends the sending.
func (d *delivery) result(r logd.BatchResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.settled + 1
	d.settled += r.Messages
	if r.Err == nil {
		d.stored(first, r.Messages, int64(len(r.Raw)), r.Offset)
		return
	}
	cause := r.Err
	if failure, ok := errors.AsType[*logd.BatchError](r.Err); ok {
		cause = failure.Err
	}
	if d.cause != nil && errors.Is(cause, logd.ErrFailing) {
		cause = d.cause
	}
	k := kept{first: first, messages: r.Messages, unknown: logd.IsUnknown(r.Err)}
	if d.err == nil && d.awaits(cause) {
		if d.lost == nil {
			d.lost = cause
		}
		d.keep(k, r.Raw, cause)
		return
	}
	d.giveUp(k, r.Raw, cause)
	if d.err == nil {
		d.err = cause
	}
}

// giveUp deals with a batch that is not stored, or perhaps not, when the sending
// has ended: the next run finds it in the backlog, if there is one.
func (d *delivery) giveUp(k kept, raw []byte, cause error) {
	if d.spool.backlog != nil && d.spool.broken == nil {
		d.keep(k, raw, cause)
	} else if k.unknown {
		d.account.add(k.first, k.first+k.messages-1, unknown)
	}
}

// keep puts a batch among those that wait.
func (d *delivery) keep(k kept, raw []byte, cause error) {
	d.spool.put(k, raw, cause)
	if err := d.spool.broken; err != nil && d.err == nil {
		d.err = err
	}
}

// stored accounts for a stored batch and prints it.
func (d *delivery) stored(first, messages, bytes, offset int64) {
	d.next, d.last = offset, offset
	d.ledger.stored(first, messages, bytes, offset)
}
