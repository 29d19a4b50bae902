package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// memStore is a Store in memory. Its fields are set before it is used, but for
// those under the lock.
type memStore struct {
	maxTopics int
	allowed   []string
	section   int64 // a View has sections of about so many bytes; 0: one section

	mu                 sync.Mutex
	logs               map[string]*memLog
	disallowed, misses int64
	listed             int // calls of Topics
	hooks              []topic.Hook
	hooked             []string // what was done with them
	made               int      // topics, ever
	broken             string   // the name of a topic that Log can't return

	// What goes wrong, called with the topic's name. When onAppend fails, so
	// many batches are appended all the same.
	onAppend, onCommit, onRead func(topic string) error
	appended                   int
}

func newMemStore() *memStore { return &memStore{logs: make(map[string]*memLog)} }

func (s *memStore) Log(name []byte) (topic.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[string(name)]; ok {
		return l, nil
	}
	return nil, topic.ErrNotFound
}

func (s *memStore) Create(name []byte) (topic.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[string(name)]; ok {
		return l, nil
	}
	if s.allowed != nil && !slices.Contains(s.allowed, string(name)) {
		s.disallowed++
		return nil, topic.ErrNotAllowed
	}
	if s.maxTopics > 0 && len(s.logs) >= s.maxTopics {
		s.disallowed++
		return nil, topic.ErrMaxTopics
	}
	s.made++
	l := &memLog{store: s, name: string(name), id: fmt.Sprintf("%032x", s.made)}
	s.logs[l.name] = l
	return l, nil
}

func (s *memStore) Topics() []string {
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

func (s *memStore) Counts() topic.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return topic.Counts{Topics: int64(len(s.logs)), Disallowed: s.disallowed, Misses: s.misses}
}

// hooks are those that wait, for stores that have any; see TestHooks.
func (s *memStore) Hooks() []topic.Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.hooks)
}

func (s *memStore) RetryHook(name string, base int64) error { return s.hook("retry", name, base) }
func (s *memStore) SkipHook(name string, base int64) error  { return s.hook("skip", name, base) }

func (s *memStore) hook(what, name string, base int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hooks {
		if h.Topic == name && h.Base == base {
			s.hooked = append(s.hooked, fmt.Sprint(what, " ", name, " ", base))
			return nil
		}
	}
	return topic.ErrNotFound
}

func (s *memStore) BrokenInfo(name string) (topic.Info, bool) {
	if s.broken == "" || name != s.broken {
		return topic.Info{}, false
	}
	return topic.Info{ID: "b", ReadOnly: errors.New("it can't\nbe opened")}, true
}

func (s *memStore) Delete(_ context.Context, name, id string, _ bool) error {
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

// memLog is a log in memory. What was appended is never moved or changed.
type memLog struct {
	store *memStore
	name  string
	id    string

	mu       sync.Mutex
	deleted  bool
	oldest   int64
	data     []byte
	batches  []memBatch
	watchers []topic.Waker
}

type memBatch struct {
	offset, end, messages int64
	at                    time.Time
}

func try(f func(string) error, topic string) error {
	if f == nil {
		return nil
	}
	return f(topic)
}

func (l *memLog) Append(_ context.Context, data []byte, extents []batch.Extent) (topic.Appended, error) {
	err := try(l.store.onAppend, l.name)
	if err != nil {
		extents = extents[:min(len(extents), l.store.appended)]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return topic.Appended{}, topic.ErrDeleted
	}
	start := int64(len(l.data))
	for _, x := range extents {
		l.batches = append(l.batches, memBatch{int64(len(l.data)), int64(len(l.data)) + x.Len, x.Messages, time.Now()})
		l.data = append(l.data, data[:x.Len]...)
		data = data[x.Len:]
	}
	if len(data) > 0 && err == nil {
		panic("memstore: extents are shorter than the data")
	}
	l.wake()
	return topic.Appended{Offset: start, End: int64(len(l.data)), Batches: len(extents)}, err
}

func (l *memLog) wake() {
	for _, w := range l.watchers {
		w.Wake()
	}
	l.watchers = nil
}

func (l *memLog) Deleted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deleted
}

// Trim has a partition for each batch.
func (l *memLog) Trim(_ context.Context, offset int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = slices.DeleteFunc(l.batches, func(b memBatch) bool { return b.end <= offset })
	l.oldest = int64(len(l.data))
	if len(l.batches) > 0 {
		l.oldest = l.batches[0].offset
	}
	return l.oldest, nil
}

func (l *memLog) Commit(context.Context, topic.Appended) error {
	return try(l.store.onCommit, l.name)
}

// Verify is Read: memory is not damaged.
func (l *memLog) Verify(offset, messages, maxBytes int64) (topic.View, error) {
	return l.Read(offset, messages, maxBytes)
}

func (l *memLog) Read(offset, messages, maxBytes int64) (topic.View, error) {
	if err := try(l.store.onRead, l.name); err != nil {
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
	first, ok := slices.BinarySearchFunc(l.batches, offset, func(b memBatch, offset int64) int {
		return int(min(max(b.offset-offset, -1), 1))
	})
	if !ok {
		l.store.mu.Lock()
		l.store.misses++
		l.store.mu.Unlock()
		return nil, topic.ErrNotFound
	}
	v := &memView{offset: offset, section: l.store.section}
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
		messages -= l.batches[i].messages
	}
	v.data = l.data[offset:end]
	return v, nil
}

func (l *memLog) Oldest() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest
}

func (l *memLog) Watch(offset int64, w topic.Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(len(l.data)) > offset || l.deleted {
		return false
	}
	l.watchers = append(l.watchers, w)
	return true
}

func (l *memLog) Unwatch(w topic.Waker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = slices.DeleteFunc(l.watchers, func(o topic.Waker) bool { return o == w })
}

func (l *memLog) Info(context.Context) (topic.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := topic.Info{
		Oldest: l.oldest, Next: int64(len(l.data)), Partitions: 1, Bytes: int64(len(l.data)) - l.oldest,
		Batches: int64(len(l.batches)), Synced: int64(len(l.data)), ID: l.id,
	}
	for _, b := range l.batches {
		in.Messages += b.messages
	}
	if len(l.batches) > 0 {
		in.OldestTime, in.NewestTime = l.batches[0].at, l.batches[len(l.batches)-1].at
	}
	return in, nil
}

// Plan tells what it was asked.
func (l *memLog) Plan(k topic.Limits) []topic.Planned {
	return []topic.Planned{
		{Base: 0, End: k.Partitions, Remove: topic.ByPartitions, Messages: 5, Newest: time.UnixMilli(1500)},
		{Base: k.Partitions, End: k.Bytes, Messages: -1, NewPartitions: 1, NewBytes: 2, At: time.UnixMilli(0).Add(k.Age)},
	}
}

func (l *memLog) Seek(t time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if !b.at.Before(t) {
			return b.offset, nil
		}
	}
	return int64(len(l.data)), nil
}

func (l *memLog) Times(from, to int64, limit int) (marks []topic.TimeMark, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
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

type memView struct {
	offset, batches int64
	data            []byte
	section         int64
}

func (v *memView) Offset() int64  { return v.offset }
func (v *memView) Batches() int64 { return v.batches }
func (v *memView) Len() int64     { return int64(len(v.data)) }
func (v *memView) Close()         {}

func (v *memView) size() int64 {
	if v.section > 0 {
		return v.section
	}
	return v.Len()
}

func (v *memView) Sections() int { return int((v.Len() + v.size() - 1) / v.size()) }

func (v *memView) Section(i int) (io.ReaderAt, int64, int64) {
	pos := int64(i) * v.size()
	return bytes.NewReader(v.data), pos, min(v.size(), v.Len()-pos)
}

// length returns how much is in a topic, -1 if there is no such topic.
func (s *memStore) length(name string) int {
	l, err := s.Log([]byte(name))
	if errors.Is(err, topic.ErrNotFound) {
		return -1
	}
	m := l.(*memLog)
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.data)
}

// wireBatch returns a whole batch.
func wireBatch(topic string, bodies ...string) string {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return string(b.Finish(topic))
}
