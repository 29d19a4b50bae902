package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestTruncateToDamage: a log can be cut off where damage begins and where it ends,
// and at its end whatever stands there. Within the damage no batch begins. Nothing
// that is known is looked into again.
func TestTruncateToDamage(t *testing.T) {
	const size = 35 // of a batch
	for _, o := range []Options{{Partitions: -1}, {PartitionSize: 2 * size, Partitions: -1}} {
		for _, known := range []bool{false, true} {
			for _, place := range []struct {
				offset int64
				want   error
				bodies string
			}{
				{0, nil, ""},
				{1 * size, nil, "a"},
				{2 * size, nil, "ab"}, // the damage begins
				{2*size + 1, ErrNotFound, "abef"},
				{3 * size, ErrNotFound, "abef"},
				{4*size - 1, ErrNotFound, "abef"},
				{4 * size, nil, "ab"}, // it ends
				{5 * size, nil, "abe"},
				{5*size + 1, ErrNotFound, "abef"},
				{6 * size, nil, "abef"}, // the end of the log
			} {
				t.Run(fmt.Sprint(o.PartitionSize, known, place.offset), func(t *testing.T) {
					disk := vfstest.New()
					s := openMem(t, disk, o)
					l := mustCreate(t, s, "t")
					for _, body := range strings.Split("abcdef", "") {
						mustAppend(t, l, batchOf("t", body))
					}
					must(t, s.Close())
					if l.Next() != 6*size {
						t.Fatalf("next %d", l.Next())
					}
					name, at := layout.Partition("t", 0), int64(2*size)
					if o.PartitionSize > 0 {
						name, at = layout.Partition("t", at), 0
					}
					must(t, disk.Corrupt(name, at, func(b []byte) { clear(b[:2*size]) }))
					var logged strings.Builder
					o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
					s = openMem(t, disk, o)
					l = mustLog(t, s, "t")
					if known {
						v, err := l.Read(2*size, 1, 0)
						if !errors.Is(err, ErrNotFound) {
							t.Fatal(v, err)
						}
						logged.Reset()
					}
					if err := l.TruncateTo(t.Context(), place.offset); !errors.Is(err, place.want) {
						t.Fatalf("%v, want %v\n%s", err, place.want, logged.String())
					}
					if known && logged.Len() > 0 {
						t.Errorf("logged %s", logged.String())
					}
					next, bodies := place.offset, place.bodies
					if place.want != nil {
						next = 6 * size
					}
					for range 2 {
						if l.Next() != next {
							t.Fatalf("it goes on at %d, want %d", l.Next(), next)
						}
						if got := strings.Join(readable(t, l), ""); got != bodies {
							t.Fatalf("%q are left, want %q", got, bodies)
						}
						a := mustAppend(t, l, batchOf("t", "x"))
						if a.Offset != next {
							t.Errorf("appended at %d, want %d", a.Offset, next)
						}
						bodies += "x"
						next = a.End
						must(t, s.Close())
						s = openMem(t, disk, o)
						l = mustLog(t, s, "t")
					}
					must(t, s.Close())
				})
			}
		}
	}
}

// readable returns the messages that can be read, past damage.
func readable(t *testing.T, l *Log) (all []string) {
	t.Helper()
	for at := l.Oldest(); at < l.Next(); {
		v, err := l.Read(at, 1, 0)
		if errors.Is(err, ErrNotFound) && layout.Past(*l.Damaged(), at) > at {
			at = layout.Past(*l.Damaged(), at)
			continue
		}
		must(t, err)
		b, err := readView(v)
		must(t, err)
		all = append(all, string(b[len(b)-3:len(b)-2]))
		at += int64(len(b))
	}
	return all
}

// TestTruncateToMissing: where a file is missing between two others, the one before
// is never made longer.
func TestTruncateToMissing(t *testing.T) {
	const size = 35
	o := Options{PartitionSize: 2 * size, Partitions: -1}
	for offset, want := range map[int64]error{2 * size: nil, 3 * size: ErrNotFound, 4*size - 1: ErrNotFound, 4 * size: nil} {
		t.Run(fmt.Sprint(offset), func(t *testing.T) {
			disk := vfstest.New()
			s := openMem(t, disk, o)
			l := mustCreate(t, s, "t")
			for _, body := range strings.Split("abcdef", "") {
				mustAppend(t, l, batchOf("t", body))
			}
			must(t, s.Close())
			must(t, disk.Remove(layout.Partition("t", 2*size)))
			s = openMem(t, disk, o)
			l = mustLog(t, s, "t")
			if err := l.TruncateTo(t.Context(), offset); !errors.Is(err, want) {
				t.Fatalf("%v, want %v", err, want)
			}
			if b, err := disk.ReadFile(layout.Partition("t", 0)); err != nil || len(b) != 2*size {
				t.Errorf("the file before has %d bytes (%v)", len(b), err)
			}
			next, bodies := offset, "abx"
			if want != nil {
				next, bodies = 6*size, "abefx"
			}
			if a := mustAppend(t, l, batchOf("t", "x")); a.Offset != next {
				t.Errorf("appended at %d, want %d", a.Offset, next)
			}
			must(t, s.Close())
			s = openMem(t, disk, o)
			defer s.Close()
			if got := strings.Join(readable(t, mustLog(t, s, "t")), ""); got != bodies {
				t.Errorf("%q are left, want %q", got, bodies)
			}
		})
	}
}

// TestTruncateWithoutRoom cuts off where there is room in the journal and none for the
// index: the log is as it was, takes the same again when there is some, and has not failed.
func TestTruncateWithoutRoom(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1})
	l := mustCreate(t, s, "t")
	for _, body := range strings.Split("abcdef", "") {
		mustAppend(t, l, batchOf("t", body))
	}
	offset, next := l.Next()/2, l.Next()
	disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Forever: true, Match: func(op vfstest.Op) bool {
		return takesRoom(op) && strings.HasSuffix(op.Name, ".idx")
	}})
	for range 2 {
		err := l.TruncateTo(t.Context(), offset)
		if !errors.Is(err, ErrReadOnly) || !errors.Is(err, syscall.ENOSPC) || l.Next() != next || l.Failed() != nil {
			t.Fatalf("without room: %v, next %d, failed %v", err, l.Next(), l.Failed())
		}
	}
	if got := strings.Join(readable(t, l), ""); got != "abcdef" {
		t.Errorf("the log has %q", got)
	}
	disk.ClearFaults()
	must(t, l.TruncateTo(t.Context(), offset))
	mustAppend(t, l, batchOf("t", "x"))
	if got := strings.Join(readable(t, l), ""); got != "abcx" {
		t.Errorf("then the log has %q", got)
	}
	must(t, s.Close())
}
