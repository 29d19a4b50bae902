package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A block of entries, as the package comment draws it.

func sealBlock(block []byte, count, used int) {
	binary.LittleEndian.PutUint16(block[4:], uint16(count))
	binary.LittleEndian.PutUint16(block[6:], uint16(used))
	binary.LittleEndian.PutUint32(block, crc32.ChecksumIEEE(block[4:]))
}

// blockDecoder walks the entries of one block.
type blockDecoder struct {
	rest []byte
	left int
	some bool
	e    Entry
	err  error
}

// openBlock checks a block's checksum and lengths.
func openBlock(block []byte) (blockDecoder, error) {
	if len(block) != blockLen || binary.LittleEndian.Uint32(block) != crc32.ChecksumIEEE(block[4:]) {
		return blockDecoder{}, fmt.Errorf("%w: block checksum", ErrUnfit)
	}
	count := int(binary.LittleEndian.Uint16(block[4:]))
	used := int(binary.LittleEndian.Uint16(block[6:]))
	if count < 1 || used < blockHeader || used > blockLen {
		return blockDecoder{}, fmt.Errorf("%w: block of %d entries in %d bytes", ErrUnfit, count, used)
	}
	return blockDecoder{rest: block[8:used], left: count}, nil
}

func (d *blockDecoder) next() bool {
	if d.left == 0 || d.err != nil {
		return false
	}
	d.left--
	if !d.some {
		d.some = true
		d.e = getEntry(d.rest)
		d.rest = d.rest[32:]
		if d.e.Pos < 0 || d.e.Messages < 0 || d.e.Batches < 0 {
			d.err = fmt.Errorf("%w: negative entry", ErrUnfit)
			return false
		}
		return true
	}
	e := d.e
	e.Pos += d.delta()
	e.Messages += d.delta()
	e.Batches += d.delta()
	e.Millis += d.delta()
	if d.err != nil {
		return false
	}
	if e.Pos <= d.e.Pos || e.Messages < d.e.Messages || e.Batches < d.e.Batches || e.Millis < d.e.Millis {
		d.err = fmt.Errorf("%w: entries out of order", ErrUnfit)
		return false
	}
	d.e = e
	return true
}

func (d *blockDecoder) delta() int64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.err = fmt.Errorf("%w: entry cut short", ErrUnfit)
		d.rest = nil
		return 0
	}
	d.rest = d.rest[size:]
	return int64(n)
}

func blockPos(slot int) int64 { return HeaderLen + int64(slot)*blockLen }

func putEntry(b []byte, e Entry) {
	binary.LittleEndian.PutUint64(b, uint64(e.Pos))
	binary.LittleEndian.PutUint64(b[8:], uint64(e.Messages))
	binary.LittleEndian.PutUint64(b[16:], uint64(e.Batches))
	binary.LittleEndian.PutUint64(b[24:], uint64(e.Millis))
}

func getEntry(b []byte) Entry {
	return Entry{
		Pos:      int64(binary.LittleEndian.Uint64(b)),
		Messages: int64(binary.LittleEndian.Uint64(b[8:])),
		Batches:  int64(binary.LittleEndian.Uint64(b[16:])),
		Millis:   int64(binary.LittleEndian.Uint64(b[24:])),
	}
}
