package partition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// listed is a List, and what it has.
type listed struct {
	*List
	t      *testing.T
	disk   *vfstest.FS
	starts []int64 // of the batches, and where the last one ends
	data   []byte
}

// newList returns a List of three partitions with so many batches each, of which nothing
// is known but the files.
func newList(t *testing.T, each int) *listed {
	t.Helper()
	l := &listed{t: t, disk: vfstest.New()}
	cache := &files.Cache{FS: l.disk, Perm: 0o600, Limit: 8}
	folder := files.NewFolder("t")
	state := journal.NewState()
	state.ID, state.Created = journal.ID{1}, 1000
	j := &journal.Journal{
		File:       cache.FileIn(folder, layout.JournalFile("")),
		Unsyncable: func() error { return nil },
		Failed:     func(err error) error { return err },
		SyncFolder: func() error { return l.disk.SyncDir("t") },
	}
	if err := errors.Join(l.disk.Mkdir("t", 0o700), j.Begin(state)); err != nil {
		t.Fatal(err)
	}
	l.List = &List{
		Topic: "t", Folder: folder, Files: cache, FS: l.disk, Logger: slog.New(slog.DiscardHandler), Clock: clock.System{},
		Journal: j, Writer: new(sync.Mutex), Dirty: new(atomic.Bool), ID: state.ID, Created: state.Created, Unchecked: -1,
	}
	var parts []*Partition
	for range 3 {
		base := int64(len(l.data))
		for range each {
			l.starts = append(l.starts, int64(len(l.data)))
			var b batch.Builder
			b.Add([]byte(strings.Repeat("x", 10+len(l.starts)%30)))
			l.data = append(l.data, b.Finish("t")...)
		}
		if err := l.disk.WriteFile(layout.Partition("t", base), l.data[base:]); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, l.New(base, int64(len(l.data))))
	}
	l.starts = append(l.starts, int64(len(l.data)))
	l.Set(parts)
	return l
}

func (l *listed) end() int64 { return int64(len(l.data)) }

// read returns what a read finds.
func (l *listed) read(offset, messages, maxBytes int64) (b []byte, err error) {
	v := NewView(offset)
	defer v.Close()
	if err := RetryOnce(func() error { return l.Read(v, offset, messages, maxBytes, l.end()) }); err != nil {
		return nil, err
	}
	for i := range v.Sections() {
		r, pos, n := v.Section(i)
		part := make([]byte, n)
		if _, err := r.ReadAt(part, pos); err != nil && err != io.EOF {
			return nil, err
		}
		b = append(b, part...)
	}
	if int64(len(b)) != v.Len() {
		l.t.Errorf("a view of %d bytes has %d", v.Len(), len(b))
	}
	return b, nil
}

// TestRead: a batch is found where one begins, and nowhere else, and reads go on from
// partition to partition.
func TestRead(t *testing.T) {
	l := newList(t, 40)
	for i, start := range l.starts[:120] {
		for n := 1; n < 100; n += 33 {
			want := l.data[start:l.starts[min(i+n, 120)]]
			if got, err := l.read(start, int64(n), 0); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d batches at %d: %d bytes, %v, want %d", n, start, len(got), err, len(want))
			}
		}
		if got, err := l.read(start, 100, 1); err != nil || !bytes.Equal(got, l.data[start:l.starts[i+1]]) {
			t.Fatalf("as few as can be at %d: %d bytes, %v", start, len(got), err)
		}
		if _, err := l.read(start+1, 1, 0); !errors.Is(err, topic.ErrNotFound) {
			t.Fatalf("in the batch at %d: %v", start, err)
		}
	}
	if _, err := l.read(l.end(), 1, 0); !errors.Is(err, topic.ErrEnd) {
		t.Errorf("at the end: %v", err)
	}
}

// TestOrdinals: offsets and ordinals are each other's inverse, and the newest batches
// begin where so many are left.
func TestOrdinals(t *testing.T) {
	l := newList(t, 40)
	for i, start := range l.starts {
		n, err := l.Ordinal(l.All(), start, l.end())
		if err != nil || n != int64(i) {
			t.Fatalf("ordinal of %d: %d, %v, want %d", start, n, err, i)
		}
		offset, err := l.OffsetOf(l.All(), n, l.end())
		if err != nil || offset != start {
			t.Fatalf("offset of batch %d: %d, %v, want %d", n, offset, err, start)
		}
		from, err := l.Newest(int64(120-i), l.end(), func() error { return nil })
		if err != nil || from > start || !slices.Contains(l.starts, from) {
			t.Fatalf("the newest %d begin at %d, %v, want at most %d", 120-i, from, err, start)
		}
	}
	for _, n := range []int64{-1, 121} {
		if offset, err := l.OffsetOf(l.All(), n, l.end()); !errors.Is(err, topic.ErrNotFound) {
			t.Errorf("offset of batch %d: %d, %v", n, offset, err)
		}
	}
}

// TestDamage: what is damaged is set aside when somebody meets it, each batch by itself,
// and all else is served.
func TestDamage(t *testing.T) {
	for _, bad := range []int{0, 17, 39, 41, 119} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			l := newList(t, 40)
			p := l.All()[Find(l.All(), l.starts[bad])]
			if err := l.disk.Corrupt(p.File.Name(), l.starts[bad]-p.Base, func(b []byte) { clear(b[:l.starts[bad+1]-l.starts[bad]]) }); err != nil {
				t.Fatal(err)
			}
			if _, err := l.read(l.starts[bad], 1, 0); !errors.Is(err, topic.ErrNotFound) {
				t.Errorf("the damaged batch: %v", err)
			}
			if got, want := *l.Journal.Damaged(), []layout.Range{{From: l.starts[bad], To: l.starts[bad+1]}}; !slices.Equal(got, want) {
				t.Fatalf("%v is set aside, want %v", got, want)
			}
			for i, start := range l.starts[:120] {
				if got, err := l.read(start, 1, 0); i != bad && (err != nil || !bytes.Equal(got, l.data[start:l.starts[i+1]])) {
					t.Errorf("the batch at %d: %d bytes, %v", start, len(got), err)
				}
			}
			seen := 0
			to, err := l.Envelopes(0, l.end(), func(offset, _ int64, _ *batch.Header) error {
				if offset == l.starts[bad] {
					t.Error("the damaged batch is visited")
				}
				seen++
				return nil
			})
			if err != nil || to != l.end() || seen != 119 {
				t.Errorf("%d batches up to %d were visited (%v), want 119 up to %d", seen, to, err, l.end())
			}
			v := NewView(0)
			defer v.Close()
			if err := l.AddStored(v, 0, l.end()); !errors.Is(err, topic.ErrNotFound) {
				t.Errorf("all that is stored, with damage in it: %v", err)
			}
		})
	}
}

// TestDamageInData: a batch whose data is damaged is found by who checks it, not by who
// goes by envelopes.
func TestDamageInData(t *testing.T) {
	l := newList(t, 40)
	const bad = 50
	p := l.All()[1]
	if err := l.disk.Corrupt(p.File.Name(), l.starts[bad+1]-p.Base-1, func(b []byte) { b[0]++ }); err != nil {
		t.Fatal(err)
	}
	v := NewView(0)
	defer v.Close()
	if err := l.Read(v, 0, 1000, 0, l.end()); err != nil || v.Batches() != 120 {
		t.Fatalf("%d batches by their envelopes, %v", v.Batches(), err)
	}
	offset, err := l.FirstBad(v)
	if err != nil || offset != l.starts[bad] {
		t.Fatalf("the first that is bad is at %d, %v, want %d", offset, err, l.starts[bad])
	}
	if err := l.Examine(offset, 0); err != nil {
		t.Fatal(err)
	}
	if got, want := *l.Journal.Damaged(), []layout.Range{{From: l.starts[bad], To: l.starts[bad+1]}}; !slices.Equal(got, want) {
		t.Errorf("%v is set aside, want %v", got, want)
	}
	sum, err := l.Totals(p, p.End.Load())
	if err != nil || sum.Batches != 39 {
		t.Errorf("the partition has %d batches, %v, want 39", sum.Batches, err)
	}
}

// TestIndexOfOthers: an index that does not fit is made anew, and so is one that was
// damaged since it was read.
func TestIndexOfOthers(t *testing.T) {
	l := newList(t, 400)
	if _, err := l.Totals(l.All()[0], l.All()[0].End.Load()); err != nil {
		t.Fatal(err)
	}
	name := layout.Index("t", 0)
	b, err := l.disk.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{nil, b[:20], append(bytes.Clone(b[:len(b)-1]), b[len(b)-1]+1), bytes.Repeat([]byte{1}, len(b))} {
		if err := l.disk.WriteFile(name, content); err != nil {
			t.Fatal(err)
		}
		parts := slices.Clone(l.All())
		parts[0] = l.New(0, parts[0].End.Load())
		l.Set(parts)
		for i, start := range l.starts[:400] {
			if n, err := l.Ordinal(l.All(), start, l.end()); err != nil || n != int64(i) {
				t.Fatalf("with an index of %d bytes the ordinal of %d is %d, %v, want %d", len(content), start, n, err, i)
			}
		}
	}
}

// TestCompleteBefore counts what ends before an offset, and never the head.
func TestCompleteBefore(t *testing.T) {
	l := newList(t, 2)
	parts := l.All()
	for i, tc := range []struct {
		offset int64
		want   int
	}{{0, 0}, {parts[1].Base - 1, 0}, {parts[1].Base, 1}, {parts[2].Base, 2}, {l.end(), 2}, {l.end() + 100, 2}} {
		if got := CompleteBefore(parts, tc.offset); got != tc.want {
			t.Errorf("case %d: %d partitions end before %d, want %d", i, got, tc.offset, tc.want)
		}
	}
	for i, p := range parts {
		if Find(parts, p.Base) != i || Find(parts, p.End.Load()-1) != i {
			t.Errorf("partition %d is found as %d and %d", i, Find(parts, p.Base), Find(parts, p.End.Load()-1))
		}
	}
	if Find(parts, -1) != -1 {
		t.Errorf("before the first: %d", Find(parts, -1))
	}
}
