package server_test

import (
	"context"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// discardStore has every topic and keeps nothing: what is measured with it is
// the server.
type discardStore struct{}

func (discardStore) Log([]byte) (topic.Log, error)                     { return discardLog{}, nil }
func (discardStore) Create(context.Context, []byte) (topic.Log, error) { return discardLog{}, nil }
func (discardStore) Topics() []string                                  { return nil }
func (discardStore) Counts() topic.Counts                              { return topic.Counts{} }
func (discardStore) BrokenInfo(string) (topic.Info, bool)              { return topic.Info{}, false }
func (discardStore) Delete(context.Context, string, string, bool) error {
	return topic.ErrNotFound
}

type discardLog struct{}

func (discardLog) Append(_ context.Context, data []byte, extents []batch.Extent) (topic.Appended, error) {
	return topic.Appended{End: int64(len(data)), Batches: len(extents)}, nil
}

func (discardLog) Gathers() bool { return true }

func (l discardLog) AppendAll(ctx context.Context, parts []topic.Part) {
	for i := range parts {
		p := &parts[i]
		p.Appended, p.Err = l.Append(ctx, p.Data, p.Extents)
	}
}

func (discardLog) Commit(context.Context, topic.Appended) error { return nil }

func (discardLog) Read(offset, _, _ int64) (topic.View, error) {
	if offset == 0 {
		return nil, topic.ErrNotFound
	}
	return nil, topic.ErrEnd
}

func (l discardLog) Verify(offset, messages, maxBytes int64) (topic.View, error) {
	return l.Read(offset, messages, maxBytes)
}

func (l discardLog) AppendAt(ctx context.Context, _ int64, data []byte, extents []batch.Extent) (topic.Appended, error) {
	return l.Append(ctx, data, extents)
}

func (discardLog) SyncTo(context.Context, int64) error               { return nil }
func (discardLog) Roll(context.Context, int64) error                 { return nil }
func (discardLog) MessagesFrom(int64) (int64, error)                 { return 0, nil }
func (discardLog) Readable() int64                                   { return 0 }
func (discardLog) HexID() string                                     { return "" }
func (discardLog) Oldest() int64                                     { return 0 }
func (discardLog) Watch(int64, topic.Waker) bool                     { return true }
func (discardLog) Unwatch(topic.Waker)                               {}
func (discardLog) Info(context.Context) (topic.Info, error)          { return topic.Info{}, nil }
func (discardLog) Seek(time.Time) (int64, error)                     { return 0, nil }
func (discardLog) Plan(topic.Limits) []topic.Planned                 { return nil }
func (discardLog) Times(int64, int64, int) ([]topic.TimeMark, error) { return nil, nil }
func (discardLog) Deleted() bool                                     { return false }
func (discardLog) Trim(context.Context, int64) (int64, error)        { return 0, nil }
