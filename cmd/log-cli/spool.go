package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/exit"
)

// kept is a batch that waits for the server.
type kept struct {
	batch    *logd.Batch // nil if it is in the backlog
	first    int64       // number of its first message; 0 for a batch of an earlier run
	messages int64
	unknown  bool // it was sent, and nobody knows whether it is stored
}

// spoolBytes bounds the data of the batches that wait in memory. When so much
// waits, no input is read.
const spoolBytes = 8 << 20

// spool keeps the batches that wait for a server that went away, in order, in
// memory or in a backlog on disk. The server counts as away until all of them
// are stored.
type spool struct {
	backlog *backlog.Disk // nil for none
	broken  error         // why the backlog does not take what it has room for

	kept  []kept
	bytes int64     // in memory
	since time.Time // when the server went away; zero while it is there
	pause time.Duration
}

const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

func (s *spool) away() bool { return !s.since.IsZero() }

// leave notes that the server is away, or that something has to be delivered
// before anything else is.
func (s *spool) leave() {
	s.since, s.pause = time.Now(), minPause
}

// back notes that nothing waits any more.
func (s *spool) back() { *s = spool{backlog: s.backlog} }

// full reports whether there is no room for another batch.
func (s *spool) full() bool { return s.bytes >= spoolBytes }

// put adds a batch: to the backlog if there is one that takes it, else to what
// is in memory.
func (s *spool) put(k kept, topic string, cause error) {
	k.messages = k.batch.Messages()
	if s.backlog != nil {
		err := s.backlog.Put(&backlog.Entry{
			Raw: k.batch.Raw(topic), Messages: k.messages, Reason: cause.Error(), Unknown: k.unknown, Time: time.Now(),
		})
		if err == nil {
			k.batch = nil
		} else if !errors.Is(err, backlog.ErrFull) {
			s.broken = err
		}
	}
	if k.batch != nil {
		s.bytes += k.batch.Size()
	}
	s.kept = append(s.kept, k)
}

// load finds what an earlier run has left in the backlog.
func (s *spool) load() (messages int64, err error) {
	for e, err := range s.backlog.All() {
		if err != nil {
			return 0, err
		}
		// What was sent, and perhaps stored, is sent once more: to look for it
		// would mean to guess where.
		s.kept = append(s.kept, kept{messages: e.Messages})
		messages += e.Messages
	}
	return messages, nil
}

// front returns the oldest batch.
func (s *spool) front() (*logd.Batch, error) {
	if b := s.kept[0].batch; b != nil {
		return b, nil
	}
	e, ok, err := s.backlog.Front()
	if err == nil && !ok {
		err = errors.New("the backlog has lost a batch")
	}
	if err != nil {
		return nil, err
	}
	h, n, err := batch.Parse(e.Raw)
	if err != nil {
		return nil, err
	}
	b := new(logd.Batch)
	for m := (batch.Messages{Data: e.Raw[n-h.Size:]}); m.Next(); {
		b.Add(m.Body())
	}
	return b, nil
}

func (s *spool) drop() error {
	var err error
	if b := s.kept[0].batch; b != nil {
		s.bytes -= b.Size()
	} else {
		err = s.backlog.Drop()
	}
	s.kept[0] = kept{}
	s.kept = s.kept[1:]
	return err
}

// goneAway notes that the server is away, and says so once.
func (s *sender) goneAway(err error) {
	if s.spool.away() {
		return
	}
	s.spool.leave()
	why := plain(err)
	if op, ok := errors.AsType[*logd.OpError](err); ok && op.Addr != "" {
		why = fmt.Sprintf("%s: %v", op.Addr, op.Err) // what was on its way is found out later
	}
	s.note("%s; trying on", why)
}

// reach tries once whether the server is there again, and delivers what waits.
// It sets s.err if there is no use in further attempts.
func (s *sender) reach() {
	err := s.resolve(s.life)
	if err == nil {
		err = s.deliver(s.life)
	}
	switch {
	case err == nil:
		s.spool.back()
		s.note("the server answers again; all that waited is stored")
	case s.life.Err() != nil:
		s.err = errInterrupted
	case !s.waits(err):
		s.err = err
	case s.retry > 0 && time.Since(s.spool.since) >= s.retry:
		s.err = fmt.Errorf("the server was away for %v: %w", s.retry, err)
	default:
		s.spool.pause = min(2*s.spool.pause, maxPause)
	}
}

// waits reports whether a failure is one of a server that went away, and such a
// server is waited for.
func (s *sender) waits(err error) bool { return s.retry != 0 && exitCode(err) == exit.Temporary }

// resolve finds out which of the batches whose fate is unknown are stored, by
// looking for their bytes. They were sent in order behind the last one that was
// answered, and so they are stored in order behind it, or not at all.
func (s *sender) resolve(ctx context.Context) error {
	next := s.next
	for s.unresolved() {
		res, err := s.client.Read(ctx, s.topic, next, logd.ReadOptions{})
		if err != nil && exitCode(err) == exit.Temporary {
			return err
		}
		if err != nil {
			break // the topic is another one, or retention was faster: nothing is known to be stored
		}
		front, err := s.spool.front()
		for i := 0; i < len(res.Batches) && err == nil && s.unresolved(); i++ {
			b := &res.Batches[i]
			// The last one that was answered may have the same bytes.
			if b.Offset == s.last || !bytes.Equal(b.Raw(), front.Raw(s.topic)) {
				continue
			}
			if err = s.storedKept(front, b.Offset); err == nil && s.unresolved() {
				front, err = s.spool.front()
			}
		}
		end := len(res.Batches) == 0
		next = res.Next
		res.Release()
		if err != nil {
			return err
		}
		if end {
			break
		}
	}
	for i := range s.spool.kept {
		s.spool.kept[i].unknown = false
	}
	return nil
}

func (s *sender) unresolved() bool { return len(s.spool.kept) > 0 && s.spool.kept[0].unknown }

// deliver sends what waits, one batch after another.
func (s *sender) deliver(ctx context.Context) error {
	for len(s.spool.kept) > 0 {
		b, err := s.spool.front()
		if err != nil {
			return err
		}
		offset, err := s.client.Append(ctx, s.topic, b)
		if err != nil {
			s.spool.kept[0].unknown = logd.IsUnknown(err)
			return err
		}
		if err := s.storedKept(b, offset); err != nil {
			return err
		}
	}
	return nil
}

// storedKept accounts for the oldest batch that waits: it is stored.
func (s *sender) storedKept(b *logd.Batch, offset int64) error {
	s.stored(s.spool.kept[0].first, b, offset)
	return s.spool.drop()
}

// keep puts the slot's batch among those that wait.
func (s *sender) keep(sl *slot, unknown bool, cause error) {
	s.spool.put(kept{batch: sl.batch, first: sl.first, unknown: unknown}, s.topic, cause)
	sl.batch = new(logd.Batch)
	if err := s.spool.broken; err != nil && s.err == nil {
		s.err = err
	}
}

// awaitRoom waits until another batch can be kept or sent.
func (s *sender) awaitRoom() {
	for s.err == nil && s.spool.away() && s.spool.full() {
		s.attempt()
	}
}

// awaitServer waits until all that waits is stored.
func (s *sender) awaitServer() {
	for s.err == nil && s.spool.away() {
		s.attempt()
	}
}

// attempt waits for the time of the next attempt and makes it.
func (s *sender) attempt() {
	timer := time.NewTimer(s.spool.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		s.reach()
	case <-s.life.Done():
		s.err = errInterrupted
	}
}

// openBacklog opens the backlog, and delivers what an earlier run has left
// there.
func (s *sender) openBacklog(path string) error {
	b, err := backlog.OpenDisk(backlog.DiskConfig{Path: path})
	if err != nil {
		return err
	}
	s.spool.backlog = b
	if b.Len() == 0 {
		return nil
	}
	if topic := b.Topic(); topic != s.topic {
		return exit.With(exit.Usage, fmt.Errorf("--backlog is %q, which has messages for topic %q", path, topic))
	}
	messages, err := s.spool.load()
	if err != nil {
		return err
	}
	if err := s.deliver(s.life); err != nil {
		return err
	}
	s.spool.back()
	s.note("%d messages that an earlier run has left in %s are stored", messages, path)
	return s.flushOutput()
}

// errInterrupted is the end of a command that a signal has ended.
var errInterrupted = exit.With(exit.Failed, errors.New("interrupted"))
