package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// wrongClock is a clock that is off, as far as it is told.
type wrongClock struct{ off atomic.Int64 }

func (c *wrongClock) Now() time.Time                            { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *wrongClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
func (c *wrongClock) set(off time.Duration)                     { c.off.Store(int64(off)) }

const year = 365 * 24 * time.Hour

// clockBatch is a batch of a log whose clock is not always right.
type clockBatch struct {
	Appended
	true, said time.Time
}

// One append while the clock is a year ahead makes only the batches of the same
// partition look too young, over restarts, too.
func TestOneAppendAhead(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %v", killed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, disk := new(wrongClock), vfstest.New()
				disk.SetClock(clock.Now)
				o := Options{Clock: clock, PartitionSize: 200, Partitions: -1, RetentionAge: time.Hour, FlushInterval: -1, FlushBatches: 1}
				s := openMem(t, disk, o)
				l := mustCreate(t, s, "t")
				again := func() {
					if killed {
						kill(s)
						disk = disk.CrashKeepNothing()
					} else if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = openMem(t, disk, o)
					l = mustLog(t, s, "t")
				}
				time.Sleep(time.Second)
				clock.set(year)
				mustAppend(t, l, batchOf("t", "written while the clock was a year ahead"))
				clock.set(0)
				again()
				defer func() { s.Close() }()
				for range 5 {
					time.Sleep(time.Second)
					mustAppend(t, l, batchOf("t", "written with the right clock"))
				}
				for range 2 {
					time.Sleep(time.Second)
					asked := time.Now()
					want := mustAppend(t, l, batchOf("t", "the first batch after the time that is asked for")).Offset
					if got, err := l.Seek(asked); err != nil || got != want {
						t.Errorf("Seek = %d (%v), want %d", got, err, want)
					}
					if got, err := l.Seek(asked.Add(year / 2)); err != nil || got != l.Next() {
						t.Errorf("Seek of a time to come = %d (%v), want %d", got, err, l.Next())
					}
					in, err := l.Info(t.Context())
					if err != nil || in.NewestTime.After(time.Now()) || in.OldestTime.After(in.NewestTime) {
						t.Errorf("Info: oldest %v, newest %v (%v), now %v", in.OldestTime, in.NewestTime, err, time.Now())
					}
					again()
				}
				time.Sleep(50 * time.Minute)
				synctest.Wait()
				if l.Oldest() != 0 {
					t.Errorf("oldest %d after 50 minutes of the hour", l.Oldest())
				}
				time.Sleep(11 * time.Minute)
				synctest.Wait()
				if l.Oldest() != l.Next() {
					t.Errorf("what was appended more than an hour ago is left: oldest %d, next %d", l.Oldest(), l.Next())
				}
			})
		})
	}
}

// It is said once that the clock is behind, which topic, and how far.
func TestClockBehindIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		clock, disk := new(wrongClock), vfstest.New()
		o := Options{Clock: clock, Partitions: -1, FlushInterval: -1, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "clocked")
		said := func(want int, parts ...string) {
			t.Helper()
			text := logged.String()
			if n := strings.Count(text, "clock is behind"); n != want {
				t.Fatalf("said %d times that the clock is behind, want %d:\n%s", n, want, text)
			}
			for _, part := range parts {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in\n%s", part, text)
				}
			}
			logged.Reset()
		}
		append := func(off time.Duration) {
			clock.set(off)
			mustAppend(t, l, batchOf("clocked", "x"))
		}
		append(0)
		append(-500 * time.Millisecond) // such steps are usual
		said(0)
		append(time.Hour)
		append(0)
		append(0)
		append(time.Second)
		said(1, "topic=clocked", "behind=1h0m0s", "newest=2000-01-01T01:00:00.000Z", "level=WARN")
		append(2 * time.Hour)
		append(0)
		said(1, "behind=2h0m0s")
		for _, clean := range []bool{true, false} {
			if clean {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				kill(s)
			}
			s = openMem(t, disk, o)
			l = mustLog(t, s, "clocked")
			append(0)
			append(0)
			said(1, "topic=clocked", "behind=2h0m0s")
		}
		s.Close()
	})
}

// What a 0.3 directory brings with it is as old as the first start, whatever its
// files say.
func TestAgeOfAdoptedData(t *testing.T) {
	for name, at := range map[string]time.Time{"1970": time.Unix(0, 0), "last year": time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for _, single := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, one partition %v", name, single), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := vfstest.New()
					var size int64
					for i := range 3 {
						file := layout.Partition("t", size)
						data := batchOf("t", fmt.Sprintf("message %d", i)).data
						if err := disk.WriteFile(file, data); err != nil {
							t.Fatal(err)
						}
						if err := disk.SetModTime(file, at); err != nil {
							t.Fatal(err)
						}
						size += int64(len(data))
						if single {
							break
						}
					}
					o := Options{Partitions: -1, FlushInterval: -1, RetentionAge: time.Hour}
					for i := range 6 { // each start a quarter of an hour after the one before
						s := openMem(t, disk, o)
						l := mustLog(t, s, "t")
						if _, err := l.Info(t.Context()); err != nil { // which finds times
							t.Fatal(err)
						}
						time.Sleep(14 * time.Minute)
						synctest.Wait()
						oldest := l.Oldest()
						if young := i < 4; young && oldest != 0 || !young && oldest != size {
							t.Fatalf("oldest %d of %d, %d minutes after the first start", oldest, size, 15*i+14)
						}
						time.Sleep(time.Minute)
						if err := s.Close(); err != nil {
							t.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// A batch that comes while the clock is behind has a time that is too early; it
// is not removed by it when the clock is right again, also if it is the topic's
// first, nor by the time at which the topic was created.
func TestAgeWhileTheClockIsBehind(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("the topic's first %v", first), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, disk := new(wrongClock), vfstest.New()
				disk.SetClock(clock.Now)
				s := openMem(t, disk, Options{Clock: clock, Partitions: -1, RetentionAge: time.Hour, FlushInterval: -1})
				defer s.Close()
				l := mustCreate(t, s, "t")
				time.Sleep(time.Minute)
				if !first {
					mustAppend(t, l, batchOf("t", "right"))
				}
				clock.set(-year)
				time.Sleep(50 * time.Minute)
				mustAppend(t, l, batchOf("t", "behind"))
				clock.set(0)
				time.Sleep(50 * time.Minute)
				synctest.Wait()
				if l.Oldest() != 0 {
					t.Fatal("a batch is removed 50 minutes after it was appended")
				}
				time.Sleep(70 * time.Minute)
				synctest.Wait()
				if l.Oldest() != l.Next() {
					t.Fatal("a batch is left 2 hours after it was appended")
				}
			})
		})
	}
}

// A clock that goes ahead by itself makes everything look old: nothing is
// removed at once, and nothing at all if it comes back soon.
func TestAgeWhenTheClockGoesAhead(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("comes back %v", back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, disk := new(wrongClock), vfstest.New()
				disk.SetClock(clock.Now)
				s := openMem(t, disk, Options{Clock: clock, PartitionSize: 100, Partitions: -1, RetentionAge: 24 * time.Hour, FlushInterval: -1})
				defer s.Close()
				l := mustCreate(t, s, "t")
				all := appendMany(t, l, 5)
				time.Sleep(time.Minute)
				clock.set(year)
				mustAppend(t, l, batchOf("t", "begins a partition, which retention looks at"))
				time.Sleep(50 * time.Minute)
				synctest.Wait()
				if l.Oldest() != 0 {
					t.Fatalf("oldest %d, 50 minutes after the clock went ahead", l.Oldest())
				}
				if back {
					clock.set(0)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if gone := l.Oldest() > all[3].Offset; gone == back {
					t.Fatalf("oldest %d", l.Oldest())
				}
			})
		})
	}
}

// TestWrongClocks appends, restarts and asks while the clock is set ahead and
// right again, or behind and right again.
func TestWrongClocks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	wrong := [][]time.Duration{
		{time.Minute, time.Hour, 12 * time.Hour, 24 * time.Hour, year, 73 * year},
		{-time.Minute, -time.Hour, -14 * time.Hour},
		// By as much as the clock is off less, a partition may be removed too early.
		{24 * time.Hour, year, 73 * year},
		{-year},
		{-29 * year},
	}
	for n := range 60 {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		synctest.Test(t, func(t *testing.T) {
			k := n % len(wrong)
			r := &clockRun{t: t, rng: rng, clock: new(wrongClock), disk: vfstest.New(), wrong: wrong[k], ages: k >= 2}
			r.run()
		})
		if t.Failed() {
			t.Fatalf("run %d of seed %d", n, seed)
		}
	}
}

type clockRun struct {
	t     *testing.T
	rng   *rand.Rand
	clock *wrongClock
	disk  *vfstest.FS
	wrong []time.Duration
	ages  bool // check them
	o     Options
	s     *Store
	l     *Log
	all   []clockBatch
	ahead time.Time // when the store has last had the time to see a clock that is not ahead
}

func (r *clockRun) run() {
	r.disk.SetClock(r.clock.Now)
	r.o = Options{
		Clock: r.clock, PartitionSize: 50 + r.rng.Int64N(500), Partitions: -1, FlushInterval: -1, FlushBatches: 1,
		RetentionAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	}
	r.s = openMem(r.t, r.disk, r.o)
	r.l = mustCreate(r.t, r.s, "t")
	r.ahead = time.Now()
	for range 80 {
		r.step()
		synctest.Wait()
		r.check()
		if r.t.Failed() {
			break
		}
	}
	r.s.Close()
}

func (r *clockRun) step() {
	off := time.Duration(r.clock.off.Load())
	if off > 0 && time.Since(r.ahead) > 30*time.Minute {
		r.clock.set(0) // after an hour it would be believed
	}
	begun := time.Now()
	defer func() {
		if r.clock.off.Load() <= 0 && time.Since(begun) > retentionInterval(r.o.RetentionAge) {
			r.ahead = time.Now()
		}
	}()
	switch k := r.rng.IntN(20); {
	case k < 12:
		time.Sleep(time.Duration(r.rng.Int64N(int64(2 * time.Minute))))
		b := clockBatch{true: time.Now(), said: r.clock.Now()}
		b.Appended = mustAppend(r.t, r.l, batchOf("t", "message"))
		r.all = append(r.all, b)
	case k < 14:
		time.Sleep(time.Duration(r.rng.Int64N(int64(20 * time.Minute))))
	case k < 15:
		r.clock.set(r.wrong[r.rng.IntN(len(r.wrong))])
	case k < 17:
		r.clock.set(0)
	case off > 0:
		// Nothing tells a server that starts with a clock that is ahead.
	case k < 18:
		kill(r.s)
		r.reopen()
	default:
		if err := r.s.Close(); err != nil {
			r.t.Fatal(err)
		}
		r.reopen()
	}
}

func (r *clockRun) reopen() {
	r.s = openMem(r.t, r.disk, r.o)
	r.l = mustLog(r.t, r.s, "t")
}

func (r *clockRun) check() {
	now, oldest := time.Now(), r.l.Oldest()
	for i, b := range r.all {
		if b.Offset >= oldest {
			// SEEK gives no offset behind a batch that was stored at that time or
			// later, as the clock said, as far as it was not ahead.
			at := b.true
			if b.said.Before(at) {
				at = b.said
			}
			if got, err := r.l.Seek(at); err != nil || got > b.Offset {
				r.t.Errorf("Seek(%v) = %d (%v), behind the batch at %d, stored at %v when the clock said %v; it is %v and says %v",
					at, got, err, b.Offset, b.true, b.said, now, r.clock.Now())
				return
			}
			continue
		}
		// What is removed was too old.
		age := now.Sub(b.true)
		r.all[i].Offset = -1
		if b.Offset >= 0 && age <= r.o.RetentionAge && r.ages {
			r.t.Errorf("batch at %d, stored at %v when the clock said %v, is removed after %v; it is %v and says %v",
				b.Offset, b.true, b.said, age, now, r.clock.Now())
			return
		}
	}
}
