package carry

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// positionKeeper keeps the states of copies at the source, as positions of its topics:
// the consumer is made of both topics' ids, and the note has the number of the next
// batch, and the generation behind a dot if it is not 0. A set names the version that
// it replaces, so a second copy of the same topics meets the first.
type positionKeeper struct {
	client *logd.Client

	mu       sync.Mutex
	versions map[pair]int64
}

func newPositionKeeper(client *logd.Client) *positionKeeper {
	return &positionKeeper{client: client, versions: map[pair]int64{}}
}

// consumer returns the name of the position.
func (p pair) consumer() string { return "copy." + hash(16, p.fromID, p.toID) }

func (p pair) place() string {
	return fmt.Sprintf("position %s of topic %q", p.consumer(), p.from)
}

func (k *positionKeeper) String() string { return "a position of the source" }

func (k *positionKeeper) close() {}

// load also takes a position that somebody has set by hand. Its batch has no number then:
// a copy begins there.
func (k *positionKeeper) load(ctx context.Context, p pair) (state, bool, error) {
	at, err := k.client.Position(ctx, p.from, p.consumer())
	switch {
	case errors.Is(err, logd.ErrNotFound):
		k.know(p, 0)
		return state{}, false, nil
	case errors.Is(err, logd.ErrInvalidRequest), errors.Is(err, logd.ErrInvalidProtocol):
		return state{}, false, exit.With(exit.Usage, errors.New("the source's server keeps no positions: give --state FILE, to keep in it how far the copy is"))
	case err != nil:
		return state{}, false, err
	}
	k.know(p, at.Version)
	s, ok := parseNote(at.Note)
	if !ok {
		s = state{generation: time.Now().UnixMilli(), seq: 0}
	}
	s.next = mark{at.At.Offset, at.At.Delta}
	return s, true, nil
}

func (s state) note() string {
	if s.generation == 0 {
		return strconv.FormatInt(s.seq, 10)
	}
	return fmt.Sprintf("%d.%d", s.seq, s.generation)
}

func parseNote(note string) (s state, ok bool) {
	seq, generation, more := strings.Cut(note, ".")
	var err error
	if s.seq, err = strconv.ParseInt(seq, 10, 64); err == nil && more {
		s.generation, err = strconv.ParseInt(generation, 10, 64)
	}
	return s, err == nil && s.seq > 0 && s.generation >= 0
}

func (k *positionKeeper) know(p pair, version int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.versions[p] = version
}

func (k *positionKeeper) save(ctx context.Context, p pair, s state) error {
	k.mu.Lock()
	version := k.versions[p]
	k.mu.Unlock()
	at := logd.ID{Offset: s.next.offset, Delta: s.next.delta}
	version, err := k.client.SetPosition(ctx, p.from, p.consumer(), logd.PositionChange{At: at, Version: version, TopicID: p.fromID, Note: s.note()})
	if errors.Is(err, logd.ErrVersionConflict) {
		// It may be ours, if the answer to it was lost.
		now, readErr := k.client.Position(ctx, p.from, p.consumer())
		switch {
		case readErr != nil && !errors.Is(readErr, logd.ErrNotFound):
			return readErr
		case readErr != nil || now.At != at || now.Note != s.note():
			return fmt.Errorf("%s was set by another one meanwhile: is another copy running? Run this one again to go on from there", p.place())
		}
		version, err = now.Version, nil
	}
	if err == nil {
		k.know(p, version)
	}
	return err
}
