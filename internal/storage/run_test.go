package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// placed is a run as a leader would have it.
func placed(offset, millis int64, roll bool, r run) *Run {
	return &Run{Offset: offset, Millis: millis, Roll: roll, Data: r.data, Extents: r.extents}
}

// copied is a copy of a log: what it must hold, by the runs that were stored.
type copied struct {
	o    Options
	runs []*Run
	told int64
	// cutAt is where it is being cut off, with what was there before; nil if it is not.
	void []*Run
	// numbers are the numbered batches of runs.
	numbers map[*Run][]run
	// If it is a leader's: bases of partitions, and whether it was opened again.
	bases     []int64
	restarted bool
}

func newCopied() *copied {
	return &copied{numbers: make(map[*Run][]run), o: Options{PartitionSize: 300, Partitions: -1, Managed: true}}
}

func (c *copied) next() int64 { return endOf(c.runs) }

func endOf(runs []*Run) int64 {
	if len(runs) == 0 {
		return 0
	}
	last := runs[len(runs)-1]
	return last.Offset + int64(len(last.Data))
}

// hasRuns returns nil if a log is what runs make it up to its end, which is not before
// least: bytes, times, and where partitions begin. A crash may have made times later,
// and may have lost the first files if nothing was synced yet: least is 0.
func hasRuns(l *Log, runs []*Run, least int64, crashed bool) error {
	next := l.Next()
	if next < least {
		return fmt.Errorf("it ends at %d, before %d", next, least)
	}
	begin := l.Begin()
	if begin > 0 && (least > 0 || !crashed) {
		return fmt.Errorf("it begins at %d", begin)
	}
	l.SetReadable(next)
	var bases []int64
	for i, r := range runs {
		if r.Offset >= next {
			break
		}
		if r.Offset < begin {
			continue
		}
		if i == 0 || r.Roll {
			bases = append(bases, r.Offset)
		}
		for at := r.Offset; at < min(r.Offset+int64(len(r.Data)), next); {
			v, err := l.Verify(at, 1, 0)
			if errors.Is(err, ErrNotFound) && at >= least && layout.Past(*l.Damaged(), at) > at {
				return nil // not synced, and lost, but for what follows
			}
			if err != nil {
				return fmt.Errorf("at %d: %w", at, err)
			}
			b, err := readView(v)
			if err != nil || !bytes.HasPrefix(r.Data[at-r.Offset:], b) {
				return fmt.Errorf("other bytes at %d (%w)", at, err)
			}
			marks, err := l.Times(at, at+1, 1)
			if err != nil || len(marks) != 1 || marks[0].Millis < r.Millis || (marks[0].Millis > r.Millis && !crashed) {
				return fmt.Errorf("times of %d: %v (%w), want %d", at, marks, err, r.Millis)
			}
			at += int64(len(b))
		}
	}
	var got []int64
	for _, p := range l.Partitions() {
		if p.Base() < next || p.Base() == 0 {
			got = append(got, p.Base())
		}
	}
	if next > 0 && fmt.Sprint(got) != fmt.Sprint(bases) {
		return fmt.Errorf("partitions begin at %v, want %v", got, bases)
	}
	return nil
}

// TestAppendRun: after each of the steps the log is what the runs say that are left.
func TestAppendRun(t *testing.T) {
	var l *Log
	var c *copied
	var keep int64
	store := func(at, millis int64, roll bool, body string) {
		t.Helper()
		r := placed(at, millis, roll, batchOf("t", body))
		c.cut(at)
		c.runs = append(c.runs, r)
		a, err := l.AppendRun(t.Context(), r)
		if err != nil || a.Offset != at || a.End != c.next() || l.Next() != c.next() {
			t.Fatalf("append at %d: %+v, %v", at, a, err)
		}
	}
	steps := []func(){
		func() { store(0, 100, false, strings.Repeat("x", 500)) }, // larger than a partition
		func() { store(c.next(), 200, false, strings.Repeat("y", 500)) },
		func() { store(c.next(), 200, true, "in a new one") },
		func() {
			keep = c.next()
			l.SetReadable(keep)
			store(keep, 300, true, "void")
		},
		func() { store(c.next(), 400, false, "void") },
		func() { store(keep, 250, false, "in the partition before") }, // whose time is no longer 400
		func() { store(c.next(), 400, true, "void") },
		func() { store(keep, 300, true, "begins one") },
		func() { store(c.next(), 300, false, "the same time") },
		func() { // Time does not go back, also not in a new partition.
			store(c.next(), 10, true, "old")
			c.runs[len(c.runs)-1].Millis = 300
		},
		func() { // What is readable stays; what leaves a gap is refused.
			for _, at := range []int64{-1, 0, c.runs[2].Offset, c.next() + 1} {
				if _, err := l.AppendRun(t.Context(), placed(at, 500, false, batchOf("t", "no"))); !errors.Is(err, ErrOffset) {
					t.Errorf("append at %d of %d, readable %d: %v", at, l.Next(), l.Readable(), err)
				}
			}
		},
	}
	afterEach(t, steps, func() { // all of it becomes readable by that
		must(t, hasRuns(l, c.runs, c.next(), false))
	}, func() *Store {
		c = newCopied()
		s := openMem(t, vfstest.New(), c.o)
		l = mustCreate(t, s, "t")
		return s
	})
}

// afterEach begins anew for each of the steps, does all up to it, and looks at what there
// is then.
func afterEach(t *testing.T, steps []func(), look func(), begin func() *Store) {
	t.Helper()
	for n := range steps {
		s := begin()
		for _, step := range steps[:n+1] {
			step()
		}
		look()
		must(t, s.Close())
	}
}

// cut takes away the runs from an offset on.
func (c *copied) cut(at int64) {
	for len(c.runs) > 0 && c.runs[len(c.runs)-1].Offset >= at {
		c.runs = c.runs[:len(c.runs)-1]
	}
}

// A partition that was begun for a run which found no room is not begun twice.
func TestAppendRunWithoutRoom(t *testing.T) {
	disk, c := vfstest.New(), newCopied()
	s := openMem(t, disk, c.o)
	defer s.Close()
	l := mustCreate(t, s, "t")
	for i, roll := range []bool{false, true} {
		r := placed(l.Next(), 100, roll, batchOf("t", strings.Repeat("x", 100)))
		if i > 0 {
			disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Match: func(op vfstest.Op) bool {
				return op.Kind == vfstest.OpWrite && strings.HasSuffix(op.Name, ".log")
			}})
			if _, err := l.AppendRun(t.Context(), r); !errors.Is(err, ErrReadOnly) {
				t.Fatalf("append on a full disk: %v", err)
			}
			disk.ClearFaults()
		}
		c.runs = append(c.runs, r)
		if _, err := l.AppendRun(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := hasRuns(l, c.runs, c.next(), false); err != nil {
		t.Error(err)
	}
}

// survived returns nil if what a crash has left is a beginning of one of the
// histories, which has all that was told.
func (c *copied) survived(image *vfstest.FS) error {
	if err := agree(image, "t"); err != nil {
		return err
	}
	s, err := Open(context.Background(), withFS(c.o, image))
	if err != nil {
		return err
	}
	defer kill(s)
	l, err := s.Log([]byte("t"))
	if errors.Is(err, ErrNotFound) && c.told == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Readable() != l.Begin() {
		return fmt.Errorf("readable up to %d, and nobody has said so", l.Readable())
	}
	err = hasRuns(l, c.runs, c.told, true)
	if err != nil && c.void != nil {
		if verr := hasRuns(l, c.void, c.told, true); verr != nil {
			return fmt.Errorf("%w; and as before: %w", err, verr)
		}
		return nil
	}
	return err
}

// crashCopied appends runs, with conflicts, as a leader would or another copy, and looks
// at what a power cut leaves after each operation.
func crashCopied(t *testing.T, seed uint64, led bool, lie func(*vfstest.FS)) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := vfstest.New(), newCopied()
		s := openMem(t, disk, c.o)
		defer func() { kill(s) }()
		l := mustCreate(t, s, "t")
		if lie != nil {
			lie(disk)
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex // for the race detector, which does not know what the clock puts in order
		disk.OnOp(func(op vfstest.Op) {
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				return
			}
			failed = c.survived(disk.CrashKeepNothing())
			if failed == nil {
				failed = c.survived(disk.Crash(rng))
			}
			if failed != nil {
				failed = fmt.Errorf("seed %d, after %s: %w", seed, op, failed)
			}
		})
		for range 25 {
			mu.Lock()
			mu.Unlock()             //lint:ignore SA2001 what was done before comes before what others do now
			time.Sleep(time.Second) // the clock here is not behind the leader's
			synctest.Wait()         // nobody else has an operation under way while c changes
			at, runs := c.next(), c.runs
			if rng.IntN(3) == 0 {
				for len(runs) > 0 && runs[len(runs)-1].Offset >= c.told && rng.IntN(3) > 0 {
					runs = runs[:len(runs)-1]
				}
				at = endOf(runs)
			}
			millis := time.Now().UnixMilli()
			if len(runs) > 0 {
				millis = runs[len(runs)-1].Millis + rng.Int64N(3)
			}
			c.void = c.runs
			rolled := at == c.next() && rng.IntN(5) == 0
			if rolled {
				must(t, l.Roll(t.Context(), at))
			}
			if led {
				if base := c.bases; rolled && len(base) > 0 && base[len(base)-1] < at {
					c.bases = append(base, at)
				}
				if err := c.appendLed(l, rng, runs, at, millis); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			} else {
				var r run
				for range 1 + rng.IntN(3) {
					r.add("t", strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(150)))
				}
				c.runs = append(runs[:len(runs):len(runs)], placed(at, millis, at > 0 && (rolled || rng.IntN(3) == 0), r))
				if _, err := l.AppendRun(t.Context(), c.runs[len(c.runs)-1]); err != nil {
					t.Fatal(err)
				}
			}
			if rng.IntN(2) == 0 {
				must(t, l.SyncTo(t.Context(), l.Next()))
				c.void = nil
				c.told = c.next()
				l.SetReadable(c.told)
			}
			if rng.IntN(8) == 0 {
				if rng.IntN(2) == 0 {
					must(t, s.Close())
				} else {
					kill(s)
				}
				c.void, c.restarted = nil, true
				s = openMem(t, disk, c.o)
				l = mustLog(t, s, "t")
				c.bases = nil // one that had nothing yet may be gone
				for _, p := range l.Partitions() {
					c.bases = append(c.bases, p.Base())
				}
				l.SetReadable(c.told)
			}
			synctest.Wait()
		}
		disk.OnOp(nil)
		if failed == nil {
			failed = hasRuns(l, c.runs, c.next(), true)
		}
	})
	return failed
}

func TestAppendRunCrash(t *testing.T) { crashCopies(t, false) }

func crashCopies(t *testing.T, led bool) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 5)) {
		if err := crashCopied(t, first+i, led, nil); err != nil {
			t.Fatal(err)
		}
	}
	// Control: a disk that forgets what it was told to keep is found out.
	for i := range uint64(20) {
		if err := crashCopied(t, first+i, led, func(d *vfstest.FS) { d.IgnoreSync(true) }); err != nil {
			return
		}
	}
	t.Error("nothing was found on a disk that lies")
}

// TestRoll: a partition begins where it is told to, once.
func TestRoll(t *testing.T) {
	disk, c := vfstest.New(), newCopied()
	s := openMem(t, disk, c.o)
	defer func() { kill(s) }()
	l := mustCreate(t, s, "t")
	must(t, l.Roll(t.Context(), 0)) // it is empty
	r := batchOf("t", "x")
	c.runs = []*Run{placed(0, 100, true, r)}
	_, err := l.AppendRun(t.Context(), c.runs[0])
	must(t, err)
	for _, at := range []int64{0, c.next() - 1, c.next() + 1} {
		if err := l.Roll(t.Context(), at); !errors.Is(err, ErrOffset) {
			t.Errorf("at %d of %d: %v", at, c.next(), err)
		}
	}
	disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC})
	if err := l.Roll(t.Context(), c.next()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("without room: %v", err)
	}
	disk.ClearFaults()
	for range 2 {
		must(t, l.Roll(t.Context(), c.next()))
		if n := len(l.Partitions()); n != 2 {
			t.Fatalf("%d partitions", n)
		}
	}
	// The oldest can go, and the time goes on from the batch that went.
	l.SetReadable(c.next())
	must(t, s.Close())
	s = openMem(t, disk, c.o)
	l = mustLog(t, s, "t")
	res, err := appendLed(l, &LedRun{Offset: c.next(), Millis: 7, Parts: parts(r)})
	if err != nil || !res.Roll || res.Millis != 100 {
		t.Errorf("%+v, %v", res, err)
	}
	l.SetReadable(l.Next())
	must(t, l.AdvanceOldest(c.next()))
	if l.Begin() != c.next() {
		t.Errorf("it begins at %d", l.Begin())
	}
}
