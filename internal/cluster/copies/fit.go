package copies

import (
	"context"
	"errors"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/storage"
)

// Fit makes a topic have what the log of its group says, from oldest up to t.End, of
// which it is known up to readable that it is committed: what is missing is set aside, to
// be fetched from others. It does not Put it.
func (s *Set) Fit(t *entry.Topic, oldest, readable int64) (*storage.Log, error) {
	ctx := context.Background()
	l := s.store.ByID(t.ID)
	if l != nil {
		l.SetReadable(readable)
	}
	if l == nil {
		var err error
		if l, err = s.store.CreateAs(t.Name, t.ID, oldest, t.Time); err != nil {
			return nil, err
		}
		if t.End > oldest {
			s.logger.Error("the files of a topic are missing: they are fetched from other members", "topic", t.Name)
		}
	}
	// A table that was not taken over had begun it beyond, or all that there is was
	// trimmed.
	if l.Begin() > t.End || l.Begin() < oldest && l.Next() <= oldest {
		if err := l.Reset(ctx, oldest); err != nil {
			return nil, err
		}
	}
	if b := l.Begin(); b > oldest {
		if err := l.Lost(ctx, oldest, b); err != nil {
			return nil, err
		}
	}
	if l.Next() > t.End {
		if err := CutOff(ctx, l, t.End); err != nil {
			return nil, err
		}
	}
	if next := l.Next(); next < t.End {
		if err := l.Lost(ctx, next, t.End); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// CutOff cuts a topic off at an offset where a batch ends by the group's log. Where that
// is inside of what is set aside, or where a takeover has left other bytes, no batch
// ends there: what can't be read then goes as well, and what is before the offset is
// noted as missing.
func CutOff(ctx context.Context, l *storage.Log, offset int64) error {
	at := offset
	for _, r := range *l.Damaged() {
		if r.From < offset && offset < r.To {
			at = r.From
		}
	}
	readable := l.Readable()
	err := l.TruncateTo(ctx, at)
	if errors.Is(err, storage.ErrNotFound) && at == offset && readable < offset {
		at = max(readable, l.Begin())
		err = l.TruncateTo(ctx, at)
	}
	if err != nil || at == offset {
		return err
	}
	defer l.SetReadable(min(readable, offset)) // which is not taken back
	return l.Lost(ctx, at, offset)
}
