package storage

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// A crash loses the times of the newest batches, which are then taken from the
// file: SEEK skips none of them, also if the clock had gone back and the file was
// written since.
func TestTimesLostWhileTheClockIsBehind(t *testing.T) {
	crash := func(r *clockRun) {
		kill(r.s)
		r.reopen()
	}
	for name, steps := range map[string][]func(*clockRun){
		"append, crash": {
			func(r *clockRun) { r.clock.set(-time.Minute) },
			(*clockRun).append, crash,
		},
		"crash twice": {
			func(r *clockRun) { r.clock.set(-time.Minute) },
			crash, crash,
		},
		"append while behind, crash twice": {
			func(r *clockRun) { r.clock.set(-time.Minute) },
			(*clockRun).append, (*clockRun).append, crash, crash,
		},
		"behind the topic's creation, and then further": {
			func(r *clockRun) { r.clock.set(-time.Hour) },
			(*clockRun).begin, (*clockRun).append, (*clockRun).append,
			func(r *clockRun) { r.clock.set(-14 * time.Hour) },
			crash, (*clockRun).append, crash,
		},
		"behind, in a partition begun since, and then further": {
			func(r *clockRun) { r.clock.set(-time.Hour) },
			func(r *clockRun) { r.s.o.PartitionSize = 1 },
			(*clockRun).append,
			func(r *clockRun) { r.s.o.PartitionSize = 1 << 20 },
			func(r *clockRun) { must(r.t, r.l.AdvanceOldest(headOf(r.l).Base())) },
			func(r *clockRun) { r.clock.set(-14 * time.Hour) },
			(*clockRun).append, crash, (*clockRun).append, crash,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &clockRun{t: t, clock: new(wrongClock), disk: vfstest.New()}
				r.disk.SetClock(r.clock.Now)
				r.o = Options{Clock: r.clock, Partitions: -1, FlushInterval: -1, FlushBatches: 1}
				r.s = openMem(t, r.disk, r.o)
				r.l = mustCreate(t, r.s, "t")
				for range 3 { // the last ones without a mark behind them
					r.append()
				}
				for i, step := range steps {
					step(r)
					if r.check(); t.Failed() {
						t.Errorf("after step %d", i)
						break
					}
				}
				r.clock.set(0)
				r.check()
				r.s.Close()
			})
		})
	}
}

// append appends a batch a little after the one before.
func (r *clockRun) append() {
	time.Sleep(100 * time.Millisecond)
	b := clockBatch{true: time.Now(), said: r.clock.Now()}
	b.Appended = mustAppend(r.t, r.l, batchOf("t", "message"))
	r.all = append(r.all, b)
}

// begin begins a partition, whose times are the clock's again, and removes the
// others.
func (r *clockRun) begin() {
	must(r.t, r.l.Roll(r.t.Context(), r.l.Next()))
	must(r.t, r.l.AdvanceOldest(headOf(r.l).Base()))
}

// A clock that goes further ahead is as new as one that goes ahead: nothing is
// removed for an hour from then on.
func TestAgeWhenTheClockGoesFurtherAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, disk := new(wrongClock), vfstest.New()
		disk.SetClock(clock.Now)
		s := openMem(t, disk, Options{Clock: clock, PartitionSize: 100, Partitions: -1, RetentionAge: 48 * time.Hour, FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		appendMany(t, l, 5)
		for _, off := range []time.Duration{24 * time.Hour, year, 10 * year} {
			clock.set(off)
			mustAppend(t, l, batchOf("t", "begins a partition, which retention looks at"))
			time.Sleep(50 * time.Minute)
			synctest.Wait()
			if l.Oldest() != 0 {
				t.Fatalf("oldest %d, 50 minutes after the clock was set ahead by %v", l.Oldest(), off)
			}
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if l.Oldest() == 0 {
			t.Error("the clock is not believed after 70 minutes")
		}
	})
}

// A clock that is believed to be right, since it has been for an hour, and goes
// back, is believed again: what goes ahead of that is ahead.
func TestAgeWhenTheClockGoesBackAndAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, disk := new(wrongClock), vfstest.New()
		disk.SetClock(clock.Now)
		s := openMem(t, disk, Options{Clock: clock, PartitionSize: 100, Partitions: -1, RetentionAge: 6 * time.Hour, FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		clock.set(year)
		time.Sleep(90 * time.Minute)
		appendMany(t, l, 5)
		clock.set(0)
		time.Sleep(10 * time.Minute)
		appendMany(t, l, 5)
		clock.set(24 * time.Hour)
		mustAppend(t, l, batchOf("t", "begins a partition, which retention looks at"))
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if l.Oldest() != 0 {
			t.Fatalf("oldest %d, 50 minutes after the clock went ahead", l.Oldest())
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if l.Oldest() == 0 {
			t.Error("the clock is not believed after 70 minutes")
		}
	})
}
