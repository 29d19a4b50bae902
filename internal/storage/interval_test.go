package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/syncs"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// slowSyncs has every sync take a millisecond.
func slowSyncs(disk *vfstest.FS) {
	disk.BeforeOp(func(op vfstest.Op) {
		if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpSyncAll {
			time.Sleep(time.Millisecond)
		}
	})
}

// TestIntervalTogether makes sure that many logs share a sync, that a few do
// not, and that all are synced within the interval either way.
func TestIntervalTogether(t *testing.T) {
	for n, together := range map[int]int{2: 0, 3: 0, 4: 1, 100: 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				slowSyncs(disk)
				o := Options{FlushInterval: time.Second}
				s := openMem(t, disk, o)
				for i := range n {
					topic := fmt.Sprint("t", i)
					mustAppend(t, mustCreate(t, s, topic), batchOf(topic, "one"))
				}
				time.Sleep(time.Second + 50*time.Millisecond)
				synctest.Wait()
				if got := strings.Count(disk.Trace(), "\nsyncall"); got != together {
					t.Errorf("%d syncs of all, want %d", got, together)
				}
				s2 := openMem(t, disk.CrashKeepNothing(), o)
				for i := range n {
					wantBodies(t, mustLog(t, s2, fmt.Sprint("t", i)), "one")
				}
				if err := errors.Join(s2.Close(), s.Close()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestSyncTogether syncs logs because it is told to: few by themselves, many at once,
// beside a file that is not storage's.
func TestSyncTogether(t *testing.T) {
	for n, together := range map[int]int{0: 0, 1: 0, 3: 0, 4: 1, 50: 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			disk, o := vfstest.New(), Options{Managed: true}
			s := openMem(t, disk, o)
			var logs []*Log
			for i := range n {
				l := mustCreate(t, s, fmt.Sprint("t", i))
				mustAppend(t, l, batchOf(l.Name(), "one"))
				logs = append(logs, l)
			}
			mine := errors.New("mine")
			errs, err := s.SyncTogether(logs, func() error { return mine })
			if err != mine || len(errs) != n || errors.Join(errs...) != nil {
				t.Errorf("errors %v, and %v", errs, err)
			}
			if got := strings.Count(disk.Trace(), "\nsyncall"); got != together {
				t.Errorf("%d syncs of all, want %d", got, together)
			}
			s2 := openMem(t, disk.CrashKeepNothing(), o)
			for _, l := range logs {
				again := mustLog(t, s2, l.Name())
				again.SetReadable(l.Next())
				wantBodies(t, again, "one")
			}
			must(t, s2.Close())

			// What has nothing new is left alone; what fails is told of the log alone.
			before := disk.Ops()
			if errs, err := s.SyncTogether(logs, nil); errors.Join(errs...) != nil || err != nil || disk.Ops() != before {
				t.Errorf("errors %v, and %v, %d operations", errs, err, disk.Ops()-before)
			}
			if n == 3 {
				for _, l := range logs {
					mustAppend(t, l, batchOf(l.Name(), "two"))
				}
				disk.FailSync("t1/0.log")
				errs, err := s.SyncTogether(logs, nil)
				if err != nil || errs[0] != nil || !errors.Is(errs[1], ErrReadOnly) || errs[2] != nil {
					t.Errorf("errors %v, and %v", errs, err)
				}
				kill(s)
				return
			}
			must(t, s.Close())
		})
	}
}

// commitAll appends to all logs at once, and returns when that is on stable
// storage, after how many syncs of all.
func commitAll(t *testing.T, disk *vfstest.FS, logs []*Log) int {
	t.Helper()
	before := strings.Count(disk.Trace(), "\nsyncall")
	var g sync.WaitGroup
	for _, l := range logs {
		g.Go(func() { mustAppend(t, l, batchOf(l.Name(), "one")) })
	}
	g.Wait()
	return strings.Count(disk.Trace(), "\nsyncall") - before
}

// TestCommitsGather makes sure that logs which come while another is synced go
// together after it: side by side, or by one sync of all.
func TestCommitsGather(t *testing.T) {
	for n, together := range map[int]int{1: 0, 2: 0, 3: 0, 10: 1, 100: 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s := openMem(t, disk, Options{FlushBatches: 1})
				var logs []*Log
				for i := range n {
					logs = append(logs, mustCreate(t, s, fmt.Sprint("t", i)))
				}
				commitAll(t, disk, logs) // names, too
				slowSyncs(disk)
				begun := time.Now()
				if got := commitAll(t, disk, logs); got != together {
					t.Errorf("%d syncs of all, want %d", got, together)
				}
				rounds := min(n, 2)
				if took := time.Since(begun); took != time.Duration(rounds)*time.Millisecond {
					t.Errorf("took %v, want %d syncs one after another", took, rounds)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestSlowSyncOfAll makes sure that logs are synced by themselves for a while
// after a sync of all took long: somebody else keeps the file system busy.
func TestSlowSyncOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushBatches: 1})
		var logs []*Log
		for i := range 20 {
			logs = append(logs, mustCreate(t, s, fmt.Sprint("t", i)))
		}
		slow := true
		disk.BeforeOp(func(op vfstest.Op) {
			switch op.Kind {
			case vfstest.OpSync:
				time.Sleep(time.Millisecond)
			case vfstest.OpSyncAll:
				time.Sleep(time.Millisecond)
				if slow {
					time.Sleep(time.Second)
				}
			}
		})
		for i, want := range []int{1, 0, 0, 1} {
			if got := commitAll(t, disk, logs); (got > 0) != (want > 0) {
				t.Errorf("round %d: %d syncs of all, want %d", i, got, want)
			}
			slow = false
			if i == 2 {
				time.Sleep(syncs.ApartFor)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// twoDisks is a disk on which the files of topic "t0" are on another device,
// mounted there.
type twoDisks struct{ *vfstest.FS }

type otherDisk struct{ fs.FileInfo }

func (d otherDisk) Sys() any {
	st := *d.FileInfo.Sys().(*syscall.Stat_t)
	st.Dev = 7
	return &st
}

type otherEntry struct{ fs.DirEntry }

func (d otherEntry) Info() (fs.FileInfo, error) {
	st, err := d.DirEntry.Info()
	return otherDisk{st}, err
}

type otherFile struct{ vfs.File }

func (f otherFile) Stat() (fs.FileInfo, error) {
	st, err := f.File.Stat()
	return otherDisk{st}, err
}

func (d twoDisks) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := d.FS.ReadDir(name)
	for i := range dir {
		if name == "t0" {
			dir[i] = otherEntry{dir[i]}
		}
	}
	return dir, err
}

func (d twoDisks) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasPrefix(name, "t0/") {
		f = otherFile{f}
	}
	return f, err
}

// TestSyncOfAnotherDevice makes sure that a topic on another file system is
// synced by itself: a sync of all does not concern it.
func TestSyncOfAnotherDevice(t *testing.T) {
	for _, o := range []Options{{FlushBatches: 1}, {FlushInterval: time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfstest.New()
			slowSyncs(disk)
			o.FS, o.Logger = twoDisks{disk}, testLogger(t)
			s, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"new", "opened"} {
				var logs []*Log
				for i := range 10 {
					logs = append(logs, mustCreate(t, s, fmt.Sprint("t", i)))
				}
				for range 3 {
					disk.ResetTrace()
					commitAll(t, disk, logs)
					time.Sleep(2 * time.Second)
					if trace := disk.Trace(); !strings.Contains(trace, "\nsync t0/0.log") || !strings.Contains(trace, "\nsyncall") {
						t.Errorf("%s: operations are\n%s\nwant a sync of t0/0.log, and one of all", when, trace)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
		})
	}
}

// TestIntervalTogetherFails makes sure that after a failed sync of all only
// those logs end that it concerns.
func TestIntervalTogetherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		slowSyncs(disk)
		o := Options{FlushInterval: time.Second}
		s := openMem(t, disk, o)
		var logs []*Log
		for i := range 40 {
			topic := fmt.Sprint("t", i)
			logs = append(logs, mustCreate(t, s, topic))
			mustAppend(t, logs[i], batchOf(topic, "one"))
		}
		time.Sleep(2 * time.Second)
		for i, l := range logs[:30] {
			mustAppend(t, l, batchOf(fmt.Sprint("t", i), "two"))
		}
		disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncAll }})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		failed := 0
		for i, l := range logs {
			if l.Failed() == nil {
				mustAppend(t, l, batchOf(l.Name(), "more"))
			} else if failed++; i >= 30 {
				t.Errorf("%s, which had nothing to sync: %v", l.Name(), l.Failed())
			}
		}
		if failed != 30 {
			t.Errorf("%d logs have failed, want the 30 that were to be synced together", failed)
		}
		time.Sleep(2 * time.Second)
		image := disk.CrashKeepNothing()
		image.ClearFaults()
		s2 := openMem(t, image, o)
		for i, l := range logs {
			switch {
			case l.Failed() != nil: // what is there is not known
			case i < 30:
				wantBodies(t, mustLog(t, s2, l.Name()), "one", "two", "more")
			default:
				wantBodies(t, mustLog(t, s2, l.Name()), "one", "more")
			}
		}
		s2.Close()
		s.Close() // says which have failed
	})
}

// TestIntervalHurries makes sure that topics which wait to be synced do not keep
// more files open than there may be, however many they are.
func TestIntervalHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{FlushInterval: time.Hour, OpenFiles: 2}
		s := openMem(t, disk, o)
		for i := range 200 {
			topic := fmt.Sprint("t", i)
			mustAppend(t, mustCreate(t, s, topic), batchOf(topic, "one"))
			synctest.Wait()
			if n := disk.Open(); n > 16*o.OpenFiles+5 {
				t.Fatalf("%d files are open with %d topics", n, i+1)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestIntervalMakesRoom makes sure that appends which find no descriptor, since
// all are kept for a sync, find one.
func TestIntervalMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: time.Hour})
		l := mustCreate(t, s, "t")
		mustAppend(t, l, batchOf("t", "one"))
		s.interval.pass()
		for i := range 10 {
			topic := fmt.Sprint("t", i)
			mustAppend(t, mustCreate(t, s, topic), batchOf(topic, "one"))
		}
		s.files.Evict(0) // all but those that are kept
		disk.SetMaxOpen(3)
		mustAppend(t, l, batchOf("t", "two"))
		disk.SetMaxOpen(-1)
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, st := range s.Stats().Topics {
			if st.Unsynced > 0 || st.Err != nil {
				t.Errorf("%s has %d bytes unsynced (%v)", st.Topic, st.Unsynced, st.Err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// noSyncAll is a file system without a sync of all.
type noSyncAll struct{ vfs.FS }

func (noSyncAll) SyncAll() error { return errors.ErrUnsupported }

// openMany opens a store on a real disk with n topics, and returns a small
// batch for each.
func openMany(b *testing.B, o Options, n int, together bool) (s *Store, logs []*Log, runs []run) {
	b.Helper()
	o.FS, o.OpenFiles = osFS(b, b.TempDir()), 4*n
	if !together {
		o.FS = noSyncAll{o.FS}
	}
	s = openStore(b, o)
	for i := range n {
		topic := fmt.Sprint("t", i)
		logs = append(logs, mustCreate(b, s, topic))
		runs = append(runs, batchOf(topic, strings.Repeat("x", 100)))
	}
	return s, logs, runs
}

// BenchmarkIntervalPass syncs a batch in each of many logs on a real disk.
func BenchmarkIntervalPass(b *testing.B) {
	for _, n := range []int{1, 8, 32, 100, 1000} {
		for _, together := range []bool{false, true} {
			b.Run(fmt.Sprintf("topics=%d/together=%v", n, together), func(b *testing.B) {
				s, logs, runs := openMany(b, Options{FlushInterval: time.Hour}, n, together)
				round := func() {
					b.StopTimer()
					for i, l := range logs {
						mustAppend(b, l, runs[i])
					}
					b.StartTimer()
					s.interval.pass()
				}
				round()
				for b.Loop() {
					round()
				}
			})
		}
	}
}

// BenchmarkCommitTogether appends a batch to each of many logs, with every one
// on stable storage before it is acknowledged: to all at once, and each when it
// has done the one before.
func BenchmarkCommitTogether(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8, 32, 100} {
		for _, together := range []bool{false, true} {
			name := fmt.Sprintf("topics=%d/together=%v", n, together)
			b.Run("at-once/"+name, func(b *testing.B) {
				_, logs, runs := openMany(b, Options{FlushBatches: 1}, n, together)
				for b.Loop() {
					var g sync.WaitGroup
					for i, l := range logs {
						g.Go(func() { mustAppend(b, l, runs[i]) })
					}
					g.Wait()
				}
			})
			b.Run("in-turn/"+name, func(b *testing.B) {
				_, logs, runs := openMany(b, Options{FlushBatches: 1}, n, together)
				b.ResetTimer()
				var g sync.WaitGroup
				for i, l := range logs {
					g.Go(func() {
						for range b.N {
							mustAppend(b, l, runs[i])
						}
					})
				}
				g.Wait()
			})
		}
	}
}
