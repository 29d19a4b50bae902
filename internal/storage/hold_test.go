package storage

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// noter is a Holder that notes what it is told.
type noter struct {
	mu         sync.Mutex
	held, gone []int64 // bases
}

func (n *noter) Hold(h Held) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.held, h.Base) {
		n.held = append(n.held, h.Base)
	}
}

func (n *noter) Gone(h Held) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = append(n.gone, h.Base)
}

// take returns what was held since the last call.
func (n *noter) take() []int64 {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	held := n.held
	n.held = nil
	slices.Sort(held)
	return held
}

// fill appends n batches, each a partition of its own, and returns their
// offsets.
func fill(t *testing.T, l *Log, n int) []int64 {
	t.Helper()
	var offsets []int64
	for range n {
		a := mustAppend(t, l, batchOf(l.Name(), fmt.Sprint(l.Next())))
		offsets = append(offsets, a.Offset)
		synctest.Wait()
	}
	return offsets
}

// holding makes every batch a partition, keeps two, and holds what is to go.
func holding(h Holder) Options {
	return Options{PartitionSize: 1, Partitions: 2, FlushInterval: -1, Holder: h}
}

func mustRelease(t *testing.T, s *Store, base int64) {
	t.Helper()
	if err := s.Release("t", base); err != nil {
		t.Fatalf("release %d: %v", base, err)
	}
	synctest.Wait()
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		s := openMem(t, vfstest.New(), holding(&n))
		defer s.Close()
		l := mustCreate(t, s, "t")
		at := fill(t, l, 5)
		if held := n.take(); !slices.Equal(held, at[:3]) {
			t.Fatalf("held %v, want %v", held, at[:3])
		}
		if l.Oldest() != at[0] {
			t.Fatal("a partition was removed that is held")
		}
		if _, err := bodiesFrom(l, at[0]); err != nil {
			t.Fatalf("what is held can't be read: %v", err)
		}
		if err := s.Release("t", at[3]); !errors.Is(err, ErrNotFound) {
			t.Errorf("release of one that is kept: %v", err)
		}
		if err := s.Release("t", 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("release of no partition: %v", err)
		}
		mustRelease(t, s, at[1])
		if l.Oldest() != at[0] {
			t.Fatal("a partition was removed before an older one")
		}
		mustRelease(t, s, at[1]) // again: nothing more
		mustRelease(t, s, at[0])
		if l.Oldest() != at[2] {
			t.Fatalf("oldest is %d, want %d", l.Oldest(), at[2])
		}
		mustRelease(t, s, at[2])
		if l.Oldest() != at[3] {
			t.Fatalf("oldest is %d, want %d", l.Oldest(), at[3])
		}
		if n.gone != nil {
			t.Errorf("gone: %v", n.gone)
		}
	})
}

// TestHoldSurvives makes sure that what is due stays due, and that what was
// released need not be held again, over kills, power cuts and clean ends, also
// when the settings change.
func TestHoldSurvives(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Store, *vfstest.FS) *vfstest.FS{
		"clean": func(t *testing.T, s *Store, disk *vfstest.FS) *vfstest.FS {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return disk
		},
		"kill": func(_ *testing.T, s *Store, disk *vfstest.FS) *vfstest.FS {
			kill(s)
			return disk
		},
		"power cut": func(_ *testing.T, s *Store, disk *vfstest.FS) *vfstest.FS {
			kill(s)
			return disk.CrashKeepNothing()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n noter
				disk := vfstest.New()
				o := holding(&n)
				o.FlushBatches = 1
				s := openMem(t, disk, o)
				at := fill(t, mustCreate(t, s, "t"), 5)
				n.take()
				mustRelease(t, s, at[1])

				disk = end(t, s, disk)
				o.Partitions = 100
				s = openMem(t, disk, o)
				defer s.Close()
				if held := n.take(); !slices.Equal(held, []int64{at[0], at[2]}) {
					t.Fatalf("held after the restart: %v, want %v", held, []int64{at[0], at[2]})
				}
				mustRelease(t, s, at[0])
				if l := mustLog(t, s, "t"); l.Oldest() != at[2] {
					t.Errorf("oldest is %d, want %d", l.Oldest(), at[2])
				}
			})
		})
	}
}

// TestHoldRecords makes sure that neither mark is lost when the journal is
// written anew, and that a truncation takes back what it cuts off.
func TestHoldRecords(t *testing.T) {
	state := journal.NewState()
	for _, rec := range [][]byte{
		journal.Append(nil, journal.Due, 300), journal.Append(nil, journal.Hooked, 0), journal.Append(nil, journal.Hooked, 200),
	} {
		if !state.Apply(rec) {
			t.Fatal("record refused")
		}
	}
	again, _, err := journal.Decode(state.Encode())
	if err != nil || again.Due != 300 || !again.Hooked[0] || !again.Hooked[200] || len(again.Hooked) != 2 {
		t.Fatalf("after a rewrite: due %d, hooked %v, %v", again.Due, again.Hooked, err)
	}
	again.Apply(journal.Append(nil, journal.Cut, 200))
	if again.Due != 200 || again.Hooked[200] || !again.Hooked[0] {
		t.Errorf("after a truncation: due %d, hooked %v", again.Due, again.Hooked)
	}
	again.Forget(100, 1<<62)
	if again.Hooked[0] {
		t.Error("a partition that is gone is remembered")
	}
}

func TestKeepFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		disk := vfstest.New()
		o := holding(&n)
		o.KeepFree = 1 << 20
		s := openMem(t, disk, o)
		defer s.Close()
		l := mustCreate(t, s, "t")
		at := fill(t, l, 5)
		n.take()
		disk.SetSpace(disk.Used() + 2<<20)
		time.Sleep(2 * retentionInterval(0)) // of the bubble's clock
		synctest.Wait()
		if l.Oldest() != at[0] || s.Counts().Forced != 0 {
			t.Fatal("removed by force although there is room")
		}
		disk.SetSpace(disk.Used() + 1<<20 - 1) // one partition has more than a byte
		time.Sleep(2 * retentionInterval(0))
		synctest.Wait()
		if l.Oldest() != at[1] || s.Counts().Forced != 1 || !slices.Equal(n.gone, at[:1]) {
			t.Fatalf("oldest %d, forced %d, gone %v; want the first alone", l.Oldest(), s.Counts().Forced, n.gone)
		}
	})
}

func TestPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openMem(t, vfstest.New(), Options{PartitionSize: 1, Partitions: -1, FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		var at []int64
		begun := time.Now()
		for range 4 {
			at = append(at, fill(t, l, 1)...)
			time.Sleep(time.Hour)
		}
		at = append(at, l.Next())
		ms := func(d time.Duration) time.Time { return begun.Add(d).Truncate(time.Millisecond).UTC() }

		for _, test := range []struct {
			name   string
			limits topic.Limits
			remove []Reason
			check  func(p []Planned) bool
		}{
			{"all", topic.Limits{}, []Reason{Keep, Keep, Keep, Keep}, func(p []Planned) bool {
				return p[0].NewPartitions == 0 && p[0].NewBytes == 0 && p[0].At.IsZero()
			}},
			{"partitions", topic.Limits{Partitions: 3}, []Reason{ByPartitions, Keep, Keep, Keep}, func(p []Planned) bool {
				return p[1].NewPartitions == 1 && p[2].NewPartitions == 2 && p[3].NewPartitions == 3
			}},
			{"bytes", topic.Limits{Bytes: at[4] - at[2]}, []Reason{ByBytes, ByBytes, Keep, Keep}, func(p []Planned) bool {
				return p[2].NewBytes == 1 && p[3].NewBytes == 0
			}},
			{"age", topic.Limits{Age: 150 * time.Minute}, []Reason{ByAge, ByAge, Keep, Keep}, func(p []Planned) bool {
				return p[2].At.Equal(ms(270*time.Minute)) && p[3].At.Equal(ms(330*time.Minute))
			}},
			{"never the head", topic.Limits{Bytes: 1, Age: 1, Partitions: 1}, []Reason{ByPartitions, ByPartitions, ByPartitions, Keep}, func(p []Planned) bool {
				return p[3].Head
			}},
		} {
			plan := l.Plan(test.limits)
			var remove []Reason
			for i, p := range plan {
				remove = append(remove, p.Remove)
				if p.Base != at[i] || p.Messages != 1 || p.End != at[i+1] || !p.Newest.Equal(ms(time.Duration(i)*time.Hour)) {
					t.Errorf("%s: partition %d is %+v", test.name, i, p)
				}
			}
			if !slices.Equal(remove, test.remove) || !test.check(plan) {
				t.Errorf("%s: plan is %+v", test.name, plan)
			}
		}
		if l.Oldest() != at[0] {
			t.Error("a plan has removed something")
		}
	})
}

// A sync of the journal that failed says nothing about what it was for, and
// neither does the next one: what it would promise might not be on the disk.
func TestReleaseAfterFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		disk := vfstest.New()
		s := openMem(t, disk, holding(&n))
		at := fill(t, mustCreate(t, s, "t"), 6)
		n.take()
		disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync && op.Name == "t/journal" }})
		for _, base := range at[1:3] {
			if err := s.Release("t", base); !errors.Is(err, ErrReadOnly) {
				t.Errorf("release %d: %v, want ErrReadOnly", base, err)
			}
		}
		if disk.Faults() != 1 {
			t.Errorf("%d syncs failed, want 1", disk.Faults())
		}
		s.Close()
	})
}

// The journal that compaction wrote may be the file that a crash leaves without
// a name. What is recorded in it then is no promise.
func TestReleaseAfterFailedCompaction(t *testing.T) {
	for _, short := range []error{syscall.EIO, syscall.EMFILE} {
		t.Run(short.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				var n noter
				o := holding(&n)
				o.FlushBatches, o.journalCompact = 1, 300
				s := openMem(t, disk, o)
				l := mustCreate(t, s, "t")
				renamed := false
				disk.FailAt(1, vfstest.Fault{Err: short, Forever: true, Match: func(op vfstest.Op) bool {
					renamed = renamed || op.Kind == vfstest.OpRename
					return op.Kind == vfstest.OpSyncDir && renamed && op.Name == "t"
				}})
				for i := 0; disk.Faults() == 0; i++ {
					if i == 100 {
						t.Fatal("the journal is never compacted")
					}
					a := mustAppend(t, l, batchOf("t", "x"))
					if err := l.Commit(t.Context(), a); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					synctest.Wait()
				}
				disk.ClearFaults()
				held := n.take()
				base := held[len(held)-1] // its release removes nothing yet
				err := s.Release("t", base)
				synctest.Wait()
				kill(s)
				n.take()
				s = openMem(t, disk.CrashKeepNothing(), o)
				defer s.Close()
				if again := slices.Contains(n.take(), base); again && err == nil {
					t.Errorf("the release of %d is not there after a power cut, and was promised", base)
				}
				if errors.Is(short, syscall.EIO) != errors.Is(err, ErrReadOnly) {
					t.Errorf("release after %v: %v", short, err)
				}
			})
		})
	}
}

// asking is a Holder that looks whether a release could come between the
// decision to hold and the call.
type asking struct {
	noter
	log  *Log
	free int
}

func (a *asking) Hold(h Held) {
	released := make(chan struct{})
	go func() {
		defer close(released)
		a.log.Released(-1) // of nothing that is held
	}()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-released:
		a.free++
	default:
	}
	a.noter.Hold(h)
}

// A partition that was removed before the holder hears that it is held stays in
// the holder's list for ever.
func TestHoldIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asking
		s := openMem(t, vfstest.New(), holding(&a))
		defer s.Close()
		a.log = mustCreate(t, s, "t")
		at := fill(t, a.log, 6)
		if held := a.take(); len(held) == 0 || a.free > 0 {
			t.Errorf("held %v of %v, and in %d of the calls a release could have come before", held, at, a.free)
		}
	})
}

// What is not durable is not removed, however short the disk is: nobody is told
// that it is gone.
func TestKeepFreeKeepsTheUnsynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		o := holding(&n)
		o.FlushBatches, o.KeepFree = 1, 1<<50
		s := openMem(t, vfstest.New(), o)
		defer s.Close()
		l := mustCreate(t, s, "t")
		var last Appended
		for range 5 {
			r := batchOf("t", "x")
			var err error
			if last, err = l.Append(t.Context(), r.data, r.extents); err != nil {
				t.Fatal(err)
			}
		}
		// Nor is a hook run for what a power cut may take back.
		if held := n.take(); l.Oldest() != 0 || len(n.gone) > 0 || len(held) > 0 {
			t.Errorf("the log begins at %d, %v are held, and %v are said to be gone; nothing is synced", l.Oldest(), held, n.gone)
		}
		must(t, l.Commit(t.Context(), last))
		time.Sleep(time.Hour)
		synctest.Wait()
		if gone := n.gone; l.Oldest() == 0 || len(gone) == 0 {
			t.Errorf("the log begins at %d, and %v are said to be gone; all is synced", l.Oldest(), gone)
		}
	})
}

// keptRoom is a disk whose files keep their room when they are removed, as they
// do while somebody reads them.
type keptRoom struct {
	*vfstest.FS
	free int64
}

func (k *keptRoom) Free() (int64, error) { return k.free, nil }

// What is removed counts as free, although a reader still has it open: no more
// goes than it takes.
func TestKeepFreeCountsWhatReadersHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		o := holding(&n)
		disk := &keptRoom{FS: vfstest.New(), free: 1000}
		o.KeepFree = 1000
		o.FS = disk
		s, err := Open(t.Context(), o)
		must(t, err)
		defer s.Close()
		l := mustCreate(t, s, "t")
		at := fill(t, l, 6)
		if l.Oldest() != 0 {
			t.Fatalf("the log begins at %d with room enough", l.Oldest())
		}
		disk.free = 999 // one partition has more than what is missing
		s.retention.kick(l)
		synctest.Wait()
		if l.Oldest() != at[1] || !slices.Equal(n.gone, at[:1]) {
			t.Errorf("the log begins at %d, %v are gone; want the first alone of %v", l.Oldest(), n.gone, at)
		}
	})
}
