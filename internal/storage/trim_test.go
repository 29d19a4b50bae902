package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

func mustTrim(t testing.TB, l *Log, offset, want int64) {
	t.Helper()
	if oldest, err := l.Trim(t.Context(), offset); err != nil || oldest != want {
		t.Fatalf("trim to %d: oldest is %d (%v), want %d", offset, oldest, err, want)
	}
}

func TestTrim(t *testing.T) {
	for _, flush := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfstest.New()
			o := small
			o.FlushBatches = flush
			s := openMem(t, disk, o)
			l := mustCreate(t, s, "t")
			mustTrim(t, l, 7, 0) // there is nothing yet
			at := fill(t, l, 5)
			mustTrim(t, l, 0, 0)
			mustTrim(t, l, at[1]-1, 0)
			mustTrim(t, l, at[1], at[1])
			mustTrim(t, l, at[3]+1, at[3])
			mustTrim(t, l, at[0], at[3])
			next := l.Next()
			mustTrim(t, l, next-1, at[4])
			mustTrim(t, l, next+1000, next)
			mustTrim(t, l, next, next)
			if files := partitionFiles(disk, "t"); len(files) != 1 {
				t.Errorf("files left: %q", files)
			}
			if a := mustAppend(t, l, batchOf("t", "more")); a.Offset != next {
				t.Errorf("goes on at %d, want %d", a.Offset, next)
			}
			if err := l.SyncTo(t.Context(), l.Next()); err != nil {
				t.Fatal(err)
			}
			kill(s)
			s = openMem(t, disk.CrashKeepNothing(), o)
			defer s.Close()
			if l := mustLog(t, s, "t"); l.Oldest() != next {
				t.Errorf("after a power cut the oldest is %d, want %d", l.Oldest(), next)
			}
		})
	}
}

// Where retention has begun the partition that Trim would begin, what is before it is
// made readable, and goes, all the same.
func TestTrimBehindRetention(t *testing.T) {
	s := openMem(t, vfstest.New(), Options{FlushBatches: 1, Partitions: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	r := batchOf("t", "x")
	a, err := l.Append(t.Context(), r.data, r.extents) // not synced
	must(t, err)
	must(t, l.Roll(t.Context(), l.Next()))
	mustTrim(t, l, a.End, a.End)
}

func partitionFiles(disk *vfstest.FS, topic string) []string {
	return slices.DeleteFunc(disk.Names(), func(name string) bool {
		return !strings.HasPrefix(name, topic+"/") || !strings.HasSuffix(name, ".log")
	})
}

// Trimming runs every hook first, and what is held goes with its release.
func TestTrimAfterHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		o := holding(&n)
		o.Partitions = -1
		s := openMem(t, vfstest.New(), o)
		defer s.Close()
		l := mustCreate(t, s, "t")
		at := fill(t, l, 3)
		mustTrim(t, l, at[1], 0)
		if held := n.take(); !slices.Equal(held, at[:1]) {
			t.Fatalf("held %v, want %v", held, at[:1])
		}
		mustTrim(t, l, l.Next(), 0)
		if held := n.take(); !slices.Equal(held, at) {
			t.Fatalf("held %v, want %v", held, at)
		}
		mustRelease(t, s, at[1])
		mustTrim(t, l, l.Next(), 0)
		mustRelease(t, s, at[0])
		mustTrim(t, l, l.Next(), at[2])
		mustRelease(t, s, at[2])
		mustTrim(t, l, l.Next(), l.Next())
	})
}

// What is not readable yet is neither trimmed nor held.
func TestTrimStopsAtTheReadableEnd(t *testing.T) {
	for _, hooks := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var n noter
			o := small
			o.FlushBatches = 1
			if hooks {
				o.Holder = &n
			}
			s := openMem(t, vfstest.New(), o)
			defer s.Close()
			l := mustCreate(t, s, "t")
			for i := range 3 {
				r := batchOf("t", fmt.Sprint(i))
				if _, err := l.Append(t.Context(), r.data, r.extents); err != nil {
					t.Fatal(err)
				}
			}
			mustTrim(t, l, headOf(l).Base(), 0)
			if held := n.take(); len(held) > 0 {
				t.Errorf("held %v", held)
			}
		})
	}
}

// TestTrimOnAFullDisk empties a topic of one partition that has filled the
// disk, whatever is missing, and with hooks as well.
func TestTrimOnAFullDisk(t *testing.T) {
	for _, test := range []struct {
		name   string
		inodes bool
		hooks  bool
	}{{"no bytes", false, false}, {"no inodes", true, false}, {"hooks", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				o := Options{FlushBatches: 1, Partitions: -1}
				var n noter
				if test.hooks {
					o.Holder = &n
				}
				s := openMem(t, disk, o)
				l := mustCreate(t, s, "t")
				mustAppend(t, l, batchOf("t", strings.Repeat("x", 5000)))
				mustAppend(t, l, batchOf("t", strings.Repeat("y", 5000)))
				next := l.Next()
				disk.SetSpace(disk.Used())
				run := batchOf("t", strings.Repeat("z", 3000))
				if _, err := l.Append(t.Context(), run.data, run.extents); !errors.Is(err, ErrReadOnly) {
					t.Fatalf("append on a full disk: %v", err)
				}
				if test.inodes {
					// There is none until a file goes.
					free := false
					disk.BeforeOp(func(op vfstest.Op) { free = free || op.Kind == vfstest.OpRemove })
					disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Forever: true, Match: func(op vfstest.Op) bool {
						return op.Kind == vfstest.OpCreate && !free
					}})
				}
				if test.hooks {
					mustTrim(t, l, next, 0)
					if held := n.take(); !slices.Equal(held, []int64{0}) {
						t.Fatalf("held %v", held)
					}
					mustRelease(t, s, 0)
				}
				mustTrim(t, l, next, next)
				mustAppend(t, l, run)
				kill(s)
				s = openMem(t, disk.CrashKeepNothing(), o)
				defer s.Close()
				if l := mustLog(t, s, "t"); l.Oldest() != next {
					t.Errorf("after a power cut the oldest is %d, want %d", l.Oldest(), next)
				}
			})
		})
	}
}

// A topic that has failed can be trimmed, but for its newest partition.
func TestTrimAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := small
		o.FlushBatches = 1
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		at := fill(t, l, 3)
		disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync }})
		run := batchOf("t", "fails")
		a, err := l.Append(t.Context(), run.data, run.extents)
		if err == nil {
			err = l.Commit(t.Context(), a)
		}
		if err == nil || l.Failed() == nil {
			t.Fatalf("append with a sync that fails: %v", err)
		}
		if oldest, err := l.Trim(t.Context(), 1<<40); err != nil || oldest <= at[2] {
			t.Errorf("oldest is %d (%v)", oldest, err)
		}
		s.Close()
	})
}
