package ask

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/countback"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/internal/protocol"
)

func newUnpackPool() unpackPool {
	n := max(1, runtime.GOMAXPROCS(0)/2)
	p := make(unpackPool, n)
	for range n {
		p <- new(codec.Unpacker)
	}
	return p
}

// Place is where in a topic a message begins, or a batch.
type Place batch.Place

// String returns the place as it can be written: the offset alone where a batch begins.
func (p Place) String() string {
	if p.Delta == 0 {
		return strconv.FormatInt(p.Offset, 10)
	}
	return p.ID()
}

// ID returns the id of the message there.
func (p Place) ID() string {
	return string(batch.AppendPlace(nil, batch.Place(p)))
}

// Before reports whether p is before other.
func (p Place) Before(other Place) bool { return batch.Place(p).Before(batch.Place(other)) }

// ParseID parses the id of a message, OFFSET.DELTA, or the offset of a batch; message
// tells which.
func ParseID(text string) (p Place, message, ok bool) {
	if !strings.Contains(text, ".") {
		p.Offset, ok = batch.ParseInt([]byte(text))
		return p, false, ok
	}
	at, ok := batch.ParsePlace([]byte(text))
	return Place(at), true, ok
}

// Finder finds places in a topic that was like that a moment ago.
type Finder struct {
	Caller *Caller
	Conf   *protocol.Settings
	Topic  string
	Info   protocol.TopicInfo
	Fresh  bool
	Around bool                // as a Reader's
	Grow   func(n int64) error // as a Reader's
}

// Find returns where a place is: that of the message there, or the end. What is not there
// is an error as of Reader.Next.
func (f *Finder) Find(ctx context.Context, p place.Place) (Place, error) {
	switch p.Kind {
	case place.AtStart:
		return Place{Offset: f.Info.Oldest}, nil
	case place.AtEnd:
		return Place{Offset: f.Info.Next}, nil
	case place.AtTime:
		offset, err := f.Caller.Seek(ctx, f.Topic, p.Time, f.Fresh)
		return Place{Offset: offset}, err
	case place.FromEnd:
		return f.last(ctx, p.N)
	}
	return f.Check(ctx, Place{p.Offset, p.Delta})
}

// Check returns the place if a message begins there, or will, being the end.
func (f *Finder) Check(ctx context.Context, p Place) (Place, error) {
	found, err := f.look(ctx, p)
	return found.at, err
}

// After returns the place of the message behind the one that begins at p, or where it
// will be.
func (f *Finder) After(ctx context.Context, p Place) (Place, error) {
	found, err := f.look(ctx, p)
	if err == nil && found.next == p { // there is no message yet
		err = &BeyondEndError{p.Offset, p.Offset}
	}
	return found.next, err
}

// ResumeID returns the id by which a reader goes on at p: that of the message before, or of
// the batch that begins there.
func (f *Finder) ResumeID(ctx context.Context, p Place) (string, error) {
	if p.Delta == 0 {
		return p.String(), nil
	}
	found, err := f.look(ctx, p)
	return found.before.ID(), err
}

func (f *Finder) reader(offset int64) *Reader {
	r := f.Caller.NewReader(f.Conf, f.Topic, offset, f.Fresh)
	r.Grow, r.Around = f.Grow, f.Around
	return r
}

// around is a message, and those before and behind it: where they begin. Before the first
// message of a batch there is none.
type around struct{ before, at, next Place }

// look returns the message that begins at p, or will, being the end.
func (f *Finder) look(ctx context.Context, p Place) (found around, err error) {
	r := f.reader(p.Offset)
	defer r.Release()
	b, err := r.Next(ctx, 0)
	if err == io.EOF && p.Delta == 0 {
		return around{at: p, next: p}, nil
	}
	if err == io.EOF {
		return found, &BeyondEndError{p.Offset, p.Offset}
	}
	if err != nil {
		return found, err
	}
	for m := (batch.Messages{Data: b.Data}); m.Next(); {
		if m.Delta() > p.Delta {
			return around{}, &NotAPlaceError{p, Place{b.Offset, m.Delta()}}
		}
		if m.Delta() == p.Delta {
			found.at, found.next = p, Place{Offset: b.End}
			if m.Next() {
				found.next = Place{b.Offset, m.Delta()}
			}
			return found, nil
		}
		found.before = Place{b.Offset, m.Delta()}
	}
	return around{}, &NotAPlaceError{p, Place{Offset: b.End}}
}

// last returns the place of the last message but n-1.
func (f *Finder) last(ctx context.Context, n int64) (Place, error) {
	in := &f.Info
	log := countback.Log{
		Oldest: in.Oldest, Next: in.Next, Messages: in.Messages, Damaged: len(in.DamagedAt) > 0,
		Near: func(target int64) (int64, error) { return f.Caller.nextBatch(ctx, f.Conf, f.Topic, in, target) },
		Each: func(from int64, yield func(offset, messages int64) bool) error {
			return f.each(ctx, from, true, func(b *Batch) bool { return yield(b.Offset, b.Messages) })
		},
	}
	from, skip, err := log.Find(n)
	if err != nil || skip == 0 {
		return Place{Offset: from}, err
	}
	return f.pass(ctx, from, skip)
}

// pass returns the place of the message that has so many others before it from an offset
// on.
func (f *Finder) pass(ctx context.Context, from, skip int64) (Place, error) {
	found := Place{Offset: f.Info.Next}
	err := f.each(ctx, from, false, func(b *Batch) bool {
		if skip >= b.Messages {
			skip -= b.Messages
			return true
		}
		m := batch.Messages{Data: b.Data}
		for m.Next() && skip > 0 {
			skip--
		}
		found = Place{b.Offset, m.Delta()}
		return false
	})
	return found, err
}

// each calls yield for the batches from an offset on up to what was the end, over all
// gaps, until yield returns false.
func (f *Finder) each(ctx context.Context, from int64, headers bool, yield func(*Batch) bool) error {
	r := f.reader(from)
	r.Headers = headers
	defer r.Release()
	for r.Offset() < f.Info.Next {
		b, err := r.Next(ctx, 0)
		if gap, ok := errors.AsType[*Gap](err); ok {
			r.GoTo(gap.To)
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if b.Offset >= f.Info.Next || !yield(&b) {
			return nil
		}
	}
	return nil
}
