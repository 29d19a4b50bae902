// Package places finds the places in a topic that a person names on a command
// line, and says which one is right where one is wrong.
package places

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/place"
)

// Finder finds places in a topic.
type Finder struct {
	Client *logd.Client
	Topic  string
}

// Find returns the message at a place, by its batch's offset and its delta
// there, or where the next message to come will be. That a batch and a message
// begin there is certain, unless they are removed meanwhile.
func (f *Finder) Find(ctx context.Context, p place.Place) (offset, delta int64, err error) {
	switch p.Kind {
	case place.AtStart, place.AtEnd:
		info, err := f.Client.Info(ctx, f.Topic)
		if p.Kind == place.AtStart {
			return info.Oldest, 0, err
		}
		return info.Next, 0, err
	case place.FromEnd:
		return f.last(ctx, p.N)
	case place.AtTime:
		offset, err := f.Client.Seek(ctx, f.Topic, p.Time)
		return offset, 0, err
	}
	return p.Offset, p.Delta, f.Check(ctx, p.Offset, p.Delta)
}

// Check returns nil if a message begins at the offset and the delta, or will
// begin there, being the end. Otherwise the error is a *logd.GoneError or a
// *logd.OffsetError, as a Scanner's would be.
func (f *Finder) Check(ctx context.Context, offset, delta int64) error {
	result, err := f.Client.Read(ctx, f.Topic, offset, logd.ReadOptions{Messages: 1})
	found := err == nil && len(result.Batches) == 0 && delta == 0
	if err == nil && len(result.Batches) > 0 {
		for m := range result.Batches[0].All() {
			found = found || m.Delta == delta
		}
	}
	result.Release()
	if found || err != nil && !errors.Is(err, logd.ErrNotFound) {
		return err
	}
	info, infoErr := f.Client.Info(ctx, f.Topic)
	if infoErr != nil {
		return infoErr
	}
	wrong := &logd.OffsetError{Offset: offset, Oldest: info.Oldest, Next: info.Next}
	switch {
	case offset < info.Oldest:
		return &logd.GoneError{Offset: offset, Oldest: info.Oldest}
	case err == nil:
		wrong.Delta = delta
	}
	for _, r := range info.DamagedAt {
		if r.From <= offset && offset < r.To {
			return &logd.GoneError{Offset: offset, Oldest: r.To, Damaged: true}
		}
	}
	return wrong
}

// nextMessage returns the first message behind a place where none begins.
func (f *Finder) nextMessage(ctx context.Context, offset, delta int64) (place.Place, bool) {
	if delta == 0 {
		return f.nextBatch(ctx, offset)
	}
	result, err := f.Client.Read(ctx, f.Topic, offset, logd.ReadOptions{Messages: 1})
	if err != nil || len(result.Batches) == 0 {
		return place.Place{}, false
	}
	defer result.Release()
	for m := range result.Batches[0].All() {
		if m.Delta > delta {
			return place.Place{Kind: place.AtOffset, Offset: offset, Delta: m.Delta}, true
		}
	}
	return place.Place{Kind: place.AtOffset, Offset: result.Next}, true
}

// nextBatch returns the first batch behind an offset at which none begins, or
// the end.
func (f *Finder) nextBatch(ctx context.Context, offset int64) (place.Place, bool) {
	info, err := f.Client.Info(ctx, f.Topic)
	if err != nil || offset < info.Oldest || offset >= info.Next {
		return place.Place{}, false
	}
	conf, err := admin.New(f.Client).Config(ctx)
	if err != nil {
		return place.Place{}, false
	}
	// No further than the longest batch, lest there be many.
	to := min(info.Next, offset+max(conf.MaxBatchSize, logd.DefaultMaxBatchSize)+1)
	marks, err := admin.New(f.Client).Times(ctx, f.Topic, offset, to)
	switch {
	case err == nil && len(marks) > 0:
		return place.Place{Kind: place.AtOffset, Offset: marks[0].Offset}, true
	case err == nil && to == info.Next:
		return place.Place{Kind: place.AtOffset, Offset: info.Next}, true
	}
	return place.Place{}, false
}

// last finds the last n messages that the topic has at this moment: where the
// first of them is, or where the next message will be if there are none.
func (f *Finder) last(ctx context.Context, n int64) (offset, delta int64, err error) {
	if n > 0 {
		passDamage := func(*logd.GoneError) error { return nil }
		s, err := logd.NewScanner(ctx, f.Client, f.Topic, logd.ScannerConfig{Start: logd.Last(n), Limit: 1, OnGone: passDamage})
		if err != nil {
			return 0, 0, err
		}
		defer s.Close()
		m, err := s.Next(ctx)
		if err != io.EOF {
			return m.Offset, m.Delta, err
		}
	}
	info, err := f.Client.Info(ctx, f.Topic)
	return info.Next, 0, err
}

// Explain turns an error about a place in the topic into one that says what is
// wrong with it, and which place is right. hint is what to do about what is gone.
func (f *Finder) Explain(ctx context.Context, err error, hint string) error {
	if err == nil {
		return nil
	}
	bad := func(offset int64, format string, args ...any) error {
		return exit.With(exit.NotFound, fmt.Errorf("offset %d of topic %q "+format, append([]any{offset, f.Topic}, args...)...))
	}
	if gone, ok := errors.AsType[*logd.GoneError](err); ok {
		if gone.Damaged {
			return bad(gone.Offset, "is damaged%s; what is stored goes on at %d%s", InFile(gone), gone.Oldest, hint)
		}
		return bad(gone.Offset, "is gone; the oldest is %d%s", gone.Oldest, hint)
	}
	if wrong, ok := errors.AsType[*logd.OffsetError](err); ok {
		next := ""
		if p, ok := f.nextMessage(ctx, wrong.Offset, wrong.Delta); ok && p.Offset == wrong.Next {
			next = fmt.Sprintf("; the next one begins at the end, %d", wrong.Next)
		} else if ok {
			next = fmt.Sprintf("; the next one begins at %v", p)
		}
		switch {
		case wrong.Offset > wrong.Next:
			return bad(wrong.Offset, "is beyond the end, %d", wrong.Next)
		case wrong.Delta > 0:
			return exit.With(exit.NotFound, fmt.Errorf("%d.%d of topic %q is not the beginning of a message%s", wrong.Offset, wrong.Delta, f.Topic, next))
		case wrong.Damaged > 0:
			return bad(wrong.Offset, "is not the beginning of a batch, or is among %d damaged bytes%s", wrong.Damaged, next)
		}
		return bad(wrong.Offset, "is not the beginning of a batch%s", next)
	}
	if errors.Is(err, logd.ErrNotFound) {
		return cli.NoTopic(ctx, f.Client, f.Topic)
	}
	return err
}

// InFile names the damaged file, if the server does.
func InFile(gone *logd.GoneError) string {
	if gone.File == "" {
		return ""
	}
	return " (file " + gone.File + ")"
}
