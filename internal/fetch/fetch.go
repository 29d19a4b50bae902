// Package fetch reads ahead for a Scanner: it finds the place where to begin, asks for
// what follows, again if need be, and tells of gaps. What it asks is a [Source], which
// knows the topic and the connections; what an error or a gap means to the user, and
// which messages he gets, is for package logd.
//
// A [Fetcher] is for one goroutine. First one of its At methods is called, and then
// Run, which hands over [Arrival]s.
package fetch

import (
	"context"
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

const (
	// FollowWait is how long one read waits at the end of the log before it is
	// sent again.
	FollowWait = 10 * time.Second
	// followRest is the pause after an answer without batches that should have
	// come later: a server that shuts down gives such answers until it is gone, as
	// fast as it is asked.
	followRest = time.Millisecond
	// awaitPause is between two questions whether a topic is there.
	awaitPause = time.Second
	// learnAfter is how long there is reading before it is asked whether the server is
	// in a cluster.
	learnAfter = 2 * time.Second
)

// FromOldest is the offset for a read from the oldest batch.
const FromOldest = -1

// Source is where a topic is read from.
type Source interface {
	// Read returns the batches from the offset on, or FromOldest: so many messages are
	// enough. At the end of the log it waits for so long, and then returns none. Fresh
	// asks for all that was stored before. The error is protocol.ErrNotFound if no batch
	// begins there.
	Read(ctx context.Context, offset, messages int64, wait time.Duration, fresh bool) (*link.Batches, error)
	// Info describes the topic: with fresh as its leader knows it, and else as the
	// server does that was read from.
	Info(ctx context.Context, fresh bool) (*protocol.TopicInfo, error)
	// Seek returns the offset of the first batch that was stored at or after the time.
	Seek(ctx context.Context, at time.Time) (int64, error)
	// Times returns when the batches between two offsets were appended.
	Times(ctx context.Context, from, to int64) ([]protocol.TimeMark, error)
	// MaxMessages returns how many messages may be asked for at once, 0 for any number.
	MaxMessages(ctx context.Context) (int64, error)

	// Learn asks whether the server is in a cluster, and Cluster tells whether it is, as
	// far as that is known.
	Learn(ctx context.Context)
	Cluster() bool
	// Gone returns an error if the server that was read from is not connected any more.
	Gone() error
	// Retry reports whether a read that has failed with err may succeed later, and
	// whether the first of such attempts may follow at once.
	Retry(err error) (again, atOnce bool)
	// Backoff returns how long to pause after so many failures in a row, and one.
	Backoff(failures int) time.Duration
}

// Config says what to fetch. All fields but those of a topic that is known are needed.
type Config struct {
	Limit    int64           // of messages; 0 for none
	Messages int64           // to ask for at once
	Ahead    int             // how many Arrivals may wait
	Attempts int             // in a row that may fail; 0 or less for no limit
	OnRetry  func(err error) // nil for the end of the failures

	Follow     bool // waits at the end of the log for more
	AwaitTopic bool // waits for the topic to be made
	Times      bool // asks for the times of the batches

	// TopicID is the id of the topic that is read, "" if that is not known. Watch asks
	// for it, at the start if not Lazy.
	TopicID     string
	Watch, Lazy bool
}

// End is why nothing more arrives.
type End uint8

// The ends, in the order of those of package logd, which says what they mean.
const (
	None End = iota
	OfLog
	Empty
	_ // the Scanner's limit
	Failed
)

// Arrival is batches, a gap, or the end.
type Arrival struct {
	Batches *link.Batches       // which belong to whoever gets them
	Skip    int64               // how many messages of the first batch are not wanted
	Times   []protocol.TimeMark // of the batches, as far as they are wanted and known
	Topic   string              // id of the topic that the batches are of, if it is known
	Gap     *Gap
	End     End
	Err     error
}

// Gap tells that what was wanted is not there any more: the fields are those of
// logd.GoneError.
type Gap struct {
	Offset, Oldest    int64
	Damaged, Replaced bool
	File              string
	Topic             string // id of the new topic, if it was replaced
}

// PlaceError tells that nothing can begin at the place: the fields are those of
// logd.OffsetError.
type PlaceError struct {
	Offset, Delta, Oldest, Next, Damaged int64
}

func (e *PlaceError) Error() string { return "nothing begins there" }

// Fetcher reads ahead.
type Fetcher struct {
	Arrivals chan Arrival

	src  Source
	cfg  Config
	life context.Context // ends with the Scanner
	ctx  context.Context // life, and while the place is looked up that of who waits for it
	goOn chan struct{}

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

	topic watch
}

// New returns a Fetcher that ends with ctx.
func New(ctx context.Context, src Source, cfg Config) *Fetcher {
	return &Fetcher{
		Arrivals: make(chan Arrival, cfg.Ahead), goOn: make(chan struct{}, 1),
		src: src, cfg: cfg, life: ctx, ctx: ctx, left: cfg.Limit, page: cfg.Messages, since: time.Now(),
		topic: watch{wanted: cfg.Watch, lazy: cfg.Lazy, id: cfg.TopicID},
	}
}

// Run fetches until nothing more is wanted or can be had.
func (f *Fetcher) Run() {
	for {
		a := f.fetch()
		if a.End == Failed && f.life.Err() != nil {
			return // who has ended it knows
		}
		select {
		case f.Arrivals <- a:
		case <-f.life.Done():
			return
		}
		if a.End != None || f.cfg.Limit > 0 && f.left == 0 {
			return
		}
		if a.Gap != nil && !f.passGap(a.Gap) {
			return
		}
	}
}

// GoOn makes Run go on behind the gap that has arrived. It does not wait.
func (f *Fetcher) GoOn() { f.goOn <- struct{}{} }

// passGap waits for GoOn.
func (f *Fetcher) passGap(gap *Gap) bool {
	select {
	case <-f.goOn:
		f.offset, f.delta, f.after = gap.Oldest, 0, false
		if gap.Replaced {
			f.topic.id = gap.Topic
		}
		return true
	case <-f.life.Done():
		return false
	}
}

// fetch gets what is next, however often it has to ask.
func (f *Fetcher) fetch() Arrival {
	for {
		asked := time.Now()
		f.learn()
		in, gap, err := f.read()
		end := None
		switch {
		case gap != nil:
			f.answered()
		case err == nil && len(in.Extents) > 0:
			f.answered()
			return f.accept(in)
		case err == nil:
			in.Release()
			end, err = f.nothing(asked)
		}
		if err != nil {
			if gap, err = f.recover(err); err != nil {
				end = Failed
			}
		}
		if gap != nil || end != None {
			return Arrival{Gap: gap, End: end, Err: err}
		}
	}
}

// learn asks whether there is a cluster, so that the other servers are known when this
// one goes. Who is over soon has no need to know.
func (f *Fetcher) learn() {
	if !f.learned && f.failures == 0 && time.Since(f.since) >= learnAfter {
		f.learned = true
		f.src.Learn(f.ctx) // if it fails, the next read meets that, too
	}
}

// inCluster reports whether there is a cluster, and asks if nobody has: else a member that
// is behind would be taken for the end of the log.
func (f *Fetcher) inCluster() bool {
	if !f.src.Cluster() && !f.learned {
		f.learned = true
		f.src.Learn(f.ctx)
	}
	return f.src.Cluster()
}

// read reads once. Instead of batches there may be a gap before them, or an error.
func (f *Fetcher) read() (*link.Batches, *Gap, error) {
	messages, wait := f.page, time.Duration(0)
	if f.left > 0 {
		messages = min(f.page, f.left)
	}
	if f.cfg.Follow {
		wait = FollowWait
	}
	in, err := f.src.Read(f.ctx, f.offset, messages, wait, f.fresh)
	if err != nil {
		return nil, nil, err
	}
	var gap *Gap
	if f.offset == FromOldest && in.Offset > 0 {
		gap, err = f.damagedBefore(in.Offset)
	}
	if gap == nil && err == nil {
		gap, err = f.look(in)
	}
	if gap != nil || err != nil {
		in.Release()
		return nil, gap, err
	}
	return in, nil, nil
}

// accept takes batches.
func (f *Fetcher) accept(in *link.Batches) Arrival {
	a := Arrival{Batches: in, Topic: f.topic.id}
	if f.delta > 0 || f.after {
		var ok bool
		if a.Skip, ok = f.before(in.Data(0)); !ok {
			in.Release()
			return Arrival{End: Failed, Err: f.noMessage()}
		}
		f.delta, f.after = 0, false
	}
	f.begun, f.fresh = true, false
	f.offset = in.Next
	if f.left > 0 {
		got := -a.Skip
		for _, at := range in.Extents {
			got += at.Messages
		}
		f.left = max(f.left-got, 0)
	}
	if f.cfg.Times {
		a.Times = f.times(in)
	}
	return a
}

// times asks when the batches were appended. What can't be known holds up no
// message: whatever is wrong with the server, the next read meets it, too.
func (f *Fetcher) times(in *link.Batches) []protocol.TimeMark {
	for !f.timeless {
		marks, err := f.src.Times(f.ctx, in.Offset, in.Next)
		switch {
		case err == nil:
			f.answered()
			return marks
		case isAny(err, protocol.ErrInvalidProtocol, protocol.ErrInvalidRequest):
			f.timeless = true
		case isAny(err, protocol.ErrInternal) || f.retry(err) != nil:
			return nil
		}
	}
	return nil
}

// nothing says what it means that the end of the log is reached, by an answer that was
// asked for at that time. With neither an end nor an error reading goes on.
func (f *Fetcher) nothing(asked time.Time) (end End, err error) {
	switch {
	case f.cfg.Follow:
		f.answered()
		return None, f.rest(asked)
	case !f.fresh && f.inCluster():
		f.fresh = true // this may be where the member ends, and not the log
		return None, nil
	case f.begun:
		end = OfLog
	case f.offset == FromOldest:
		end = Empty
	default:
		info, err := f.src.Info(f.ctx, true)
		if err != nil {
			return None, err
		}
		if end = OfLog; info.Oldest == info.Next {
			end = Empty
		}
	}
	f.answered()
	return end, nil
}

// rest pauses after an answer to a follower without batches, asked for at that time,
// if it has come too early. The error says that the server has gone meanwhile, which
// the next read would not meet.
func (f *Fetcher) rest(asked time.Time) error {
	if time.Since(asked) >= FollowWait/2 || f.pause(followRest) != nil {
		return nil // why the pause has ended is the error of the next read
	}
	return f.src.Gone()
}
