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
	Extents []Extent
	// Connection is the number of the connection over which they came: see Call.
	Connection int64
}

// Extent says where a batch stands. It ends where the next one begins, the last
// one at Batches.Next.
type Extent struct {
	Offset   int64
	Messages int64
	Header   int // the length of its envelope, behind which its data begins
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
	b.clear()
	batchesPool.Put(b)
}

// clear makes b empty and keeps its memory.
func (b *Batches) clear() { *b = Batches{Buf: b.Buf[:0], Extents: b.Extents[:0]} }

// Raw returns the i-th batch, envelope and data.
func (b *Batches) Raw(i int) []byte {
	end := b.Next
	if i+1 < len(b.Extents) {
		end = b.Extents[i+1].Offset
	}
	from, to := b.Extents[i].Offset-b.Offset, end-b.Offset
	return b.Buf[from:to:to]
}

// Data returns the data of the i-th batch.
func (b *Batches) Data(i int) []byte { return b.Raw(i)[b.Extents[i].Header:] }

// add notes that Buf has grown by a batch.
func (b *Batches) add(h *batch.Header, header int) {
	b.Extents = append(b.Extents, Extent{Offset: b.Next, Messages: h.Messages, Header: header})
	b.Next += int64(header) + h.Size
}
