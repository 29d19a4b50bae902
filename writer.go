package logd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/intake"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// Writer writes messages to one topic: one Write is one message. It collects
// them into batches, has several of these on their way at once, and keeps what
// it could not deliver. It is an io.WriteCloser, good for log.SetOutput (with
// TrimNewline) and log/slog ([NewSlogHandler]). All methods are safe for
// concurrent use.
//
// That Write returns nil means that the Writer has taken the message, not that
// it is stored. [Writer.Flush] and [Writer.Close] tell that of all messages
// before them, [Writer.WriteFunc] of each. Only the server's setting decides
// how durable a stored message is.
//
// # States
//
// A Writer is in one [WriterState] at a time. [Writer.State] and
// WriterConfig.OnState show it.
//
//	connected ── a batch fails, or the server cannot be reached ──► failing
//	failing   ── the server answers, and the backlog is empty ────► connected
//	failing   ── the server answers, and the backlog is not ──────► flushing
//	flushing  ── the backlog is delivered ────────────────────────► connected
//	flushing  ── a batch fails, or the server cannot be reached ──► failing
//	connected, flushing ── Close, with something to deliver ──────► flushing
//	any       ── Close, all delivered or tried once more ─────────► closed
//
// It begins as connected, or as flushing if there is a backlog, or, with
// WriteWhileFailing, as failing.
//
// A batch that can't be stored for the moment is sent again, and no state changes:
// the connection was lost, or the server is busy, shutting down, read only or not the
// leader. The Writer waits for the answers to all that it has sent, reconnects, and
// goes on with the first batch that is not stored, with a pause before the second
// attempt and those that follow. In a cluster it goes to the member that was named, or
// else to the next, and takes a leader that is silent for one and a half election
// timeouts for cut off. If that lasts for longer than WriterConfig.Patience,
// the batch has failed. Without numbers (see below) it has failed at once.
//
// A batch fails, too, when the server refuses it for any other reason. From then on
// the Writer
//
//  1. refuses new messages: Write returns the cause, at once; Flush, too, and
//     whoever waits in either. With WriteWhileFailing messages are taken.
//  2. sends nothing, and waits for the answers to the batches that are still on
//     their way.
//  3. puts each batch that failed into the backlog, with its error, and then
//     everything else that it has taken. What the backlog has no room for is
//     lost, and counted as [WriterStats].Lost.
//  4. reconnects: the Client tries its addresses, and the Writer asks for the
//     server's CONFIG, and how large a batch the topic takes. The first attempt
//     is made at once. Before the second one and those that follow there is a
//     pause, as long as ClientConfig.ReconnectMin and
//     ReconnectMax say. A batch that is delivered ends the count. There are as
//     many attempts as it takes, whatever ClientConfig.ReconnectAttempts says.
//  5. takes messages again, and delivers the backlog, oldest batch first, and
//     only one at a time until one is delivered.
//  6. sends what is newer.
//
// A connection that was lost while nothing was on its way is replaced when the
// next batch is due, in the same way; that is no failure as long as the first
// attempt succeeds.
//
// With WriterConfig.StopOnError the Writer ends with step 3, and stays failing.
//
// Every failure gets to OnError, OnBatch and the callbacks of WriteFunc. A
// batch that the server goes on to refuse (its topic is not allowed, say) stays
// at the head of the backlog, and the Writer goes on to fail, until the server
// takes it or the backlog is removed: nothing is skipped.
//
// # Smaller batches
//
// Batches are no longer than the server takes them, and the topic: the Writer asks over
// each connection. If the topic's batch-size gets smaller later, the server refuses a batch
// with ErrTooLarge. The Writer then asks again, and sends what is not stored in smaller
// batches, under another id; if it may not ask, it tries halves. That is no failure. A
// message that is too large by itself is given up alone: its callback is told ErrTooLarge,
// and it is counted as Lost. With StopOnError the Writer fails.
//
// A batch of the backlog is split there, which a Disk and a Memory can do, and the next
// process sends the smaller ones. These are not split, and fail: a batch that may be
// stored, since it was sent before and its answer was lost, or was kept by an earlier
// process; one message of the backlog that is too large by itself; and a batch of another
// Backlog. They stay there until the topic takes them.
//
// # Once, and in order
//
// Messages are in the order of the Writes in their batch, and batches are sent in
// this order. Each has a number, and the Writer an id of its own: so the server knows
// a batch that is sent again, and stores none before its time. Each message is stored
// once, in the order of the Writes, whatever InFlight is and however often connections
// are lost and servers end. What is kept in a [backlog.Disk] keeps its numbers, also in
// the next process.
//
// If the server has stored a batch and can't tell any more where, its WriteFunc
// callbacks have the offset -1. If a callback has an error that is [IsNotStored], the
// message is not stored; if it is ErrBacklogged, it is still to be.
//
// A server knows as many of a topic's newest batches as its CONFIG says (Producers). If
// so many others have come before a batch is sent again, or the server has lost its
// data, the batch may be stored twice, and WriterStats.InDoubt counts that.
//
// # Without numbers
//
// A server whose CONFIG has no Producers, or 0, gets batches without numbers, and
// with NoSequence every server does. With InFlight n, a batch that fails is then stored
// behind those of the up to n-1 batches sent after it that were already on their way
// and did not fail. A message is stored twice if its batch failed with an error that is
// [IsUnknown] and was kept in the backlog, and the server had stored it without being
// heard: once more for each such failure, at most. In addition, a batch from a
// [backlog.Disk] is stored again if the process ends after the server stored it and
// before that was noted, and after a power cut. [backlog.None] is for those who would
// rather lose a message than see it twice.
//
// # Memory
//
// A Writer holds at most BufferBytes of messages, apart from its backlog and,
// while it is delivering that, InFlight batches from there. WriterConfig.WhenFull
// says what happens when it has no room.
type Writer struct {
	client  *Client
	topic   string
	cfg     WriterConfig
	backlog backlog.Backlog
	newPID  func() string // an id for batches

	wake chan struct{}   // wakes the goroutine; holds one
	life context.Context // ends when CloseContext gives up
	stop context.CancelCauseFunc
	// checked is the number of the connection over which a probe succeeded, and offered
	// whether the server there knows numbers. While no server was asked it is true.
	checked atomic.Int64
	offered atomic.Bool
	most    atomic.Int64 // bytes of the largest batch that this server takes, and the topic if it tells
	tells   atomic.Bool  // it does
	// codec compresses batches, nil for none, where the server takes it: takes are the
	// batch.Codecs of the one that was asked last.
	codec Codec
	takes atomic.Uint32
	told  atomic.Bool   // that it does not
	done  chan struct{} // closed at the goroutine's end

	// buffer has what was taken and not sent, and the lock, which is held for moments
	// only: never while the network, a disk or a Backlog's lock is waited for, nor while
	// a callback runs. It is the last in the order of locks: whoever holds it takes no
	// other lock, neither the Client's nor a Backlog's. It guards these, too.
	buffer   intake.Buffer[WriteResult]
	state    WriterState // changed by the goroutine alone
	cause    error       // why it is failing
	closing  bool
	closeErr error // what Close returns

	via *link.Link // to the server that is asked, or was: the probe's while one is running, then the goroutine's

	sender // the goroutine's own
}

// slot is a batch on its way through a Writer.
type slot = intake.Slot[WriteResult]

// NewWriter returns a Writer for the topic. It asks the server for its CONFIG,
// within ctx, and refuses a server that RequireSync rules out. It tries each address
// once, whatever ClientConfig.ReconnectAttempts says; with WriteWhileFailing it
// needs no server.
//
// The Client may have other uses: reads that wait for a batch have connections of
// their own and hold up no Writer. It must not be closed before the Writer.
func NewWriter(ctx context.Context, c *Client, topic string, cfg WriterConfig) (*Writer, error) {
	return newWriter(c, topic, cfg, func(w *Writer) (failures int, err error) {
		return 2, w.probe(ctx, false) // if it fails there is a pause before the next attempt
	})
}

// newWriter is NewWriter with a first attempt to reach the server. If that fails,
// the Writer begins with so many failures.
func newWriter(c *Client, topic string, cfg WriterConfig, attempt func(*Writer) (failures int, err error)) (*Writer, error) {
	const op = "new writer"
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	fail := func(err error) error {
		var addr string
		if e, ok := err.(*OpError); ok {
			addr, err = e.Addr, e.Err
		}
		return &OpError{Op: op, Topic: topic, Addr: addr, Err: err}
	}
	if err := checkTopic(topic); err != nil {
		return nil, fail(err)
	}
	w := &Writer{
		client: c, topic: topic, cfg: cfg.withDefaults(), via: c.pool.Home(),
		wake: make(chan struct{}, 1), done: make(chan struct{}), newPID: newPID,
	}
	w.backlog = w.cfg.Backlog
	if w.backlog == nil && w.cfg.StopOnError {
		w.cfg.Backlog, w.backlog = backlog.None{}, backlog.None{}
	}
	if w.backlog == nil {
		own, err := backlog.NewMemory(backlog.MemoryConfig{})
		if err != nil {
			return nil, err
		}
		w.backlog = own
	}
	if cfg.Codec != "" {
		if w.codec = c.codecs[cfg.Codec]; w.codec == nil {
			return nil, fail(fmt.Errorf("WriterConfig.Codec is %q, and no such codec is registered: import the package that has it before the Client is made", cfg.Codec))
		}
	}
	w.offered.Store(true)
	w.tells.Store(true)
	w.most.Store(w.cfg.BatchBytes)
	w.share = w.cfg.BatchBytes
	take := intake.Config{
		Topic: topic, Max: w.cfg.BatchBytes, Target: w.cfg.BatchTarget, Messages: w.cfg.BatchMessages, Age: w.cfg.BatchAge,
		Slots: int(w.cfg.BufferBytes / w.cfg.BatchBytes), Full: intake.Policy(w.cfg.WhenFull), TrimNewline: w.cfg.TrimNewline, Rouse: w.rouse,
	}
	if !w.cfg.NoSequence {
		take.NumberLen = int64(batch.MaxNumberLen)
	}
	w.buffer.Init(take)

	if err := w.backlog.Claim(); err != nil {
		return nil, fail(err)
	}
	if whose := w.backlog.Topic(); whose != "" && whose != topic {
		w.backlog.Release()
		return nil, fail(fmt.Errorf("the backlog is of topic %q", whose))
	}
	failures, err := attempt(w)
	if err != nil && !(w.cfg.WriteWhileFailing && (IsRetryable(err) || errors.Is(err, errNotAsked))) {
		w.backlog.Release()
		return nil, fail(err)
	}
	w.limit()
	w.life, w.stop = context.WithCancelCause(context.Background())
	w.begin(err, failures)
	go w.run()
	return w, nil
}

// bare returns the reason of an error without what OpError says of its call,
// for an error that says so itself.
func bare(err error) error {
	if e, ok := err.(*OpError); ok {
		return e.Err
	}
	return err
}

// probe makes sure that there is a connection to a server that the Writer can use, and
// asks how large batches may be: also for this topic if the server says that topics have
// limits of their own, or if anew is set, since it may have got one meanwhile.
func (w *Writer) probe(ctx context.Context, anew bool) error {
	var server protocol.Settings
	var connection int64
	var err error
	for range w.client.pool.Servers().Len() {
		w.via = w.client.pool.Route(w.topic)
		server, connection, err = w.client.settingsOver(ctx, w.topic, w.via)
		if !errors.Is(err, ErrConnectionLost) || ctx.Err() != nil {
			break // else the server may have hung up on all, and the next one not
		}
	}
	if err != nil {
		return err
	}
	w.client.pool.Refresh(ctx, w.via)
	var own protocol.TopicInfo
	tells := true
	if server.TopicLimits || anew {
		if own, tells, err = w.topicLimits(ctx); err != nil {
			return err
		}
	}
	most := w.cfg.BatchBytes
	for _, limit := range [...]int64{server.MaxBatchSize, own.MaxBatchSize} {
		if limit > 0 {
			most = min(most, limit)
		}
	}
	w.most.Store(most)
	w.tells.Store(tells)
	if w.cfg.RequireSync && !server.SyncsFirst() && own.Setting("durability") != "synced" {
		err := fmt.Errorf("%w: its FlushBatches is %d, want 1", ErrNotSynced, server.FlushBatches)
		return &OpError{Op: "config", Addr: w.client.Addr(), Err: err}
	}
	w.offered.Store(server.Producers > 0)
	w.takes.Store(uint32(server.Codecs))
	if w.codec != nil && w.packs() == nil && !w.told.Swap(true) {
		w.client.cfg.Logger.Warn("the server does not take the codec: batches are sent as they are", "topic", w.topic, "codec", w.codec.Name(), "remote", w.client.Addr())
	}
	w.checked.Store(connection)
	return nil
}

// topicLimits returns what the server says of the Writer's topic. Of a topic that is not
// there yet, or that the Writer may not ask about, it does not tell.
func (w *Writer) topicLimits(ctx context.Context) (info protocol.TopicInfo, tells bool, err error) {
	told, err := w.client.info(ctx, w.topic, false)
	switch {
	case err == nil:
		return *told, true, nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrUnauthorized), errors.Is(err, ErrInvalidRequest):
		return info, false, nil
	}
	return info, false, err
}

// Write takes a message with a copy of p. It blocks only where there is no
// room and WriterConfig.WhenFull is Block, until there is, or the Writer fails
// or is closed.
//
// A non-nil error means that the message was not taken: the Writer is failing
// (ErrFailing, which wraps the cause), closed (ErrClosed) or full
// (ErrBufferFull), or the message is larger than a batch may be (ErrTooLarge).
func (w *Writer) Write(p []byte) (n int, err error) {
	return w.WriteContext(context.Background(), p)
}

// WriteContext is Write, but blocks only until ctx ends. The error is then
// ctx's.
func (w *Writer) WriteContext(ctx context.Context, p []byte) (n int, err error) {
	if err := w.buffer.Take(ctx, p, nil); err != nil && err != ErrDropped {
		return 0, w.takeError(err)
	}
	return len(p), nil
}

// WriteResult is what became of one message.
type WriteResult struct {
	// Offset and Delta name the message, if Err is nil. If Offset is -1, the message
	// is stored, and the server can't tell any more where.
	Offset, Delta int64
	// Err is nil if the message is stored. Otherwise it is a *BatchError,
	// which says why, and whether the message is kept in the backlog
	// (ErrBacklogged), to be delivered from there; or ErrDropped.
	Err error
}

// ID returns the message's name, if Err is nil.
func (r WriteResult) ID() ID { return ID{r.Offset, r.Delta} }

// WriteFunc is WriteContext, and has done called with what became of the
// message: once if it returns nil, and never otherwise. For this caller, a
// message that DropNewest drops was not taken: the error is ErrDropped.
//
// The calls are made by the Writer's goroutine, in the order of the messages,
// except that those that DropOldest drops may come before older ones that are
// on their way. What is said of the callbacks of WriterConfig holds for done, too.
func (w *Writer) WriteFunc(ctx context.Context, p []byte, done func(WriteResult)) error {
	if err := w.buffer.Take(ctx, p, done); err != nil {
		return w.takeError(err)
	}
	return nil
}

// takeError returns the error for a message that the buffer did not take.
func (w *Writer) takeError(err error) error {
	if _, known := err.(*OpError); known {
		return err
	}
	return w.notTaken("write", err)
}

// notTaken returns the error for a message, or a batch, that was not sent.
func (w *Writer) notTaken(op string, err error) error {
	return &OpError{Op: op, Topic: w.topic, Err: err, Outcome: OutcomeNotStored}
}

// opError returns the error of a method that says nothing of single messages.
func (w *Writer) opError(op string, err error) error {
	return &OpError{Op: op, Topic: w.topic, Err: err}
}

// State returns the state that the Writer is in.
func (w *Writer) State() WriterState {
	w.buffer.Lock()
	defer w.buffer.Unlock()
	return w.state
}

// Err returns why the Writer is failing, nil if it is not.
func (w *Writer) Err() error {
	w.buffer.Lock()
	defer w.buffer.Unlock()
	if w.state != StateFailing {
		return nil
	}
	return w.cause
}

// Stats returns what the Writer has counted.
func (w *Writer) Stats() WriterStats {
	w.buffer.Lock()
	defer w.buffer.Unlock()
	return WriterStats(w.buffer.Counts())
}

// Flush sends what is not yet sent and returns nil when all messages taken
// before, and the backlog, are stored. It returns an error, and does not wait,
// as soon as the Writer is failing: what that means for the messages their
// callbacks and OnError are told. If ctx ends the error is ctx's.
//
// A Flush that would return nil returns an error if messages are lost that were
// taken before it: messages that the Backlog had no room for, or that DropOldest
// dropped (the error is then ErrDropped). Flush tells of each loss once. It does so
// to every caller who waits in Flush at that time, and not to one who calls Flush
// after that. So if several goroutines call Flush, and each wants to know of its
// own messages, WriteFunc is for them. What DropNewest drops was never taken, and
// is no loss.
func (w *Writer) Flush(ctx context.Context) error {
	w.buffer.Lock()
	switch {
	case w.closing:
		w.buffer.Unlock()
		return w.opError("flush", errWriterClosed)
	case w.state == StateFailing:
		cause := w.cause
		w.buffer.Unlock()
		return w.opError("flush", w.because(cause))
	}
	f := w.buffer.BeginFlush()
	w.buffer.Unlock()
	w.rouse()
	if err := f.Wait(ctx); err != nil {
		return w.opError("flush", err)
	}
	return nil
}

// Close delivers what is pending, the backlog included, and ends the Writer.
// If that fails, or has failed before, it reconnects and tries once more. How
// long it takes is limited by Patience, by the Client's timeouts, for each
// connection, and by the length of the backlog; use CloseContext to limit it
// further.
//
// A nil error means that everything in the Writer and its backlog is stored, and
// that nothing was lost of which no Flush has told. Otherwise the error says
// why it is not, and is ErrBacklogged if the rest is kept in a backlog that
// outlives the Writer. Further calls return the same.
func (w *Writer) Close() error { return w.CloseContext(context.Background()) }

// CloseContext is Close, but when ctx ends, it gives up what is not delivered,
// to the backlog if that has room, and returns soon. What was being sent at
// that moment may be stored or not.
func (w *Writer) CloseContext(ctx context.Context) error {
	w.buffer.Lock()
	if !w.closing {
		w.closing = true
		w.buffer.Seal()
		w.buffer.Refuse(w.notTaken("write", errWriterClosed))
	}
	w.buffer.Unlock()
	w.rouse()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.stop(ctx.Err())
		<-w.done
	}
	return w.closeErr
}

// because returns what callers are told of the cause.
func (w *Writer) because(cause error) error {
	return fmt.Errorf("%w: %w", ErrFailing, bare(cause))
}

// rouse wakes the goroutine.
func (w *Writer) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
