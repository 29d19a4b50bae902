package server_test

import (
	"context"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
)

// discardStore has every topic and keeps nothing: what is measured with it is
// the server.
type discardStore struct{}

func (discardStore) Log([]byte) (server.Log, error)    { return discardLog{}, nil }
func (discardStore) Create([]byte) (server.Log, error) { return discardLog{}, nil }
func (discardStore) Topics() []string                  { return nil }
func (discardStore) Counts() server.Counts             { return server.Counts{} }
func (discardStore) Hooks() []server.Hook              { return nil }
func (discardStore) RetryHook(string, int64) error     { return nil }
func (discardStore) Broken([]byte) (server.Info, bool) { return server.Info{}, false }
func (discardStore) Delete(context.Context, string, string, bool) error {
	return protocol.ErrNotFound
}
func (discardStore) SkipHook(string, int64) error { return nil }

type discardLog struct{}

func (discardLog) Append(_ context.Context, data []byte, extents []batch.Extent) (server.Appended, error) {
	return server.Appended{End: int64(len(data)), Batches: len(extents)}, nil
}

func (discardLog) Commit(context.Context, server.Appended) error { return nil }

func (discardLog) Read(offset, _, _ int64) (server.View, error) {
	if offset == 0 {
		return nil, protocol.ErrNotFound
	}
	return nil, server.ErrEnd
}

func (l discardLog) Verify(offset, messages, maxBytes int64) (server.View, error) {
	return l.Read(offset, messages, maxBytes)
}

func (discardLog) Oldest() int64                                        { return 0 }
func (discardLog) Watch(int64, server.Waker) bool                       { return true }
func (discardLog) Unwatch(server.Waker)                                 {}
func (discardLog) Info(context.Context) (server.Info, error)            { return server.Info{}, nil }
func (discardLog) Seek(time.Time) (int64, error)                        { return 0, nil }
func (discardLog) Plan(protocol.Keep) []server.Planned                  { return nil }
func (discardLog) Times(int64, int64, int) ([]protocol.TimeMark, error) { return nil, nil }
func (discardLog) Deleted() bool                                        { return false }
func (discardLog) Trim(context.Context, int64) (int64, error)           { return 0, nil }

// eventually waits until problem returns nothing, and fails with what it
// returned last if that takes long.
func eventually(t testing.TB, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		p := problem()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(p)
		}
		<-tick.C
	}
}
