package commitlog

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/retain"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// View is what a read found: a run of whole batches, as sections of files in
// order. It holds the files until Close, which must be called once; after it
// the View is not to be used. It is not safe for concurrent use.
type View struct {
	offset, batches, length int64
	codecs                  batch.Codecs
	sections                []section
}

type section struct {
	file   *files.File
	f      vfs.File
	pos, n int64
}

var views = sync.Pool{New: func() any { return new(View) }}

// Offset returns the offset of the first batch.
func (v *View) Offset() int64 { return v.offset }

// Batches returns the number of batches.
func (v *View) Batches() int64 { return v.batches }

// Len returns the length of all sections together, in bytes.
func (v *View) Len() int64 { return v.length }

// Codecs returns with which codecs batches of the view may be compressed: those that
// the partitions have.
func (v *View) Codecs() batch.Codecs { return v.codecs }

// Cut takes the batches behind the first n bytes, which have so many, out of the view.
func (v *View) Cut(n, batches int64) {
	v.length, v.batches = n, batches
	for i := range v.sections {
		s := &v.sections[i]
		s.n = min(s.n, n)
		n -= s.n
	}
}

// Sections returns the number of sections.
func (v *View) Sections() int { return len(v.sections) }

// Section returns the i-th section: n bytes of r at pos. r is shared with
// other readers; where it has a method Fd() (uintptr, bool) that reports true,
// the descriptor may be read at explicit positions until Close.
func (v *View) Section(i int) (r io.ReaderAt, pos, n int64) {
	s := &v.sections[i]
	return s.f, s.pos, s.n
}

// Close lets go of the files.
func (v *View) Close() {
	for i := range v.sections {
		v.sections[i].file.Release()
	}
	clear(v.sections)
	*v = View{sections: v.sections[:0]}
	views.Put(v)
}

// Read returns whole batches from offset on: as many as it takes to reach
// messages messages, at most maxBytes bytes (0 for no such limit) but always
// one batch, up to the readable end or to bytes that were set aside. The
// caller closes the View.
//
// The error is ErrEnd at the readable end, ErrNotFound where no batch begins,
// and ErrDeleted for a topic that was deleted. Read blocks only for the disk.
func (l *Log) Read(offset, messages, maxBytes int64) (topic.View, error) {
	v, err := l.view(offset, messages, maxBytes)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (l *Log) view(offset, messages, maxBytes int64) (*View, error) {
	v := views.Get().(*View)
	v.offset = offset
	err := retryOnce(func() error { return l.read(v, offset, messages, maxBytes) })
	if errors.Is(err, errRescanned) {
		err = topic.ErrNotFound
	}
	if err == nil {
		return v, nil
	}
	v.Close()
	if l.Deleted() {
		return nil, topic.ErrDeleted
	}
	if errors.Is(err, topic.ErrNotFound) {
		l.store.Misses.Add(1)
	}
	return nil, err
}

func (l *Log) read(v *View, offset, messages, maxBytes int64) error {
	readable := l.Readable()
	if offset == readable {
		return topic.ErrEnd
	}
	if maxBytes <= 0 {
		maxBytes = readable
	}
	parts := l.partitions()
	i := findPartition(parts, offset)
	if offset > readable || i < 0 {
		return topic.ErrNotFound
	}
	for ; i < len(parts) && messages > 0; i++ {
		p := parts[i]
		limit := min(l.segmentEnd(p, offset), readable)
		if offset < p.base || offset >= limit || (v.length > 0 && v.length >= maxBytes) {
			break
		}
		n, err := l.readPartition(v, p, offset, messages, maxBytes, limit)
		if errors.Is(err, fs.ErrNotExist) && l.lost(p) {
			err = topic.ErrNotFound // removed a moment ago
		}
		if err != nil {
			if v.length > 0 {
				return nil // what is there is good; the next read meets the error
			}
			return err
		}
		messages -= n.messages
		offset += n.length
		if offset < limit || limit < p.end.Load() {
			break
		}
	}
	if v.length == 0 {
		return topic.ErrNotFound
	}
	return nil
}

// findPartition returns the index of the partition that offset falls into, or
// -1.
func findPartition(parts []*partition, offset int64) int {
	i, found := slices.BinarySearchFunc(parts, offset, func(p *partition, offset int64) int {
		return int(min(max(p.base-offset, -1), 1))
	})
	if found {
		return i
	}
	return i - 1
}

// segmentEnd returns the offset up to which the partition's batches follow one
// another without damage from offset on; offset itself if it lies in damage.
func (l *Log) segmentEnd(p *partition, offset int64) int64 {
	return layout.Clear(*l.journal.Damaged(), offset, p.end.Load())
}

// pastDamage returns the offset behind the damage that offset lies in, or
// offset itself.
func (l *Log) pastDamage(offset int64) int64 { return layout.Past(*l.journal.Damaged(), offset) }

type readSize struct{ length, messages int64 }

// readPartition adds a section of one partition, from offset up to limit at
// most, to the view. The section is empty where the view has something and the
// next batch does not fit.
func (l *Log) readPartition(v *View, p *partition, offset, messages, maxBytes, limit int64) (readSize, error) {
	if err := l.ensureIndex(p); err != nil {
		return readSize{}, err
	}
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return readSize{}, err
	}
	w := walk.New(f, l.name)
	defer w.Free()
	ix := p.index()
	start, err := w.Find(ix, offset-p.base, limit-p.base)
	var end index.Entry
	if err == nil {
		end, err = w.Walk(ix, start, messages, maxBytes-v.length, v.length == 0, limit-p.base)
	}
	if err == nil && end.Pos == start.Pos {
		p.file.Release()
		return readSize{}, nil
	}
	if err != nil {
		p.file.Release()
		return readSize{}, l.readError(p, ix, offset, err)
	}
	v.sections = append(v.sections, section{p.file, f, start.Pos, end.Pos - start.Pos})
	v.codecs |= l.journal.Packed(p.base)
	v.batches += end.Batches - start.Batches
	v.length += end.Pos - start.Pos
	return readSize{end.Pos - start.Pos, end.Messages - start.Messages}, nil
}

// errRescanned tells that a partition was found damaged and scanned anew: what
// failed is worth one more try.
var errRescanned = errors.New("partition was scanned")

// retryOnce runs f, and once more if a partition was found damaged and scanned.
func retryOnce(f func() error) error {
	err := f()
	if errors.Is(err, errRescanned) {
		err = f()
	}
	return err
}

// readError says what a failed walk or search with an index means. Damage, of
// the partition or of the index, is looked into: the partition is scanned, so
// that what is damaged is set aside and all else is served, and the error is
// errRescanned. Caller does not hold writer.
func (l *Log) readError(p *partition, ix *index.Index, offset int64, err error) error {
	switch {
	case errors.Is(err, topic.ErrNotFound):
		return err
	case p.index() != ix:
		err = errRescanned // by somebody else
	case errors.Is(err, fs.ErrNotExist) && l.lost(p):
		return topic.ErrNotFound // removed a moment ago
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, walk.ErrDamaged) || errors.Is(err, index.ErrUnfit) || errors.Is(err, io.ErrUnexpectedEOF):
		l.store.Logger.Error("partition or its index is damaged; the partition is scanned",
			"topic", l.name, "file", p.file.Name(), "offset", offset, "err", err)
		err = errRescanned
		if serr := l.rescan(p, ix); serr != nil {
			err = serr
		}
	}
	return &Error{Op: "read", Topic: l.name, File: p.file.Name(), Offset: offset, Err: err}
}

// Info describes the log. It reads partitions that no index knows, once.
func (l *Log) Info(ctx context.Context) (topic.Info, error) {
	parts, damaged := l.partitions(), l.journal.Damaged()
	begin := parts[0].base
	in := topic.Info{Next: l.Readable(), Partitions: len(parts), Synced: l.synced.Load(), ID: layout.HexID(l.id), ReadOnly: l.readOnly(), Codecs: l.journal.AllPacked()}
	in.Oldest = min(max(l.Oldest(), begin), in.Next)
	for _, r := range *damaged {
		if from := max(r.From, begin); r.To > from {
			in.Damaged += r.To - from
			in.DamagedAt = append(in.DamagedAt, [2]int64{from, r.To})
			in.DamagedIn = append(in.DamagedIn, parts[max(findPartition(parts, from), 0)].file.Name())
		}
	}
	in.Bytes = max(in.Next-begin-in.Damaged, 0)
	var first, last int64
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return topic.Info{}, err
		}
		var sum journal.Totals
		err := retryOnce(func() (err error) {
			sum, err = l.partitionTotals(p, in.Next)
			return err
		})
		if errors.Is(err, fs.ErrNotExist) && l.lost(p) {
			return l.Info(ctx) // removed a moment ago
		}
		if err != nil && l.Deleted() {
			err = topic.ErrDeleted
		}
		if err != nil {
			return topic.Info{}, err
		}
		in.Messages += sum.Messages
		in.Batches += sum.Batches
		if sum.Batches > 0 {
			if first == 0 {
				first = sum.First
			}
			last = sum.Last
		}
	}
	if l.journal.Damaged() != damaged {
		return l.Info(ctx) // counting has found damage
	}
	if first > 0 {
		first, last = l.sensible(parts, first, last)
		in.OldestTime, in.NewestTime = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	}
	return in, nil
}

// partitionTotals returns what a partition holds before offset.
func (l *Log) partitionTotals(p *partition, offset int64) (journal.Totals, error) {
	if offset <= p.base {
		return journal.Totals{}, nil
	}
	whole := offset >= p.end.Load()
	if sum := p.sum.Load(); sum != nil && whole {
		return *sum, nil
	}
	if err := l.ensureIndex(p); err != nil {
		return journal.Totals{}, err
	}
	if sum := p.sum.Load(); sum != nil && whole {
		return *sum, nil
	}
	limit := min(p.end.Load(), offset) - p.base
	if limit <= 0 {
		return journal.Totals{}, nil
	}
	// The head may grow meanwhile: count up to limit.
	ix := p.index()
	first, err := ix.First()
	var at index.Entry
	if err == nil {
		at, _, err = ix.Search(func(e *index.Entry) bool { return e.Pos < limit })
	}
	if err != nil {
		return journal.Totals{}, l.readError(p, ix, p.base, err)
	}
	if at.Pos < 0 {
		return journal.Totals{}, nil
	}
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return journal.Totals{}, err
	}
	defer p.file.Release()
	w := walk.New(f, l.name)
	defer w.Free()
	limit = min(limit, l.segmentEnd(p, p.base+at.Pos)-p.base)
	for at.Pos < limit {
		if err := w.Step(&at, limit); err != nil {
			return journal.Totals{}, l.readError(p, ix, p.base+at.Pos, err)
		}
	}
	return journal.Totals{Messages: at.Messages, Batches: at.Batches, First: first.Millis, Last: at.Millis}, nil
}

// Seek returns the offset of the first batch that was appended at t or later,
// or the readable end. Times are kept to the millisecond; those of batches
// appended shortly before a crash may be later than they were.
//
// Where the clock was wrong it is the first batch in whose partition times reach
// t, which may be too early. Times far ahead of the clock are not believed if a
// later partition began before them.
func (l *Log) Seek(t time.Time) (offset int64, err error) {
	err = retryOnce(func() error {
		offset, err = l.seek(t.UnixMilli())
		return err
	})
	return offset, err
}

func (l *Log) seek(millis int64) (int64, error) {
	readable := l.Readable()
	parts := l.partitions()
	now := l.store.Clock.Now().UnixMilli()
	for i, p := range parts {
		if sum := p.sum.Load(); sum != nil && (sum.Batches == 0 || sum.Last < millis) {
			continue
		}
		if err := l.ensureIndex(p); err != nil {
			return 0, err
		}
		ix := p.index()
		_, next, err := ix.Search(func(e *index.Entry) bool { return e.Millis < millis })
		if err != nil {
			return 0, l.readError(p, ix, p.base, err)
		}
		if next.Pos < 0 || p.base+next.Pos >= readable {
			continue
		}
		if next.Millis-now > retain.Doubt && l.ages(parts, now).StoredBefore(i, millis) < millis {
			continue
		}
		return p.base + next.Pos, nil
	}
	return readable, nil
}
