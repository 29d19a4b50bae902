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
	for i := range v.Sections() {
		r, pos, left := v.Section(i)
		for left > 0 {
			p := b[:min(int64(len(b)), left)]
			if n, err := r.ReadAt(p, pos); n < len(p) {
				if err == io.EOF {
					return 0, 0, false, nil // cut short by something else: the reader meets it
				}
				return 0, 0, false, err
			}
			h, n, perr := batch.Parse(p)
			switch {
			case perr != nil || n > left:
				return 0, 0, false, nil
			case batch.CodecOf(h.Codec)&^known != 0:
				return before, batches, true, nil
			}
			before, batches = before+n, batches+1
			pos, left = pos+n, left-n
		}
	}
	return 0, 0, false, nil
}
