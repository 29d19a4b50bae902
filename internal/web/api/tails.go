package api

import (
	"slices"
	"sync"
)

// tails keep the events of the newest batches of topics, so that they are made once for
// all who follow. They are a cache: what is not there is made anew.
type tails struct {
	most int64 // bytes of all

	mu    sync.RWMutex
	bytes int64
	of    map[string]*tail // by the topic's id
}

// tail has the events of some batches of a topic.
type tail struct {
	bytes   int64
	offsets []int64 // ascending
	chunks  map[int64]chunk
}

// chunk is the events of a batch.
type chunk struct {
	text []byte // not to be changed
	end  int64  // offset behind the batch
}

// tailBytes is how much is kept of a topic.
const tailBytes = 1 << 20

func newTails(most int64) *tails { return &tails{most: most, of: make(map[string]*tail)} }

// get returns the events of the batch at an offset, if they are there.
func (t *tails) get(id string, offset int64) (chunk, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if of := t.of[id]; of != nil {
		c, ok := of.chunks[offset]
		return c, ok
	}
	return chunk{}, false
}

// put keeps the events of the batch at an offset, in place of those of older ones. An older
// one than all that there is room for is not kept.
func (t *tails) put(id string, offset int64, c chunk) {
	n := int64(len(c.text))
	if id == "" || n > tailBytes || n > t.most {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[id]
	if of == nil {
		of = &tail{chunks: make(map[int64]chunk)}
		t.of[id] = of
	}
	i, found := slices.BinarySearch(of.offsets, offset)
	if found || i == 0 && of.bytes+n > tailBytes {
		return
	}
	of.offsets = slices.Insert(of.offsets, i, offset)
	of.chunks[offset] = c
	of.bytes += n
	t.bytes += n
	for of.bytes > tailBytes {
		t.drop(of)
	}
	for name, other := range t.of {
		if t.bytes <= t.most {
			return
		}
		for t.bytes > t.most && len(other.offsets) > 0 {
			t.drop(other)
		}
		if len(other.offsets) == 0 {
			delete(t.of, name)
		}
	}
}

// drop drops the oldest chunk of a tail, which has one. The caller holds mu.
func (t *tails) drop(of *tail) {
	n := int64(len(of.chunks[of.offsets[0]].text))
	delete(of.chunks, of.offsets[0])
	of.offsets = of.offsets[1:]
	of.bytes -= n
	t.bytes -= n
}
