package backlog

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
)

// MemoryConfig says how large a Memory may be. The zero value of
// a field is its documented default.
type MemoryConfig struct {
	// MaxBytes bounds the length of the kept batches. Default 64 MiB;
	// logd.Unlimited (-1): no limit.
	MaxBytes int64
}

// Validate returns an error that names the field, its value and the allowed
// range if there can be no such backlog.
func (cfg *MemoryConfig) Validate() error {
	if cfg.MaxBytes < -1 {
		return fmt.Errorf("logd: backlog.MemoryConfig.MaxBytes is %d: want 0 (the default) or more, or logd.Unlimited (-1)", cfg.MaxBytes)
	}
	return nil
}

// Memory is a [Backlog] that ends with the process.
type Memory struct {
	maxBytes int64

	mu      sync.Mutex
	user    user
	entries []memoryEntry
	seq     int64
	bytes   int64
	closed  bool
}

type memoryEntry struct {
	Entry
	seq int64
}

// NewMemory returns an empty Memory.
func NewMemory(cfg MemoryConfig) (*Memory, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	switch cfg.MaxBytes {
	case 0:
		cfg.MaxBytes = 64 << 20
	case -1:
		cfg.MaxBytes = math.MaxInt64
	}
	return &Memory{maxBytes: cfg.MaxBytes}, nil
}

// Len returns how many batches are kept.
func (b *Memory) Len() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.entries))
}

// Bytes returns the length of the kept batches.
func (b *Memory) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// All returns what was kept at the time of the call, oldest first. Raw must
// not be changed.
func (b *Memory) All() iter.Seq2[Entry, error] {
	b.mu.Lock()
	entries := slices.Clone(b.entries)
	b.mu.Unlock()
	return func(yield func(Entry, error) bool) {
		for _, e := range entries {
			if !yield(e.Entry, nil) {
				return
			}
		}
	}
}

// Close forgets what is kept. If that is anything, the error says how much.
func (b *Memory) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.entries)
	b.entries, b.bytes, b.closed = nil, 0, true
	if n > 0 {
		return fmt.Errorf("logd: memory backlog closed with %d batches that were not delivered", n)
	}
	return nil
}

// Put keeps a copy of the batch.
func (b *Memory) Put(e *Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	if len(b.entries) > 0 {
		if err := wrongTopic(topicOf(b.entries[0].Raw), e.Raw); err != nil {
			return fmt.Errorf("logd: %w", err)
		}
	}
	if int64(len(e.Raw)) > b.maxBytes-b.bytes {
		return fmt.Errorf("%w: %d bytes, %d of %d are taken", ErrFull, len(e.Raw), b.bytes, b.maxBytes)
	}
	b.seq++
	kept := memoryEntry{Entry: *e, seq: b.seq}
	kept.Raw = slices.Clone(e.Raw)
	b.entries = append(b.entries, kept)
	b.bytes += int64(len(e.Raw))
	return nil
}

// Next returns the next batch: see [Backlog].
func (b *Memory) Next(after int64, buf []byte) (seq int64, raw []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, buf, ErrClosed
	}
	i := b.index(after + 1)
	if i == len(b.entries) {
		return 0, buf, nil
	}
	e := &b.entries[i]
	return e.seq, append(buf[:0], e.Raw...), nil
}

// Delivered forgets the batch.
func (b *Memory) Delivered(seq int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.index(seq); i < len(b.entries) && b.entries[i].seq == seq {
		b.bytes -= int64(len(b.entries[i].Raw))
		b.entries = without(b.entries, i)
	}
	return nil
}

// Rewrite replaces each batch by those that remake returns for it, in their order: it stays
// if they are nil. All of them get new numbers. It is for a Writer whose batches are too large
// for the topic by now. With ErrFull nothing has changed.
func (b *Memory) Rewrite(remake func(raw []byte) (pieces [][]byte)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	var entries []memoryEntry
	var bytes int64
	seq := b.seq
	for _, e := range b.entries {
		for _, piece := range e.remade(remake) {
			seq++
			entries = append(entries, memoryEntry{Entry: piece, seq: seq})
			bytes += int64(len(piece.Raw))
		}
	}
	if bytes > b.maxBytes {
		return fmt.Errorf("%w: %d bytes in smaller batches, of %d", ErrFull, bytes, b.maxBytes)
	}
	b.entries, b.bytes, b.seq = entries, bytes, seq
	return nil
}

// Front returns the oldest batch, and false if there is none. The batch stays. Raw
// must not be changed.
func (b *Memory) Front() (e Entry, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.entries) == 0 {
		return Entry{}, false, nil
	}
	return b.entries[0].Entry, true, nil
}

// Drop forgets the oldest batch, which was delivered.
func (b *Memory) Drop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.entries) > 0 {
		b.bytes -= int64(len(b.entries[0].Raw))
		b.entries = without(b.entries, 0)
	}
	return nil
}

// index returns the index of the first entry whose number is seq or greater.
// Caller holds mu.
func (b *Memory) index(seq int64) int {
	i, _ := slices.BinarySearchFunc(b.entries, seq, func(e memoryEntry, seq int64) int { return cmp.Compare(e.seq, seq) })
	return i
}

// MaxBatch returns the bound of all batches together.
func (b *Memory) MaxBatch() int64 { return b.maxBytes }

// Messages returns how many messages are kept.
func (b *Memory) Messages() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.entries {
		n += b.entries[i].Messages
	}
	return n
}

// Topic returns whose batches are kept, "" if there are none.
func (b *Memory) Topic() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.entries) == 0 {
		return ""
	}
	return topicOf(b.entries[0].Raw)
}

// Claim makes the caller the one Writer.
func (b *Memory) Claim() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	return b.user.claim()
}

// Release ends what Claim began.
func (b *Memory) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user.claimed = false
}
