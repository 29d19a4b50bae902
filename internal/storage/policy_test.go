package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// countWakes is a Waker.
type countWakes int

func (w *countWakes) Wake() { *w++ }

// TestSetReadable: readers see what was told, and no more.
func TestSetReadable(t *testing.T) {
	for _, flush := range []int{0, 1} {
		disk := vfstest.New()
		o := Options{FS: disk, FlushBatches: flush, TellReadable: true}
		s, err := Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		l := mustCreate(t, s, "t")
		readable := func(want int64) {
			t.Helper()
			in, err := l.Info(context.Background())
			if err != nil || l.Readable() != want || in.Next != want {
				t.Errorf("FlushBatches %d: the readable end is %d, and %d in topic.Info (%v), want %d", flush, l.Readable(), in.Next, err, want)
			}
			if _, err := l.Read(want, 1, 0); !errors.Is(err, topic.ErrEnd) {
				t.Errorf("FlushBatches %d: read at %d: %v, want topic.ErrEnd", flush, want, err)
			}
		}
		one, two := batchOf("t", "one"), batchOf("t", "two")
		n := int64(len(one.data))
		var wakes countWakes
		l.Watch(0, &wakes)
		mustAppend(t, l, one)
		mustAppend(t, l, two)
		readable(0)
		if wakes != 0 {
			t.Errorf("woken %d times by what can't be read", wakes)
		}
		l.SetReadable(n)
		readable(n)
		if wakes != 1 {
			t.Errorf("woken %d times by what can be read, want 1", wakes)
		}
		l.SetReadable(0)
		readable(n)

		// What is told ahead is readable when it is there.
		l.SetReadable(3 * n)
		readable(2 * n)
		l.Watch(2*n, &wakes)
		mustAppend(t, l, one)
		readable(3 * n)
		if wakes != 2 {
			t.Errorf("woken %d times, want 2", wakes)
		}

		// What is cut off is not told any more.
		if err := l.TruncateTo(context.Background(), n); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, two)
		readable(n)
		l.SetReadable(2 * n)
		readable(2 * n)

		// What was told is not kept.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, o)
		if l, err = s.Log([]byte("t")); err != nil {
			t.Fatal(err)
		}
		readable(0)
		l.SetReadable(n)
		readable(n)
	}
}

// TestReadableWithoutTelling: a store that is not told makes all readable.
func TestReadableWithoutTelling(t *testing.T) {
	l := mustCreate(t, openStore(t, Options{FS: vfstest.New()}), "t")
	if a := mustAppend(t, l, batchOf("t", "one")); l.Readable() != a.End {
		t.Errorf("the readable end is %d, want %d", l.Readable(), a.End)
	}
}

// A managed log is synced when it is told to be, read as far as is told, and keeps
// what a failed sync leaves: whoever replicates it decides what becomes of it.
func TestManaged(t *testing.T) {
	for _, managed := range []bool{true, false} {
		t.Run(fmt.Sprint(managed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s := openMem(t, disk, Options{FlushBatches: 1, FlushInterval: time.Second, RetentionAge: time.Second, Managed: managed})
				defer kill(s)
				l := mustCreate(t, s, "t")
				one, two := batchOf("t", "one"), batchOf("t", "two")
				a := mustAppend(t, l, one)
				must(t, l.SyncTo(t.Context(), a.End))
				l.SetReadable(a.End)
				synctest.Wait()

				syncs := 0
				disk.OnOp(func(op vfstest.Op) {
					if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpSyncDir {
						syncs++
					}
				})
				b, err := l.Append(t.Context(), two.data, two.extents)
				must(t, err)
				if managed {
					must(t, l.Commit(t.Context(), b))
					time.Sleep(time.Hour)
					synctest.Wait()
					if syncs > 0 || l.Oldest() != 0 {
						t.Errorf("%d syncs that nobody asked for, oldest %d", syncs, l.Oldest())
					}
				}
				if l.Readable() != a.End {
					t.Errorf("readable up to %d, want %d", l.Readable(), a.End)
				}
				disk.FailSync("t/0.log")
				if err := l.SyncTo(t.Context(), b.End); !errors.Is(err, topic.ErrReadOnly) {
					t.Errorf("sync: %v", err)
				}
				if err := l.SyncTo(t.Context(), b.End); !errors.Is(err, topic.ErrReadOnly) {
					t.Errorf("sync once more: %v", err)
				}
				want := string(one.data)
				if managed {
					want += string(two.data)
				}
				if got, err := disk.ReadFile("t/0.log"); err != nil || string(got) != want {
					t.Errorf("the file has %q (%v), want %q", got, err, want)
				}
				if got, err := bodiesFrom(l, 0); err != nil || fmt.Sprint(got) != "[one]" {
					t.Errorf("read %q, %v", got, err)
				}
			})
		})
	}
}
