package cluster

import (
	"hash/crc32"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
)

// sumMost is how many bytes are summed at once, so that the answer does not take long.
const sumMost = 64 << 20

// Sums returns the CRC-32C of each MiB of a topic, below the readable end, from an
// offset on and up to another, or of fewer: those of whole MiBs, and of what remains
// at the end of the range. The errors are those of Serve.
func (n *Node) Sums(id entry.ID, from, to int64) (sums []uint32, err error) {
	l := n.o.Store.ByID(id)
	if l == nil {
		return nil, ErrNotHere
	}
	if oldest := n.topics.oldest(id); oldest > from {
		return nil, &peer.GoneError{Oldest: oldest}
	}
	b := make([]byte, 0, peer.SumBytes)
	for most := from + sumMost; from < min(to, most); from += peer.SumBytes {
		end := min(from+peer.SumBytes, to)
		if end > l.Readable() {
			break
		}
		v, err := l.Stored(from, end)
		if err != nil {
			break
		}
		if b, err = ReadViews(b[:0], []View{v}); err != nil {
			break
		}
		sums = append(sums, crc32.Checksum(b, castagnoli))
	}
	if len(sums) == 0 {
		return nil, ErrNotHere
	}
	return sums, nil
}
