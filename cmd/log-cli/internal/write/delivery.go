package write

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// delivery delivers messages to a topic. It prints where each batch is stored, and
// keeps account of what became of every message.
//
// A Writer makes the batches, sends several at once, and stops at the first that
// fails. If it failed because the server went away, what is not stored waits in
// the spool, with what comes meanwhile. When all of that is stored, another Writer
// goes on: see reach.
type delivery struct {
	client *logd.Client
	note   func(format string, args ...any) // tells the user something
	life   context.Context                  // ends when nothing more is to be waited for
	retry  time.Duration                    // how long to wait for a server that went away; less than 0 for ever
	topic  string
	limit  int64 // the largest batch that the server takes
	target int64 // the largest batch to make if it can be helped
	count  int64 // how many messages make a batch full; 0 for any number

	writer   *logd.Writer // nil while the server is away
	batch    logd.Batch   // being filled while the server is away
	messages int64        // how many messages there were so far
	pushed   int64        // how many there were at the last push

	// mu guards the rest: while there is a Writer, its goroutine changes all of it.
	mu      sync.Mutex
	out     *bufio.Writer // where the batches' offsets go; nil for nowhere
	json    bool
	settled int64 // the first so many messages are stored, wait or are given up
	account account
	err     error // the first failure; nothing is sent after it
	lost    error // why the server is away
	cause   error // why the Writer is failing
	spool   spool
	next    int64 // where a batch may stand of which nobody knows whether it is stored
	last    int64 // offset of the last batch that is known to be stored; -1 for none
}

// errTooLong is the error of a message that no batch can hold.
var errTooLong = errors.New("no batch can hold it")

// errAway is the reason of a batch that waits although it was never sent.
var errAway = errors.New("the server was away")

// begin makes a Writer, if the server is there.
func (d *delivery) begin(ctx context.Context) (err error) {
	d.writer, err = logd.NewWriter(ctx, d.client, d.topic, logd.WriterConfig{
		BatchBytes: d.limit, BatchTarget: d.target, BatchMessages: d.count,
		BatchAge: -1, StopOnError: true, NoSequence: true, OnBatch: d.result, OnState: d.state,
	})
	return err
}

// add takes a message. An error means that the message, and what comes after
// it, is not stored.
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

// failed returns the first failure.
func (d *delivery) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// push sends what is left and waits until nothing is on its way. What waits for
// a server that is away goes on waiting.
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

// idle reports whether there is nothing to send, to wait for or to print.
func (d *delivery) idle() bool { return d.writer != nil && d.pushed == d.messages }

// finish sends what is left and waits until all is stored.
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
	if d.err == nil && d.waits(cause) {
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
	if first > 0 {
		d.account.add(first, first+messages-1, stored)
	}
	if err := d.print(offset, messages, bytes); err != nil && d.err == nil {
		d.err = err
	}
}

// print prints a stored batch. That nobody reads it is no reason to stop
// writing.
func (d *delivery) print(offset, messages, bytes int64) error {
	if d.out == nil {
		return nil
	}
	var err error
	if d.json {
		err = cli.PrintJSON(d.out, struct {
			Topic    string `json:"topic"`
			Offset   int64  `json:"offset"`
			Messages int64  `json:"messages"`
			Bytes    int64  `json:"bytes"`
		}{d.topic, offset, messages, bytes})
	} else {
		err = cli.Printf(d.out, "%d\n", offset)
	}
	return d.unread(err)
}

// flushOutput shows what was printed, and returns the first failure.
func (d *delivery) flushOutput() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out != nil {
		if err := d.unread(exit.OutputError(d.out.Flush())); d.err == nil {
			d.err = err
		}
	}
	return d.err
}

// unread drops the output when its reader went away.
func (d *delivery) unread(err error) error {
	if errors.Is(err, exit.ErrQuiet) {
		d.out = bufio.NewWriter(io.Discard)
		return nil
	}
	return err
}
