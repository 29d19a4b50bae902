package logd

import (
	"fmt"
	"iter"
	"slices"
	"sync"
)

// MemoryBacklogConfig says how large a MemoryBacklog may be. The zero value of
// a field is its documented default.
type MemoryBacklogConfig struct {
	// MaxBytes bounds the length of the kept batches. Default 64 MiB.
	MaxBytes int64
}

// Validate returns an error that names the field, its value and the allowed
// range if there can be no such backlog.
func (cfg *MemoryBacklogConfig) Validate() error {
	if cfg.MaxBytes < 0 {
		return fmt.Errorf("logd: MemoryBacklogConfig.MaxBytes is %d: want 0 (the default) or more", cfg.MaxBytes)
	}
	return nil
}

// MemoryBacklog is a [Backlog] that ends with the process.
type MemoryBacklog struct {
	maxBytes int64

	mu      sync.Mutex
	user    user
	entries []memoryEntry
	cursor  int // in entries: what next returns
	seq     int64
	bytes   int64
	closed  bool
}

type memoryEntry struct {
	BacklogEntry
	seq int64
}

// NewMemoryBacklog returns an empty MemoryBacklog.
func NewMemoryBacklog(cfg MemoryBacklogConfig) (*MemoryBacklog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	setDefault(&cfg.MaxBytes, 64<<20)
	return &MemoryBacklog{maxBytes: cfg.MaxBytes}, nil
}

// Len returns how many batches are kept.
func (b *MemoryBacklog) Len() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.entries))
}

// Bytes returns the length of the kept batches.
func (b *MemoryBacklog) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// All returns what was kept at the time of the call, oldest first. Raw must
// not be changed.
func (b *MemoryBacklog) All() iter.Seq2[BacklogEntry, error] {
	b.mu.Lock()
	entries := slices.Clone(b.entries)
	b.mu.Unlock()
	return func(yield func(BacklogEntry, error) bool) {
		for _, e := range entries {
			if !yield(e.BacklogEntry, nil) {
				return
			}
		}
	}
}

// Close forgets what is kept. If that is anything, the error says how much.
func (b *MemoryBacklog) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.entries)
	b.entries, b.bytes, b.cursor, b.closed = nil, 0, 0, true
	if n > 0 {
		return fmt.Errorf("logd: memory backlog closed with %d batches that were not delivered", n)
	}
	return nil
}

func (b *MemoryBacklog) put(e *BacklogEntry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return ErrBacklogClosed
	case int64(len(e.Raw)) > b.maxBytes-b.bytes:
		return fmt.Errorf("%w: %d bytes, %d of %d are taken", ErrBacklogFull, len(e.Raw), b.bytes, b.maxBytes)
	}
	b.seq++
	kept := memoryEntry{BacklogEntry: *e, seq: b.seq}
	kept.Raw = slices.Clone(e.Raw)
	b.entries = append(b.entries, kept)
	b.bytes += int64(len(e.Raw))
	return nil
}

func (b *MemoryBacklog) next(buf []byte) (seq int64, raw []byte, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, buf, false, ErrBacklogClosed
	}
	if b.cursor == len(b.entries) {
		return 0, buf, false, nil
	}
	e := &b.entries[b.cursor]
	b.cursor++
	return e.seq, append(buf[:0], e.Raw...), true, nil
}

func (b *MemoryBacklog) rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cursor = 0
}

func (b *MemoryBacklog) delivered(seq int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.entries, func(e memoryEntry) bool { return e.seq == seq })
	if i < 0 {
		return nil // closed meanwhile
	}
	b.bytes -= int64(len(b.entries[i].Raw))
	b.entries = without(b.entries, i)
	if i < b.cursor {
		b.cursor--
	}
	return nil
}

func (b *MemoryBacklog) room() int64 { return b.maxBytes }

func (b *MemoryBacklog) messages() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.entries {
		n += b.entries[i].Messages
	}
	return n
}

func (b *MemoryBacklog) topic() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.entries) == 0 {
		return ""
	}
	return topicOf(b.entries[0].Raw)
}

func (b *MemoryBacklog) claim() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrBacklogClosed
	}
	return b.user.claim()
}

func (b *MemoryBacklog) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user.claimed = false
}

func (b *MemoryBacklog) warning() error { return nil }
