package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// faultRun is one workload on a disk of which one operation fails.
type faultRun struct {
	t    *testing.T
	disk *vfstest.FS
	o    Options
	s    *Store

	acked   []string // bodies that were acknowledged, in order
	refused map[string]bool
	gone    int // of acked: how many may be gone because they were removed
	failed  []error
	n       int
}

// append writes a batch and notes what became of it.
func (r *faultRun) append() { r.appendRun(1) }

// appendRun writes n batches at once and notes what became of them.
func (r *faultRun) appendRun(n int) {
	l, err := r.s.Create([]byte("t"))
	if err != nil {
		r.note(err)
		return
	}
	var run run
	var bodies []string
	for range n {
		r.n++
		bodies = append(bodies, fmt.Sprintf("message %d", r.n))
		run.add("t", bodies[len(bodies)-1])
	}
	a, err := l.Append(context.Background(), run.data, run.extents)
	r.note(err)
	if e := l.Commit(context.Background(), a); e != nil {
		r.note(e)
		a.Batches = 0
		err = errors.Join(err, e)
	}
	r.acked = append(r.acked, bodies[:a.Batches]...)
	for _, body := range bodies[a.Batches:] {
		r.refused[body] = !errors.Is(err, ErrInDoubt)
	}
}

func (r *faultRun) note(err error) {
	if err != nil {
		r.failed = append(r.failed, err)
	}
}

// log returns the topic's log, or nil if there is none yet.
func (r *faultRun) log() *Log {
	l, err := r.s.Log([]byte("t"))
	if err != nil {
		return nil
	}
	return l
}

func (r *faultRun) open() {
	s, err := Open(context.Background(), r.o)
	r.note(err)
	if err != nil {
		return
	}
	r.s = s
	for _, err := range s.Broken() {
		r.note(err)
	}
}

// faultWorkloads are the things that a log does to a disk. Each begins with an
// open store, and leaves one unless it could not be opened.
var faultWorkloads = []struct {
	name string
	o    Options
	do   func(*faultRun)
}{
	{"append", Options{FlushBatches: 1}, func(r *faultRun) {
		for range 3 {
			r.append()
		}
	}},
	{"append in twos", Options{FlushBatches: 2, FlushInterval: -1}, func(r *faultRun) {
		for range 4 {
			r.append()
		}
	}},
	{"append several", Options{FlushBatches: 1, PartitionSize: 150}, func(r *faultRun) {
		r.appendRun(3)
		r.appendRun(4)
		kill(r.s)
		r.s = nil
		r.open()
	}},
	{"append unsynced", Options{FlushInterval: -1}, func(r *faultRun) {
		for range 3 {
			r.append()
		}
		if l := r.log(); l != nil {
			r.note(l.SyncTo(context.Background(), l.Next()))
		}
	}},
	{"interval", Options{FlushInterval: time.Hour, syncTogether: 1}, func(r *faultRun) {
		for range 3 {
			r.append()
			r.s.interval.pass()
			if l := r.log(); l != nil {
				r.note(l.Failed())
			}
		}
	}},
	{"rotate", Options{FlushBatches: 1, PartitionSize: 1}, func(r *faultRun) {
		for range 4 {
			r.append()
		}
	}},
	{"trim", Options{FlushBatches: 1, PartitionSize: 80}, func(r *faultRun) {
		for range 4 {
			r.append()
		}
		if l := r.log(); l != nil {
			r.gone = len(r.acked)
			_, err := l.Trim(context.Background(), l.Next())
			r.note(err)
		}
	}},
	{"retain", Options{FlushBatches: 1, PartitionSize: 1}, func(r *faultRun) {
		for range 4 {
			r.append()
		}
		if l := r.log(); l != nil {
			r.gone = len(r.acked) // the head may be empty
			r.note(l.AdvanceOldest(l.Next()))
		}
		r.append()
	}},
	{"truncate", Options{FlushBatches: 1, PartitionSize: 100}, func(r *faultRun) {
		for range 4 {
			r.append()
		}
		l := r.log()
		if l == nil || len(r.acked) < 4 {
			return
		}
		offset, err := l.OffsetOf(3)
		r.note(err)
		if err == nil {
			cut := r.acked[3:]
			r.acked = r.acked[:3]
			if err := l.TruncateTo(context.Background(), offset); err != nil {
				r.note(err)
				for _, body := range cut {
					r.refused[body] = false // there or not
				}
			}
		}
		r.append()
	}},
	{"recover", Options{FlushBatches: 1, PartitionSize: 100}, func(r *faultRun) {
		for range 3 {
			r.append()
		}
		kill(r.s)
		r.s = nil
		r.open()
		if r.s != nil {
			r.append()
		}
	}},
	{"close", Options{FlushInterval: -1}, func(r *faultRun) {
		for range 3 {
			r.append()
		}
		err := r.s.Close()
		r.s = nil
		r.note(err)
		if err != nil {
			r.acked = nil // what Close could not sync was not promised to survive
		}
		r.open()
	}},
}

// TestFaults fails every single operation of every workload, with every error,
// and checks what is promised then. The sweep of a workload ends with the
// first run that has no fault.
func TestFaults(t *testing.T) {
	faults := []struct {
		name  string
		fault vfstest.Fault
	}{
		{"EIO", vfstest.Fault{}},
		{"ENOSPC", vfstest.Fault{Err: syscall.ENOSPC}},
		{"short EIO", vfstest.Fault{Written: 5}},
		{"short ENOSPC", vfstest.Fault{Err: syscall.ENOSPC, Written: 5}},
		// A whole batch of several is written.
		{"half EIO", vfstest.Fault{Written: 70}},
		{"half ENOSPC", vfstest.Fault{Err: syscall.ENOSPC, Written: 70}},
	}
	for _, w := range faultWorkloads {
		for _, f := range faults {
			t.Run(w.name+"/"+f.name, func(t *testing.T) {
				for n := 1; ; n++ {
					if n > 500 {
						t.Fatal("no end of faults")
					}
					r := newFaultRun(t, w.o, nil)
					r.disk.FailAt(n, f.fault)
					w.do(r)
					hit := r.disk.Faults() > 0
					r.disk.ClearFaults()
					if err := r.check(errors.Is(f.fault.Err, syscall.ENOSPC)); err != nil {
						t.Fatalf("operation %d failed: %v\nerrors: %v\nacknowledged: %q\n%s", n, err, r.failed, r.acked, r.disk.Trace())
					}
					if !hit {
						return
					}
				}
			})
		}
	}
}

// TestCommitInDoubt: an error of Commit says that nothing is stored only where
// that is known.
func TestCommitInDoubt(t *testing.T) {
	eio := vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync && op.Name == "t/0.log" }}
	uncuttable := vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpTruncate }}
	unsyncable := eio
	unsyncable.Forever = true
	for name, test := range map[string]struct {
		flush   int
		faults  []vfstest.Fault
		inDoubt bool
	}{
		"it is cut off":                 {1, []vfstest.Fault{eio}, false},
		"it is cut off, and not synced": {1, []vfstest.Fault{unsyncable}, false},
		"it can't be cut off":           {1, []vfstest.Fault{eio, uncuttable}, true},
		"readers may have had some":     {2, []vfstest.Fault{eio}, true},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfstest.New()
			s := openMem(t, disk, Options{FlushBatches: test.flush, FlushInterval: -1})
			defer kill(s)
			l := mustCreate(t, s, "t")
			for range test.flush - 1 {
				mustAppend(t, l, batchOf("t", "before"))
			}
			for _, f := range test.faults {
				disk.FailAt(1, f)
			}
			r := batchOf("t", "one")
			a, err := l.Append(t.Context(), r.data, r.extents)
			if err != nil {
				t.Fatal(err)
			}
			err = l.Commit(t.Context(), a)
			if !errors.Is(err, ErrReadOnly) || errors.Is(err, ErrInDoubt) != test.inDoubt {
				t.Errorf("Commit: %v, in doubt %v, want %v", err, errors.Is(err, ErrInDoubt), test.inDoubt)
			}
		})
	}
	t.Run("nobody waits for the sync", func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushBatches: 1})
		l := mustCreate(t, s, "t")
		r := batchOf("t", "one")
		a, err := l.Append(t.Context(), r.data, r.extents)
		if err != nil {
			t.Fatal(err)
		}
		begun, goOn := make(chan struct{}), make(chan struct{})
		disk.BeforeOp(func(op vfstest.Op) {
			if op.Kind == vfstest.OpSync && op.Name == "t/0.log" {
				close(begun)
				<-goOn
				disk.BeforeOp(nil)
			}
		})
		done := make(chan error, 1)
		go func() { done <- l.Commit(context.Background(), a) }()
		<-begun
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Commit(ctx, a); !errors.Is(err, ErrInDoubt) || !errors.Is(err, context.Canceled) {
			t.Errorf("Commit: %v, want ErrInDoubt", err)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Errorf("the Commit that waited: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestFaultsControl makes sure that TestFaults sees it if a failed sync is
// ignored.
func TestFaultsControl(t *testing.T) {
	for n := 1; n < 100; n++ {
		r := newFaultRun(t, Options{FlushBatches: 1}, func(d *vfstest.FS) { d.IgnoreSync(true) })
		for range 3 {
			r.append()
		}
		if err := r.check(false); err != nil {
			return
		}
	}
	t.Fatal("nothing was found on a disk that lies")
}

func newFaultRun(t *testing.T, o Options, prepare func(*vfstest.FS)) *faultRun {
	r := &faultRun{t: t, disk: vfstest.New(), o: o, refused: make(map[string]bool)}
	if prepare != nil {
		prepare(r.disk)
	}
	r.o.FS = r.disk
	if r.o.Partitions == 0 {
		r.o.Partitions = -1
	}
	r.open()
	if r.s == nil {
		t.Fatal(r.failed)
	}
	mustAppend(t, mustCreate(t, r.s, "other"), batchOf("other", "before"))
	if other := mustLog(t, r.s, "other"); other.SyncTo(t.Context(), other.Next()) != nil {
		t.Fatal(other.Failed())
	}
	l := mustCreate(t, r.s, "t") // its creation is a workload of its own
	mustAppend(t, l, batchOf("t", "message 0"))
	if err := errors.Join(l.SyncTo(t.Context(), l.Next())); err != nil {
		t.Fatal(err)
	}
	r.acked = []string{"message 0"}
	return r
}

// check is called after the fault: other topics live, what was acknowledged
// is read, writing is refused or works, and after a power cut nothing
// acknowledged is lost and nothing refused is there.
func (r *faultRun) check(full bool) error {
	if r.s == nil { // it could not be opened: now it can
		r.open()
		if r.s == nil {
			return fmt.Errorf("store can't be opened after the fault: %v", r.failed)
		}
	}
	if len(r.s.Broken()) > 0 {
		kill(r.s)
		r.open()
	}
	l, err := r.s.Create([]byte("other"))
	if err != nil {
		return fmt.Errorf("other topic: %w", err)
	}
	run := batchOf("other", "after")
	a, err := l.Append(context.Background(), run.data, run.extents)
	if err == nil {
		err = l.Commit(context.Background(), a)
	}
	if err != nil && r.log() != nil && r.log().Failed() != nil {
		return fmt.Errorf("append to the other topic: %w", err)
	}
	if err := r.checkBodies(r.s); err != nil {
		return fmt.Errorf("before the restart: %w", err)
	}
	if l := r.log(); l != nil && l.Failed() == nil {
		before := len(r.failed)
		r.append()
		if len(r.failed) > before {
			return fmt.Errorf("log that has not failed takes no append: %w", r.failed[before])
		}
	} else if l != nil {
		run := batchOf("t", "never")
		r.refused["never"] = true
		if _, err := l.Append(context.Background(), run.data, run.extents); !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("append to a failed log: %v", err)
		}
		if e, _ := errors.AsType[*Error](l.Failed()); full && e.Op == "write" {
			return fmt.Errorf("a full disk has failed the log: %w", e)
		}
	}
	if l := r.log(); r.o.FlushBatches != 1 && l != nil {
		if err := l.SyncTo(context.Background(), l.Next()); err != nil {
			r.acked = r.acked[:1] // the rest was never promised
		}
	}
	kill(r.s)
	o := r.o
	o.FS = r.disk.CrashKeepNothing()
	s, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	defer s.Close()
	if b := s.Broken(); len(b) > 0 {
		return fmt.Errorf("after the restart: %v", b)
	}
	if err := r.checkBodies(s); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	return nil
}

// checkBodies checks that a store serves what was acknowledged, in order, and
// besides that only what may be there.
func (r *faultRun) checkBodies(s *Store) error {
	l, err := s.Log([]byte("t"))
	if err != nil {
		return err
	}
	got, err := bodiesFrom(l, l.Oldest())
	if err != nil {
		return err
	}
	want := r.acked[:]
	if len(got) > 0 || r.gone > 0 {
		for i := 0; i < r.gone && len(want) > 0 && (len(got) == 0 || got[0] != want[0]); i++ {
			want = want[1:]
		}
	}
	for _, body := range got {
		if len(want) > 0 && body == want[0] {
			want = want[1:]
			continue
		}
		if no, refused := r.refused[body]; no && r.o.FlushBatches == 1 || !refused && r.o.FlushBatches == 1 {
			return fmt.Errorf("serves %q, which was not acknowledged: %q", body, got)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("acknowledged %q are lost: %q", want, got)
	}
	return nil
}

// A failed write ends writing, and not the promise of what was written before:
// it is synced within the interval.
func TestFailedWriteLeavesSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: time.Second})
		l := mustCreate(t, s, "t")
		mustAppend(t, l, batchOf("t", "one"))
		disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpWrite }})
		run := batchOf("t", "two")
		if _, err := l.Append(t.Context(), run.data, run.extents); !errors.Is(err, ErrReadOnly) || l.Failed() == nil {
			t.Fatalf("append on a failing disk: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		kill(s)
		s = openMem(t, disk.CrashKeepNothing(), Options{})
		wantBodies(t, mustLog(t, s, "t"), "one")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// What a write that failed has left in the file may be on the disk already:
// cutting it off must be durable, too, before the batch is refused.
func TestRefusedBatchStaysAway(t *testing.T) {
	var back int
	for seed := range uint64(100) {
		disk := vfstest.New()
		o := Options{FlushBatches: 1}
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		must(t, l.Commit(t.Context(), mustAppend(t, l, batchOf("t", "good"))))
		r := batchOf("t", "refused")
		whole := int64(len(r.data))
		r.add("t", "refused, too")
		disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Written: whole + 10, Match: func(op vfstest.Op) bool {
			return op.Kind == vfstest.OpWrite && op.Name == "t/0.log"
		}})
		if got, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, ErrReadOnly) || got.Batches != 0 {
			t.Fatalf("%+v, %v; want ErrReadOnly", got, err)
		}
		kill(s)
		s = openMem(t, disk.Crash(rand.New(rand.NewPCG(seed, 0))), o)
		bodies, err := bodiesFrom(mustLog(t, s, "t"), 0)
		must(t, err)
		if len(bodies) > 1 {
			back++
		}
		must(t, s.Close())
	}
	if back > 0 {
		t.Errorf("after %d of 100 power cuts a batch is there that was refused", back)
	}
}
