package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// Bytes are sent as they are stored, over partitions, readable or not, and nothing
// that is not there.
func TestStored(t *testing.T) {
	s := openMem(t, vfstest.New(), Options{PartitionSize: 300, Partitions: -1, Managed: true})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var wire []byte
	for range 20 {
		r := batchOf("t", strings.Repeat("x", 50+len(wire)%7))
		wire = append(wire, r.data...)
		mustAppend(t, l, r)
	}
	if l.Readable() != 0 || len(l.partitions()) < 4 {
		t.Fatalf("readable up to %d, %d partitions", l.Readable(), len(l.partitions()))
	}
	same := func(from, to int64) {
		t.Helper()
		v, err := l.Stored(from, to)
		if err != nil {
			t.Fatalf("from %d to %d: %v", from, to, err)
		}
		if v.Len() != to-from || v.Offset() != from {
			t.Errorf("from %d to %d: %d bytes from %d", from, to, v.Len(), v.Offset())
		}
		if b, err := readView(v); err != nil || string(b) != string(wire[from:to]) {
			t.Errorf("from %d to %d: other bytes (%v)", from, to, err)
		}
	}
	none := func(from, to int64) {
		t.Helper()
		if v, err := l.Stored(from, to); !errors.Is(err, ErrNotFound) {
			t.Errorf("from %d to %d: %v", from, to, err)
			if err == nil {
				v.Close()
			}
		}
	}
	next := l.Next()
	for from := int64(0); from < next; from += 13 {
		for to := from + 1; to <= next; to += 37 {
			same(from, to)
		}
	}
	same(0, next)
	none(0, next+1)
	none(next, next+1)
	none(5, 5)
	none(-1, 5)

	// What is set aside, cut off or removed is not there.
	parts := l.partitions()
	l.setDamaged(layout.Range{From: parts[1].base + 10, To: parts[1].base + 20})
	none(parts[1].base, parts[1].base+11)
	none(parts[1].base+19, next)
	same(parts[1].base+20, next)
	same(0, parts[1].base+10)
	must(t, l.TruncateTo(t.Context(), parts[3].base))
	none(parts[2].base, next)
	same(parts[2].base, parts[3].base)
	l.SetReadable(l.Next())
	must(t, l.AdvanceOldest(parts[2].base))
	none(0, parts[1].base)
	same(parts[2].base, parts[3].base)
	mustDelete(t, s, "t", true)
	if _, err := l.Stored(parts[2].base, parts[3].base); !errors.Is(err, ErrDeleted) {
		t.Errorf("of a deleted topic: %v", err)
	}
}
