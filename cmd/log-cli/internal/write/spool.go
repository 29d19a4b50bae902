package write

import (
	"bytes"
	"errors"
	"time"

	"github.com/logd-dev/logd/backlog"
)

// kept is a batch that waits for the server.
type kept struct {
	raw      []byte // nil if it is in the backlog
	first    int64  // number of its first message; 0 for a batch of an earlier run
	messages int64
	unknown  bool // it was sent, and nobody knows whether it is stored
}

// spoolBytes bounds the batches that wait in memory. When so much waits, no input
// is read.
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
func (s *spool) put(k kept, raw []byte, cause error) {
	k.raw = raw
	if s.backlog != nil {
		err := s.backlog.Put(&backlog.Entry{
			Raw: raw, Messages: k.messages, Reason: cause.Error(), Unknown: k.unknown, Time: time.Now(),
		})
		if err == nil {
			k.raw = nil
		} else if !errors.Is(err, backlog.ErrFull) {
			s.broken = err
		}
	}
	if k.raw != nil {
		k.raw = bytes.Clone(raw)
		s.bytes += int64(len(raw))
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

// batch returns the i-th batch, and its number in the backlog. After is the number of
// the last batch before it that is there, 0 if there is none, and comes back if the
// i-th is in memory.
func (s *spool) batch(i int, after int64) (raw []byte, number int64, err error) {
	if raw := s.kept[i].raw; raw != nil {
		return raw, after, nil
	}
	number, raw, err = s.backlog.Next(after, nil)
	if err == nil && number == 0 {
		err = errors.New("the backlog has lost a batch")
	}
	return raw, number, err
}

// drop forgets the i-th batch, which has that number if it is in the backlog.
func (s *spool) drop(i int, number int64) error {
	var err error
	if raw := s.kept[i].raw; raw != nil {
		s.bytes -= int64(len(raw))
	} else {
		err = s.backlog.Delivered(number)
	}
	copy(s.kept[1:], s.kept[:i]) // few: most are dropped at the front
	s.kept[0] = kept{}
	s.kept = s.kept[1:]
	return err
}
