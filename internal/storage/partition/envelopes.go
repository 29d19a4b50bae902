package partition

import (
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/walk"
)

// Newest returns an offset from which on there are as many batches in a log that ends at
// end, or at which it begins. It ends early, with its error, if wanted returns one: that is
// asked between the reads.
func (l *List) Newest(batches, end int64, wanted func() error) (int64, error) {
	parts := l.All()
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		var from, has int64
		err := RetryOnce(func() (err error) {
			from, has, err = l.newestOf(p, batches, end, wanted)
			return err
		})
		switch {
		case l.JustRemoved(p, err):
			return l.Begin(), nil // and all before it
		case err != nil:
			return 0, err
		}
		if batches -= has; batches <= 0 {
			return from, nil
		}
	}
	return parts[0].Base, nil
}

// newestOf is Newest for one partition, and returns how many batches it has.
func (l *List) newestOf(p *Partition, batches, end int64, wanted func() error) (from, has int64, err error) {
	if p.Sum.Load() == nil {
		if err := l.ensureIndexWhile(p, wanted); err != nil {
			return 0, 0, err
		}
	}
	sum, err := l.TotalsBefore(p, min(p.End.Load(), end))
	if err != nil || sum.Batches <= batches {
		return p.Base, sum.Batches, err
	}
	if err := l.ensureIndexWhile(p, wanted); err != nil {
		return 0, 0, err
	}
	ix := p.Index()
	at, _, err := ix.Search(func(e *index.Entry) bool { return e.Batches <= sum.Batches-batches })
	if err != nil {
		return 0, 0, l.ReadError(p, ix, p.Base, err)
	}
	return p.Base + max(at.Pos, 0), sum.Batches, nil
}

// Envelopes calls visit for the batches from one offset, where one begins, up to another,
// without those that are set aside, and returns the latter. It ends with an error of
// visit; what others mean LookInto says.
func (l *List) Envelopes(at, end int64, visit func(offset, length int64, h *batch.Header) error) (int64, error) {
	for at < end {
		parts := l.All()
		at = max(l.PastDamage(at), parts[0].Base)
		i := Find(parts, at)
		if at >= end || i < 0 {
			break
		}
		p := parts[i]
		if at >= p.End.Load() {
			return at, ErrRescanned // a hole that nobody knows of: the log is another one by now
		}
		limit := min(l.SegmentEnd(p, at), end)
		to, err := l.envelopesOf(p, at, limit, visit)
		if err != nil && l.Gone(p) {
			continue // removed a moment ago: nobody asks for it any more
		}
		if err != nil {
			return at, err
		}
		at = to
	}
	return max(at, end), nil
}

// envelopesOf is Envelopes for one partition.
func (l *List) envelopesOf(p *Partition, at, limit int64, visit func(offset, length int64, h *batch.Header) error) (int64, error) {
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return at, err
	}
	defer p.File.Release()
	w := walk.New(f, l.Topic)
	defer w.Free()
	ix := p.Index()
	var h batch.Header
	for at < limit {
		var n int64
		if h, n, err = w.Header(at-p.Base, limit-p.Base); err != nil {
			return at, &unreadError{p, ix, at, err}
		}
		if err := visit(at, n, &h); err != nil {
			return at, err
		}
		at += n
	}
	return at, nil
}

// unreadError is a batch whose envelope could not be read.
type unreadError struct {
	p      *Partition
	ix     *index.Index
	offset int64
	err    error
}

func (e *unreadError) Error() string { return e.err.Error() }

// LookInto looks into an error of Envelopes, and returns it: ErrRescanned if it is to be
// tried once more. Caller does not hold Writer.
func (l *List) LookInto(err error) error {
	if e, ok := err.(*unreadError); ok {
		return l.ReadError(e.p, e.ix, e.offset, e.err)
	}
	return err
}
