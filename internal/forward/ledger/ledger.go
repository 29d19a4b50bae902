// Package ledger keeps what the agent knows of where every message is: how far each file
// is delivered, which batches were sent and which were answered, what will not be stored
// and why, and how much of each there was. It is a log of records in segments (see package
// segment) of 16 MiB, or less if it is bounded by less than four of them; each begins with a checkpoint, all of the [State] in records.
//
// A record is JSON, one of Start, Source, Sent, Stored, Hole, Moved, and some that are the
// package's own.
//
// What is known after a kill is what was written: Sent before the batch's first byte goes
// out, Stored after the answer. After a power cut it is what was synced.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/vfs"
)

const (
	segmentSize = 16 << 20
	form        = "logd-forwarder-ledger"
)

// Dir is the folder of the ledger in the state folder.
const Dir = "ledger"

// Ledger is safe for concurrent use.
type Ledger struct {
	log   *segment.Log
	bound int64

	mu    sync.Mutex
	state *State
	dirty bool  // something was appended since the last Sync began
	size  int64 // of a segment
}

func options(size int64, readOnly bool) segment.Options {
	return segment.Options{Form: form, Version: 1, Size: size, Reserve: true, ReadOnly: readOnly}
}

// Open opens the ledger of a state folder, or begins one, of up to bound bytes: the
// oldest segments go when it is longer, but for two.
func Open(fsys vfs.FS, bound int64) (*Ledger, []segment.Damage, error) {
	return open(fsys, bound, min(segmentSize, max(bound/4, 64<<10)))
}

func open(fsys vfs.FS, bound, size int64) (*Ledger, []segment.Damage, error) {
	log, damage, err := segment.Open(fsys, Dir, options(size, false))
	if err != nil {
		return nil, nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{log: log, bound: bound, size: size}
	if l.state, err = load(log); err != nil {
		log.Close()
		return nil, nil, fmt.Errorf("ledger: %w", err)
	}
	return l, damage, nil
}

// load makes the State of the newest checkpoint that is whole, and of what follows it.
func load(log *segment.Log) (*State, error) {
	segments := log.Segments()
	from := segment.Ref{}
	for i := len(segments) - 1; i >= 0; i-- {
		at := segment.Ref{Segment: segments[i].Number}
		begins, ends := false, false
		stop := errors.New("stop")
		err := log.Each(at, func(ref segment.Ref, kind uint32, _ []byte) error {
			switch {
			case !begins && (kind != kindCheckpoint || ref.Segment != at.Segment):
				return stop
			case !begins:
				begins = true
			case kind == kindEnd:
				ends = true
				return stop
			}
			return nil
		})
		if err != nil && err != stop {
			return nil, err
		}
		if ends {
			from = at
			break
		}
	}
	s := newState()
	err := log.Each(from, func(ref segment.Ref, kind uint32, content []byte) error {
		if kind == kindCheckpoint && ref.Segment == from.Segment {
			s = newState()
		}
		s.apply(kind, content)
		return nil
	})
	return s, err
}

// SetBound sets the bound.
func (l *Ledger) SetBound(bound int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound = bound
}

// Look calls f with the State, which is f's until it returns and must not be changed.
func (l *Ledger) Look(f func(*State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.state)
}

// append writes a record and brings it into the State.
func (l *Ledger) append(kind uint32, r any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appendLocked(kind, r)
}

func (l *Ledger) appendLocked(kind uint32, r any) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(l.log.Segments()) == 0 || l.log.End().At+int64(len(content))+64 > l.size {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if _, err := l.log.Append(kind, content); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.dirty = true
	switch r := r.(type) {
	case *Sent: // nobody changes it any more
		l.state.sentAnew(r)
	case *Stored:
		l.state.stored(r)
	default:
		l.state.apply(kind, content)
	}
	return nil
}

// roll begins a segment with a checkpoint.
func (l *Ledger) roll() error {
	if err := l.log.Roll(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.log.Append(kindCheckpoint); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	err := l.state.records(func(kind uint32, r any) error {
		content, err := json.Marshal(r)
		if err == nil {
			_, err = l.log.Append(kind, content)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if segments := l.log.Segments(); len(segments) > 2 && l.log.Bytes() > l.bound {
		if err := l.log.Sync(); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		for _, s := range segments[:len(segments)-2] {
			if l.log.Bytes() <= l.bound {
				break
			}
			if err := l.log.Remove(s.Number); err != nil {
				return fmt.Errorf("ledger: %w", err)
			}
		}
	}
	return nil
}

// Started notes that a run begins.
func (l *Ledger) Started(s Start) error { return l.append(kindStart, s) }

// Found notes what is known of a file. One without a number gets it. The position of one
// that has a number is the ledger's, and so are the anchors: unless fresh is set, which
// has the file read from f.Position on, and forgets what was sent of it before.
func (l *Ledger) Found(f feed.File, fresh bool) (feed.File, error) {
	s := Source{File: f, Fresh: fresh}
	s.Wild = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.state.Sources[f.ID]
	switch {
	case known == nil:
		s.ID = l.state.NextID
	case !fresh:
		s.Position, s.Anchors = known.Position, known.Anchors
	}
	err := l.appendLocked(kindFound, s)
	s.Wild = f.Wild
	return s.File, err
}

// Journal returns the number of the source that is the journal of an input, which it gets
// if it has none, and where it is.
func (l *Ledger) Journal(input string) (id int64, at feed.Position, known bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.state.Sources {
		if s.Journal && s.Input == input {
			id, at, known = s.ID, s.place(), true
		}
	}
	if known {
		return id, at, at.Cursor != "", nil
	}
	next := l.state.NextID
	err = l.appendLocked(kindFound, Source{File: feed.File{ID: next, Input: input}, Journal: true})
	return next, at, false, err
}

// Sent notes a batch before it is sent. The record is the ledger's from then on.
func (l *Ledger) Sent(s *Sent) error { return l.append(kindSent, s) }

// Split notes two batches that take the place of one that was sent, before they are.
func (l *Ledger) Split(was Key, sent ...*Sent) error { return l.append(kindSplit, split{was, sent}) }

// Replaced notes that a batch in the spool, and the number it had if it was sent, is no
// longer needed, since so many others there have its messages. If each is told, when it is
// sent, to have been that batch, they are sent in its place.
func (l *Ledger) Replaced(at segment.Ref, key Key, parts int) error {
	return l.append(kindReplaced, replaced{key, at, parts})
}

// Stored notes the answer to a batch.
func (l *Ledger) Stored(s *Stored) error { return l.append(kindStored, s) }

// Moved notes positions.
func (l *Ledger) Moved(p ...Pos) error { return l.append(kindMoved, Moved{p}) }

// Hole notes what will not be stored.
func (l *Ledger) Hole(h *Hole) error { return l.append(kindHole, h) }

// Gone forgets a source.
func (l *Ledger) Gone(source int64) error { return l.append(kindGone, gone{source}) }

// TopicMade notes a topic that a template has made.
func (l *Ledger) TopicMade(topic string) error { return l.append(kindTopic, topicMade{topic}) }

// InputBegun notes that an input has begun, and returns whether that is the first time.
func (l *Ledger) InputBegun(input string) (first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Inputs[input] {
		return false, nil
	}
	return true, l.appendLocked(kindInput, inputBegun{input})
}

// SpoolGone notes that a segment of the spool was removed.
func (l *Ledger) SpoolGone(number uint64) error { return l.append(kindSpoolGone, spoolGone{number}) }

// Sync makes durable what was noted before.
func (l *Ledger) Sync() error {
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = false
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := l.log.Sync(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Bytes returns what the ledger has on the disk.
func (l *Ledger) Bytes() int64 { return l.log.Bytes() }

// Close syncs and closes the ledger.
func (l *Ledger) Close() error { return errors.Join(l.Sync(), l.log.Close()) }

// Read reads the ledger of a state folder, which may be in use, and changes nothing. It
// calls f with each *Start, *Sent, *Stored and *Hole that is there, in order,
// and then returns the State. Those of a checkpoint are told again.
func Read(fsys vfs.FS, f func(r any) error) (*State, []segment.Damage, error) {
	log, damage, err := segment.Open(fsys, Dir, options(segmentSize, true))
	if err != nil {
		return nil, nil, fmt.Errorf("ledger: %w", err)
	}
	defer log.Close()
	err = log.Each(segment.Ref{}, func(_ segment.Ref, kind uint32, content []byte) error {
		switch kind {
		case kindStart:
			return tell[Start](content, f)
		case kindSent:
			return tell[Sent](content, f)
		case kindStored:
			return tell[Stored](content, f)
		case kindHole:
			return tell[Hole](content, f)
		case kindSplit:
			r, _ := parse[split](content)
			for _, s := range r.Sent {
				if err := f(s); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, damage, err
	}
	s, err := load(log)
	return s, damage, err
}

func tell[T any](content []byte, f func(any) error) error {
	r, ok := parse[T](content)
	if !ok {
		return nil
	}
	return f(&r)
}
