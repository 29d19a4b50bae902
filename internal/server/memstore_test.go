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
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
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
	hooks              []server.Hook
	hooked             []string // what was done with them
	made               int      // topics, ever
	broken             string   // the name of a topic that Log can't return

	// What goes wrong, called with the topic's name. When onAppend fails, so
	// many batches are appended all the same.
	onAppend, onCommit, onRead func(topic string) error
	appended                   int
}

func newMemStore() *memStore { return &memStore{logs: make(map[string]*memLog)} }

func (s *memStore) Log(topic []byte) (server.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[string(topic)]; ok {
		return l, nil
	}
	return nil, protocol.ErrNotFound
}

func (s *memStore) Create(topic []byte) (server.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[string(topic)]; ok {
		return l, nil
	}
	if s.allowed != nil && !slices.Contains(s.allowed, string(topic)) {
		s.disallowed++
		return nil, protocol.ErrTopicNotAllowed
	}
	if s.maxTopics > 0 && len(s.logs) >= s.maxTopics {
		s.disallowed++
		return nil, protocol.ErrMaxTopics
	}
	s.made++
	l := &memLog{store: s, name: string(topic), id: fmt.Sprintf("%032x", s.made)}
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

func (s *memStore) Counts() server.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return server.Counts{Topics: int64(len(s.logs)), Disallowed: s.disallowed, Misses: s.misses}
}

// hooks are those that wait, for stores that have any; see TestHooks.
func (s *memStore) Hooks() []server.Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.hooks)
}

func (s *memStore) RetryHook(topic string, base int64) error { return s.hook("retry", topic, base) }
func (s *memStore) SkipHook(topic string, base int64) error  { return s.hook("skip", topic, base) }

func (s *memStore) hook(what, topic string, base int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hooks {
		if h.Topic == topic && h.Base == base {
			s.hooked = append(s.hooked, fmt.Sprint(what, " ", topic, " ", base))
			return nil
		}
	}
	return protocol.ErrNotFound
}

func (s *memStore) Broken(topic []byte) (server.Info, bool) {
	if s.broken == "" || string(topic) != s.broken {
		return server.Info{}, false
	}
	return server.Info{ID: "b", ReadOnly: errors.New("it can't\nbe opened")}, true
}

func (s *memStore) Delete(_ context.Context, topic, id string, _ bool) error {
	s.mu.Lock()
	l, ok := s.logs[topic]
	if !ok || !strings.EqualFold(l.id, id) {
		s.mu.Unlock()
		return protocol.ErrNotFound
	}
	delete(s.logs, topic)
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
	watchers []server.Waker
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

func (l *memLog) Append(_ context.Context, data []byte, extents []batch.Extent) (server.Appended, error) {
	err := try(l.store.onAppend, l.name)
	if err != nil {
		extents = extents[:min(len(extents), l.store.appended)]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return server.Appended{}, server.ErrDeleted
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
	return server.Appended{Offset: start, End: int64(len(l.data)), Batches: len(extents)}, err
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

func (l *memLog) Commit(context.Context, server.Appended) error {
	return try(l.store.onCommit, l.name)
}

// Verify is Read: memory is not damaged.
func (l *memLog) Verify(offset, messages, maxBytes int64) (server.View, error) {
	return l.Read(offset, messages, maxBytes)
}

func (l *memLog) Read(offset, messages, maxBytes int64) (server.View, error) {
	if err := try(l.store.onRead, l.name); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := int64(len(l.data))
	if l.deleted {
		return nil, server.ErrDeleted
	}
	if offset == next {
		return nil, server.ErrEnd
	}
	first, ok := slices.BinarySearchFunc(l.batches, offset, func(b memBatch, offset int64) int {
		return int(min(max(b.offset-offset, -1), 1))
	})
	if !ok {
		l.store.mu.Lock()
		l.store.misses++
		l.store.mu.Unlock()
		return nil, protocol.ErrNotFound
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

func (l *memLog) Watch(offset int64, w server.Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(len(l.data)) > offset || l.deleted {
		return false
	}
	l.watchers = append(l.watchers, w)
	return true
}

func (l *memLog) Unwatch(w server.Waker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = slices.DeleteFunc(l.watchers, func(o server.Waker) bool { return o == w })
}

func (l *memLog) Info(context.Context) (server.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := server.Info{
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
func (l *memLog) Plan(k protocol.Keep) []server.Planned {
	return []server.Planned{
		{Base: 0, End: k.Partitions, Verdict: "remove", Why: "partitions", Messages: 5, Newest: time.UnixMilli(1500)},
		{Base: k.Partitions, End: k.Bytes, Verdict: "keep", Messages: -1, NewPartitions: 1, NewBytes: 2, At: time.UnixMilli(0).Add(k.Age)},
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

func (l *memLog) Times(from, to int64, limit int) (marks []protocol.TimeMark, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		m := protocol.TimeMark{Offset: b.offset, Millis: b.at.UnixMilli()}
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
func (s *memStore) length(topic string) int {
	l, err := s.Log([]byte(topic))
	if errors.Is(err, protocol.ErrNotFound) {
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
