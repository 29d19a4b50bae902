package logd

import (
	"bytes"
	"context"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/fetch"
	"github.com/logd-dev/logd/internal/protocol"
)

// Scanner reads the messages of one topic, one after another:
//
//	s, err := logd.NewScanner(ctx, client, "greetings", logd.ScannerConfig{})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	for s.Scan() {
//		fmt.Printf("%s\n", s.Message().Body)
//	}
//	return s.Err()
//
// It reads ahead while its caller works, and checks every batch before it
// delivers anything of it.
//
// When the connection is lost, or the server says that it cannot answer just
// now, the Scanner reads on from where it was: nothing is lost and nothing is
// repeated. It gives up after as many failures in a row as the Client's
// ReconnectAttempts, so a program that is to follow a topic through a longer
// absence of its server makes that negative.
//
// In a cluster the Scanner reads on at its offset on any member that has it. If it ends with
// the log, it ends with what was stored when it came there, also on a member that is
// behind.
//
// If a batch is damaged on the server's disk, the Scanner delivers what comes
// before and has the server set that batch aside, and nothing but it. It goes on
// behind it where ScannerConfig.OnGone says so. That holds for the oldest batches
// of the topic as for all others.
//
// A Scanner that follows, or asks for times, has a connection of its own, to one member of
// a cluster at a time, made as
// the Client's is, with its hooks and its Logger: what it waits for holds up
// nobody else. Other Scanners read over the Client's connection. Closing the
// Client ends both.
//
// A Scanner is for one goroutine; only Close may be called by others.
type Scanner struct {
	topic string
	cfg   ScannerConfig
	ctx   context.Context // ends with Close and the Client's Close
	end   context.CancelCauseFunc

	stopped  atomic.Bool // ctx has ended
	fetcher  *fetch.Fetcher
	fetching sync.WaitGroup

	// Scan's own.
	result  *Result
	batches []StoredBatch       // of result, those not yet begun
	skip    int64               // how many messages of the next batch are not wanted
	times   []protocol.TimeMark // of batches, those that the current one does not reach yet
	time    time.Time           // of the current batch
	walk    batch.Messages
	offset  int64 // of the batch that walk is in
	next    int64 // the offset that follows that batch
	left    int64 // of Limit
	why     ScanEnd
	err     error
}

// NewScanner returns a Scanner of the topic. It begins to read at once, and goes
// on until it is closed.
//
// AtNext, AtTime and Last are looked up before NewScanner returns, with patience as
// for any read: ctx bounds that, and has no meaning once NewScanner has returned.
// Everything else that can be wrong with the topic or the place to begin is told
// by Next and Scan.
func NewScanner(ctx context.Context, client *Client, topic string, cfg ScannerConfig) (*Scanner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkTopic(topic); err != nil {
		return nil, scanError(topic, err)
	}
	cfg = cfg.withDefaults()
	cfg.ReadBytes = min(cfg.ReadBytes, client.cfg.MaxReplySize)
	start := cfg.Start
	if cfg.Progress != nil {
		known, err := cfg.Progress.Position()
		if err != nil {
			return nil, scanError(topic, err)
		}
		if !known.IsZero() {
			start = known
		}
		if !start.valid() {
			return nil, scanError(topic, &OffsetError{Offset: start.id.Offset, Delta: start.id.Delta})
		}
	}
	s := &Scanner{topic: topic, cfg: cfg, left: cfg.Limit}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	context.AfterFunc(s.ctx, func() { s.stopped.Store(true) })
	unlink := client.pool.Home().AfterClose(func() { s.end(ErrClosed) })
	src := newSource(client, topic, &cfg)
	release := func() {
		unlink()
		src.close()
	}
	s.fetcher = fetch.New(s.ctx, src, s.fetchConfig(client))
	if err := start.begin(ctx, s.fetcher); err != nil {
		s.end(err)
		release()
		return nil, s.fetchError(err)
	}
	s.fetching.Go(func() {
		defer release()
		s.fetcher.Run()
	})
	return s, nil
}

// fetchConfig says what to fetch.
func (s *Scanner) fetchConfig(client *Client) fetch.Config {
	cfg := fetch.Config{
		Limit: s.cfg.Limit, Messages: DefaultReadMessages, Ahead: s.cfg.ReadAhead, Attempts: client.cfg.ReconnectAttempts,
		OnRetry: func(err error) { s.cfg.OnRetry(s.fetchError(err)) },
		Follow:  s.cfg.Follow, AwaitTopic: s.cfg.AwaitTopic, Times: s.cfg.Times,
		Watch: s.cfg.Follow, Lazy: true,
	}
	if p, ok := s.cfg.Progress.(TopicProgress); ok {
		cfg.Watch, cfg.Lazy, cfg.TopicID = true, false, p.TopicID()
	}
	return cfg
}

// Next returns the next message. Its Body is valid until the next call of Next or
// Scan: [Message.Copy] keeps it.
//
// When the Scanner has come to its end, the error is io.EOF, and End says which
// end it is. When it has failed, the error is what Err returns. Next waits for the
// server, if it must, until Close is called or ctx ends. If ctx ends, the error
// is ctx's, no message is lost, and Next may be called again.
func (s *Scanner) Next(ctx context.Context) (Message, error) {
	if err := ctx.Err(); err != nil {
		return Message{}, scanError(s.topic, err)
	}
	if err := s.advance(ctx); err != nil {
		return Message{}, err
	}
	return s.Message(), nil
}

// All ranges over the messages that are left, as Next returns them: until the
// Scanner's end, or an error, which is the last pair. After a break, the Scanner
// goes on with the message that follows.
func (s *Scanner) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.Next(ctx)
			if err == io.EOF || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Scan advances to the next message and reports whether there is one. It waits
// for the server, if it must, until Close is called. [Scanner.Next] does the same
// for as long as a context allows.
func (s *Scanner) Scan() bool { return s.advance(context.Background()) == nil }

// advance moves on to the next message. The error is io.EOF at the Scanner's end,
// and otherwise why there is no message.
func (s *Scanner) advance(ctx context.Context) error {
	if s.stopped.Load() {
		return s.finish(EndFailed, s.cause())
	}
	if s.cfg.Limit > 0 && s.left == 0 {
		return s.finish(EndLimit, nil)
	}
	for !s.walk.Next() {
		if err := s.nextBatch(ctx); err != nil {
			return err
		}
	}
	s.left-- // without a Limit, of no meaning
	if s.cfg.Progress != nil {
		if err := s.started(); err != nil {
			return s.finish(EndFailed, scanError(s.topic, err))
		}
	}
	return nil
}

// started tells the Progress of the message that is about to be delivered.
func (s *Scanner) started() error {
	id := ID{s.offset, s.walk.Delta()}
	if err := s.cfg.Progress.Started(id); err != nil {
		return err
	}
	end := id.Delta + batch.MessageLen(len(s.walk.Body()))
	if end == int64(len(s.walk.Data)) {
		return s.cfg.Progress.BatchEnd(id, s.next)
	}
	return nil
}

// Done tells the Progress that the program is done with the message, if err is nil,
// or that the message has failed. Without a Progress it does nothing. Done may be called for messages in any order, from any goroutine, and
// after Close.
func (s *Scanner) Done(m Message, err error) error {
	if s.cfg.Progress == nil {
		return nil
	}
	return s.cfg.Progress.Done(m.ID(), err)
}

// Message returns the message that Scan has advanced to, and a zero Message
// when Scan has returned false. Its Body is valid until the next call of Scan:
// [Message.Copy] keeps it.
func (s *Scanner) Message() Message {
	if s.why != NotEnded {
		return Message{}
	}
	return Message{Offset: s.offset, Delta: s.walk.Delta(), Body: s.walk.Body(), Time: s.time}
}

// NextOffset returns the offset that follows the current message's batch: where a
// Scanner begins that is to read the batches after it.
func (s *Scanner) NextOffset() int64 { return s.next }

// Ready reports whether the next call of Next or Scan is sure to return at once: it has a
// message for it, or the Scanner has ended. A program that collects output may
// write it out when Ready is false.
func (s *Scanner) Ready() bool {
	rest := int64(len(s.walk.Data))
	if rest > 0 {
		rest -= s.walk.Delta() + batch.MessageLen(len(s.walk.Body()))
	}
	return rest > 0 || len(s.batches) > 0 || len(s.fetcher.Arrivals) > 0 ||
		s.why != NotEnded || s.stopped.Load() || s.cfg.Limit > 0 && s.left == 0
}

// End returns why Scan has returned false.
func (s *Scanner) End() ScanEnd { return s.why }

// Err returns the error that ended the Scanner, nil if it came to its end: of
// the log, of an empty topic, or of its Limit, which End tells apart.
//
// The error is or wraps: *GoneError if what was to be read has been removed,
// which is ErrTopicReplaced if that was by deleting the topic and making another,
// *OffsetError if nothing begins there, ErrNoTopic if there is no such topic,
// ErrCorrupt if a batch is damaged, ErrClosed if the Scanner or the Client was closed,
// and else what a
// Client's Read would return, or the Progress.
func (s *Scanner) Err() error { return s.err }

// Close ends the Scanner, and a Next or Scan that is waiting, at once, and waits for
// its goroutines. It leaves the Client and the Progress open. It always returns
// nil.
func (s *Scanner) Close() error {
	s.end(errScannerClosed)
	s.stopped.Store(true)
	s.fetching.Wait()
	return nil
}

// nextBatch moves on to the next batch, if there is one to come.
func (s *Scanner) nextBatch(ctx context.Context) error {
	for len(s.batches) == 0 {
		if err := s.arrive(ctx); err != nil {
			return err
		}
	}
	b := &s.batches[0]
	s.batches = s.batches[1:]
	s.walk = batch.Messages{Data: b.Data()}
	s.offset, s.next = b.Offset, b.Next()
	for len(s.times) > 0 && s.times[0].Offset <= b.Offset {
		s.time, s.times = time.UnixMilli(s.times[0].Millis).UTC(), s.times[1:]
	}
	for ; s.skip > 0; s.skip-- {
		s.walk.Next()
	}
	return nil
}

// arrive takes what the fetcher has got.
func (s *Scanner) arrive(ctx context.Context) error {
	if s.why != NotEnded {
		return s.finish(s.why, s.err)
	}
	s.walk = batch.Messages{}
	s.result.Release()
	s.result = nil
	var a fetch.Arrival
	select {
	case a = <-s.fetcher.Arrivals:
	case <-s.ctx.Done():
		return s.finish(EndFailed, s.cause())
	case <-ctx.Done():
		return scanError(s.topic, ctx.Err())
	}
	switch {
	case a.End != fetch.None:
		return s.finish(ScanEnd(a.End), s.fetchError(a.Err))
	case a.Gap != nil:
		return s.passGap(a.Gap)
	}
	if err := s.ofTopic(a.Topic); err != nil {
		a.Batches.Release()
		return s.finish(EndFailed, scanError(s.topic, err))
	}
	s.result = newResult(a.Batches)
	s.batches, s.skip = s.result.Batches, a.Skip
	s.time, s.times = time.Time{}, a.Times
	return nil
}

// passGap asks whether to go on behind a gap.
func (s *Scanner) passGap(gap *fetch.Gap) error {
	gone := &GoneError{Offset: gap.Offset, Oldest: gap.Oldest, Damaged: gap.Damaged, File: gap.File, Replaced: gap.Replaced}
	err := error(gone)
	if s.cfg.OnGone != nil {
		if err = s.cfg.OnGone(gone); err == nil && gap.Replaced {
			err = s.ofTopic(gap.Topic)
		}
		if err == nil {
			s.fetcher.GoOn()
			return nil
		}
	}
	return s.finish(EndFailed, scanError(s.topic, err))
}

// ofTopic has the Progress know which topic the messages that come are of.
func (s *Scanner) ofTopic(id string) error {
	if p, ok := s.cfg.Progress.(TopicProgress); ok && id != "" && p.TopicID() != id {
		return p.SetTopicID(id)
	}
	return nil
}

// finish ends the Scanner. Only the first reason counts. It returns that reason,
// and io.EOF if it is no failure.
func (s *Scanner) finish(why ScanEnd, err error) error {
	if s.why == NotEnded {
		s.why, s.err = why, err
		s.batches, s.walk = nil, batch.Messages{}
		s.result.Release()
		s.result = nil
		s.end(errScannerClosed) // there is nothing more to fetch
	}
	if s.err == nil {
		return io.EOF
	}
	return s.err
}

// cause returns why ctx has ended.
func (s *Scanner) cause() error {
	if err := context.Cause(s.ctx); err != nil {
		return scanError(s.topic, err)
	}
	return scanError(s.topic, errScannerClosed)
}

func scanError(topic string, err error) error { return &OpError{Op: "scan", Topic: topic, Err: err} }

// Copy returns the message with a copy of its body, which nothing changes.
func (m Message) Copy() Message {
	m.Body = bytes.Clone(m.Body)
	return m
}
