package copies

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of bytes, which is what runs and members say of them.
func Checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// ErrBytes is bytes that are not what they are said to be.
var ErrBytes = errors.New("cluster: bytes are not those of the run")

// Body is the bytes of a run, and the batches in them.
type Body struct {
	Data    []byte
	Extents []batch.Extent
}

// Parse finds the batches in the bytes of a run. It does not check them. The error is
// ErrBytes.
func Parse(data []byte) (Body, error) {
	b := Body{Data: data}
	for pos := 0; pos < len(data); {
		h, n, err := batch.Parse(data[pos:])
		if err != nil || n > int64(len(data)-pos) {
			return b, fmt.Errorf("%w: no batch at byte %d", ErrBytes, pos)
		}
		b.Extents = append(b.Extents, h.Extent())
		pos += int(n)
	}
	return b, nil
}

// Check checks that each batch is whole, and of a topic. The error is ErrBytes.
func (b *Body) Check(topic string) error {
	pos := int64(0)
	for i := range b.Extents {
		raw := b.Data[pos : pos+b.Extents[i].Len]
		h, n, err := batch.Parse(raw)
		if err == nil && string(h.Topic) != topic {
			err = errors.New("of another topic")
		}
		if err == nil {
			err = batch.Check(&h, raw[n-h.Size:])
		}
		if err != nil {
			return fmt.Errorf("%w: at byte %d: %w", ErrBytes, pos, err)
		}
		pos += b.Extents[i].Len
	}
	return nil
}

// ReadViews appends the bytes of views, and closes them.
func ReadViews(dst []byte, views []topic.View) ([]byte, error) {
	var err error
	for _, v := range views {
		for i := range v.Sections() {
			r, pos, n := v.Section(i)
			at := len(dst)
			dst = append(dst, make([]byte, n)...)
			if k, rerr := r.ReadAt(dst[at:], pos); k < int(n) && err == nil {
				if err = rerr; err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
			}
		}
		v.Close()
	}
	return dst, err
}
