package storage

import (
	"errors"
	"hash/crc32"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// Bytes are sent as they are stored, over partitions, readable or not, and nothing
// that is not there.
func TestStored(t *testing.T) {
	disk, o := vfstest.New(), Options{PartitionSize: 300, Partitions: -1, Managed: true}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	var wire []byte
	for range 20 {
		r := batchOf("t", strings.Repeat("x", 50+len(wire)%7))
		wire = append(wire, r.data...)
		mustAppend(t, l, r)
	}
	if l.Readable() != 0 || len(l.Partitions()) < 4 {
		t.Fatalf("readable up to %d, %d partitions", l.Readable(), len(l.Partitions()))
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
	base := l.Partitions()[1].Base()
	must(t, s.Close())
	record(t, disk, "t", journal.Append(nil, journal.Damaged, base+10, base+20))
	s = openMem(t, disk, o)
	defer s.Close()
	l = mustLog(t, s, "t")
	parts := l.Partitions()
	none(parts[1].Base(), parts[1].Base()+11)
	none(parts[1].Base()+19, next)
	same(parts[1].Base()+20, next)
	same(0, parts[1].Base()+10)
	must(t, l.TruncateTo(t.Context(), parts[3].Base()))
	none(parts[2].Base(), next)
	same(parts[2].Base(), parts[3].Base())
	l.SetReadable(l.Next())
	must(t, l.AdvanceOldest(parts[2].Base()))
	none(0, parts[1].Base())
	same(parts[2].Base(), parts[3].Base())
	mustDelete(t, s, "t", true)
	if _, err := l.Stored(parts[2].Base(), parts[3].Base()); !errors.Is(err, ErrDeleted) {
		t.Errorf("of a deleted topic: %v", err)
	}
}

// CheckRun tells whether bytes are there as they were, readable or not, over partitions.
func TestCheckRun(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{Managed: true, Partitions: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var wire []byte
	var ends []int64
	for i := range 9 {
		r := batchOf("t", strings.Repeat("x", 100_000*(i%2)+i))
		wire = append(wire, r.data...)
		if _, err := l.AppendRun(t.Context(), placed(l.Next(), 1, i%3 == 2, r)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, l.Next())
	}
	sum := func(from, to int64) uint32 { return crc32.Checksum(wire[from:to], crc32.MakeTable(crc32.Castagnoli)) }
	is := func(from, to int64, crc uint32, want bool) {
		t.Helper()
		if got, err := l.CheckRun(from, to, crc); err != nil || got != want {
			t.Errorf("from %d to %d: %t, %v", from, to, got, err)
		}
	}
	next := ends[8]
	for _, r := range [][2]int64{{0, ends[0]}, {0, next}, {ends[0], ends[5]}, {ends[7], next}} {
		is(r[0], r[1], sum(r[0], r[1]), true)
		is(r[0], r[1], sum(r[0], r[1])+1, false)
	}
	is(next, next, 0, true)
	is(next, next+1, 0, false)
	is(next-1, next+1, 0, false)

	p := l.Partitions()[1]
	must(t, disk.Corrupt(p.File().Name(), ends[2]-p.Base()+5, func(b []byte) { b[0] ^= 1 }))
	is(ends[0], ends[5], sum(ends[0], ends[5]), false)
	l.SetReadable(next)
	if _, err := l.Verify(ends[2], 1, 0); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	b, err := disk.ReadFile(p.File().Name())
	must(t, err)
	copy(wire[p.Base():], b)
	is(ends[0], ends[5], sum(ends[0], ends[5]), false) // set aside
	is(ends[3], next, sum(ends[3], next), true)

	must(t, disk.WriteFile(p.File().Name(), b[:20]))
	is(ends[3], ends[4], sum(ends[3], ends[4]), false)
	disk.FailAt(1, vfstest.Fault{Reads: true, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpRead }})
	if _, err := l.CheckRun(0, ends[0], 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("a disk that can't be read: %v", err)
	}
}
