package index

import "testing"

// FuzzBlocks decodes any bytes as a block of an index: entries grow.
func FuzzBlocks(f *testing.F) {
	block := make([]byte, blockLen)
	putEntry(block[8:], Entry{Millis: 5})
	sealBlock(block, 1, blockHeader)
	f.Add(block[8:60], 1, blockHeader)
	f.Add(append(block[8:40:40], 1, 1, 1, 1, 0, 1), 3, blockHeader+6)
	f.Fuzz(func(t *testing.T, content []byte, count, used int) {
		block := make([]byte, blockLen)
		copy(block[8:], content)
		sealBlock(block, count, used)
		d, err := openBlock(block)
		if err != nil {
			return
		}
		last := int64(-1)
		for d.next() {
			if d.e.Pos <= last {
				t.Fatalf("entry at %d after %d", d.e.Pos, last)
			}
			last = d.e.Pos
		}
	})
}
