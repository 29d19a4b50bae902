package partition

import (
	"io"
	"sync"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// View is what a read found: a run of whole batches, as sections of files in
// order. It holds the files until Close, which must be called once; after it
// the View is not to be used. It is not safe for concurrent use.
type View struct {
	offset, batches, length int64
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

// NewView returns a View that has nothing yet, from an offset on.
func NewView(offset int64) *View {
	v := views.Get().(*View)
	v.offset = offset
	return v
}

// AddStored adds the bytes from one offset up to another, which is not behind the log's
// end, to a View that has nothing yet. Nothing is looked up or checked. The error is
// topic.ErrNotFound if any of it is not stored, or set aside.
func (l *List) AddStored(v *View, from, to int64) error {
	parts := l.All()
	i := Find(parts, from)
	if i < 0 || from >= to || layout.Clear(*l.Journal.Damaged(), from, to) < to {
		return topic.ErrNotFound
	}
	for ; from < to; i++ {
		if i == len(parts) || parts[i].Base > from {
			return topic.ErrNotFound // cut off a moment ago
		}
		p := parts[i]
		end := min(to, p.End.Load())
		if end <= from {
			if p.Base == p.End.Load() || i+1 < len(parts) && parts[i+1].Base == from {
				continue
			}
			return topic.ErrNotFound
		}
		f, err := p.File.Acquire(files.ToRead)
		if l.JustRemoved(p, err) {
			return topic.ErrNotFound // removed a moment ago
		}
		if err != nil {
			return &layout.Error{Op: "read", Topic: l.Topic, File: p.File.Name(), Offset: from, Err: err}
		}
		v.sections = append(v.sections, section{p.File, f, from - p.Base, end - from})
		v.length += end - from
		from = end
	}
	return nil
}
