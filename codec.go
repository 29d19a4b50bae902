package logd

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/logd-dev/logd/internal/batch"
)

// Codec packs and unpacks the data of compressed batches. The packages codec/zstd and
// codec/s2 register one each when they are imported:
//
//	import _ "github.com/logd-dev/logd/codec/zstd"
//
// Its methods must be safe for concurrent use.
type Codec interface {
	// Name is the codec's name in envelopes: 1 to 16 of a-z 0-9.
	Name() string
	// Encode appends src, packed, to dst. The same src must always be packed the same
	// way: a batch that is sent again must be what it was.
	Encode(dst, src []byte) []byte
	// Decode appends what src unpacks to, at most max bytes, to dst. It must not take
	// memory for more. What is larger, or damaged, is an error.
	Decode(dst, src []byte, max int) ([]byte, error)
}

var registry struct {
	sync.Mutex
	codecs map[string]Codec
}

// RegisterCodec makes a codec known to all Clients that are made from then on: they
// unpack batches that are compressed with it, and tell servers so. The last one of a
// name counts. A name that can't be one is the program's mistake, and RegisterCodec
// panics.
func RegisterCodec(c Codec) {
	if !batch.ValidCodec(c.Name()) {
		panic("logd: RegisterCodec of " + strconv.Quote(c.Name()) + ": want 1 to 16 of a-z 0-9")
	}
	registry.Lock()
	defer registry.Unlock()
	if registry.codecs == nil {
		registry.codecs = make(map[string]Codec)
	}
	registry.codecs[c.Name()] = c
}

// registered returns the codecs by name.
func registered() map[string]Codec {
	registry.Lock()
	defer registry.Unlock()
	return maps.Clone(registry.codecs)
}

// offers returns the names of codecs as HELLO has them, as many as it takes.
func offers(codecs map[string]Codec) string {
	names := slices.Sorted(maps.Keys(codecs))
	return strings.Join(names[:min(len(names), batch.MaxCodecs)], ",")
}

// unpack is for link.Batches.Unpack: what it unpacks for one answer has at most
// MaxUncompressedSize bytes in all.
func (c *Client) unpack(dst []byte, h *batch.Header, packed []byte) ([]byte, error) {
	return unpack(c.codecs, dst, h, packed, int(min(c.cfg.MaxUncompressedSize, math.MaxInt))-len(dst))
}

// unpack appends the data of a compressed batch, whose envelope is h, to dst: at most
// max bytes. It is so many messages as h announces, or the error is ErrCorrupt. One that
// the Client has no codec for is ErrUnsupportedCodec.
func unpack(codecs map[string]Codec, dst []byte, h *batch.Header, packed []byte, max int) ([]byte, error) {
	c := codecs[h.Codec]
	if c == nil {
		return dst, fmt.Errorf("%w %q", ErrUnsupportedCodec, h.Codec)
	}
	out, err := c.Decode(dst, packed, max)
	if err == nil && !batch.Framed(&batch.Header{Messages: h.Messages}, out[len(dst):]) {
		err = batch.ErrFraming
	}
	if err != nil {
		return dst, fmt.Errorf("%w: unpack: %w", ErrCorrupt, err)
	}
	return out, nil
}
