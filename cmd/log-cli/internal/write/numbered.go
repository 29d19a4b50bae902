package write

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// numbered is the sender to a server that knows numbers. A Writer does everything: it
// sends again what was not answered, and keeps in its backlog what waits for a server
// that is away. So nothing has to be looked for, also not by the next run.
type numbered struct {
	ledger

	writer *logd.Writer
	disk   *backlog.Disk   // nil for none
	kept   backlog.Backlog // what the Writer has: disk, or in memory
	path   string          // of disk
	pushed int64           // how many messages there were when all was stored, the last time

	changed chan struct{} // gets a value when something below has changed; holds one

	// Guarded by mu.
	waits []kept    // what is in kept, in order
	next  int       // which of them the next word from the backlog is about
	left  int64     // messages of an earlier run that are among them
	early int64     // how many these were at first
	since time.Time // when the server went away; zero while it is there
	cause error     // why the Writer is failing
}

// diskBytes bounds the file of a backlog, if it has room for a few batches then. When
// three quarters of it are taken, no input is read.
const diskBytes = 256 << 20

func (d *numbered) open(path string) error {
	switch {
	case path != "":
		disk, err := backlog.OpenDisk(backlog.DiskConfig{Path: path, MaxBytes: max(diskBytes, 4*d.limit)})
		if err != nil {
			return err
		}
		d.disk, d.kept, d.path = disk, disk, path
		if err := d.checkOwner(disk, path); err != nil {
			return err
		}
		for e, err := range disk.All() {
			if err != nil {
				return err
			}
			d.waits = append(d.waits, kept{messages: e.Messages})
			d.left += e.Messages
		}
		d.early = d.left
	case d.retry == 0:
		d.kept = backlog.None{}
	default:
		memory, err := backlog.NewMemory(backlog.MemoryConfig{MaxBytes: logd.Unlimited}) // see full
		if err != nil {
			return err
		}
		d.kept = memory
	}
	if err := d.begin(); err != nil {
		return err
	}
	if d.early > 0 {
		return d.finish(d.life) // before anything that is new
	}
	return nil
}

// patientElections is for how many election timeouts a cluster may be without a leader
// before the user is told.
const patientElections = 4

// begin makes a Writer.
func (d *numbered) begin() (err error) {
	cfg := logd.WriterConfig{
		BatchBytes: d.limit, BatchTarget: d.target, BatchMessages: d.count, BatchAge: logd.Unlimited,
		Codec: d.codec, Backlog: d.kept, OnBatch: d.result, OnState: d.state, OnError: d.trouble,
	}
	if d.retry == 0 {
		cfg.StopOnError = true
		cfg.NoSequence = d.disk == nil && d.election == 0 // nothing is ever sent again
	} else {
		cfg.WriteWhileFailing, cfg.Patience = true, time.Millisecond // the user is told soon
	}
	if d.election > 0 {
		cfg.Patience = patientElections * d.election
	}
	d.mu.Lock()
	d.next = 0
	d.mu.Unlock()
	d.writer, err = logd.NewWriter(d.life, d.client, d.topic, cfg)
	return err
}

func (d *numbered) add(ctx context.Context, body []byte) error {
	for d.full() {
		if err := d.wait(); err != nil {
			return err
		}
	}
	if err := d.look(); err != nil {
		return err
	}
	_, err := d.writer.WriteContext(ctx, body)
	switch {
	case err == nil:
		d.messages++
	case errors.Is(err, logd.ErrTooLarge):
		d.fit(ctx) // it may be another server by now
		return errTooLong
	case errors.Is(err, logd.ErrFailing):
		return d.stop(err)
	}
	return err
}

// full reports whether so much waits that no more input is to be read.
func (d *numbered) full() bool {
	room := int64(spoolBytes)
	if d.disk != nil {
		room = d.disk.MaxBatch() / 4 * 3
	}
	return d.kept.Bytes() >= room
}

func (d *numbered) push(ctx context.Context) error {
	if err := d.look(); err != nil {
		return err
	}
	n := d.messages
	err := d.writer.Flush(ctx)
	switch {
	case err == nil:
		d.pushed = n
	case d.retry == 0 || !errors.Is(err, logd.ErrFailing):
		if err := d.stop(err); err != nil {
			return err
		}
	}
	return d.flushOutput()
}

func (d *numbered) tend(ctx context.Context) error { return d.push(ctx) }

func (d *numbered) finish(ctx context.Context) error {
	for {
		if err := d.push(ctx); err != nil || d.pushed == d.messages && d.kept.Len() == 0 {
			return err
		}
		if err := d.wait(); err != nil {
			return err
		}
	}
}

func (d *numbered) rest(interval time.Duration) (idle bool, pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.since.IsZero() {
		return false, max(interval, minPause)
	}
	return d.pushed == d.messages, interval
}

// wait waits until something changes, or for a moment.
func (d *numbered) wait() error {
	timer := time.NewTimer(minPause)
	defer timer.Stop()
	select {
	case <-d.changed:
	case <-timer.C:
	case <-d.life.Done():
		return errInterrupted
	}
	return d.look()
}

// look returns the first failure, which there is too if the server was away for too
// long.
func (d *numbered) look() error {
	d.mu.Lock()
	if away := time.Since(d.since); d.err == nil && !d.since.IsZero() && d.retry > 0 && away >= d.retry {
		d.err = fmt.Errorf("the server was away for %v: %w", d.retry, d.cause)
	}
	err := d.err
	d.mu.Unlock()
	return err
}

// stop ends the sending because of err, unless there was a failure before.
func (d *numbered) stop(err error) error {
	if errors.Is(err, logd.ErrFailing) {
		d.close() // so that all is told of why
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
		if d.cause != nil {
			d.err = d.cause
		}
	}
	return d.err
}

// close ends the Writer at once: what is not stored is kept.
func (d *numbered) close() {
	if d.writer == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.writer.CloseContext(ctx) // what it says was told of each batch
	if n := d.writer.Stats().InDoubt; n > 0 {
		d.note("%s may be stored twice: the server did not know any more whether it has them", cli.Count(n, "message"))
	}
	d.writer = nil
}

func (d *numbered) end() {
	d.close()
	if d.disk != nil {
		d.disk.Close()
	}
	for _, k := range d.waits {
		switch last := k.first + k.messages - 1; {
		case k.first == 0:
		case d.disk != nil:
			d.account.add(k.first, last, waiting)
		case k.unknown:
			d.account.add(k.first, last, unknown)
		}
	}
	d.waits = nil
}

// tell says that something has changed. Caller holds mu.
func (d *numbered) tell() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// result deals with a batch that was stored or not.
func (d *numbered) result(r logd.BatchResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.tell()
	k := kept{first: d.settled + 1, messages: r.Messages, unknown: logd.IsUnknown(r.Err)}
	if r.FromBacklog {
		if whole := &d.waits[d.next]; whole.messages > r.Messages { // it was split
			rest := *whole
			whole.messages, rest.messages = r.Messages, rest.messages-r.Messages
			if rest.first > 0 {
				rest.first += r.Messages
			}
			d.waits = slices.Insert(d.waits, d.next+1, rest)
		}
		k.first, k.unknown = d.waits[d.next].first, k.unknown || d.waits[d.next].unknown
	} else {
		d.settled += r.Messages
	}
	if r.Err == nil {
		if r.FromBacklog {
			if d.next == 0 { // as it is most often, and of many
				d.waits = d.waits[1:]
			} else {
				d.waits = slices.Delete(d.waits, d.next, d.next+1)
			}
		}
		d.stored(k.first, k.messages, int64(len(r.Raw)), r.Offset)
		if d.left > 0 && k.first == 0 {
			if d.left -= k.messages; d.left == 0 {
				d.noteLeft(d.early, d.path)
			}
		}
		return
	}
	cause := r.Err
	if failure, ok := errors.AsType[*logd.BatchError](r.Err); ok {
		cause = failure.Err
		if failure.Backlog != nil { // it is given up for that reason
			cause = failure.Backlog
		}
	}
	switch {
	case r.FromBacklog:
		d.waits[d.next] = k
		d.next++
	case errors.Is(r.Err, logd.ErrBacklogged):
		d.waits = append(d.waits, k)
	case k.unknown:
		d.account.add(k.first, k.first+k.messages-1, unknown)
	}
	if d.cause != nil && errors.Is(cause, logd.ErrFailing) {
		cause = d.cause
	}
	if lost := !r.FromBacklog && !errors.Is(r.Err, logd.ErrBacklogged); d.err == nil && (lost || !d.awaits(cause)) && !errors.Is(cause, context.Canceled) {
		d.err = cause
	}
}

// state notes when the server goes away and when it is back.
func (d *numbered) state(state logd.WriterState, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.tell()
	switch state {
	case logd.StateFailing:
		if op, ok := cause.(*logd.OpError); ok && op.Op == "connect" { // to append
			cause = &logd.OpError{Op: "append", Topic: d.topic, Addr: op.Addr, Err: op.Err}
		}
		d.cause = cause
		if d.awaits(cause) && d.since.IsZero() {
			d.since = time.Now()
			why := cli.Plain(cause)
			if op, ok := errors.AsType[*logd.OpError](cause); ok && op.Addr != "" {
				why = fmt.Sprintf("%s: %v", op.Addr, op.Err)
			}
			d.note("%s; trying on", why)
		}
	case logd.StateFlushing:
		d.next = 0
	case logd.StateConnected:
		d.next = 0
		if !d.since.IsZero() {
			d.since, d.cause = time.Time{}, nil
			d.note("the server answers again; all that waited is stored")
		}
	}
}

// trouble notes what no batch is told of: that the server can't be gone on with.
func (d *numbered) trouble(err error) {
	op, ok := err.(*logd.OpError)
	if !ok || d.awaits(err) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.tell()
	if d.err == nil && op.Op != "append" && !errors.Is(err, context.Canceled) {
		d.err = err
	}
}
