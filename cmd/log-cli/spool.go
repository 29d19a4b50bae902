package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// kept is a batch that waits for the server.
type kept struct {
	batch   *logd.Batch
	first   int64 // number of its first message
	unknown bool  // it was sent, and nobody knows whether it is stored
}

// spoolBytes bounds the data of the batches that wait in memory. When so much
// waits, no input is read.
const spoolBytes = 8 << 20

// spool keeps the batches that wait for a server that went away, in order. The
// server counts as away until all of them are stored.
type spool struct {
	kept  []kept
	bytes int64
	since time.Time // when the server went away; zero while it is there
	cause error     // why the last attempt to deliver failed
	pause time.Duration
}

func (s *spool) away() bool { return !s.since.IsZero() }

func (s *spool) put(k kept) {
	s.kept = append(s.kept, k)
	s.bytes += k.batch.Size()
}

func (s *spool) drop() {
	s.bytes -= s.kept[0].batch.Size()
	s.kept[0] = kept{}
	s.kept = s.kept[1:]
}

const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// goneAway notes that the server is away, and says so once.
func (s *sender) goneAway(err error) {
	s.spool.cause = err
	if s.spool.away() {
		return
	}
	s.spool.since, s.spool.pause = time.Now(), minPause
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
	case s.life.Err() != nil:
		s.err = errInterrupted
	case err == nil:
		s.spool = spool{}
		s.note("the server answers again; all that waited is stored")
	case !s.waits(err):
		s.err = err
	case s.retry > 0 && time.Since(s.spool.since) >= s.retry:
		s.err = fmt.Errorf("the server was away for %v: %w", s.retry, err)
	default:
		s.spool.cause = err
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
		if err != nil && s.waits(err) {
			return err
		}
		if err != nil {
			break // the topic is another one, or retention was faster: nothing is known to be stored
		}
		for i := range res.Batches {
			b := &res.Batches[i]
			// The last one that was answered may have the same bytes.
			if b.Offset != s.last && s.unresolved() && bytes.Equal(b.Raw(), s.spool.kept[0].batch.Raw(s.topic)) {
				s.storedKept(b.Offset)
			}
		}
		end := len(res.Batches) == 0
		next = res.Next
		res.Release()
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
		k := &s.spool.kept[0]
		offset, err := s.client.Append(ctx, s.topic, k.batch)
		if err != nil {
			k.unknown = logd.IsUnknown(err)
			return err
		}
		s.storedKept(offset)
	}
	return nil
}

// storedKept accounts for the oldest batch that waits: it is stored.
func (s *sender) storedKept(offset int64) {
	k := &s.spool.kept[0]
	s.stored(k.first, k.batch, offset)
	s.spool.drop()
}

// awaitRoom waits until there is room for another batch, or all that waits is
// stored.
func (s *sender) awaitRoom() {
	for s.err == nil && s.spool.bytes >= spoolBytes {
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

// errInterrupted is the end of a command that a signal has ended.
var errInterrupted = exit.With(exit.Failed, errors.New("interrupted"))
