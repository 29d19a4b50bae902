package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/hook"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/storage"
)

// topics is the server's view of a store. It says the store's errors in the
// protocol's words.
type topics struct {
	store *storage.Store
	hooks *hooks // nil if there is no delete hook
}

func (t topics) Log(name []byte) (server.Log, error) {
	l, err := t.store.Log(name)
	if err != nil {
		return nil, wire(err)
	}
	return topic{l}, nil
}

func (t topics) Create(name []byte) (server.Log, error) {
	l, err := t.store.Create(name)
	if err != nil {
		return nil, wire(err)
	}
	return topic{l}, nil
}

func (t topics) Topics() []string { return t.store.Topics() }

func (t topics) Broken(name []byte) (server.Info, bool) {
	in, ok := t.store.BrokenInfo(string(name))
	return serverInfo(in), ok
}

func (t topics) Delete(ctx context.Context, name, id string, now bool) error {
	return wire(t.store.Delete(ctx, name, id, now))
}

func (t topics) Counts() server.Counts {
	st := t.store.Counts()
	return server.Counts{Topics: int64(st.Topics), Disallowed: st.Disallowed, Misses: st.Misses}
}

func (t topics) Hooks() []server.Hook {
	if t.hooks == nil {
		return nil
	}
	var list []server.Hook
	for _, e := range t.hooks.queue.Entries() {
		h := server.Hook{
			Topic: e.Topic, Base: e.Base, End: e.End, State: e.State.String(), Attempts: e.Attempts, Err: e.Err,
		}
		if e.State == hook.Failed {
			h.Next = e.Next
		}
		list = append(list, h)
	}
	return list
}

func (t topics) RetryHook(topic string, base int64) error {
	if t.hooks == nil || t.hooks.queue.Retry(topic, base) != nil {
		return protocol.ErrNotFound
	}
	return nil
}

func (t topics) SkipHook(topic string, base int64) error {
	if t.hooks == nil || t.hooks.queue.Skip(topic, base) != nil {
		return protocol.ErrNotFound
	}
	return nil
}

// topic is the server's view of a log.
type topic struct{ log *storage.Log }

func (t topic) Append(ctx context.Context, data []byte, extents []batch.Extent) (server.Appended, error) {
	a, err := t.log.Append(ctx, data, extents)
	return server.Appended(a), wire(err)
}

func (t topic) Commit(ctx context.Context, a server.Appended) error {
	return wire(t.log.Commit(ctx, storage.Appended(a)))
}

func (t topic) Read(offset, messages, maxBytes int64) (server.View, error) {
	v, err := t.log.Read(offset, messages, maxBytes)
	if err != nil {
		return nil, wire(err)
	}
	return v, nil
}

func (t topic) Verify(offset, messages, maxBytes int64) (server.View, error) {
	v, err := t.log.Verify(offset, messages, maxBytes)
	if err != nil {
		return nil, wire(err)
	}
	return v, nil
}

func (t topic) Oldest() int64 { return t.log.Oldest() }

func (t topic) Watch(offset int64, w server.Waker) bool { return t.log.Watch(offset, w) }

func (t topic) Unwatch(w server.Waker) { t.log.Unwatch(w) }

func (t topic) Info(ctx context.Context) (server.Info, error) {
	in, err := t.log.Info(ctx)
	return serverInfo(in), wire(err)
}

// serverInfo is in as the server has it. It says the commonest cause in words.
func serverInfo(in storage.Info) server.Info {
	if errors.Is(in.ReadOnly, syscall.ENOSPC) || errors.Is(in.ReadOnly, syscall.EDQUOT) {
		in.ReadOnly = fmt.Errorf("the disk is full: %w", in.ReadOnly)
	}
	return server.Info(in)
}

func (t topic) Deleted() bool { return t.log.Deleted() }

func (t topic) Trim(ctx context.Context, offset int64) (int64, error) {
	oldest, err := t.log.Trim(ctx, offset)
	return oldest, wire(err)
}

func (t topic) Seek(at time.Time) (int64, error) {
	offset, err := t.log.Seek(at)
	return offset, wire(err)
}

func (t topic) Times(from, to int64, limit int) ([]protocol.TimeMark, error) {
	found, err := t.log.Times(from, to, limit)
	if err != nil {
		return nil, wire(err)
	}
	marks := make([]protocol.TimeMark, len(found))
	for i, m := range found {
		marks[i] = protocol.TimeMark(m)
	}
	return marks, nil
}

func (t topic) Plan(k protocol.Keep) []server.Planned {
	settings := t.log.Retention()
	if k.Partitions >= 0 {
		settings.Partitions = int(min(k.Partitions, math.MaxInt32))
	}
	if k.Bytes >= 0 {
		settings.Bytes = k.Bytes
	}
	if k.Age >= 0 {
		settings.Age = k.Age
	}
	var list []server.Planned
	for _, p := range t.log.Plan(settings) {
		s := server.Planned{
			Base: p.Base, End: p.End, Newest: p.Newest, Messages: p.Messages, Verdict: "keep",
			NewPartitions: int64(p.NewPartitions), NewBytes: p.NewBytes, At: p.At,
		}
		if p.Remove != storage.Keep {
			s.Verdict, s.Why = "remove", p.Remove.String()
		}
		if p.Held {
			s.Verdict = "held"
		}
		list = append(list, s)
	}
	return list
}

// wire wraps an error of the store in the protocol's error for it, if there is
// one.
func wire(err error) error {
	if err == nil {
		return nil
	}
	for _, m := range [...]struct{ from, to error }{
		{storage.ErrInDoubt, server.ErrInDoubt}, // before its cause
		{storage.ErrDeleted, server.ErrDeleted}, // before ErrReadOnly
		{storage.ErrEnd, server.ErrEnd},
		{storage.ErrNotFound, protocol.ErrNotFound},
		{storage.ErrReadOnly, protocol.ErrReadOnly},
		{storage.ErrBusy, protocol.ErrBusy},
		{storage.ErrMaxTopics, protocol.ErrMaxTopics},
		{storage.ErrTopicNotAllowed, protocol.ErrTopicNotAllowed},
		{storage.ErrTopicName, protocol.ErrInvalidRequest},
		{storage.ErrClosed, protocol.ErrShuttingDown},
	} {
		if errors.Is(err, m.from) {
			if err == m.from {
				return m.to
			}
			return fmt.Errorf("%w: %w", m.to, err)
		}
	}
	return err
}
