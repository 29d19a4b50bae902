package index

import (
	"testing"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// filled returns an index on a disk, with an entry each 5,000 bytes.
func filled(t *testing.T, n int64) (*vfstest.FS, *files.File, *Index) {
	t.Helper()
	disk := vfstest.New()
	file := (&files.Cache{FS: disk, Perm: 0o600, Limit: 1}).File("0.idx")
	ix := New(file, journal.ID{1}, 0)
	for i := range n {
		if err := ix.Add(Entry{Pos: 5000 * i, Messages: 2 * i, Batches: i, Millis: 1000 + i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ix.Settle(); err != nil {
		t.Fatal(err)
	}
	return disk, file, ix
}

// What was written is found again, in memory and in the file, also by another
// Index that opens it.
func TestSearch(t *testing.T) {
	const n = 3000
	_, file, ix := filled(t, n)
	again := New(file, journal.ID{1}, 0)
	if _, from, first := again.open(5000*n, 5000*n); from.Pos != 5000*(n-1) || first.Pos != 0 || first.Millis != 1000 {
		t.Fatalf("opened: last %+v, first %+v", from, first)
	}
	for _, ix := range []*Index{ix, again} {
		if ix.BlockCount() < 2 {
			t.Fatalf("%d blocks", ix.BlockCount())
		}
		for _, i := range []int64{0, 1, 700, n - 1} {
			floor, next, err := ix.Search(func(e *Entry) bool { return e.Pos <= 5000*i })
			want := Entry{Pos: 5000 * i, Messages: 2 * i, Batches: i, Millis: 1000 + i}
			if err != nil || floor != want || (i < n-1) != (next.Pos == want.Pos+5000) {
				t.Errorf("at %d: %+v, then %+v, %v", i, floor, next, err)
			}
		}
	}
}

// An index of another topic or partition is not taken.
func TestOpenOfAnother(t *testing.T) {
	_, file, _ := filled(t, 10)
	for _, ix := range []*Index{New(file, journal.ID{2}, 0), New(file, journal.ID{1}, 70)} {
		if _, from, _ := ix.open(1<<20, 1<<20); !ix.Empty() || !ix.Stale || from != (Entry{}) {
			t.Errorf("opened: %+v", from)
		}
	}
}

// A Reader that visits what the index was made of has nothing to say, and names
// the first thing that differs.
func TestReader(t *testing.T) {
	disk, _, _ := filled(t, 2000)
	for name, wrong := range map[string]int64{"the same": -1, "another count": 1500} {
		r := OpenReader(disk, "0.idx", journal.ID{1}, 0, 5000*2000)
		for i := range int64(2000) {
			sum := journal.Totals{Messages: 2 * i, Batches: i}
			if i == wrong {
				sum.Messages++
			}
			r.Visit(5000*i, &sum)
		}
		if why := r.Verdict(); (why != "") != (wrong >= 0) {
			t.Errorf("%s: %q", name, why)
		}
		r.Close()
	}
}
