// Package spool keeps batches that can't be made again until they are stored. It is a log
// of records (see package segment) in segments of 8 MiB, or an eighth of its bound, of which a segment goes when all
// in it is done with. It is bounded by the bytes of its files, also after a restart.
//
// The content of a record is the length of its head, as a uvarint, the head, which is the
// JSON of a [Head], and the batch as [logd.Batch.Raw] returns it.
package spool

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/vfs"
)

// Dir is the folder of the spool in the state folder.
const Dir = "spool"

const (
	segmentSize = 8 << 20
	form        = "logd-forwarder-spool"
	kindBatch   = 1
)

// Head is what is known of a batch.
type Head struct {
	Topic    string       `json:"topic"`
	Messages int64        `json:"messages"`
	Time     int64        `json:"time"` // when its first message was taken, in nanoseconds
	Runs     []ledger.Run `json:"runs"`
	// Sent is the number under which the batch was sent before it came here.
	Sent *ledger.Key `json:"sent,omitempty"`
	// Place is for a part of another batch: the record of that one, behind the one that
	// that was a part of, and so on.
	Place []segment.Ref `json:"place,omitempty"`
}

// Record is a batch in the spool.
type Record struct {
	Ref segment.Ref
	Head
	Size int64 // in the file
}

// Spool is safe for concurrent use.
type Spool struct {
	log  *segment.Log
	size int64 // of a segment
	gone func(segment uint64) error

	mu       sync.Mutex
	bound    int64
	live     map[segment.Ref]Record // what is not done with, by place
	in       map[uint64]int         // how many of them a segment has
	lanes    map[string]int64       // bytes of a topic: those of its records and what is reserved
	reserved int64
	written  int64 // records that were ever put
	synced   int64 // of those, how many are durable
}

func options(size int64, readOnly bool) segment.Options {
	return segment.Options{Form: form, Version: 1, Size: size, ReadOnly: readOnly}
}

// Open opens the spool of a state folder, or begins one, of up to bound bytes. gone is
// told of each segment that was removed. Done has to be told what is done with.
func Open(fsys vfs.FS, bound int64, gone func(segment uint64) error) (*Spool, []segment.Damage, error) {
	size := min(segmentSize, max(bound/8, 16<<10))
	log, damage, err := segment.Open(fsys, Dir, options(size, false))
	if err != nil {
		return nil, nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{log: log, bound: bound, size: size, gone: gone, live: map[segment.Ref]Record{}, in: map[uint64]int{}, lanes: map[string]int64{}}
	err = each(log, func(r Record, _ []byte) error {
		s.add(r)
		return nil
	})
	if err != nil {
		log.Close()
		return nil, nil, fmt.Errorf("spool: %w", err)
	}
	return s, damage, nil
}

// each calls f with each record that can be read.
func each(log *segment.Log, f func(Record, []byte) error) error {
	return log.Each(segment.Ref{}, func(at segment.Ref, kind uint32, content []byte) error {
		r := Record{Ref: at, Size: int64(len(content))}
		raw, ok := split(content, &r.Head)
		if kind != kindBatch || !ok {
			return nil
		}
		return f(r, raw)
	})
}

// Each calls f with each record of the spool of a state folder that may be in use, whether
// it is done with or not. The batch is f's until it returns.
func Each(fsys vfs.FS, f func(r Record, raw []byte) error) ([]segment.Damage, error) {
	log, damage, err := segment.Open(fsys, Dir, options(segmentSize, true))
	if err == nil {
		defer log.Close()
		err = each(log, f)
	}
	return damage, err
}

// split reads the head of a record.
func split(content []byte, h *Head) (raw []byte, ok bool) {
	n, w := binary.Uvarint(content)
	if w <= 0 || n > uint64(len(content)-w) {
		return nil, false
	}
	return content[w+int(n):], json.Unmarshal(content[w:w+int(n)], h) == nil
}

func (s *Spool) add(r Record) {
	s.live[r.Ref] = r
	s.in[r.Ref.Segment]++
	s.lanes[r.Topic] += r.Size
}

// Live returns what is not done with, in the order in which it came.
func (s *Spool) Live() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.live), func(a, b Record) int { return a.Ref.Compare(b.Ref) })
}

// Reserve reports whether the spool has room for n bytes more of the topic, which may have
// half of it, and keeps the room until Release.
func (s *Spool) Reserve(topic string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log.Bytes()+s.reserved+n > s.bound || s.lanes[topic]+n > s.bound/2 {
		return false
	}
	s.reserved += n
	s.lanes[topic] += n
	return true
}

// Release gives room back that was reserved and is not used, or is about to be.
func (s *Spool) Release(topic string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= n
	s.lanes[topic] -= n
}

// Put writes a batch. It does not look for room: see Reserve. The error is that of
// segment.Log.Append.
func (s *Spool) Put(h *Head, raw []byte) (Record, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return Record{}, err
	}
	var n [binary.MaxVarintLen64]byte
	length := binary.PutUvarint(n[:], uint64(len(head)))
	at, err := s.log.Append(kindBatch, n[:length], head, raw)
	if err != nil {
		return Record{}, fmt.Errorf("spool: %w", err)
	}
	r := Record{at, *h, int64(length + len(head) + len(raw))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(r)
	s.written++
	return r, nil
}

// Get returns a batch, appended to dst. The error is segment.ErrNoRecord if it is damaged.
func (s *Spool) Get(at segment.Ref, dst []byte) ([]byte, error) {
	_, content, err := s.log.Read(at, dst)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var h Head
	raw, ok := split(content[len(dst):], &h)
	if !ok {
		return nil, fmt.Errorf("spool: at %v: %w", at, segment.ErrNoRecord)
	}
	return raw, nil
}

// Done says that a batch is stored, or given up, and that the ledger has it so. A segment
// that has no other goes.
func (s *Spool) Done(at segment.Ref) error {
	s.mu.Lock()
	r, ok := s.live[at]
	if ok {
		delete(s.live, at)
		s.in[at.Segment]--
		s.lanes[r.Topic] -= r.Size
		if s.lanes[r.Topic] <= 0 {
			delete(s.lanes, r.Topic)
		}
	}
	s.mu.Unlock()
	if !ok {
		return nil
	}
	return s.Trim()
}

// Trim removes the segments of which all is done with.
func (s *Spool) Trim() error {
	segments := s.log.Segments()
	if len(segments) == 0 {
		return nil
	}
	last := segments[len(segments)-1]
	s.mu.Lock()
	idle := len(s.live) == 0 && last.Bytes > s.size/2
	var empty []uint64
	for _, g := range segments[:len(segments)-1] {
		if s.in[g.Number] == 0 {
			empty = append(empty, g.Number)
			delete(s.in, g.Number)
		}
	}
	s.mu.Unlock()
	if idle {
		if err := s.log.Roll(); err == nil {
			empty = append(empty, last.Number)
		}
	}
	for _, n := range empty {
		if err := s.log.Remove(n); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if err := s.gone(n); err != nil {
			return err
		}
	}
	return nil
}

// Written returns how many records were put, and Synced how many of them are durable.
func (s *Spool) Written() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// Synced returns how many of the records that were put are durable.
func (s *Spool) Synced() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// Sync makes durable what was put before. After an error, which is segment.ErrFailed,
// nothing more is written.
func (s *Spool) Sync() error {
	n := s.Written()
	if n == s.Synced() {
		return nil
	}
	if err := s.log.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = max(s.synced, n)
	return nil
}

// Bytes returns what the spool has on the disk, and its bound.
func (s *Spool) Bytes() (n, bound int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Bytes(), s.bound
}

// SetBound sets the bound.
func (s *Spool) SetBound(bound int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = bound
}

// Close syncs and closes the spool.
func (s *Spool) Close() error { return errors.Join(s.Sync(), s.log.Close()) }
