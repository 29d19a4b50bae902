package partition

import (
	"errors"
	"io"
	"io/fs"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/topic"
)

// Read adds whole batches from an offset on to a View that has nothing yet: as many as it
// takes to reach messages messages, at most maxBytes bytes (0 for no such limit) but
// always one batch, up to the readable end or to bytes that are set aside.
//
// The error is topic.ErrEnd at the readable end, topic.ErrNotFound where no batch begins,
// and one that is ErrRescanned if it is to be tried once more.
func (l *List) Read(v *View, offset, messages, maxBytes, readable int64) error {
	if offset == readable {
		return topic.ErrEnd
	}
	if maxBytes <= 0 {
		maxBytes = readable
	}
	parts := l.All()
	i := Find(parts, offset)
	if offset > readable || i < 0 {
		return topic.ErrNotFound
	}
	for ; i < len(parts) && messages > 0; i++ {
		p := parts[i]
		limit := min(l.SegmentEnd(p, offset), readable)
		if offset < p.Base || offset >= limit || (v.length > 0 && v.length >= maxBytes) {
			break
		}
		n, err := l.readPartition(v, p, offset, messages, maxBytes, limit)
		if l.JustRemoved(p, err) {
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
		if offset < limit || limit < p.End.Load() {
			break
		}
	}
	if v.length == 0 {
		return topic.ErrNotFound
	}
	return nil
}

type readSize struct{ length, messages int64 }

// readPartition adds a section of one partition, from offset up to limit at
// most, to the view. The section is empty where the view has something and the
// next batch does not fit.
func (l *List) readPartition(v *View, p *Partition, offset, messages, maxBytes, limit int64) (readSize, error) {
	if err := l.EnsureIndex(p); err != nil {
		return readSize{}, err
	}
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return readSize{}, err
	}
	w := walk.New(f, l.Topic)
	defer w.Free()
	ix := p.Index()
	start, err := w.Find(ix, offset-p.Base, limit-p.Base)
	var end index.Entry
	if err == nil {
		end, err = w.Walk(ix, start, messages, maxBytes-v.length, v.length == 0, limit-p.Base)
	}
	if err == nil && end.Pos == start.Pos {
		p.File.Release()
		return readSize{}, nil
	}
	if err != nil {
		p.File.Release()
		return readSize{}, l.ReadError(p, ix, offset, err)
	}
	v.sections = append(v.sections, section{p.File, f, start.Pos, end.Pos - start.Pos})
	v.codecs |= l.codecsOf(p)
	v.batches += end.Batches - start.Batches
	v.length += end.Pos - start.Pos
	return readSize{end.Pos - start.Pos, end.Messages - start.Messages}, nil
}

// codecsOf returns the codecs that batches of a partition may be compressed with. Of one
// that was removed a moment ago the journal has perhaps forgotten it: the list changes
// first.
func (l *List) codecsOf(p *Partition) batch.Codecs {
	codecs := l.Journal.Packed(p.Base)
	if p.Base < l.Begin() {
		codecs = batch.AllCodecs
	}
	return codecs
}

// ErrRescanned tells that a partition was found damaged and scanned anew, or that there
// are others: what failed is worth one more try.
var ErrRescanned = errors.New("partition was scanned")

// RetryOnce runs f, and once more if a partition was found damaged and scanned.
func RetryOnce(f func() error) error {
	err := f()
	if errors.Is(err, ErrRescanned) {
		err = f()
	}
	return err
}

// ReadError says what a failed walk or search with an index means. Damage, of
// the partition or of the index, is looked into: the partition is scanned, so
// that what is damaged is set aside and all else is served, and the error is
// ErrRescanned. Caller does not hold writer.
func (l *List) ReadError(p *Partition, ix *index.Index, offset int64, err error) error {
	switch {
	case errors.Is(err, topic.ErrNotFound):
		return err
	case p.Index() != ix:
		err = ErrRescanned // by somebody else
	case l.JustRemoved(p, err):
		return topic.ErrNotFound // removed a moment ago
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, walk.ErrDamaged) || errors.Is(err, index.ErrUnfit) || errors.Is(err, io.ErrUnexpectedEOF):
		l.Logger.Error("partition or its index is damaged; the partition is scanned",
			"topic", l.Topic, "file", p.File.Name(), "offset", offset, "err", err)
		err = ErrRescanned
		if serr := l.Rescan(p, ix); serr != nil {
			err = serr
		}
	}
	return &layout.Error{Op: "read", Topic: l.Topic, File: p.File.Name(), Offset: offset, Err: err}
}

// JustRemoved reports whether err says that retention has removed the partition
// a moment ago.
func (l *List) JustRemoved(p *Partition, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && l.Gone(p)
}
