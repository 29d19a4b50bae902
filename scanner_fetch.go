package logd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

const (
	// followWait is how long one read waits at the end of the log before it is
	// sent again.
	followWait = 10 * time.Second
	// followRest is the pause after an answer without batches that should have
	// come later: a server that shuts down gives such answers until it is gone, as
	// fast as it is asked.
	followRest = time.Millisecond
	// awaitPause is between two questions whether a topic is there.
	awaitPause = time.Second
	// learnAfter is how long a Scanner reads before it asks whether its server is in a
	// cluster.
	learnAfter = 2 * time.Second
	// fromOldest is the fetcher's offset before it knows one.
	fromOldest = -1
)

// arrival is what the fetcher hands to Scan: batches, a gap, or the end.
type arrival struct {
	result *Result
	skip   int64               // how many messages of the first batch are not wanted
	times  []protocol.TimeMark // of the batches, as far as they are wanted and known
	gone   *GoneError
	topic  string // id of the topic that the batches are of, if it is known
	end    ScanEnd
	err    error
}

// fetcher reads ahead for a Scanner, in a goroutine of its own.
type fetcher struct {
	s      *Scanner
	ctx    context.Context // the Scanner's, and while it is made NewScanner's, too
	client *Client
	own    bool        // client is the Scanner's own
	unlink func() bool // makes the Scanner's life independent of the Client's

	offset int64 // where to read on
	delta  int64 // where in the batch there, which is the first
	after  bool  // behind the message at delta
	begun  bool  // batches have come
	fresh  bool  // the next read is to see all that was stored before it
	left   int64 // how many messages are still wanted; 0 for all
	page   int64 // how many messages to ask for at once

	since    time.Time // when reading began
	learned  bool      // it was asked whether there is a cluster
	failures int       // in a row
	asked    bool      // the server was asked how many messages it allows
	timeless bool      // the server does not know TIMES

	topic topicWatch
}

func newFetcher(s *Scanner, client *Client) *fetcher {
	f := &fetcher{s: s, ctx: s.ctx, client: client, own: s.cfg.Follow || s.cfg.Times, left: s.cfg.Limit, page: DefaultReadMessages, since: time.Now()}
	if f.own {
		f.client = client.sibling()
	}
	f.topic.wanted, f.topic.lazy = s.cfg.Follow, true
	if p, ok := s.cfg.Progress.(TopicProgress); ok {
		f.topic = topicWatch{wanted: true, id: p.TopicID()}
	}
	f.unlink = client.pool.Home().AfterClose(func() { s.end(ErrClosed) })
	return f
}

// close lets go of the Client, and of the connection if it is the Scanner's
// own.
func (f *fetcher) close() {
	f.unlink()
	if f.own {
		f.client.Close()
	}
}

// begin looks up where to begin, for as long as ctx allows.
func (f *fetcher) begin(ctx context.Context, start Position) error {
	beginning, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(f.s.ctx, func() { end(context.Cause(f.s.ctx)) })()
	f.ctx = beginning
	defer func() { f.ctx = f.s.ctx }()
	f.offset, f.delta = start.id.Offset, start.id.Delta
	switch start.kind {
	case afterMessage:
		f.after = true
	case atNext:
		return f.lookUp(func() (ID, error) {
			info, err := f.client.Info(f.ctx, f.s.topic)
			return ID{Offset: info.Next}, err
		})
	case atTime:
		return f.lookUp(func() (ID, error) {
			offset, err := f.client.Seek(f.ctx, f.s.topic, start.since)
			return ID{Offset: offset}, err
		})
	case fromEnd:
		return f.lookUp(func() (ID, error) { return f.last(start.n) })
	case atOldest:
		f.offset = fromOldest
	}
	return nil
}

// lookUp asks the server for the message to begin with.
func (f *fetcher) lookUp(ask func() (ID, error)) error {
	for {
		at, err := ask()
		if err == nil {
			f.answered()
			f.offset, f.delta = at.Offset, at.Delta
			return nil
		}
		if errors.Is(err, ErrNotFound) && f.s.cfg.AwaitTopic {
			f.offset = fromOldest // all of it is yet to come
			return nil
		}
		if errors.Is(err, ErrInvalidRequest) && !f.asked {
			err = f.fitPage(err)
		} else {
			err = f.retry(err)
		}
		if err != nil {
			return err
		}
	}
}

// run fetches until nothing more is wanted or can be had.
func (f *fetcher) run() {
	defer f.close()
	for {
		a := f.fetch()
		if a.end == EndFailed && f.s.ctx.Err() != nil {
			return // Scan knows
		}
		select {
		case f.s.arrivals <- a:
		case <-f.s.ctx.Done():
			return
		}
		if a.end != NotEnded || f.finished() {
			return
		}
		if a.gone != nil && !f.passGap(a.gone) {
			return
		}
	}
}

// passGap waits until Scan agrees to go on behind the gap.
func (f *fetcher) passGap(gone *GoneError) bool {
	select {
	case <-f.s.goOn:
		f.offset, f.delta, f.after = gone.Oldest, 0, false
		if gone.Replaced {
			f.topic.id = gone.topicID
		}
		return true
	case <-f.ctx.Done():
		return false
	}
}

// finished reports whether all that Limit allows is fetched.
func (f *fetcher) finished() bool { return f.s.cfg.Limit > 0 && f.left == 0 }

// fetch gets what is next, however often it has to ask.
func (f *fetcher) fetch() arrival {
	for {
		var gone *GoneError
		asked := time.Now()
		f.learn()
		result, err := f.read()
		if err == nil && f.offset == fromOldest && result.Offset > 0 {
			var gone *GoneError
			if gone, err = f.damagedBefore(result.Offset); gone != nil || err != nil {
				result.Release()
			}
			if gone != nil {
				f.answered()
				return arrival{gone: gone}
			}
		}
		if err == nil {
			if gone, err = f.look(result); gone != nil || err != nil {
				result.Release()
			}
		}
		if gone != nil {
			f.answered()
			return arrival{gone: gone}
		}
		if err == nil && len(result.Batches) > 0 {
			f.answered()
			a := f.accept(result)
			if f.s.cfg.Times && a.result != nil {
				a.times = f.times(result)
			}
			return a
		}
		if err == nil {
			result.Release()
			var end ScanEnd
			if f.s.cfg.Follow {
				f.answered()
				if err = f.rest(asked); err == nil {
					continue
				}
			} else if !f.fresh && f.client.pool.Servers().Cluster() {
				f.fresh = true // this may be where the member ends, and not the log
				continue
			} else if end, err = f.nothing(); err == nil {
				f.answered()
				return arrival{end: end}
			}
		}
		gone, err = f.recover(err)
		if err != nil {
			return arrival{end: EndFailed, err: err}
		}
		if gone != nil {
			return arrival{gone: gone}
		}
	}
}

// rest pauses after an answer to a follower without batches, asked for at that time,
// if it has come too early. The error says that the server has gone meanwhile, which
// the next read would not meet.
func (f *fetcher) rest(asked time.Time) error {
	if time.Since(asked) >= followWait/2 {
		return nil
	}
	addr := f.client.Addr()
	if f.pause(followRest) != nil || f.client.pool.Route(f.s.topic).Connected() {
		return nil // why the pause has ended is the error of the next read
	}
	return &OpError{Op: "read", Topic: f.s.topic, Addr: addr, Err: fmt.Errorf("%w: closed by the server", ErrConnectionLost)}
}

// learn asks whether there is a cluster, so that the other servers are known when this
// one goes. A Scanner that is over soon has no need to know.
func (f *fetcher) learn() {
	if !f.learned && f.failures == 0 && time.Since(f.since) >= learnAfter {
		f.learned = true
		f.client.inCluster(f.ctx) // if it fails, the next read meets that, too
	}
}

func (f *fetcher) read() (*Result, error) {
	opts := ReadOptions{Messages: f.page, MaxBytes: f.s.cfg.ReadBytes}
	if f.left > 0 {
		opts.Messages = min(f.page, f.left)
	}
	if f.s.cfg.Follow {
		opts.Wait = followWait
	}
	if f.offset == fromOldest {
		res, err := f.client.read(f.ctx, "tail", f.s.topic, -1, protocol.Tail, opts, f.fresh)
		return res, noTopic(err)
	}
	return f.client.read(f.ctx, "read", f.s.topic, f.offset, protocol.Read, opts, f.fresh) // locate asks for what was not found
}

// accept takes batches.
func (f *fetcher) accept(result *Result) arrival {
	a := arrival{result: result, topic: f.topic.id}
	if f.delta > 0 || f.after {
		var ok bool
		if a.skip, ok = f.before(&result.Batches[0]); !ok {
			result.Release()
			return arrival{end: EndFailed, err: f.noMessage()}
		}
		f.delta, f.after = 0, false
	}
	f.begun, f.fresh = true, false
	f.offset = result.Next
	if f.left > 0 {
		got := -a.skip
		for i := range result.Batches {
			got += result.Batches[i].Messages
		}
		f.left = max(f.left-got, 0)
	}
	return a
}

// times asks when the batches were appended. What can't be known holds up no
// message: whatever is wrong with the server, the next read meets it, too.
func (f *fetcher) times(result *Result) []protocol.TimeMark {
	for !f.timeless {
		marks, err := f.client.times(f.ctx, f.s.topic, result.Offset, result.Next)
		switch {
		case err == nil:
			f.answered()
			return marks
		case errors.Is(err, ErrInvalidProtocol), errors.Is(err, ErrInvalidRequest):
			f.timeless = true
		case errors.Is(err, ErrInternal) || f.retry(err) != nil:
			return nil
		}
	}
	return nil
}

// noMessage returns the error for a delta at which no message begins.
func (f *fetcher) noMessage() error {
	info, err := f.client.Info(f.ctx, f.s.topic)
	if err != nil {
		return err
	}
	return scanError(f.s.topic, &OffsetError{
		Offset: f.offset, Delta: f.delta, Oldest: info.Oldest, Next: info.Next, Damaged: info.damaged,
	})
}

// before returns how many messages of the batch come before the wanted one,
// and false if there is none at delta.
func (f *fetcher) before(b *StoredBatch) (n int64, ok bool) {
	for m := range b.All() {
		switch {
		case m.Delta == f.delta && f.after:
			return n + 1, true
		case m.Delta == f.delta:
			return n, true
		}
		n++
	}
	return 0, false
}

// nothing says what it means that the end of the log is reached.
func (f *fetcher) nothing() (ScanEnd, error) {
	switch {
	case f.begun:
		return EndOfLog, nil
	case f.offset == fromOldest:
		return EndEmpty, nil
	}
	info, err := f.client.Info(f.ctx, f.s.topic)
	if err == nil && info.Oldest == info.Next {
		return EndEmpty, nil
	}
	return EndOfLog, err
}

// recover decides what to do about a failure. If it returns neither an error
// nor a gap, reading goes on.
func (f *fetcher) recover(err error) (*GoneError, error) {
	switch {
	case errors.Is(err, ErrNotFound):
		return f.locate(err)
	case errors.Is(err, ErrInvalidRequest) && !f.asked:
		return nil, f.fitPage(err)
	default:
		return nil, f.retry(err)
	}
}

// fitPage asks for how many messages the server may be asked at once.
func (f *fetcher) fitPage(cause error) error {
	cfg, _, err := f.client.settings(f.ctx)
	if err != nil {
		return f.retry(err)
	}
	f.asked = true
	if cfg.MaxMessages <= 0 || cfg.MaxMessages >= f.page {
		return cause
	}
	f.page = cfg.MaxMessages
	return nil
}

// locate finds out why nothing was found at the offset.
func (f *fetcher) locate(cause error) (*GoneError, error) {
	info, err := f.client.Info(f.ctx, f.s.topic)
	switch {
	case errors.Is(err, ErrNotFound):
		if f.s.cfg.AwaitTopic && !f.begun {
			return nil, f.pause(awaitPause)
		}
		return nil, err
	case err != nil:
		return nil, f.retry(err)
	}
	if gone := f.seen(&info); gone != nil {
		return gone, nil
	}
	switch {
	case f.offset == fromOldest, f.offset == info.Next:
		// It went, or came, between the two questions.
		return nil, f.again(cause)
	}
	if next, file, damaged := info.goesOnAt(f.offset); damaged {
		return &GoneError{Offset: f.offset, Oldest: next, Damaged: true, File: file}, nil
	}
	if f.offset < info.Oldest {
		return &GoneError{Offset: f.offset, Oldest: info.Oldest}, nil
	}
	// The delta is not what is wrong: it was not looked at.
	return nil, scanError(f.s.topic, &OffsetError{
		Offset: f.offset, Oldest: info.Oldest, Next: info.Next, Damaged: info.damaged,
	})
}

// damagedBefore returns the gap if the oldest batches of the topic are damaged,
// so that the first one which is not is at the offset.
func (f *fetcher) damagedBefore(offset int64) (*GoneError, error) {
	info, err := f.client.info(f.ctx, f.s.topic, false) // of the server that was read from
	if err != nil {
		return nil, err
	}
	for i, r := range info.DamagedAt {
		if r.To == offset {
			return &GoneError{Offset: r.From, Oldest: r.To, Damaged: true, File: info.damagedFile(i)}, nil
		}
	}
	return nil, nil
}

// retry returns nil when it is time to try again, and otherwise why not.
func (f *fetcher) retry(err error) error {
	// ErrConnect comes when the Client has made all its attempts.
	if f.ctx.Err() != nil || errors.Is(err, ErrConnect) || !IsRetryable(err) {
		return err
	}
	return f.again(err)
}

// again counts a failure and waits before the next attempt, unless there were
// too many.
func (f *fetcher) again(err error) error {
	cfg := &f.client.cfg
	f.failures++
	if cfg.ReconnectAttempts > 0 && f.failures > cfg.ReconnectAttempts {
		return err
	}
	f.s.cfg.OnRetry(err)
	_, named := errors.AsType[*NotLeaderError](err)
	if f.failures == 1 && (named || errors.Is(err, ErrConnectionLost)) {
		return nil // connecting has pauses of its own
	}
	return f.pause(f.client.pool.Backoff(f.failures - 1))
}

// answered notes that the server answers all that has to be known: not before the
// last question, or the next failure of that would count as the first one, again and
// again.
func (f *fetcher) answered() {
	if f.failures > 0 {
		f.failures = 0
		f.s.cfg.OnRetry(nil)
	}
}

// pause waits, and returns why if it could not.
func (f *fetcher) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		if f.s.ctx.Err() != nil {
			return f.s.cause()
		}
		return scanError(f.s.topic, f.ctx.Err())
	}
}
