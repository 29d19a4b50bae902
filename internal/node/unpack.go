package node

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/protocol"
)

// unpacker looks into compressed batches for the server, and counts them.
type unpacker struct {
	checker *codec.Checker
	metrics *metrics
}

func newUnpacker(patience time.Duration, m *metrics) unpacker {
	return unpacker{codec.NewChecker(patience), m}
}

// Check implements server.Unpacker.
func (u unpacker) Check(h *batch.Header, data []byte, limit int64) (int64, *protocol.Error) {
	start := time.Now()
	size, err := u.checker.Check(h.Codec, data, h.Messages, limit)
	u.metrics.checks.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
		u.metrics.packed.add(h.Codec, h.Size, size)
		return size, nil
	case errors.Is(err, codec.ErrTooLarge):
		return 0, protocol.ErrTooLarge
	case errors.Is(err, codec.ErrBusy):
		return 0, protocol.ErrBusy
	case errors.Is(err, codec.ErrUnknown):
		return 0, protocol.ErrUnsupportedCodec
	}
	return 0, protocol.ErrInvalidRequest
}

// packed counts compressed batches by codec.
type packed struct{ s2, zstd packedCount }

type packedCount struct{ batches, bytes, unpacked atomic.Int64 }

func (p *packed) of(name string) *packedCount {
	if name == codec.S2 {
		return &p.s2
	}
	return &p.zstd
}

func (p *packed) add(name string, size, unpacked int64) {
	c := p.of(name)
	c.batches.Add(1)
	c.bytes.Add(size)
	c.unpacked.Add(unpacked)
}
