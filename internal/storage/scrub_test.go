package storage

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// scrubbed opens a store that checks 100,000 bytes a second, with a topic of
// partitions of 100,000 bytes, and returns it when the first pass is over.
func scrubbed(t *testing.T, disk *vfstest.FS, o Options, bytes int64) (*Store, *Log) {
	t.Helper()
	o.ScrubRate, o.PartitionSize, o.Partitions = 100_000, 100_000, max(o.Partitions, 8)
	s := openMem(t, disk, Options{PartitionSize: o.PartitionSize, FlushInterval: -1})
	l := mustCreate(t, s, "t")
	for l.Next() < bytes {
		mustAppend(t, l, batchOf("t", strings.Repeat("x", 2000)))
	}
	must(t, s.Close())
	s = openMem(t, disk, o)
	return s, mustLog(t, s, "t")
}

// All that is stored is checked after the start and every 7 days, at the rate
// that is set, and what is damaged is set aside without a reader.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s, l := scrubbed(t, disk, Options{}, 350_000)
		synctest.Wait() // the first partition is checked at once
		began := time.Now()
		damage := func(offset int64) {
			p := partitionAt(l, offset)
			must(t, disk.Corrupt(p.File().Name(), offset-p.Base(), func(b []byte) { b[0] ^= 1 }))
		}
		var before Counts // of the pass before
		pass := func(damaged int) {
			t.Helper()
			for s.Counts().ScrubPassed.Equal(before.ScrubPassed) {
				time.Sleep(time.Second)
			}
			in, err := l.Info(t.Context())
			if err != nil || len(in.DamagedAt) != damaged || s.Counts().ScrubDamaged != int64(damaged) {
				t.Errorf("%d damages are known (%v), %d found, want %d", len(in.DamagedAt), err, s.Counts().ScrubDamaged, damaged)
			}
			for _, r := range in.DamagedAt {
				if r[1]-r[0] > 2100 {
					t.Errorf("%d bytes are set aside for one", r[1]-r[0])
				}
			}
			if n := s.Counts().Scrubbed - before.Scrubbed; n < l.Next()-5000 {
				t.Errorf("%d bytes were checked of %d", n, l.Next())
			}
			before = s.Counts()
		}
		damage(150_000)
		damage(l.Next() - 10_000) // in the newest partition
		pass(2)
		if took := time.Since(began); took < 3*time.Second || took > 6*time.Second {
			t.Errorf("350,000 bytes at 100,000 a second took %v", took)
		}
		damage(50_000)
		time.Sleep(6 * 24 * time.Hour)
		if n := s.Counts().ScrubDamaged; n != 2 {
			t.Errorf("the next pass was within 6 days")
		}
		pass(3)
		if since := time.Since(began); since < 7*24*time.Hour || since > 7*24*time.Hour+time.Minute {
			t.Errorf("the next pass ended %v after the start", since)
		}
		// What is not synced is not looked at.
		a := mustAppend(t, l, batchOf("t", strings.Repeat("y", 2000)))
		damage(a.Offset + 100)
		pass(3)
		must(t, s.Close())
	})
}

// A pass ends at once with the store, survives that its partition is removed or
// its topic deleted, and does not begin if it is off.
func TestScrubEnds(t *testing.T) {
	for _, end := range []string{"close", "retention", "delete", "off"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s, l := scrubbed(t, disk, Options{}, 350_000)
				time.Sleep(500 * time.Millisecond)
				if n := s.Counts().Scrubbed; n == 0 {
					t.Error("nothing was checked in half a second")
				}
				switch end {
				case "retention":
					must(t, l.AdvanceOldest(headOf(l).Base()))
					time.Sleep(10 * time.Second)
					if s.Counts().ScrubPassed.IsZero() {
						t.Error("the pass has no end")
					}
				case "delete":
					must(t, s.Delete(t.Context(), "t", fmt.Sprintf("%x", l.ID()), true))
					time.Sleep(10 * time.Second)
					if s.Counts().ScrubPassed.IsZero() || s.Counts().ScrubDamaged > 0 {
						t.Errorf("after the deletion: %+v", s.Counts())
					}
				case "off":
					must(t, s.Close())
					s = openMem(t, disk, Options{})
					time.Sleep(time.Hour)
					if n := s.Counts().Scrubbed; n > 0 {
						t.Errorf("%d bytes were checked", n)
					}
				}
				began := time.Now()
				must(t, s.Close())
				if took := time.Since(began); took > 0 {
					t.Errorf("the store took %v to close", took)
				}
			})
		})
	}
}
