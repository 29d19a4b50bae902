package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestNumbersCacheOfALongerLog: a log that comes back shorter than its cache says
// goes on with other batches, and is read for its numbers when it is longer again. A
// batch that is gone is stored then.
func TestNumbersCacheOfALongerLog(t *testing.T) {
	numbered := func(from, to int64) (r run) {
		for seq := from; seq <= to; seq++ {
			r.number("t", "a", seq, "x")
		}
		return r
	}
	const kept = 5 // of 9
	size := numbered(1, 1).extents[0].Len
	// Each leaves a disk with the cache of 9 batches and a log of 5.
	for name, shorten := range map[string]func(*testing.T, *vfstest.FS){
		"an older copy": func(t *testing.T, disk *vfstest.FS) {
			s := openMem(t, disk, Options{FlushInterval: time.Second})
			l := mustCreate(t, s, "t")
			mustAppend(t, l, numbered(1, kept))
			must(t, s.Close())
			copied := make(map[string][]byte)
			for _, name := range []string{"t/0.log", "t/0.idx", "t/journal"} {
				b, err := disk.ReadFile(name)
				must(t, err)
				copied[name] = b
			}
			s = openMem(t, disk, Options{FlushInterval: time.Second})
			mustAppend(t, mustLog(t, s, "t"), numbered(kept+1, 9))
			must(t, s.Close())
			for name, b := range copied {
				must(t, disk.WriteFile(name, b))
			}
		},
		"a damaged end":               func(t *testing.T, disk *vfstest.FS) { damagedEnd(t, disk, numbered, kept*size) },
		"a damaged end, and a repair": func(t *testing.T, disk *vfstest.FS) { damagedEnd(t, disk, numbered, kept*size); repair(t, disk, false) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				shorten(t, disk)
				if found, _ := check(t, disk); name != "a damaged end" && len(found) > 0 {
					t.Errorf("found %v", found)
				}
				s := openMem(t, disk, Options{})
				l := mustLog(t, s, "t")
				if l.Next() != kept*size {
					t.Fatalf("the log ends at %d, want %d", l.Next(), kept*size)
				}
				for l.Next() <= 9*size {
					mustAppend(t, l, ofSize("t", size))
				}
				must(t, s.Close())
				for range 2 {
					s = openMem(t, disk, Options{})
					must(t, s.Close())
				}
				s = openMem(t, disk, Options{})
				defer s.Close()
				l = mustLog(t, s, "t")
				next := l.Next()
				for seq := int64(kept + 1); seq <= 9; seq++ {
					if got, want := told(sent(l, numbered(seq, seq))), fmt.Sprint(next); got != want {
						t.Errorf("batch %d, which is gone: %s, want %s", seq, got, want)
					}
					next += size
				}
				if got := told(sent(l, numbered(kept, kept))); got != fmt.Sprint((kept-1)*size) {
					t.Errorf("batch %d, which is there: %s", kept, got)
				}
			})
		})
	}
}

// ofSize returns a batch without a number that has so many bytes.
func ofSize(topic string, size int64) (r run) {
	for n := 0; int64(len(r.data)) < size; n++ {
		r = batchOf(topic, strings.Repeat("x", n))
	}
	return r
}

// damagedEnd leaves a log of 9 batches, and their cache, with damage from a
// position on that no mark in the journal speaks of.
func damagedEnd(t *testing.T, disk *vfstest.FS, numbered func(from, to int64) run, at int64) {
	t.Helper()
	s := openMem(t, disk, Options{FlushInterval: -1})
	l := mustCreate(t, s, "t")
	mustAppend(t, l, numbered(1, 1))
	must(t, l.SyncAll())
	mustAppend(t, l, numbered(2, 9))
	must(t, l.SyncAll()) // too soon for another mark
	time.Sleep(time.Minute)
	if _, err := disk.Stat(layout.ProducersFile("t")); err != nil {
		t.Fatal(err)
	}
	kill(s)
	must(t, disk.Corrupt("t/0.log", at, func(b []byte) { clear(b) }))
}

// TestNumbersCacheRemovalCutShort: a cache that is taken away because the log is
// shorter stays away, wherever a kill comes in between and whatever of the removal a
// power cut takes back after that.
func TestNumbersCacheRemovalCutShort(t *testing.T) {
	var short, long run
	for seq := range int64(9) {
		if seq < 5 {
			short.number("t", "a", seq+1, "x")
		}
		long.number("t", "a", seq+1, "x")
	}
	size := long.extents[0].Len
	rng := rand.New(rand.NewPCG(firstSeed(t), 5))
	longer := 0
	for n := 1; ; n++ {
		disk := vfstest.New()
		s := openMem(t, disk, Options{})
		mustAppend(t, mustCreate(t, s, "t"), short)
		must(t, s.Close())
		file, err := disk.ReadFile("t/0.log")
		must(t, err)
		known, err := disk.ReadFile("t/journal")
		must(t, err)
		s = openMem(t, disk, Options{})
		mustAppend(t, mustLog(t, s, "t"), run{long.data[len(short.data):], long.extents[5:]})
		must(t, s.Close())
		must(t, disk.WriteFile("t/0.log", file))
		must(t, disk.WriteFile("t/journal", known))
		must(t, disk.SyncAll())

		// A file system that fails from here on is as good as a kill.
		disk.FailAt(n, vfstest.Fault{Forever: true})
		if s, err := Open(t.Context(), Options{FS: disk}); err == nil {
			kill(s)
		}
		hit := disk.Faults() > 0
		disk.ClearFaults()
		s = openMem(t, disk, Options{FlushInterval: -1})
		l := mustLog(t, s, "t")
		for l.Next() <= int64(len(long.data)) {
			mustAppend(t, l, ofSize("t", size))
		}
		for range 100 {
			image := openMem(t, disk.Crash(rng), Options{FlushInterval: -1})
			if l := mustLog(t, image, "t"); l.Next() >= int64(len(long.data)) {
				longer++
				next := l.Next()
				if got := told(sent(l, run{long.data[len(short.data):][:size], long.extents[5:6]})); got != fmt.Sprint(next) {
					t.Errorf("operation %d: the sixth, which is gone: %s, want %d", n, got, next)
				}
			}
			kill(image)
		}
		kill(s)
		if !hit || t.Failed() {
			break
		}
	}
	if longer == 0 {
		t.Error("no power cut has left a log that is longer")
	}
}

// TestNumbersCache: the cache is written, is read, and is not believed if it is of
// another log, of more, or damaged. Whatever it is, the answers are the same.
func TestNumbersCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{FS: disk, FlushInterval: time.Second, Partitions: -1}
		s := openStore(t, o)
		l := mustCreate(t, s, "t")
		send := func(from, to int64) {
			t.Helper()
			for seq := from; seq <= to; seq++ {
				var r run
				r.number("t", "a", seq, fmt.Sprint(seq))
				if got := told(sent(l, r)); strings.Contains(got, " ") {
					t.Fatal(got)
				}
			}
		}
		cache := func() (*producers.Table, producers.Origin) {
			b, err := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
			if err != nil {
				return nil, producers.Origin{}
			}
			table, o, err := producers.ParseCache(b)
			if err != nil {
				t.Fatal(err)
			}
			return table, o
		}
		send(1, 10)
		time.Sleep(4 * time.Second)
		if table, _ := cache(); table != nil {
			t.Error("there is a cache after 4 seconds")
		}
		time.Sleep(3 * time.Second)
		if table, o := cache(); table == nil || o.Offset != l.Next() || o.Topic != l.ID() {
			t.Errorf("after 7 seconds: %+v", o)
		}
		old, _ := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
		send(11, 20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, o := cache(); o.Offset != l.Next() {
			t.Errorf("after Close it is good for %d, want %d", o.Offset, l.Next())
		}
		good, _ := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
		damaged := bytes.Clone(good)
		damaged[70]++
		other := bytes.Clone(good)
		for i := range 16 {
			other[12+i] = 9
		}
		for name, b := range map[string][]byte{"good": good, "old": old, "none": nil, "damaged": damaged, "another's": other, "empty": {}} {
			disk := disk.CrashKeepNothing()
			if b == nil {
				disk.Remove(layout.ProducersFile("t"))
			} else if err := disk.WriteFile(layout.ProducersFile("t"), b); err != nil {
				t.Fatal(err)
			}
			o.FS = disk
			s := openStore(t, o)
			l := mustCreate(t, s, "t")
			var r run
			r.number("t", "a", 20, "20")
			r.number("t", "a", 21, "21")
			r.number("t", "a", 23, "23")
			if got, want := told(sent(l, r)), fmt.Sprintf("%d, %d, want 22", l.Next()-2*int64(r.extents[0].Len), l.Next()-int64(r.extents[1].Len)); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	})
}

// TestNumbersUnsynced: no cache speaks of what is not on stable storage, and none
// of what was cut off.
func TestNumbersUnsynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		var r run
		r.number("t", "a", 1, "x")
		r.number("t", "a", 2, "x")
		mustAppend(t, l, r)
		there := func() bool {
			_, err := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
			return err == nil
		}
		time.Sleep(time.Minute)
		if there() {
			t.Error("there is a cache, and nothing is synced")
		}
		must(t, l.SyncAll())
		time.Sleep(time.Minute)
		if !there() {
			t.Error("there is no cache")
		}
		must(t, l.TruncateTo(t.Context(), r.extents[0].Len))
		if there() {
			t.Error("the cache is there, and what it speaks of was cut off")
		}
	})
}

// TestNumbersDamageBehindTheCache: damage that was found after the cache was written
// is not known from it.
func TestNumbersDamageBehindTheCache(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{})
	l := mustCreate(t, s, "t")
	var r, last run
	for seq := range int64(5) {
		r.number("t", "a", seq+1, "x")
	}
	mustAppend(t, l, r)
	must(t, s.Close())
	b, err := vfs.ReadFile(disk, layout.Partition("t", 0), math.MaxInt64)
	must(t, err)
	b[len(b)-4]++ // in the data of the last
	must(t, disk.WriteFile(layout.Partition("t", 0), b))
	s = openMem(t, disk, Options{})
	defer s.Close()
	l = mustLog(t, s, "t")
	if _, err := l.Verify(4*r.extents[0].Len, 1, 0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("damage is not found: %v", err)
	}
	last.number("t", "a", 6, "x")
	if got := told(sent(l, last)); got != "want 5" {
		t.Errorf("the sixth: %s, want 5", got)
	}
}
