package codec

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/logd-dev/logd/internal/batch"
)

const fuzzLimit = 1 << 16

// seeds are data of batches, packed, and what is much like them.
func seeds(f *testing.F, c *Codec) {
	in := data(3, 300)
	packed := c.Encode(nil, in)
	for _, b := range [][]byte{packed, packed[:len(packed)/2], bytes.Repeat(packed, 2), in, c.Encode(nil, data(40, 3000)), c.Encode(nil, nil),
		zeros(fuzzLimit), zeroBlock(fuzzLimit + 1), zeros(1 << 24)} {
		f.Add(b, int64(3))
	}
}

// FuzzZstd compares with the decoder of streams, which takes more forms than are
// taken here, but none of these otherwise.
func FuzzZstd(f *testing.F) {
	c := NewZstd(Fastest)
	seeds(f, c)
	stream, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxWindow))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(stream.Close)
	fuzz(f, c, func(in []byte) ([]byte, error) {
		if err := stream.Reset(bytes.NewReader(in)); err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(stream, fuzzLimit+1))
	})
}

// FuzzS2 compares with a plain decoder of the format.
func FuzzS2(f *testing.F) {
	c := NewS2()
	seeds(f, c)
	fuzz(f, c, plainS2)
}

func fuzz(f *testing.F, c *Codec, reference func([]byte) ([]byte, error)) {
	check := NewChecker(time.Second)
	f.Fuzz(func(t *testing.T, in []byte, messages int64) {
		got, err := c.Decode(nil, in, fuzzLimit)
		size, sizeErr := sizeWithin(c.format, in, maxSize)
		switch {
		case err == nil:
			want, rerr := reference(in)
			if rerr != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes; the reference: %d, %v", len(got), len(want), rerr)
			}
			if sizeErr != nil || size != len(got) {
				t.Fatalf("%d bytes, announced as %d, %v", len(got), size, sizeErr)
			}
		case errors.Is(err, ErrTooLarge):
			if sizeErr == nil && size <= fuzzLimit {
				t.Fatalf("%d bytes are too large", size)
			}
		case !errors.Is(err, ErrInvalid):
			t.Fatal(err)
		case sizeErr == nil && size <= fuzzLimit:
			// Of a form that is taken: the reference has to find fault, too.
			if want, rerr := reference(in); rerr == nil && len(want) == size {
				t.Fatalf("%v; the reference: %d bytes", err, len(want))
			}
		}
		_, cerr := check.Check(c.Name(), in, messages, fuzzLimit)
		if want := err == nil && batch.Framed(&batch.Header{Messages: messages}, got); want != (cerr == nil) {
			t.Fatalf("Check: %v; Decode: %v", cerr, err)
		}
		back, err := c.Decode(nil, c.Encode(nil, in), len(in))
		if err != nil || !bytes.Equal(back, in) {
			t.Fatalf("back come %d bytes, %v", len(back), err)
		}
	})
}

var errPlain = errors.New("not a block")

// plainS2 unpacks a block of s2 byte by byte.
func plainS2(in []byte) ([]byte, error) {
	n, err := s2.DecodedLen(in)
	if err != nil || n > fuzzLimit {
		return nil, errPlain
	}
	for { // the uvarint
		b := in[0]
		in = in[1:]
		if b < 0x80 {
			break
		}
	}
	var out []byte
	offset := 0 // a block can't begin with a repeat
	for len(in) > 0 {
		tag := int(in[0])
		kind, arg := tag&3, tag>>2
		in = in[1:]
		// number takes a number of k bytes.
		number := func(k int) (v int) {
			if len(in) < k {
				err = errPlain
				return 0
			}
			for i := range k {
				v |= int(in[i]) << (8 * i)
			}
			in = in[k:]
			return v
		}
		var length int
		switch kind {
		case 0: // literals
			length = arg + 1
			if arg >= 60 {
				length = number(arg-59) + 1
			}
			if err != nil || length > len(in) || length > n-len(out) {
				return nil, errPlain
			}
			out = append(out, in[:length]...)
			in = in[length:]
			continue
		case 1:
			length = arg&7 + 4
			if to := tag>>5<<8 | number(1); to != 0 {
				offset = to
				break
			}
			// A repeat of the last offset. Its length may go on.
			switch arg & 7 {
			case 5:
				length = number(1) + 8
			case 6:
				length = number(2) + 1<<8 + 4
			case 7:
				length = number(3) + 1<<16 + 4
			default:
				length = arg&7 + 4
			}
		case 2:
			length, offset = arg+1, number(2)
		case 3:
			length, offset = arg+1, number(4)
		}
		if err != nil || offset <= 0 || offset > len(out) || length > n-len(out) {
			return nil, errPlain
		}
		for range length {
			out = append(out, out[len(out)-offset])
		}
	}
	if len(out) != n {
		return nil, errPlain
	}
	return out, nil
}
