package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// checkRemoved checks what is left of a log of n batches, each a partition,
// before and after a restart.
func checkRemoved(t *testing.T, disk *vfstest.FS, s *Store, o Options, all []Appended, left int) {
	t.Helper()
	check := func(s *Store) {
		t.Helper()
		l := mustLog(t, s, "t")
		oldest := all[len(all)-left].Offset
		if l.Oldest() != oldest || l.Next() != all[len(all)-1].End {
			t.Fatalf("log from %d to %d, want %d to %d", l.Oldest(), l.Next(), oldest, all[len(all)-1].End)
		}
		for i, a := range all {
			v, err := l.Read(a.Offset, 1, 0)
			if i < len(all)-left {
				if !errors.Is(err, ErrNotFound) {
					t.Fatalf("read of batch %d, which is removed: %v", i, err)
				}
				if _, err := disk.Stat(layout.Partition("t", a.Offset)); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("partition of batch %d: %v", i, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("read of batch %d: %v", i, err)
			}
			if _, err := readView(v); err != nil {
				t.Fatal(err)
			}
			if n, err := l.Ordinal(a.Offset); err != nil || n != int64(i) {
				t.Fatalf("ordinal of batch %d is %d (%v)", i, n, err)
			}
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openMem(t, disk, o)
	check(s)
	kill(s)
	s = openMem(t, disk.CrashKeepNothing(), o)
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendMany(t *testing.T, l *Log, n int) (all []Appended) {
	t.Helper()
	for i := range n {
		all = append(all, mustAppend(t, l, batchOf("t", fmt.Sprintf("message %d", i))))
	}
	return all
}

func TestRetention(t *testing.T) {
	size := int64(len(batchOf("t", "message 0").data))
	tests := []struct {
		name string
		o    Options
		left int
	}{
		{"all", Options{Partitions: -1}, 6},
		{"by partitions", Options{Partitions: 4}, 4},
		{"one partition", Options{Partitions: 1}, 1},
		{"by bytes", Options{Partitions: -1, RetentionBytes: 3*size + 1}, 3},
		{"fewer bytes than a batch", Options{Partitions: -1, RetentionBytes: 1}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				o := test.o
				o.PartitionSize = 1
				s := openMem(t, disk, o)
				all := appendMany(t, mustCreate(t, s, "t"), 6)
				synctest.Wait()
				checkRemoved(t, disk, s, o, all, test.left)
			})
		})
	}
}

// A topic that gets nothing for longer than the age is empty at the end, keeps
// its next offset, and is no later than a tenth of the age.
func TestRetentionAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{Partitions: -1, PartitionSize: 1, RetentionAge: 5 * time.Second}
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		old := appendMany(t, l, 3)
		time.Sleep(4 * time.Second)
		fresh := mustAppend(t, l, batchOf("t", "fresh"))
		time.Sleep(1600 * time.Millisecond)
		synctest.Wait()
		if l.Oldest() != fresh.Offset {
			t.Fatalf("oldest is %d, want %d", l.Oldest(), fresh.Offset)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		for range 2 {
			if l.Oldest() != fresh.End || l.Next() != fresh.End {
				t.Fatalf("log from %d to %d, want it empty at %d", l.Oldest(), l.Next(), fresh.End)
			}
			for _, offset := range []int64{old[0].Offset, fresh.Offset} {
				if _, err := l.Read(offset, 1, 0); !errors.Is(err, ErrNotFound) {
					t.Fatalf("read at %d: %v", offset, err)
				}
			}
			if _, err := l.Read(fresh.End, 1, 0); !errors.Is(err, ErrEnd) {
				t.Fatalf("read at the end: %v", err)
			}
			if n, err := l.Ordinal(fresh.End); err != nil || n != 4 {
				t.Fatalf("ordinal of next is %d (%v), want 4", n, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openMem(t, disk, o)
			l = mustLog(t, s, "t")
		}
		mustAppend(t, l, batchOf("t", "again"))
		wantBodies(t, l, "again")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRetentionInterval(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		0: 10 * time.Second, time.Millisecond: 100 * time.Millisecond, 20 * time.Second: 2 * time.Second,
		time.Hour: 10 * time.Second,
	} {
		if got := retentionInterval(age); got != want {
			t.Errorf("age %v: every %v, want %v", age, got, want)
		}
	}
}

// A reader keeps what it was given although it was removed meanwhile.
func TestViewOutlivesRemoval(t *testing.T) {
	for _, files := range []int{1, 100} {
		disk := vfstest.New()
		o := small
		o.OpenFiles = files
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		appendMany(t, l, 4)
		want, err := bodiesFrom(l, 0)
		if err != nil {
			t.Fatal(err)
		}
		v, err := l.Read(0, 4, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.AdvanceOldest(l.Next()); err != nil {
			t.Fatal(err)
		}
		if v.Sections() != 4 || len(want) != 4 {
			t.Fatalf("%d sections, %d messages", v.Sections(), len(want))
		}
		if b, err := readView(v); err != nil || int64(len(b)) != l.Next() {
			t.Fatalf("%d bytes (%v), want %d", len(b), err, l.Next())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := disk.Open(); n != 0 {
			t.Fatalf("%d files are left open", n)
		}
	}
}

// A partition that retention removes while a sync is under way is no failure
// of the sync.
func TestSyncBesideRemoval(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	defer s.Close()
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	two := mustAppend(t, l, batchOf("t", "two"))
	mustAppend(t, l, batchOf("t", "three"))
	removed := false
	disk.BeforeOp(func(op vfstest.Op) {
		if op.Kind == vfstest.OpSync && op.Name == layout.Partition("t", 0) && !removed {
			removed = true
			if err := l.AdvanceOldest(two.End); err != nil {
				t.Error(err)
			}
		}
	})
	if err := l.SyncTo(t.Context(), l.Next()); err != nil || !removed {
		t.Fatalf("sync: %v, removed %v", err, removed)
	}
	disk.BeforeOp(nil)
	mustAppend(t, l, batchOf("t", "four"))
	wantBodies(t, l, "three", "four")
}

// What is known of a partition that can't be read is nothing, least of all that
// it is old.
func TestRetentionAgeOfDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{Partitions: -1, RetentionAge: 24 * time.Hour, PartitionSize: 1}
		s := openMem(t, disk, o)
		appendMany(t, mustCreate(t, s, "t"), 2)
		s.Close()
		must(t, disk.Corrupt("t/0.log", 0, scribble))
		s = openMem(t, disk, o)
		defer s.Close()
		l := mustLog(t, s, "t")
		if _, err := l.Read(0, 1, 0); !errors.Is(err, ErrNotFound) {
			t.Fatalf("read of what is damaged: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if l.Begin() != 0 {
			t.Error("after an hour the partition is gone, with a retention age of a day")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if l.Begin() == 0 {
			t.Error("after a day the partition is there")
		}
	})
}

// Files that could not be removed are removed by the next look.
func TestRemoveIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{PartitionSize: 1, Partitions: 2, FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpRemove && op.Name == "t/0.log" }})
		appendMany(t, l, 6)
		synctest.Wait()
		if disk.Faults() != 1 {
			t.Fatalf("%d removals failed, want 1", disk.Faults())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		files := 0
		for _, name := range disk.Names() {
			if strings.HasSuffix(name, ".log") {
				files++
			}
		}
		info, err := l.Info(t.Context())
		if err != nil || files != info.Partitions {
			t.Errorf("%d files of %d partitions, %v", files, info.Partitions, err)
		}
	})
}

// Whoever manages a store decides what is removed: the store says what it would
// remove, and removes what it is told.
func TestManagedRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{PartitionSize: 1, Partitions: 2, RetentionAge: time.Hour, FlushInterval: -1, Managed: true}
		s := openMem(t, vfstest.New(), o)
		defer s.Close()
		l := mustCreate(t, s, "t")
		at := fill(t, l, 4)
		l.SetReadable(l.Next())
		decided := func(want int64, wantAll bool) {
			t.Helper()
			time.Sleep(2 * retentionInterval(0))
			synctest.Wait()
			if got, all, err := l.Decide(s.shared.Rules.Load().All.Retention, time.Now()); err != nil || got != want || all != wantAll {
				t.Errorf("decided %d, all %v (%v), want %d and %v", got, all, err, want, wantAll)
			}
		}
		decided(at[2], false)
		if l.Oldest() != 0 {
			t.Fatalf("oldest %d, and nobody has agreed to it", l.Oldest())
		}
		if err := l.AdvanceOldest(at[1]); err != nil || l.Oldest() != at[1] {
			t.Fatalf("oldest %d (%v), want %d", l.Oldest(), err, at[1])
		}
		decided(at[2], false)
		next := l.Next()
		time.Sleep(2 * time.Hour)
		decided(at[3], true)
		must(t, l.Roll(t.Context(), next))
		decided(next, false)
		if l.Oldest() != at[1] {
			t.Fatalf("oldest %d, and nobody has agreed to it", l.Oldest())
		}
		if err := l.AdvanceOldest(next); err != nil || l.Oldest() != next {
			t.Fatalf("oldest %d (%v), want %d", l.Oldest(), err, next)
		}
	})
}

// If age takes the newest partition, the log is to begin at the one that is begun for
// that. What is begun after the decision stays, also if it is beyond other limits.
func TestDecideLeavesWhatIsBegunMeanwhile(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprint(managed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := open(t.Context(), Options{
					FS: vfstest.New(), PartitionSize: 1, Partitions: 1, RetentionAge: time.Hour, FlushInterval: -1, Managed: managed,
				})
				must(t, err)
				s.retention = &retention{kicks: make(chan struct{}, 1), kicked: make(map[*Log]bool)} // nobody's
				defer func() {
					s.retention = startRetention(s)
					must(t, s.Close())
				}()
				l := mustCreate(t, s, "t")
				old := func() int64 {
					fill(t, l, 3)
					must(t, l.SyncAll())
					l.SetReadable(l.Next())
					time.Sleep(2 * time.Hour)
					return l.Next()
				}
				next := old()
				_, all, err := l.Decide(s.shared.Rules.Load().All.Retention, time.Now())
				if err != nil || !all {
					t.Fatalf("decided that all is to go: %v (%v)", all, err)
				}
				must(t, l.Roll(t.Context(), next))
				oldest, all, err := l.Decide(s.shared.Rules.Load().All.Retention, time.Now())
				if all {
					t.Error("decided that all is to go, and there is another partition")
				}
				if err != nil || oldest != next || headOf(l).Base() != next || l.Begin() != 0 {
					t.Fatalf("decided %d (%v) of a log from %d to %d, want %d", oldest, err, l.Begin(), headOf(l).Base(), next)
				}
				at := fill(t, l, 3)
				must(t, l.AdvanceOldest(oldest))
				if l.Begin() != next || at[0] != next {
					t.Fatalf("the log begins at %d, want %d", l.Begin(), next)
				}

				// As Retain does it: with nothing in between.
				next = old()
				must(t, l.Retain(time.Now()))
				if l.Begin() != next || headOf(l).Base() != next {
					t.Errorf("the log begins at %d, its head at %d, want %d", l.Begin(), headOf(l).Base(), next)
				}
			})
		})
	}
}
