package topic

import (
	"io"

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
	var b [batch.MaxHeaderLen]byte
	r := viewReader{v: v}
	for before < v.Len() {
		p := b[:min(int64(len(b)), v.Len()-before)]
		if err := r.read(p, before); err != nil {
			if err == io.EOF {
				err = nil // cut short by something else: the reader meets it
			}
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

// viewReader reads a View as if it were one file, forward.
type viewReader struct {
	v     View
	i     int   // section
	start int64 // where it begins in the View
}

// read fills p with the bytes at pos of the View, which has them.
func (r *viewReader) read(p []byte, pos int64) error {
	_, _, size := r.v.Section(r.i)
	for pos >= r.start+size {
		r.start += size
		r.i++
		_, _, size = r.v.Section(r.i)
	}
	start := r.start
	for i := r.i; len(p) > 0; i++ {
		f, at, size := r.v.Section(i)
		part := p[:min(int64(len(p)), start+size-pos)]
		if n, err := f.ReadAt(part, at+pos-start); n < len(part) {
			return err
		}
		p, pos, start = p[len(part):], pos+int64(len(part)), start+size
	}
	return nil
}
