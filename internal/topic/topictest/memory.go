package topictest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/topic"
)

// Memory is a store in memory, for tests. The exported fields are set before it
// is used.
type Memory struct {
	MaxTopics int
	Allowed   []string
	Section   int64 // a View has sections of about so many bytes; 0: one section

	Waiting []topic.Hook                         // for their delete hook
	OnPlan  func(l topic.Limits) []topic.Planned // what Plan returns; nil: what is there is kept

	// What goes wrong, called with the topic's name. When OnAppend fails, so
	// many batches are appended all the same.
	OnAppend, OnCommit, OnRead func(name string) error
	Appended                   int

	placing            sync.Mutex // held by AppendAt
	mu                 sync.Mutex
	logs               map[string]*memoryLog
	disallowed, misses int64
	listed             int      // calls of Topics
	hooked             []string // what was done with hooks
	made               int      // topics, ever
}

var (
	_ topic.Store = (*Memory)(nil)
	_ topic.Hooks = (*Memory)(nil)
)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{logs: make(map[string]*memoryLog)} }

func (s *Memory) Log(name []byte) (topic.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[string(name)]; ok {
		return l, nil
	}
	return nil, topic.ErrNotFound
}

func (s *Memory) Create(_ context.Context, name []byte) (topic.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[string(name)]; ok {
		return l, nil
	}
	if !batch.ValidTopic(name) {
		return nil, topic.ErrName
	}
	if s.Allowed != nil && !slices.Contains(s.Allowed, string(name)) {
		s.disallowed++
		return nil, topic.ErrNotAllowed
	}
	if s.MaxTopics > 0 && len(s.logs) >= s.MaxTopics {
		s.disallowed++
		return nil, topic.ErrMaxTopics
	}
	s.made++
	l := &memoryLog{store: s, name: string(name), numbers: producers.New(1 << 18), id: fmt.Sprintf("%032x", s.made)}
	s.logs[l.name] = l
	return l, nil
}

func (s *Memory) Topics() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	names := make([]string, 0, len(s.logs))
	for name := range s.logs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *Memory) Counts() topic.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return topic.Counts{Topics: int64(len(s.logs)), Disallowed: s.disallowed, Misses: s.misses}
}

func (s *Memory) Hooks() []topic.Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.Waiting)
}

func (s *Memory) RetryHook(name string, base int64) error { return s.hook("retry", name, base) }
func (s *Memory) SkipHook(name string, base int64) error  { return s.hook("skip", name, base) }

func (s *Memory) hook(what, name string, base int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.Waiting {
		if h.Topic == name && h.Base == base {
			s.hooked = append(s.hooked, fmt.Sprint(what, " ", name, " ", base))
			return nil
		}
	}
	return topic.ErrNotFound
}

// BrokenInfo knows of none: what is in memory can be opened.
func (s *Memory) BrokenInfo(string) (topic.Info, bool) { return topic.Info{}, false }

func (s *Memory) Delete(_ context.Context, name, id string, _ bool) error {
	s.mu.Lock()
	l, ok := s.logs[name]
	if !ok || !strings.EqualFold(l.id, id) {
		s.mu.Unlock()
		return topic.ErrNotFound
	}
	delete(s.logs, name)
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = true
	l.wake()
	return nil
}

// memoryLog is a log in memory. What was Appended is never moved or changed.
type memoryLog struct {
	store *Memory
	name  string
	id    string

	mu       sync.Mutex
	deleted  bool
	oldest   int64
	data     []byte
	batches  []memoryBatch
	numbers  *producers.Table
	watchers []topic.Waker
}

type memoryBatch struct {
	offset, end, messages int64
	at                    time.Time
	codec                 batch.Codecs
}

func try(f func(string) error, topic string) error {
	if f == nil {
		return nil
	}
	return f(topic)
}

func (l *memoryLog) Append(_ context.Context, data []byte, extents []batch.Extent) (topic.Appended, error) {
	err := try(l.store.OnAppend, l.name)
	if err != nil {
		extents = extents[:min(len(extents), l.store.Appended)]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return topic.Appended{}, topic.ErrDeleted
	}
	start := int64(len(l.data))
	var outcomes []topic.Outcome
	plain := true
	for _, x := range extents {
		o, store := l.number(data[:x.Len])
		outcomes = append(outcomes, o)
		if !store {
			plain = false
			data = data[x.Len:]
			continue
		}
		l.batches = append(l.batches, memoryBatch{int64(len(l.data)), int64(len(l.data)) + x.Len, int64(x.Messages), time.Now(), x.Codec})
		l.data = append(l.data, data[:x.Len]...)
		data = data[x.Len:]
	}
	if len(data) > 0 && err == nil {
		panic("memstore: extents are shorter than the data")
	}
	l.wake()
	if plain {
		outcomes = nil
	}
	return topic.Appended{Offset: start, End: int64(len(l.data)), Batches: len(extents), Outcomes: outcomes}, err
}

func (l *memoryLog) Gathers() bool { return true }

func (l *memoryLog) AppendAll(ctx context.Context, parts []topic.Part) {
	for i := range parts {
		p := &parts[i]
		p.Appended, p.Err = l.Append(ctx, p.Data, p.Extents)
	}
}

func (l *memoryLog) AppendAt(ctx context.Context, offset int64, data []byte, extents []batch.Extent) (topic.Appended, error) {
	l.store.placing.Lock()
	defer l.store.placing.Unlock()
	l.mu.Lock()
	next := int64(len(l.data))
	l.mu.Unlock()
	if offset != next { // nobody appends otherwise to a log where places count
		return topic.Appended{}, topic.ErrOffset
	}
	return l.Append(ctx, data, extents)
}

// Roll has nothing to do: there is a partition for each batch.
func (l *memoryLog) Roll(_ context.Context, offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset != int64(len(l.data)) {
		return topic.ErrOffset
	}
	return nil
}

func (l *memoryLog) SyncTo(context.Context, int64) error { return nil }

func (l *memoryLog) MessagesFrom(offset int64) (n int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := offset == int64(len(l.data))
	for _, b := range l.batches {
		if b.offset >= offset {
			found = found || b.offset == offset
			n += b.messages
		}
	}
	if !found || offset < l.oldest {
		return 0, topic.ErrNotFound
	}
	return n, nil
}

// number looks at the number of a batch, and returns what becomes of the batch and
// whether it is to be stored, as the next one.
func (l *memoryLog) number(wire []byte) (o topic.Outcome, store bool) {
	h, n, err := batch.Parse(wire)
	if err != nil {
		panic("memstore: no batch")
	}
	next := int64(len(l.data))
	b := producers.Batch{PID: h.PID, Seq: h.Seq, Offset: next, Len: n, CRC: h.CRC}
	if h.Seq > 0 {
		switch a := l.numbers.Ask(&b); a.Verdict {
		case producers.Duplicate:
			return topic.Outcome{Offset: a.Offset, End: a.End}, false
		case producers.Conflict:
			return topic.Outcome{Err: topic.ErrConflict, End: a.End}, false
		case producers.OutOfOrder:
			return topic.Outcome{Err: &topic.OutOfOrderError{Next: a.Seq}, End: a.End}, false
		}
	}
	l.numbers.Add(&b)
	return topic.Outcome{Offset: next, End: next + n}, true
}

func (l *memoryLog) wake() {
	for _, w := range l.watchers {
		w.Wake()
	}
	l.watchers = nil
}

func (l *memoryLog) HexID() string { return l.id }

func (l *memoryLog) Readable() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.data))
}

func (l *memoryLog) Deleted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deleted
}

// Trim has a partition for each batch.
func (l *memoryLog) Trim(_ context.Context, offset int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return 0, topic.ErrDeleted
	}
	l.batches = slices.DeleteFunc(l.batches, func(b memoryBatch) bool { return b.end <= offset })
	l.oldest = int64(len(l.data))
	if len(l.batches) > 0 {
		l.oldest = l.batches[0].offset
	}
	l.numbers.Trim(l.oldest)
	return l.oldest, nil
}

func (l *memoryLog) Commit(context.Context, topic.Appended) error {
	return try(l.store.OnCommit, l.name)
}

// Verify is Read: memory is not damaged.
func (l *memoryLog) Verify(offset, messages, maxBytes int64) (topic.View, error) {
	return l.Read(offset, messages, maxBytes)
}

func (l *memoryLog) Read(offset, messages, maxBytes int64) (topic.View, error) {
	if err := try(l.store.OnRead, l.name); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := int64(len(l.data))
	if l.deleted {
		return nil, topic.ErrDeleted
	}
	if offset == next {
		return nil, topic.ErrEnd
	}
	first, ok := slices.BinarySearchFunc(l.batches, offset, func(b memoryBatch, offset int64) int {
		return int(min(max(b.offset-offset, -1), 1))
	})
	if !ok {
		l.store.mu.Lock()
		l.store.misses++
		l.store.mu.Unlock()
		return nil, topic.ErrNotFound
	}
	v := &memoryView{offset: offset, section: l.store.Section}
	end := offset
	for i := first; i < len(l.batches) && messages > 0; i++ {
		batchEnd := next
		if i+1 < len(l.batches) {
			batchEnd = l.batches[i+1].offset
		}
		if maxBytes > 0 && v.batches > 0 && batchEnd-offset > maxBytes {
			break
		}
		end = batchEnd
		v.batches++
		v.codecs |= l.batches[i].codec
		messages -= l.batches[i].messages
	}
	v.data = l.data[offset:end]
	return v, nil
}

func (l *memoryLog) Oldest() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest
}

func (l *memoryLog) Watch(offset int64, w topic.Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(len(l.data)) > offset || l.deleted {
		return false
	}
	l.watchers = append(l.watchers, w)
	return true
}

func (l *memoryLog) Unwatch(w topic.Waker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = slices.DeleteFunc(l.watchers, func(o topic.Waker) bool { return o == w })
}

func (l *memoryLog) Info(context.Context) (topic.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return topic.Info{}, topic.ErrDeleted
	}
	in := topic.Info{
		Oldest: l.oldest, Next: int64(len(l.data)), Partitions: 1, Bytes: int64(len(l.data)) - l.oldest,
		Batches: int64(len(l.batches)), Synced: int64(len(l.data)), ID: l.id,
	}
	for _, b := range l.batches {
		in.Messages += b.messages
		in.Codecs |= b.codec
	}
	if len(l.batches) > 0 {
		in.OldestTime, in.NewestTime = l.batches[0].at, l.batches[len(l.batches)-1].at
	}
	return in, nil
}

// Plan has one partition.
func (l *memoryLog) Plan(k topic.Limits) []topic.Planned {
	if l.store.OnPlan != nil {
		return l.store.OnPlan(k)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return []topic.Planned{{Base: l.oldest, End: int64(len(l.data)), Head: true}}
}

func (l *memoryLog) Seek(t time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return 0, topic.ErrDeleted
	}
	for _, b := range l.batches {
		if !b.at.Before(t) {
			return b.offset, nil
		}
	}
	return int64(len(l.data)), nil
}

func (l *memoryLog) Times(from, to int64, limit int) (marks []topic.TimeMark, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return nil, topic.ErrDeleted
	}
	for _, b := range l.batches {
		m := topic.TimeMark{Offset: b.offset, Millis: b.at.UnixMilli()}
		if b.offset < from || b.offset >= to || len(marks) > 0 && marks[len(marks)-1].Millis == m.Millis {
			continue
		}
		if len(marks) == limit {
			break
		}
		marks = append(marks, m)
	}
	return marks, nil
}

type memoryView struct {
	offset, batches int64
	codecs          batch.Codecs
	data            []byte
	section         int64
}

func (v *memoryView) Offset() int64  { return v.offset }
func (v *memoryView) Batches() int64 { return v.batches }
func (v *memoryView) Len() int64     { return int64(len(v.data)) }
func (v *memoryView) Close()         {}

func (v *memoryView) Codecs() batch.Codecs { return v.codecs }
func (v *memoryView) Cut(n, batches int64) { v.data, v.batches = v.data[:n], batches }

func (v *memoryView) size() int64 {
	if v.section > 0 {
		return v.section
	}
	return v.Len()
}

func (v *memoryView) Sections() int { return int((v.Len() + v.size() - 1) / v.size()) }

func (v *memoryView) Section(i int) (io.ReaderAt, int64, int64) {
	pos := int64(i) * v.size()
	return bytes.NewReader(v.data), pos, min(v.size(), v.Len()-pos)
}

// log returns a topic's log, or nil.
func (s *Memory) log(name string) *memoryLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[name]
}

// Data returns what was ever appended to a topic, and whether there is such a
// topic.
func (s *Memory) Data(name string) ([]byte, bool) {
	l := s.log(name)
	if l == nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data, true
}

// Watchers returns how many watch a topic.
func (s *Memory) Watchers(name string) int {
	l := s.log(name)
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.watchers)
}

// Listed returns how often Topics was called.
func (s *Memory) Listed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed
}

// Hooked returns what was done with the hooks: "retry TOPIC BASE" and "skip TOPIC
// BASE".
func (s *Memory) Hooked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.hooked)
}
