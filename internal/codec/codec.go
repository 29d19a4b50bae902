// Package codec packs and unpacks the data of batches, with zstd and with s2.
//
// What it unpacks may come from anybody. The forms that are taken are narrow, so
// that how large the result is can be read before it is made:
//
//   - zstd: one frame (RFC 8878) that has its content size, with a window of at most
//     [MaxWindow], no dictionary, no skippable frame, and nothing behind it;
//   - s2: one block. A block of Snappy is one.
//
// The announced size is compared with a limit before memory is taken, and no more
// than that is made: what says less than it holds, or more, is [ErrInvalid].
//
// A [Codec] is for clients. A [Checker] is for a server, which unpacks only to see
// whether it could be done; its memory is bounded whatever is asked of it. All
// methods are safe for concurrent use. This is the only package that knows how the
// two formats are made.
package codec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
)

// The names of the codecs, as they stand in envelopes.
const (
	Zstd = "zstd"
	S2   = "s2"
)

// Names are all codecs, sorted.
func Names() []string { return []string{S2, Zstd} }

// Errors of unpacking, to be tested for with errors.Is.
var (
	// ErrTooLarge is data that says that it is larger than the limit, unpacked.
	ErrTooLarge = errors.New("codec: too large")
	// ErrInvalid is data that is not of the codec's form, is damaged, or is not as
	// large as it says.
	ErrInvalid = errors.New("codec: invalid data")
	// ErrUnknown is the name of no codec.
	ErrUnknown = errors.New("codec: unknown codec")
	// ErrBusy is a check for which there was no memory in time.
	ErrBusy = errors.New("codec: busy")
)

// format is how one codec's data is unpacked.
type format interface {
	// size returns how large src says that it is unpacked. Nothing of that is to be
	// relied on but that it is what unpack makes, or fails.
	size(src []byte) (uint64, error)
	// unpack writes what src unpacks to, which is n bytes, to the beginning of dst,
	// which has n bytes.
	unpack(dst, src []byte) error
}

// Codec packs and unpacks the data of batches.
type Codec struct {
	name string
	format
	pack func(dst, src []byte) []byte
}

// Name returns the codec's name in envelopes.
func (c *Codec) Name() string { return c.name }

// Encode appends src, packed, to dst.
func (c *Codec) Encode(dst, src []byte) []byte { return c.pack(dst, src) }

// Decode appends what src unpacks to, at most max bytes, to dst. The error is
// ErrTooLarge or ErrInvalid, and dst is returned as it was. Memory for the result is
// taken when its size is known to be allowed.
func (c *Codec) Decode(dst, src []byte, max int) ([]byte, error) {
	n, err := sizeWithin(c.format, src, int64(max))
	if err != nil {
		return dst, err
	}
	out := slices.Grow(dst, n)[:len(dst)+n]
	if err := c.unpack(out[len(dst):], src); err != nil {
		return dst, err
	}
	return out, nil
}

// Unpacker unpacks what any of the codecs has packed. The zero value is ready for use,
// and for one goroutine.
type Unpacker struct{ formats map[string]format }

// Unpack appends the messages of a compressed batch to dst, unpacked by the codec of that
// name: at most max bytes. The error is ErrUnknown, ErrTooLarge or ErrInvalid; also if
// they are not so many messages.
func (u *Unpacker) Unpack(name string, dst, packed []byte, messages int64, max int) ([]byte, error) {
	if u.formats == nil {
		u.formats = map[string]format{Zstd: newZstdFormat(1), S2: s2Format{}}
	}
	f := u.formats[name]
	if f == nil {
		return dst, ErrUnknown
	}
	out, err := (&Codec{format: f}).Decode(dst, packed, max)
	if err == nil && !batch.Framed(&batch.Header{Messages: messages}, out[len(dst):]) {
		return dst, invalid("not the %d messages that were announced", messages)
	}
	return out, err
}

// maxSize is more than any batch may have.
const maxSize = 1 << 40

// sizeWithin returns the announced size of src.
func sizeWithin(f format, src []byte, most int64) (int, error) {
	n, err := f.size(src)
	if err != nil {
		return 0, err
	}
	if most < 0 || n > uint64(most) {
		return 0, fmt.Errorf("%w: %d bytes unpacked, of at most %d", ErrTooLarge, n, most)
	}
	return int(n), nil
}

// invalid returns ErrInvalid with its cause.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}
