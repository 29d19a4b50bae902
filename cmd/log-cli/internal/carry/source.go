package carry

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/exit"
)

// hint is what to do about what is gone.
const hint = " (--or-oldest goes on from there)"

// stored is a batch as it stands in a topic or a file. It is its owner's until the next
// one is read.
type stored struct {
	offset int64
	raw    []byte
	data   []byte // its messages, unpacked
	codec  string
}

func (s *stored) next() int64 { return s.offset + int64(len(s.raw)) }

// source reads batches of a topic.
type source struct {
	places.Finder
	app      *cli.App
	orOldest bool
	id       string // of the topic
}

// errRemoved tells that a topic that is read is no more.
var errRemoved = errors.New("it was removed meanwhile")

// newSource returns the source of the topic, and what the server says of it.
func newSource(ctx context.Context, a *cli.App, client *logd.Client, topic string, orOldest bool) (*source, logd.TopicInfo, error) {
	s := &source{Finder: places.Finder{Client: client, Topic: topic}, app: a, orOldest: orOldest}
	info, err := client.Info(ctx, topic)
	switch {
	case errors.Is(err, logd.ErrNotFound):
		return nil, info, cli.NoTopic(ctx, client, topic)
	case err != nil:
		return nil, info, err
	case info.ID == "":
		return nil, info, errors.New("the server is too old: it does not tell the ids of topics")
	}
	s.id = info.ID
	return s, info, nil
}

// read returns the batches from the offset on, or, if they are gone and the user wants
// that, from where what is stored goes on. There are none at the end of the topic.
func (s *source) read(ctx context.Context, offset int64, opts logd.ReadOptions) (*logd.Result, error) {
	for {
		r, err := s.Client.Read(ctx, s.Topic, offset, opts)
		if !errors.Is(err, logd.ErrNotFound) {
			return r, err
		}
		if errors.Is(err, logd.ErrNoTopic) {
			return nil, s.same(ctx)
		}
		if err = s.Check(ctx, offset, 0); err == nil {
			continue // it has come meanwhile
		}
		gone, ok := errors.AsType[*logd.GoneError](err)
		if !ok || !s.orOldest {
			return nil, s.Explain(ctx, err, hint)
		}
		if gone.Damaged {
			s.app.Note("offset %d of topic %q is damaged%s; going on at %d", gone.Offset, s.Topic, places.InFile(gone), gone.Oldest)
		} else {
			s.app.Note("offset %d of topic %q is gone; going on from the oldest, %d", gone.Offset, s.Topic, gone.Oldest)
		}
		offset = gone.Oldest
	}
}

// same returns an error if the topic is another one by now, of the same name.
func (s *source) same(ctx context.Context) error {
	info, err := s.Client.Info(ctx, s.Topic)
	if err == nil && info.ID != s.id || errors.Is(err, logd.ErrNotFound) {
		return exit.With(exit.NotFound, fmt.Errorf("topic %q: %w", s.Topic, errRemoved))
	}
	return err
}
