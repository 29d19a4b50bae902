package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// What could not be written back is told once, to one who asks. These tests have
// somebody else ask first.

// syncTogether has logs sync at the same time, and returns their errors.
func syncTogether(t *testing.T, logs ...*Log) []error {
	t.Helper()
	errs := make([]error, len(logs))
	var g sync.WaitGroup
	for i, l := range logs {
		g.Go(func() { errs[i] = l.SyncTo(t.Context(), l.Next()) })
	}
	g.Wait()
	return errs
}

// slowPartitions makes syncs of partitions take some time, so that others come to
// wait for them.
func slowPartitions(disk *vfstest.FS) {
	disk.BeforeOp(func(op vfstest.Op) {
		if op.Kind == vfstest.OpSync && path.Ext(op.Name) == ".log" {
			time.Sleep(time.Millisecond)
		}
	})
}

// newLogs makes logs of which everything is synced.
func newLogs(t *testing.T, s *Store, names ...string) (logs []*Log) {
	t.Helper()
	for _, name := range names {
		l := mustCreate(t, s, name)
		mustAppend(t, l, batchOf(name, "one"))
		must(t, l.SyncTo(t.Context(), l.Next()))
		logs = append(logs, l)
	}
	return logs
}

// TestSharedSyncReportsOnce makes sure that after a failed sync of all no other one
// counts for those whose bytes it concerned and who did not wait for it.
func TestSharedSyncReportsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushBatches: 1})
		first := newLogs(t, s, "first0", "first1", "first2", "first3", "first4")
		later := newLogs(t, s, "later0", "later1", "later2", "later3")
		var g sync.WaitGroup
		var stored [4]atomic.Bool
		commit := func(l *Log, then func(error)) {
			r := batchOf(l.Name(), "two")
			a, err := l.Append(t.Context(), r.data, r.extents)
			if err != nil {
				t.Error(err)
				return
			}
			g.Go(func() { then(l.Commit(t.Context(), a)) })
		}
		shared := 0
		disk.BeforeOp(func(op vfstest.Op) {
			switch op.Kind {
			case vfstest.OpSync: // the others wait, to go together
				time.Sleep(time.Millisecond)
			case vfstest.OpSyncAll:
				if shared++; shared > 1 {
					return
				}
				for i, l := range later { // while it is under way
					commit(l, func(err error) { stored[i].Store(err == nil) })
				}
				time.Sleep(time.Millisecond)
				disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncAll }})
			}
		})
		for _, l := range first {
			commit(l, func(error) {})
		}
		g.Wait()
		if shared == 0 {
			t.Fatal("there was no shared sync")
		}
		disk.BeforeOp(nil)
		s2 := openMem(t, disk.CrashKeepNothing(), Options{FlushBatches: 1})
		for i, l := range later {
			got, err := bodiesFrom(mustLog(t, s2, l.Name()), 0)
			must(t, err)
			if stored[i].Load() && len(got) < 2 {
				t.Errorf("%s: a batch that was acknowledged is gone after a power cut: %q (failed: %v)", l.Name(), got, l.Failed())
			}
			if l.Failed() == nil {
				t.Errorf("%s has not failed, although its batch can't be on the disk", l.Name())
			}
		}
		s2.Close()
		s.Close()
	})
}

// TestReportOfAnother has the report of a log's write-back taken by somebody
// before the log is synced: that must fail.
func TestReportOfAnother(t *testing.T) {
	type logs struct {
		t           *testing.T
		disk        *vfstest.FS
		s           *Store
		late, other *Log
		rest        []*Log
	}
	together := func(l *logs, others ...*Log) error {
		return syncTogether(l.t, append([]*Log{l.late}, others...)...)[0]
	}
	alone := func(l *logs) error { return l.late.SyncTo(l.t.Context(), l.late.Next()) }
	// tellAll has a sync of all be told of what has failed.
	tellAll := func(l *logs) {
		for _, o := range l.rest {
			mustAppend(l.t, o, batchOf(o.Name(), "two"))
		}
		before := l.s.syncs.Failures()
		for _, err := range syncTogether(l.t, l.rest...) {
			must(l.t, err)
		}
		if l.s.syncs.Failures() == before {
			l.t.Error("no sync of all was told of an error")
		}
	}
	for name, test := range map[string]struct {
		o    Options
		take func(*logs)
		sync func(*logs) error
	}{
		"a sync of all for other topics": {Options{}, func(l *logs) {
			mustAppend(l.t, l.late, batchOf("late", "two"))
			l.disk.FailWriteback("late/0.log")
			tellAll(l)
		}, func(l *logs) error {
			for _, o := range l.rest {
				mustAppend(l.t, o, batchOf(o.Name(), "three"))
			}
			return together(l, l.rest...)
		}},
		"a sync of all for want of a descriptor": {Options{PartitionSize: 1}, func(l *logs) {
			two := mustAppend(l.t, l.late, batchOf("late", "two"))
			l.disk.FailWriteback(layout.Partition("late", two.Offset))
			mustAppend(l.t, l.other, batchOf("other", "two")) // in a partition of its own, whose name is new
			l.s.files.Evict(0)
			l.disk.SetMaxOpen(l.disk.Open()) // too few to open a folder
			l.other.SyncTo(l.t.Context(), l.other.Next())
			l.disk.SetMaxOpen(-1)
			if l.s.syncs.Failures() == 0 {
				l.t.Error("there was no sync of all")
			}
		}, func(l *logs) error {
			for _, o := range l.rest {
				mustAppend(l.t, o, batchOf(o.Name(), "three"))
			}
			return together(l, l.rest...)
		}},
		"a sync of all while a sync by itself waits": {Options{PartitionSize: 1}, func(l *logs) {
			var g sync.WaitGroup
			begin := func(o *Log, end int64) {
				g.Go(func() { o.SyncTo(l.t.Context(), end) })
				synctest.Wait()
			}
			mustAppend(l.t, l.other, batchOf("other", "two"))
			begin(l.other, l.other.Next()) // all others wait for it, and then go together
			two := mustAppend(l.t, l.late, batchOf("late", "two"))
			begin(l.late, two.End)
			mustAppend(l.t, l.late, batchOf("late", "three")) // in a partition of its own
			l.disk.FailWriteback(layout.Partition("late", two.End))
			for _, o := range l.rest {
				mustAppend(l.t, o, batchOf(o.Name(), "two"))
				begin(o, o.Next())
			}
			g.Wait()
			if l.s.syncs.Failures() == 0 {
				l.t.Error("no sync of all was told of an error")
			}
		}, func(l *logs) error {
			for _, o := range l.rest {
				mustAppend(l.t, o, batchOf(o.Name(), "three"))
			}
			return together(l, l.rest...)
		}},
		"the close of the file": {Options{}, func(l *logs) {
			mustAppend(l.t, l.late, batchOf("late", "two"))
			l.disk.FailWriteback("late/0.log")
			l.s.files.Evict(0)
		}, alone},
		"the removal of a partition": {Options{PartitionSize: 1}, func(l *logs) {
			two := mustAppend(l.t, l.late, batchOf("late", "two"))
			mustAppend(l.t, l.late, batchOf("late", "three")) // in a partition of its own
			l.disk.FailWriteback("late")
			if err := l.late.AdvanceOldest(two.End); err == nil {
				l.t.Error("names could not be removed durably, and nobody was told")
			}
		}, alone},
		"the sync of the work directory for another topic": {Options{}, func(l *logs) {
			l.late, l.other = mustCreate(l.t, l.s, "new"), mustCreate(l.t, l.s, "newer")
			mustAppend(l.t, l.late, batchOf("new", "one"))
			mustAppend(l.t, l.other, batchOf("newer", "one"))
			l.disk.FailWriteback(".")
			if err := l.other.SyncTo(l.t.Context(), l.other.Next()); !errors.Is(err, ErrReadOnly) {
				l.t.Errorf("the other topic: %v", err)
			}
		}, alone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				test.o.FlushInterval, test.o.Partitions = -1, -1
				s := openMem(t, disk, test.o)
				l := &logs{t: t, disk: disk, s: s}
				l.late, l.other = newLogs(t, s, "late")[0], newLogs(t, s, "other")[0]
				l.rest = newLogs(t, s, "a", "b", "c", "d", "e", "f")
				slowPartitions(disk)
				test.take(l)
				if err := test.sync(l); !errors.Is(err, ErrReadOnly) {
					t.Errorf("the sync of what is lost: %v, want ErrReadOnly", err)
				}
				for _, o := range l.rest {
					mustAppend(t, o, batchOf(o.Name(), "more"))
				}
				for i, err := range syncTogether(t, l.rest...) {
					if err != nil {
						t.Errorf("%s, which lost nothing: %v", l.rest[i].Name(), err)
					}
				}
				s.Close() // says which have failed
			})
		})
	}
}

// TestReportOfAnIndex: an index that could not be made what it must be before an append is
// not tried again.
func TestReportOfAnIndex(t *testing.T) {
	disk, o := vfstest.New(), Options{FlushInterval: -1}
	s := openMem(t, disk, o)
	mustAppend(t, mustCreate(t, s, "late"), batchOf("late", "one"))
	must(t, s.Close())
	b, err := disk.ReadFile("late/0.idx")
	must(t, err)
	must(t, disk.WriteFile("late/0.idx", append(b, "not an entry"...)))
	s = openMem(t, disk, o)
	defer s.Close() // says that it has failed
	l := mustLog(t, s, "late")
	disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync && op.Name == "late/0.idx" }})
	for _, body := range []string{"two", "three"} {
		r := batchOf("late", body)
		if _, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, ErrReadOnly) {
			t.Errorf("append of %s where the index can't be cut: %v", body, err)
		}
	}
	if disk.Faults() != 1 {
		t.Errorf("%d syncs have failed, want 1", disk.Faults())
	}
}

// TestReportUnderWay has the report be taken by one who has not yet noted it
// when another, who shares the descriptor, is done.
func TestReportUnderWay(t *testing.T) {
	sync := func(l *Log) error { return l.SyncTo(t.Context(), l.Next()) }
	size := int64(len(batchOf("t", "one").data))
	head := layout.Partition("t", 2*size)
	for name, test := range map[string]struct {
		lost    string // what could not be written
		op      vfstest.Op
		take    func(*Log) error
		another func(*Log) error
	}{
		"the cut after a partial write": {head, vfstest.Op{Kind: vfstest.OpSync, Name: head}, func(l *Log) error {
			r := batchOf("t", "cut")
			_, err := l.Append(t.Context(), r.data, r.extents)
			return err
		}, sync},
		"the names": {"t/journal", vfstest.Op{Kind: vfstest.OpSync, Name: "t/journal"}, sync, func(l *Log) error {
			_, _, err := l.Hold(headOf(l).Base())
			return err
		}},
		"a removal": {"t", vfstest.Op{Kind: vfstest.OpSyncDir, Name: "t"}, func(l *Log) error {
			return l.AdvanceOldest(headOf(l).Base())
		}, sync},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfstest.New()
			s := openMem(t, disk, Options{FlushInterval: -1, PartitionSize: 2 * size, Partitions: -1})
			l := mustCreate(t, s, "t")
			for _, body := range []string{"one", "two", "one"} { // two to a partition
				mustAppend(t, l, batchOf("t", body))
			}
			if name := headOf(l).File().Name(); name != head {
				t.Fatalf("the head is %s", name)
			}
			disk.FailWriteback(test.lost)
			disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Written: 5, Match: func(op vfstest.Op) bool {
				return op.Kind == vfstest.OpWrite && op.Name == head
			}})
			told, goOn := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			disk.OnOp(func(op vfstest.Op) {
				if op.Kind == test.op.Kind && op.Name == test.op.Name && op.Err != nil && once.CompareAndSwap(false, true) {
					close(told)
					<-goOn
				}
			})
			errs := make(chan error, 2)
			go func() { errs <- test.take(l) }()
			select {
			case <-told:
			case err := <-errs:
				t.Fatalf("nobody was told: %v", err)
			}
			var done atomic.Bool
			go func() {
				defer done.Store(true)
				errs <- test.another(l)
			}()
			for i := 0; i < 10_000 && !done.Load(); i++ { // it is to wait
				runtime.Gosched()
			}
			close(goOn)
			for range 2 {
				if err := <-errs; !errors.Is(err, ErrReadOnly) {
					t.Errorf("%v, want ErrReadOnly", err)
				}
			}
			disk.OnOp(nil)
			s.Close()
		})
	}
}

// TestReportsAtRandom appends to topics, lets some of it not be written back, and
// has them synced alone and together: all that a sync has promised is there
// after a power cut.
func TestReportsAtRandom(t *testing.T) {
	runs := crashRuns(t, 60)
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 11))
			disk := vfstest.New()
			slowPartitions(disk)
			o := Options{FlushInterval: -1, PartitionSize: 300, Partitions: -1, OpenFiles: 4}
			s := openMem(t, disk, o)
			var logs []*Log
			promised := make(map[string]int64)
			appended := make(map[string][]int64) // offsets behind batches
			for step := range 60 {
				name := fmt.Sprint("t", rng.IntN(8))
				switch rng.IntN(9) {
				case 0, 1, 2, 3:
					l, err := s.Create([]byte(name))
					if err != nil {
						continue
					}
					if len(appended[name]) == 0 {
						logs = append(logs, l)
					}
					r := batchOf(name, fmt.Sprint("message ", step))
					if a, err := l.Append(t.Context(), r.data, r.extents); err == nil {
						appended[name] = append(appended[name], a.End)
					}
				case 4:
					disk.FailWriteback([]string{name + "/*.log", name, name + "/journal", "."}[rng.IntN(4)])
				case 5:
					s.files.Evict(0)
				case 6:
					disk.SetMaxOpen(disk.Open() + rng.IntN(3))
				case 7:
					disk.SetMaxOpen(-1)
				default:
					some := logs
					if len(logs) > 0 && rng.IntN(3) == 0 {
						some = logs[rng.IntN(len(logs)):][:1]
					}
					ends := make([]int64, len(some))
					for i, l := range some {
						ends[i] = l.Next()
					}
					for i, err := range syncTogether(t, some...) {
						if err == nil {
							promised[some[i].Name()] = ends[i]
						}
					}
				}
			}
			kill(s)
			synctest.Wait()
			s2 := openMem(t, disk.CrashKeepNothing(), o)
			for name, end := range promised {
				if end == 0 {
					continue
				}
				l, err := s2.Log([]byte(name))
				if err != nil {
					t.Errorf("seed %d: %s was synced up to %d: %v", seed, name, end, err)
					continue
				}
				for _, r := range append(*l.Damaged(), layout.Range{From: l.Next()}) {
					if r.From < end {
						t.Errorf("seed %d: %s was synced up to %d, and is gone from %d on", seed, name, end, r.From)
					}
				}
			}
			s2.Close()
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d runs", runs)
}
