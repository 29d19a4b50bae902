package storage

import (
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// scribble damages the beginning of what it is given.
func scribble(b []byte) {
	for i := range min(len(b), 3) {
		b[i] ^= 0xa5
	}
}

// gate holds up the next opening of a file.
type gate struct {
	*vfstest.FS
	name    string
	closed  atomic.Bool
	waiting chan struct{}
	open    chan struct{}
}

func (g *gate) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if name == g.name && g.closed.CompareAndSwap(true, false) {
		close(g.waiting)
		<-g.open
	}
	return g.FS.OpenFile(name, flag, perm)
}

// A reader that is about to read an index finds another one in its place when
// it does: that costs it a second try, and nobody else anything.
func TestRescanBesideReader(t *testing.T) {
	disk := &gate{FS: vfstest.New(), name: "t/0.idx", waiting: make(chan struct{}), open: make(chan struct{})}
	s, err := Open(t.Context(), Options{FS: disk, FlushInterval: -1, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := mustCreate(t, s, "t")
	var all []Appended
	for range 4000 {
		all = append(all, mustAppend(t, l, batchOf("t", strings.Repeat("x", 5000))))
	}
	if st, err := disk.Stat("t/0.idx"); err != nil || st.Size() < 2*4096 {
		t.Fatalf("the index has %d bytes in its file (%v), want some blocks", st.Size(), err)
	}
	s.files.Evict(0)
	disk.closed.Store(true)
	var g sync.WaitGroup
	g.Go(func() {
		v, err := l.Read(all[10].Offset, 1, 0)
		if err != nil {
			t.Errorf("read beside a scan: %v", err)
			return
		}
		v.Close()
	})
	<-disk.waiting
	if err := disk.Corrupt("t/0.log", all[3999].Offset, scribble); err != nil {
		t.Fatal(err)
	}
	if v, err := l.Read(all[3999].Offset, 1, 0); err == nil {
		v.Close()
		t.Error("a damaged batch was read")
	}
	close(disk.open)
	g.Wait()
	mustAppend(t, l, batchOf("t", "more"))
}

// Readers that meet the same damage at once make one scan of it, and those of
// everything else get what they want.
func TestRescanByManyReaders(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushInterval: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var all []Appended
	for range 1000 {
		all = append(all, mustAppend(t, l, batchOf("t", strings.Repeat("x", 5000))))
	}
	const damaged = 500
	for name, pos := range map[string]int64{"t/0.log": all[damaged].Offset, "t/0.idx": 1000} {
		if err := disk.Corrupt(name, pos, scribble); err != nil {
			t.Fatal(err)
		}
	}
	var g sync.WaitGroup
	for i := range 16 {
		g.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 100 {
				k := rng.IntN(len(all))
				if n < 3 {
					k = damaged - 1
				}
				if k == damaged {
					continue
				}
				v, err := l.Read(all[k].Offset, 5, 0)
				if err != nil {
					t.Errorf("read of batch %d: %v", k, err)
					return
				}
				v.Close()
			}
		})
	}
	g.Wait()
}

// Whatever asks first finds out that an index is damaged, and is answered.
func TestDamagedIndexIsNoError(t *testing.T) {
	for name, ask := range map[string]func(l *Log, b Appended, at time.Time) (got, want int64, err error){
		"seek": func(l *Log, b Appended, at time.Time) (int64, int64, error) {
			got, err := l.Seek(at)
			return max(got, b.Offset), b.Offset, err // the time is lost: an earlier one will do
		},
		"info": func(l *Log, b Appended, at time.Time) (int64, int64, error) {
			in, err := l.Info(t.Context())
			return in.Batches, 2000, err
		},
		"ordinal": func(l *Log, b Appended, at time.Time) (int64, int64, error) {
			got, err := l.Ordinal(b.Offset)
			return got, 100, err
		},
		"offset": func(l *Log, b Appended, at time.Time) (int64, int64, error) {
			got, err := l.OffsetOf(100)
			return got, b.Offset, err
		},
		"truncate": func(l *Log, b Appended, at time.Time) (int64, int64, error) {
			err := l.TruncateTo(t.Context(), b.Offset)
			return l.Next(), b.Offset, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s := openMem(t, disk, Options{FlushInterval: -1})
				defer s.Close()
				l := mustCreate(t, s, "t")
				var b Appended
				var at time.Time
				for i := range 2000 {
					time.Sleep(time.Millisecond)
					a := mustAppend(t, l, batchOf("t", "x"))
					if i == 100 {
						b, at = a, time.Now()
					}
				}
				if err := disk.Corrupt("t/0.idx", 1000, scribble); err != nil {
					t.Fatal(err)
				}
				if got, want, err := ask(l, b, at); err != nil || got != want {
					t.Errorf("got %d (%v), want %d", got, err, want)
				}
			})
		})
	}
}

// While the disk is full the index gets no entries. Who seeks a time from then
// is given too much, and skips nothing.
func TestSeekWhereTheIndexHasNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Forever: true, Match: func(op vfstest.Op) bool {
			return strings.HasSuffix(op.Name, ".idx")
		}})
		var offsets, times []int64
		check := func() {
			t.Helper()
			for i, at := range times {
				if got, err := l.Seek(time.UnixMilli(at)); err != nil || got > offsets[i] {
					t.Fatalf("seek %d: offset %d, %v; %d has that time", at, got, err, offsets[i])
				}
			}
		}
		for i := range 2000 {
			time.Sleep(time.Millisecond)
			if i == 1500 {
				if disk.Faults() == 0 {
					t.Fatal("the index is not written")
				}
				check()
				disk.ClearFaults()
			}
			a := mustAppend(t, l, batchOf("t", "x"))
			offsets, times = append(offsets, a.Offset), append(times, time.Now().UnixMilli())
		}
		check()
	})
}
