package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// timedBatch is what a test knows of a batch.
type timedBatch struct{ offset, end, millis int64 }

// checkTimes compares one answer of Times with what is known of all batches
// that can be read, in order.
func checkTimes(l *Log, all []timedBatch, from, to int64, limit int) error {
	marks, err := l.Times(from, to, limit)
	if err != nil {
		return err
	}
	if len(marks) > limit {
		return fmt.Errorf("%d marks, of at most %d", len(marks), limit)
	}
	var want []TimeMark
	for _, b := range all {
		if b.offset < from || b.offset >= to {
			continue
		}
		if n := len(want); n > 0 && want[n-1].Millis == b.millis {
			continue
		}
		if len(want) == limit {
			break
		}
		want = append(want, TimeMark{Offset: b.offset, Millis: b.millis})
	}
	if !slices.Equal(marks, want) {
		return fmt.Errorf("Times(%d, %d, %d) = %v, want %v", from, to, limit, marks, want)
	}
	return nil
}

// checkAllTimes asks for many ranges.
func checkAllTimes(t *testing.T, rng *rand.Rand, l *Log, all []timedBatch) {
	t.Helper()
	next := l.Next()
	ranges := [][3]int64{
		{0, math.MaxInt64, math.MaxInt32}, {0, next, 1}, {next, math.MaxInt64, 10}, {next, next, 10}, {math.MaxInt64, math.MaxInt64, 10},
		{5, 4, 10}, {0, 0, 10}, {0, 1, 10}, {next - 1, math.MaxInt64, 10},
	}
	for range 200 {
		from := rng.Int64N(next + 2)
		ranges = append(ranges, [3]int64{from, rng.Int64N(next + 2), 1 + rng.Int64N(50)},
			[3]int64{from, min(from+rng.Int64N(3000), next), math.MaxInt32})
		b := all[rng.IntN(len(all))]
		ranges = append(ranges, [3]int64{b.offset, b.offset + 1, 10}, [3]int64{b.offset + 1, math.MaxInt64, 3})
	}
	for _, r := range ranges {
		if err := checkTimes(l, all, r[0], r[1], int(r[2])); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTimes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, size := range []int64{300, 5000, 200_000, 1 << 30} {
		t.Run(fmt.Sprintf("partitions of %d", size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, uint64(size)))
				disk := vfstest.New()
				o := Options{PartitionSize: size, Partitions: -1, FlushInterval: -1}
				s := openMem(t, disk, o)
				l := mustCreate(t, s, "t")
				var all []timedBatch
				for i := range 4000 {
					if i < 2000 || rng.IntN(50) == 0 { // then runs of one time, over blocks of the index
						time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
					}
					a := mustAppend(t, l, batchOf("t", strings.Repeat("x", rng.IntN(60))))
					all = append(all, timedBatch{a.Offset, a.End, time.Now().UnixMilli()})
				}
				checkAllTimes(t, rng, l, all)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openMem(t, disk, o)
				defer s.Close()
				l = mustLog(t, s, "t")
				checkAllTimes(t, rng, l, all)
				parts := l.Partitions()
				oldest := parts[len(parts)/2].Base()
				if err := l.AdvanceOldest(oldest); err != nil {
					t.Fatal(err)
				}
				all = slices.DeleteFunc(all, func(b timedBatch) bool { return b.offset < oldest })
				checkAllTimes(t, rng, l, all)
			})
		})
	}
}

// Times lead around damage: the batch behind it is named, and none inside.
func TestTimesOfDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{PartitionSize: 5000, Partitions: -1, FlushInterval: -1}
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		var all []timedBatch
		for i := range 300 {
			time.Sleep(time.Duration(i%3) * time.Millisecond)
			a := mustAppend(t, l, batchOf("t", fmt.Sprintf("message %d", i)))
			all = append(all, timedBatch{a.Offset, a.End, time.Now().UnixMilli()})
		}
		var whole []timedBatch
		for i, b := range all {
			p := partitionAt(l, b.offset)
			if i%40 > 2 && b.offset != p.Base() {
				whole = append(whole, b)
				continue
			}
			if err := disk.Corrupt(p.File().Name(), b.offset-p.Base(), scribble); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range l.Partitions() {
			if err := rescan(p); err != nil {
				t.Fatal(err)
			}
		}
		defer s.Close()
		// The times of a partition that was scanned are lost but for its ends.
		seen := int64(-1)
		for _, b := range all {
			marks, err := l.Times(b.offset, math.MaxInt64, 1)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(whole, func(w timedBatch) bool { return w.offset >= b.offset })
			if i < 0 {
				if len(marks) > 0 {
					t.Fatalf("Times from %d = %v, and no batch is left there", b.offset, marks)
				}
				continue
			}
			if len(marks) != 1 || marks[0].Offset != whole[i].offset || marks[0].Millis < whole[i].millis {
				t.Fatalf("Times from %d = %v, want %v or later", b.offset, marks, whole[i])
			}
			seen = marks[0].Offset
		}
		if seen < 0 {
			t.Fatal("no batch is left")
		}
		marks, err := l.Times(0, math.MaxInt64, math.MaxInt32)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range marks {
			if !slices.ContainsFunc(whole, func(w timedBatch) bool { return w.offset == m.Offset }) {
				t.Fatalf("no whole batch begins at %v", m)
			}
		}
	})
}

// Damage that is set aside while the index still has entries of it.
func TestTimesOfDamageInTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, o := vfstest.New(), Options{Partitions: -1, FlushInterval: -1}
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		var all []timedBatch
		for range 100 {
			time.Sleep(time.Millisecond)
			a := mustAppend(t, l, batchOf("t", "x"))
			all = append(all, timedBatch{a.Offset, a.End, time.Now().UnixMilli()})
		}
		must(t, s.Close())
		var records []byte
		for _, r := range []layout.Range{{From: all[20].offset, To: all[30].offset}, {From: 0, To: all[3].offset}, {From: all[90].offset, To: all[99].end}} {
			records = journal.Append(records, journal.Damaged, r.From, r.To)
		}
		record(t, disk, "t", journal.Append(records, journal.Synced, l.Next())) // which takes back what was counted
		s = openMem(t, disk, o)
		defer s.Close()
		l = mustLog(t, s, "t")
		left := slices.Concat(all[3:20], all[30:90])
		for _, b := range all {
			for _, from := range []int64{b.offset, b.offset + 1} {
				for _, to := range []int64{all[25].offset, all[95].offset, math.MaxInt64} {
					if err := checkTimes(l, left, from, to, math.MaxInt32); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// Nothing that is not readable yet has a time, and the log is not read where the
// index knows the place.
func TestTimesCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{Partitions: -1, FlushInterval: -1, FlushBatches: 1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		var all []timedBatch
		for range 100 {
			time.Sleep(time.Millisecond)
			a := mustAppend(t, l, batchOf("t", "x"))
			all = append(all, timedBatch{a.Offset, a.End, time.Now().UnixMilli()})
		}
		time.Sleep(time.Millisecond)
		r := batchOf("t", "not committed")
		if _, err := l.Append(t.Context(), r.data, r.extents); err != nil {
			t.Fatal(err)
		}
		if err := checkTimes(l, all, 0, math.MaxInt64, 1000); err != nil {
			t.Error(err)
		}
		disk.FailAt(1, vfstest.Fault{Err: fmt.Errorf("the log is read"), Forever: true, Match: func(op vfstest.Op) bool {
			return strings.HasSuffix(op.Name, ".log")
		}})
		defer disk.ClearFaults()
		for _, b := range all {
			if err := checkTimes(l, all, b.offset, math.MaxInt64, 5); err != nil {
				t.Error(err)
			}
		}
	})
}
