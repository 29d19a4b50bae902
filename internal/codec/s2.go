package codec

import (
	"slices"

	"github.com/klauspost/compress/s2"
)

// NewS2 returns the codec s2.
func NewS2() *Codec { return &Codec{name: S2, format: s2Format{}, pack: packS2} }

func packS2(dst, src []byte) []byte {
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
	return dst[:len(dst)+len(s2.Encode(dst[len(dst):cap(dst)], src))]
}

type s2Format struct{}

func (s2Format) size(src []byte) (uint64, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return 0, invalid("s2: %w", err)
	}
	return uint64(n), nil
}

func (s2Format) unpack(dst, src []byte) error {
	out, err := s2.Decode(dst, src)
	if err != nil {
		return invalid("s2: %w", err)
	}
	if len(out) != len(dst) {
		return invalid("s2: %d bytes, announced as %d", len(out), len(dst))
	}
	return nil
}
