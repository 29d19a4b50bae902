package batch

import (
	"bytes"
	"math"
	"strings"
)

// MaxCodec is the length of the longest name of a codec, in bytes, and MaxCodecLen
// bounds what the codec of a compressed batch takes in the envelope.
const (
	MaxCodec    = 16
	MaxCodecLen = len(codecKey) + MaxCodec
)

// MaxPacked is how many messages a compressed batch has at most.
const MaxPacked = math.MaxInt32

// ValidCodec reports whether name may be a codec's: 1 to 16 of a-z 0-9. There need not
// be such a codec.
func ValidCodec[T ~string | ~[]byte](name T) bool {
	if len(name) == 0 || len(name) > MaxCodec {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Codecs is a set of codecs. The zero value is none: of a batch, that it is not
// compressed. Its values are part of the journal's format.
type Codecs uint8

// The codecs, and OtherCodec for all that have no value of their own here.
const (
	S2         Codecs = 1 << 0
	Zstd       Codecs = 1 << 1
	OtherCodec Codecs = 1 << 7

	// AllCodecs is every codec, also those that are not known.
	AllCodecs Codecs = math.MaxUint8
)

// KnownCodecs are the codecs that have a name here.
const KnownCodecs = S2 | Zstd

// codecNames are sorted.
var codecNames = [...]struct {
	name  string
	codec Codecs
}{{"s2", S2}, {"zstd", Zstd}}

// CodecOf returns the codec of a name, OtherCodec for one that is not known, and none
// for no name.
func CodecOf[T ~string | ~[]byte](name T) Codecs {
	if len(name) == 0 {
		return 0
	}
	for _, c := range codecNames {
		if string(name) == c.name {
			return c.codec
		}
	}
	return OtherCodec
}

// codecName returns a name as a string.
func codecName(name []byte) string {
	for _, c := range codecNames {
		if string(name) == c.name {
			return c.name
		}
	}
	return string(name)
}

// MaxCodecs is how many names a list has at most.
const MaxCodecs = 8

// ParseCodecs parses a list of names with commas between: 1 to MaxCodecs, none of them
// twice. Those that are not known are left out.
func ParseCodecs(list []byte) (c Codecs, ok bool) {
	var names [MaxCodecs][]byte
	for n := 0; ; n++ {
		name, rest, more := bytes.Cut(list, []byte{','})
		if n == MaxCodecs || !ValidCodec(name) {
			return 0, false
		}
		for _, other := range names[:n] {
			if bytes.Equal(name, other) {
				return 0, false
			}
		}
		names[n] = name
		c |= CodecOf(name) & KnownCodecs
		if !more {
			return c, true
		}
		list = rest
	}
}

// String returns the names of the known codecs in the set, sorted, with commas
// between.
func (c Codecs) String() string {
	var names []string
	for _, known := range codecNames {
		if c&known.codec != 0 {
			names = append(names, known.name)
		}
	}
	return strings.Join(names, ",")
}
