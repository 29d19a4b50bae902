package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// hastyClock says another two seconds each time, so that each sync is noted in the journal.
type hastyClock struct {
	clock.System
	n atomic.Int64
}

func (c *hastyClock) Now() time.Time {
	return time.Now().Add(time.Duration(c.n.Add(1)) * 2 * time.Second)
}

// TestPanicFailsTheLog makes sure that a panic in the middle of a change of a log
// is the caller's alone: the log is read only, nobody waits for ever, and the
// store can be closed.
func TestPanicFailsTheLog(t *testing.T) {
	appendOne := func(l *Log) error {
		r := batchOf("t", "two")
		a, err := l.Append(context.Background(), r.data, r.extents)
		if err != nil {
			return err
		}
		return l.Commit(context.Background(), a)
	}
	for name, test := range map[string]struct {
		on   vfstest.Op
		do   func(*Log) error
		size int64 // of partitions
	}{
		"a write":                {vfstest.Op{Kind: vfstest.OpWrite, Name: "t/0.log"}, appendOne, 0},
		"a sync":                 {vfstest.Op{Kind: vfstest.OpSync, Name: "t/0.log"}, appendOne, 0},
		"a sync of the names":    {vfstest.Op{Kind: vfstest.OpSyncDir, Name: "t"}, appendOne, 1},
		"a sync of the journal":  {vfstest.Op{Kind: vfstest.OpSync, Name: "t/journal"}, appendOne, 1},
		"a new partition":        {vfstest.Op{Kind: vfstest.OpCreate}, func(l *Log) error { _, err := l.Trim(context.Background(), l.Next()); return err }, 0},
		"a truncation's record":  {vfstest.Op{Kind: vfstest.OpWrite, Name: "t/journal"}, func(l *Log) error { return l.TruncateTo(context.Background(), 0) }, 0},
		"a truncation":           {vfstest.Op{Kind: vfstest.OpTruncate}, func(l *Log) error { return l.TruncateTo(context.Background(), 0) }, 0},
		"the mark behind a sync": {vfstest.Op{Kind: vfstest.OpWrite, Name: "t/journal"}, appendOne, 0},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfstest.New()
			s := openMem(t, disk, Options{FlushBatches: 1, PartitionSize: test.size, Clock: new(hastyClock)})
			l := mustCreate(t, s, "t")
			mustAppend(t, l, batchOf("t", "one"))
			disk.BeforeOp(func(op vfstest.Op) {
				if op.Kind == test.on.Kind && (op.Name == test.on.Name || test.on.Name == "") {
					panic("of the test")
				}
			})
			var others sync.WaitGroup
			func() {
				defer func() {
					if recover() == nil {
						t.Error("there was no panic")
					}
				}()
				for range 3 { // who comes later, or meanwhile
					others.Go(func() {
						defer func() { recover() }()
						appendOne(l)
					})
				}
				if err := test.do(l); err != nil {
					panic(err) // another has panicked before
				}
			}()
			others.Wait()
			disk.BeforeOp(nil)
			if err := l.Failed(); err == nil || !strings.Contains(err.Error(), "panic: of the test") {
				t.Errorf("failed: %v, want the panic", err)
			}
			if err := appendOne(l); !errors.Is(err, ErrReadOnly) {
				t.Errorf("append after the panic: %v, want ErrReadOnly", err)
			}
			if got, err := bodiesFrom(l, 0); err != nil || len(got) == 0 && !strings.Contains(name, "truncation") {
				t.Errorf("read %q, %v", got, err)
			}
			mustAppend(t, mustCreate(t, s, "other"), batchOf("other", "one"))
			s.Close() // says which have failed
			s = openMem(t, disk, Options{})
			defer s.Close()
			if got, err := bodiesFrom(mustLog(t, s, "t"), 0); err != nil || len(got) == 0 && !strings.Contains(name, "truncation") {
				t.Errorf("after the restart: %q, %v", got, err)
			}
		})
	}
}

// TestLastOffset makes sure that nothing is written beyond the last offset there
// is, and that all else works near to it.
func TestLastOffset(t *testing.T) {
	size := int64(len(batchOf("t", "one").data))
	base := int64(math.MaxInt64) - 3*size - 1
	disk := vfstest.New()
	must(t, disk.WriteFile(fmt.Sprintf("t/%d.log", base), nil))
	o := Options{FlushBatches: 1, Partitions: -1, PartitionSize: 2 * size}
	s := openMem(t, disk, o)
	l := mustLog(t, s, "t")
	for _, body := range []string{"one", "two", "six"} {
		mustAppend(t, l, batchOf("t", body))
	}
	last := l.Next()
	if last != math.MaxInt64-1 {
		t.Fatalf("next is %d", last)
	}
	before := disk.Ops()
	run := batchOf("t", "one too many")
	appendAt := func(ctx context.Context, expect int64) (Appended, error) {
		if expect < 0 {
			return l.Append(ctx, run.data, run.extents)
		}
		return l.AppendAt(ctx, expect, run.data, run.extents)
	}
	for _, expect := range []int64{-1, last, math.MaxInt64} {
		a, err := appendAt(t.Context(), expect)
		if a.Batches != 0 || err == nil {
			t.Errorf("append at %d: %+v, %v", expect, a, err)
		}
		if expect != math.MaxInt64 && (!errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "9223372036854775807")) {
			t.Errorf("append at %d: %v", expect, err)
		}
	}
	if disk.Ops() != before || l.Failed() != nil {
		t.Errorf("a refused append did something: %v", l.Failed())
	}
	check := func(l *Log, want ...string) {
		t.Helper()
		got, err := bodiesFrom(l, base)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		for _, args := range [][3]int64{{base, math.MaxInt64, math.MaxInt64}, {base, 1, math.MaxInt64}, {base, math.MaxInt64, 1}, {base + size, math.MaxInt64, 0}} {
			v, err := l.Read(args[0], args[1], args[2])
			if err != nil {
				t.Errorf("read %d: %v", args, err)
				continue
			}
			v.Close()
		}
		for _, offset := range []int64{0, base - 1, base + 1, math.MaxInt64} {
			if _, err := l.Read(offset, math.MaxInt64, math.MaxInt64); !errors.Is(err, ErrNotFound) && offset != l.Next() {
				t.Errorf("read at %d: %v", offset, err)
			}
		}
		for _, limits := range []topic.Limits{{}, {Partitions: math.MaxInt64, Bytes: math.MaxInt64, Age: math.MaxInt64}} {
			for _, p := range l.Plan(limits) {
				if p.NewBytes < 0 || p.NewPartitions < 0 || p.End < p.Base || p.Remove != Keep {
					t.Errorf("plan %+v", p)
				}
			}
		}
		in, err := l.Info(t.Context())
		if err != nil || in.Next != l.Next() || in.Damaged != 0 || in.Messages != int64(len(want)) {
			t.Errorf("%+v, %v", in, err)
		}
		if _, err := l.Seek(time.UnixMilli(math.MaxInt64)); err != nil {
			t.Error(err)
		}
	}
	check(l, "one", "two", "six")
	for _, offset := range []int64{math.MaxInt64, last - 1} {
		if err := l.TruncateTo(t.Context(), offset); err == nil {
			t.Errorf("truncation to %d, where no batch begins", offset)
		}
	}
	if err := l.SyncTo(t.Context(), math.MaxInt64); !errors.Is(err, ErrNotFound) {
		t.Errorf("sync to the last offset: %v", err)
	}
	kill(s)
	s = openMem(t, disk, o)
	check(mustLog(t, s, "t"), "one", "two", "six")
	must(t, s.Close())
	s = openMem(t, disk, o)
	l = mustLog(t, s, "t")
	must(t, l.TruncateTo(t.Context(), base+size))
	mustAppend(t, l, batchOf("t", "new"))
	check(l, "one", "new")
	if s.files.Evict(0); s.files.Count() > 0 {
		t.Errorf("%d files are kept open, and all is synced", s.files.Count())
	}
	must(t, l.AdvanceOldest(math.MaxInt64))
	must(t, s.Close())
}

// TestFrozenDiskIsLookedAt makes sure that who only looks does not wait for a
// write that hangs.
func TestFrozenDiskIsLookedAt(t *testing.T) {
	for _, name := range []string{"t/0.log", "t/journal"} {
		t.Run(name, func(t *testing.T) {
			disk := vfstest.New()
			s := openMem(t, disk, Options{FlushBatches: 1, Clock: new(hastyClock)})
			l := mustCreate(t, s, "t")
			mustAppend(t, l, batchOf("t", "one"))
			hangs, thaw := make(chan struct{}), make(chan struct{})
			disk.BeforeOp(func(op vfstest.Op) {
				if op.Kind == vfstest.OpWrite && op.Name == name {
					close(hangs)
					<-thaw
				}
			})
			done := make(chan struct{})
			go func() {
				defer close(done)
				r := batchOf("t", "two")
				a, err := l.Append(context.Background(), r.data, r.extents)
				if err := errors.Join(err, l.Commit(context.Background(), a)); err != nil {
					t.Error(err)
				}
			}()
			<-hangs
			looked := make(chan struct{})
			go func() {
				defer close(looked)
				if p := l.Plan(topic.Limits{Partitions: -1, Bytes: -1, Age: -1}); len(p) != 1 || p[0].Newest.IsZero() || p[0].Messages == 0 {
					t.Errorf("plan %+v", p)
				}
				if in, err := l.Info(context.Background()); err != nil || in.Messages == 0 {
					t.Errorf("info %+v, %v", in, err)
				}
				s.Stats()
				if v, err := l.Read(0, 1, 0); err != nil {
					t.Error(err)
				} else {
					v.Close()
				}
			}()
			select {
			case <-looked:
			case <-time.After(10 * time.Second):
				t.Error("RETENTION, INFO, STATS or READ waits for the write")
			}
			disk.BeforeOp(nil)
			close(thaw)
			<-done
			<-looked
			must(t, s.Close())
		})
	}
}
