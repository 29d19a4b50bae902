package copies

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// newSet returns the copies of a member that has one topic with a batch in it.
func newSet(t *testing.T) (*Set, *storage.Log) {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{FS: vfstest.New(), Managed: true, Partitions: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l, err := store.CreateAs("t", entry.ID{1}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	wire := []byte(testkit.Batch("t", "a", "b"))
	run := &storage.Run{Data: wire, Extents: []batch.Extent{{Len: int64(len(wire)), Messages: 2}}, Roll: true}
	if _, err := l.AppendRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	s := New(store, slog.New(slog.DiscardHandler))
	s.Put(0, 1, l)
	return s, l
}

// TestServe: what is not committed is not given; what is missing here is not said to be
// trimmed, and what is trimmed is.
func TestServe(t *testing.T) {
	s, l := newSet(t)
	id, end := entry.ID(l.ID()), l.Next()
	give := func(from int64) (bytes []byte, sums []uint32, err error) {
		t.Helper()
		v, parts, err := s.Serve(id, from, end)
		sums, sumsErr := s.Sums(id, from, end)
		var gone, sumsGone *peer.GoneError
		if errors.Is(err, ErrNotHere) != errors.Is(sumsErr, ErrNotHere) || errors.As(err, &gone) != errors.As(sumsErr, &sumsGone) {
			t.Errorf("bytes: %v; their sums: %v", err, sumsErr)
		}
		if err != nil {
			return nil, nil, err
		}
		if len(parts) != 1 || parts[0].Offset != from || !parts[0].Roll {
			t.Errorf("parts %+v", parts)
		}
		bytes, err = ReadViews(nil, []topic.View{v})
		return bytes, sums, err
	}
	if _, _, err := give(0); !errors.Is(err, ErrNotHere) {
		t.Errorf("what is not committed: %v", err)
	}
	l.SetReadable(end)
	b, sums, err := give(0)
	if err != nil || string(b) != testkit.Batch("t", "a", "b") || !slices.Equal(sums, []uint32{Checksum(b)}) {
		t.Errorf("%q, %x, %v", b, sums, err)
	}
	if err := l.Reset(t.Context(), end); err != nil { // as if the files were lost
		t.Fatal(err)
	}
	if _, _, err := give(0); !errors.Is(err, ErrNotHere) {
		t.Errorf("what is missing: %v", err)
	}
	s.Trimmed(id, end)
	var gone *peer.GoneError
	if _, _, err := give(0); !errors.As(err, &gone) || gone.Oldest != end {
		t.Errorf("what is trimmed: %v", err)
	}
	if _, _, err := s.Serve(entry.ID{9}, 0, end); !errors.Is(err, ErrNotHere) {
		t.Errorf("a topic that is not known: %v", err)
	}
}
