package link

import (
	"sync"

	"github.com/logd-dev/logd/internal/batch"
)

// Batches is an answer of batches: whole ones, one after another.
type Batches struct {
	// Offset is where the first one stands, or the next one will stand if there is
	// none. Next is the offset that follows the last one.
	Offset, Next int64
	// Buf has their bytes: the log from Offset to Next.
	Buf []byte
	// Extents says where each one stands.
	Extents  []Extent
	unpacked []byte
	// Connection is the number of the connection over which they came: see Call.
	Connection int64
}

// Extent says where a batch stands. It ends where the next one begins, the last
// one at Batches.Next.
type Extent struct {
	Offset   int64
	Messages int64
	Header   int  // the length of its envelope, behind which its data begins
	Packed   bool // it is compressed

	from, to int // of a compressed batch: where its data is, unpacked
}

var batchesPool = sync.Pool{New: func() any { return new(Batches) }}

// maxKept is how much memory of an answer is kept for another one.
const maxKept = 16 << 20

// Release gives the memory back to be used by later answers. Afterwards neither b
// nor what aliases its memory may be used.
func (b *Batches) Release() {
	if b == nil || cap(b.Buf) > maxKept || cap(b.Extents) > maxKept/64 {
		return
	}
	if cap(b.unpacked) > maxKept {
		b.unpacked = nil
	}
	b.clear()
	batchesPool.Put(b)
}

// clear makes b empty and keeps its memory.
func (b *Batches) clear() {
	*b = Batches{Buf: b.Buf[:0], Extents: b.Extents[:0], unpacked: b.unpacked[:0]}
}

// Unpack unpacks the compressed batches: f appends the data of one, whose envelope is h,
// to dst. Where it can't, the answer ends before that batch; if that is the first, the
// error is a *DamageError with the reason.
func (b *Batches) Unpack(f func(dst []byte, h *batch.Header, packed []byte) ([]byte, error)) error {
	for i := range b.Extents {
		x := &b.Extents[i]
		if !x.Packed {
			continue
		}
		raw := b.Raw(i)
		h, _, err := batch.Parse(raw)
		x.from = len(b.unpacked)
		if err == nil {
			b.unpacked, err = f(b.unpacked, &h, raw[x.Header:])
		}
		x.to = len(b.unpacked)
		switch {
		case err != nil && i == 0:
			return &DamageError{x.Offset, err}
		case err != nil:
			b.Next, b.Extents = x.Offset, b.Extents[:i]
			return nil
		}
	}
	return nil
}

// Raw returns the i-th batch, envelope and data.
func (b *Batches) Raw(i int) []byte {
	end := b.Next
	if i+1 < len(b.Extents) {
		end = b.Extents[i+1].Offset
	}
	from, to := b.Extents[i].Offset-b.Offset, end-b.Offset
	return b.Buf[from:to:to]
}

// Data returns the data of the i-th batch, unpacked by Unpack if it is compressed.
func (b *Batches) Data(i int) []byte {
	x := &b.Extents[i]
	if x.Packed {
		return b.unpacked[x.from:x.to:x.to]
	}
	return b.Raw(i)[x.Header:]
}

// add notes that Buf has grown by a batch.
func (b *Batches) add(h *batch.Header, header int) {
	b.Extents = append(b.Extents, Extent{Offset: b.Next, Messages: h.Messages, Header: header, Packed: h.Codec != ""})
	b.Next += int64(header) + h.Size
}
