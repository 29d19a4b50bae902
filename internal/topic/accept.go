package topic

import (
	"io"
	"sync"

	"github.com/logd-dev/logd/internal/batch"
)

// Accept takes out of a View what a reader that knows these codecs can't use: the first
// batch with another, and all behind it. The error is ErrCodec if nothing is left. Where
// an envelope is damaged, the reader is left to meet it.
//
// It reads nothing where partitions have no other codecs; else the envelopes.
func Accept(v View, known batch.Codecs) error {
	if v.Codecs()&^known == 0 {
		return nil
	}
	n, batches, found, err := findOther(v, known)
	switch {
	case err != nil || !found:
		return err
	case batches == 0:
		return ErrCodec
	}
	v.Cut(n, batches)
	return nil
}

// findOther returns how many bytes and batches come before the first batch with a codec
// that is not among the known ones, if there is one.
func findOther(v View, known batch.Codecs) (before, batches int64, found bool, err error) {
	b := windows.Get().(*[windowSize]byte)
	defer windows.Put(b)
	r := viewReader{v: v, window: b}
	for before < v.Len() {
		p, err := r.at(before, batch.MaxHeaderLen)
		if err != nil && err != io.EOF { // cut short by something else: the reader meets it
			return 0, 0, false, err
		}
		h, n, err := batch.Parse(p)
		switch {
		case err != nil || n > v.Len()-before:
			return 0, 0, false, nil
		case batch.CodecOf(h.Codec)&^known != 0:
			return before, batches, true, nil
		}
		before, batches = before+n, batches+1
	}
	return 0, 0, false, nil
}

// windowSize is how much is read at a time where batches are small: many envelopes.
const windowSize = 8 << 10

var windows = sync.Pool{New: func() any { return new([windowSize]byte) }}

// viewReader reads a View as if it were one file, forward.
type viewReader struct {
	v     View
	i     int   // section
	start int64 // where it begins in the View

	window *[windowSize]byte // has the bytes of the View from pos to end
	pos    int64
	end    int64
}

// at returns the n bytes at pos of the View, or as many as it has, and perhaps more. With
// an error they are those before it. They are good until the next call.
func (r *viewReader) at(pos int64, n int) ([]byte, error) {
	n = int(min(int64(n), r.v.Len()-pos))
	var err error
	if pos < r.pos || pos+int64(n) > r.end {
		p := r.window[:min(windowSize, r.v.Len()-pos)]
		if pos-r.pos > windowSize {
			p = p[:n] // what is wanted is far between
		}
		var got int
		got, err = r.read(p, pos)
		r.pos, r.end = pos, pos+int64(got)
		if got >= n {
			err = nil
		}
	}
	return r.window[pos-r.pos : r.end-r.pos], err
}

// read fills p with the bytes at pos of the View, which has them, and returns how many
// there are before an error.
func (r *viewReader) read(p []byte, pos int64) (n int, err error) {
	_, _, size := r.v.Section(r.i)
	for pos >= r.start+size {
		r.start += size
		r.i++
		_, _, size = r.v.Section(r.i)
	}
	start := r.start
	for i := r.i; n < len(p); i++ {
		f, at, size := r.v.Section(i)
		part := p[n:][:min(int64(len(p)-n), start+size-pos)]
		got, err := f.ReadAt(part, at+pos-start)
		n += got
		if got < len(part) {
			return n, err
		}
		pos, start = pos+int64(len(part)), start+size
	}
	return n, nil
}
