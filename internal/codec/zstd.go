package codec

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

// MaxWindow is the largest window of a zstd frame, what RFC 8878 asks every
// decoder to be able to take.
const MaxWindow = 8 << 20

// Level is how much effort zstd makes.
type Level int

// The levels.
const (
	Fastest = Level(zstd.SpeedFastest)
	Default = Level(zstd.SpeedDefault)
)

// NewZstd returns the codec zstd, which packs with the level.
func NewZstd(level Level) *Codec {
	// Without a checksum of its own: the envelope has one.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevel(level)), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // options that are not valid
	}
	// It makes its channel when it is first used. That must not be in a bubble of
	// package testing/synctest: others could not use it any more.
	enc.EncodeAll([]byte{0}, nil)
	return &Codec{name: Zstd, format: newZstdFormat(0), pack: func(dst, src []byte) []byte {
		if len(src) < unsized {
			return packShort(dst, src)
		}
		return enc.EncodeAll(src, dst)
	}}
}

// unsized is below how many bytes the encoder may leave the content size out.
const unsized = 256

// packShort appends a frame of one block, which has src as it is.
func packShort(dst, src []byte) []byte {
	const singleSegment = 1 << 5
	block := uint32(len(src))<<3 | 1 // the last, raw
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd, singleSegment, byte(len(src)))
	dst = append(dst, byte(block), byte(block>>8), byte(block>>16))
	return append(dst, src...)
}

type zstdFormat struct{ dec *zstd.Decoder }

// newZstdFormat returns the format for so many goroutines at once, 0 for as many as
// there are processors. Others wait.
func newZstdFormat(concurrency int) zstdFormat {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(concurrency), zstd.WithDecoderMaxWindow(MaxWindow),
		zstd.WithDecoderMaxMemory(maxSize), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return zstdFormat{dec}
}

// What zstd allows, and a batch does not.
var (
	errSkippable = errors.New("a skippable frame")
	errNoSize    = errors.New("a frame without its content size")
	errDict      = errors.New("a frame with a dictionary")
	errWindow    = errors.New("a window over 8 MiB")
	errCut       = errors.New("a frame that is cut short")
	errBlock     = errors.New("a block of a reserved type")
	errRest      = errors.New("bytes behind the frame")
)

// size reads the frame's header and walks over its blocks by their headers.
func (zstdFormat) size(src []byte) (uint64, error) {
	var h zstd.Header
	err := h.Decode(src)
	if err == nil {
		err = checkFrame(&h, src)
	}
	if err != nil {
		return 0, invalid("zstd: %w", err)
	}
	return h.FrameContentSize, nil
}

// checkFrame reports what is wrong with the frame that src is to be, beside what its
// blocks hold. The window of a single segment is its content, of which the decoder
// takes no more than MaxWindow.
func checkFrame(h *zstd.Header, src []byte) error {
	switch {
	case h.Skippable:
		return errSkippable
	case !h.HasFCS:
		return errNoSize
	case h.DictionaryID != 0:
		return errDict
	case h.WindowSize > MaxWindow:
		return errWindow
	}
	rest := src[h.HeaderSize:]
	for last := false; !last; {
		if len(rest) < 3 {
			return errCut
		}
		block := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
		last = block&1 != 0
		n := int(block >> 3)
		switch block >> 1 & 3 {
		case 1: // one byte, again and again
			n = 1
		case 3:
			return errBlock
		}
		if rest = rest[3:]; n > len(rest) {
			return errCut
		}
		rest = rest[n:]
	}
	if h.HasCheckSum {
		if len(rest) < 4 {
			return errCut
		}
		rest = rest[4:]
	}
	if len(rest) > 0 {
		return errRest
	}
	return nil
}

func (f zstdFormat) unpack(dst, src []byte) error {
	out, err := f.dec.DecodeAll(src, dst[:0:len(dst)])
	if err != nil {
		return invalid("zstd: %w", err)
	}
	if len(out) != len(dst) || len(out) > 0 && &out[0] != &dst[0] {
		return invalid("zstd: %d bytes, announced as %d", len(out), len(dst))
	}
	return nil
}
