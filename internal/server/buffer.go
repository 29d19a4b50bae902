package server

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two from minBuffer up, from a pool for each size.
// A connection begins with the smallest and is given a larger one only after
// it has filled the one it has, so that what it costs is at most about twice
// what it has sent.
const (
	minBuffer = 4 << 10
	// streamBuffer is as large as the buffer of a connection gets without a
	// batch that needs more: more per read(2) brings no more.
	streamBuffer = 256 << 10
	// firstBuffer bounds what a connection is given before it has sent as much
	// again.
	firstBuffer = 1 << 20
)

type buffer struct{ b []byte }

var bufferPools [40]sync.Pool

// sizeClass returns the class of the smallest buffer that holds n bytes.
func sizeClass(n int) int {
	return bits.Len(uint(max(n, minBuffer)-1)) - bits.Len(uint(minBuffer-1))
}

func getBuffer(class int) *buffer {
	if b, ok := bufferPools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, minBuffer<<class)}
}

func putBuffer(b *buffer) { bufferPools[sizeClass(len(b.b))].Put(b) }
