package topictest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// testAppendAt: batches are appended at the offset that is next, or not at all.
func testAppendAt(t *testing.T, s store) {
	ctx := context.Background()
	l := s.create("t")
	one, at := l.append([]string{"one", "more"})
	two := batchOf("t", "two")
	three := batchOf("t", "three")
	both := append(append([]byte(nil), two...), three...)
	extents := []batch.Extent{{Len: int64(len(two)), Messages: 1}, {Len: int64(len(three)), Messages: 1}}
	for _, offset := range []int64{0, at.End - 1, at.End + 1, at.End + int64(len(two))} {
		a, err := l.AppendAt(ctx, offset, both, extents)
		wantError(t, "AppendAt another offset", err, topic.ErrOffset)
		if a.Batches != 0 || l.info().Next != at.End {
			t.Fatalf("appended all the same: %+v", a)
		}
	}
	a, err := l.AppendAt(ctx, at.End, both, extents)
	if err == nil {
		err = l.Commit(ctx, a)
	}
	if err == nil {
		err = l.SyncTo(ctx, a.End)
	}
	if err != nil || a.Offset != at.End || a.End != at.End+int64(len(both)) || a.Batches != 2 {
		t.Fatalf("AppendAt the next offset: %+v, %v", a, err)
	}
	l.wantRead(at.End, 2, 0, both, 2)

	for _, c := range []struct{ from, want int64 }{{0, 4}, {at.End, 2}, {at.End + int64(len(two)), 1}, {a.End, 0}} {
		if n, err := l.MessagesFrom(c.from); n != c.want || err != nil {
			t.Errorf("from %d on there are %d messages, %v, want %d", c.from, n, err, c.want)
		}
	}
	for _, from := range []int64{1, int64(len(one)) + 1, a.End + 1} {
		_, err := l.MessagesFrom(from)
		wantError(t, "MessagesFrom no batch", err, topic.ErrNotFound)
	}

	wantError(t, "Roll at another offset", l.Roll(ctx, 0), topic.ErrOffset)
	if err := l.Roll(ctx, a.End); err != nil {
		t.Errorf("Roll: %v", err)
	}
	if err := l.Roll(ctx, a.End); err != nil {
		t.Errorf("Roll once more: %v", err)
	}
	_, last := l.append([]string{"four"})
	if last.Offset != a.End {
		t.Errorf("the first batch of another partition is at %d, want %d", last.Offset, a.End)
	}
	if oldest, err := l.Trim(ctx, a.End); oldest != a.End || err != nil {
		t.Errorf("Trim to where the partition begins: %d, %v, want %d", oldest, err, a.End)
	}
	_, err = l.MessagesFrom(0)
	wantError(t, "MessagesFrom before the oldest", err, topic.ErrNotFound)
	if n, err := l.MessagesFrom(a.End); n != 1 || err != nil {
		t.Errorf("there are %d messages, %v", n, err)
	}
}

// testAppendAtOnce: of those who append at the same offset at once one is served.
func testAppendAtOnce(t *testing.T, s store) {
	ctx := context.Background()
	l := s.create("t")
	wire := batchOf("t", "x")
	extents := []batch.Extent{{Len: int64(len(wire)), Messages: 1}}
	var mu sync.Mutex
	served := make(map[int64]int)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for next := int64(0); next < 10*int64(len(wire)); {
				a, err := l.AppendAt(ctx, next, wire, extents)
				if err == nil {
					err = l.Commit(ctx, a)
				}
				switch {
				case err == nil && a.Offset == next:
					mu.Lock()
					served[next]++
					mu.Unlock()
				case !errors.Is(err, topic.ErrOffset):
					t.Errorf("AppendAt(%d): %+v, %v", next, a, err)
					return
				}
				next += int64(len(wire))
			}
		})
	}
	group.Wait()
	for offset := int64(0); offset < 10*int64(len(wire)); offset += int64(len(wire)) {
		if served[offset] != 1 {
			t.Errorf("%d were served at %d", served[offset], offset)
		}
	}
}
