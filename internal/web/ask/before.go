package ask

import (
	"context"

	"github.com/logd-dev/logd/internal/batch"
)

// Before returns the place of the message from which on there are n up to p, where one
// begins or the end is; or of the oldest one, if there are fewer. Gaps are passed over.
func (f *Finder) Before(ctx context.Context, p Place, n int64) (Place, error) {
	in := &f.Info
	if p.Delta > 0 {
		deltas, err := f.deltas(ctx, p)
		if err != nil {
			return Place{}, err
		}
		if have := int64(len(deltas)); have < n {
			n -= have
		} else {
			return Place{p.Offset, deltas[have-n]}, nil
		}
	}
	if p.Offset <= in.Oldest {
		return Place{Offset: in.Oldest}, nil
	}
	// As if the topic ended there. How many messages it would have nobody has counted: it
	// is taken for more than are looked for, lest it be taken for too short.
	shorter := *f
	shorter.Info.Next = min(p.Offset, in.Next)
	share := float64(shorter.Info.Next-in.Oldest) / float64(max(in.Next-in.Oldest, 1))
	shorter.Info.Messages = max(int64(float64(in.Messages)*share), n+1)
	return shorter.last(ctx, n)
}

// deltas returns where the messages of a batch begin that are before p.
func (f *Finder) deltas(ctx context.Context, p Place) (deltas []int64, err error) {
	r := f.reader(p.Offset)
	defer r.Release()
	b, err := r.Next(ctx, 0)
	if err != nil {
		return nil, err
	}
	for m := (batch.Messages{Data: b.Data}); m.Next() && m.Delta() < p.Delta; {
		deltas = append(deltas, m.Delta())
	}
	return deltas, nil
}
