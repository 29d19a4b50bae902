package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// emptied returns nil if a log has nothing and begins at base.
func emptied(l *Log, base int64) error {
	in, err := l.Info(context.Background())
	if err != nil || in.Next != base || in.Oldest != base || in.Batches != 0 || in.Damaged != 0 || l.Next() != base || l.Begin() != base || l.Readable() != base {
		return fmt.Errorf("info %+v (%w), next %d, begins at %d, want an empty log at %d", in, err, l.Next(), l.Begin(), base)
	}
	return nil
}

// TestReset: a log begins again, wherever, with nothing of what it had.
func TestReset(t *testing.T) {
	disk, o := vfstest.New(), Options{PartitionSize: 300, Partitions: -1, Managed: true}
	s := openMem(t, disk, o)
	defer func() { kill(s) }()
	l := mustCreateAs(t, s, "t", 1, 1000)
	for _, base := range []int64{1000, 0, 1000, 1000, 1250, 1 << 40, 500} {
		begin := l.Begin()
		for i := range 9 {
			_, err := appendLed(l, &LedRun{Offset: l.Next(), Millis: 1e15, Parts: parts(numbered(int64(i+1), strings.Repeat("x", 100)))})
			must(t, err)
		}
		l.SetReadable(l.Next())
		must(t, disk.Corrupt(l.Partitions()[1].File().Name(), 50, func(b []byte) { b[0] ^= 1 }))
		if _, err := l.Verify(l.Partitions()[1].Base(), 1, 0); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		v, err := l.Read(begin, 1, 0)
		must(t, err)
		var wakes countWakes
		l.Watch(l.Next(), &wakes)

		must(t, l.Reset(t.Context(), base))
		must(t, emptied(l, base))
		if b, err := readView(v); err != nil || !bytes.Contains(b, []byte("xxx")) {
			t.Errorf("a reader has %q, %v", b, err)
		}
		if wakes != 1 {
			t.Errorf("woken %d times", wakes)
		}
		if names := fmt.Sprint(disk.Names()); strings.Count(names, "/"+fmt.Sprint(base)+".log") != 1 || strings.Count(names, ".log") != 1 || strings.Contains(names, ".idx") || strings.Contains(names, "producers") {
			t.Errorf("files %s", names)
		}
		image := disk.CrashKeepNothing()
		must(t, agree(image, dirOf(l)))
		s2 := openMem(t, image, o)
		must(t, emptied(s2.ByID(l.ID()), base))
		kill(s2)

		// It is written as others are, also with the numbers that it has had.
		res, err := appendLed(l, &LedRun{Offset: base, Millis: 5, Parts: parts(numbered(1, "y"))})
		if err != nil || !res.Roll || res.Millis != 5 || res.Batches != 1 || l.Readable() != base {
			t.Errorf("%+v, %v, readable up to %d", res, err, l.Readable())
		}
		must(t, s.Close())
		if found, _ := check(t, disk); len(found) > 0 {
			t.Errorf("found %+v", found)
		}
		s = openMem(t, disk, o)
		l = s.ByID([16]byte{1})
		l.SetReadable(l.Next())
		wantBodies(t, l, "y")
		must(t, l.Reset(t.Context(), base))
	}
	if err := l.Reset(t.Context(), -1); !errors.Is(err, ErrOffset) {
		t.Errorf("a log before 0: %v", err)
	}
}

// Who reads meanwhile gets what was there or is told that it is not.
func TestResetMeanwhile(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{PartitionSize: 300, Partitions: -1, Managed: true, OpenFiles: 1, Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	l := mustCreateAs(t, s, "t", 1, 0)
	r := batchOf("t", strings.Repeat("x", 100))
	var g sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		g.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				at := rng.Int64N(9) * int64(len(r.data))
				var v interface{ Close() }
				var err error
				switch rng.IntN(3) {
				case 0:
					v, err = l.Read(at, 5, 0)
				case 1:
					v, err = l.Verify(at, 5, 0)
				default:
					_, err = l.Info(context.Background())
				}
				if err == nil && v != nil {
					v.Close()
				}
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrEnd) {
					t.Errorf("at %d: %v", at, err)
					return
				}
			}
		})
	}
	for range 200 {
		for range 8 {
			mustRun(t, l, r)
			l.SetReadable(l.Next())
		}
		must(t, l.Reset(t.Context(), 0))
	}
	close(stop)
	g.Wait()
	must(t, emptied(l, 0))
}

// crashReset empties a log again and again, and looks at what a power cut leaves after
// each operation: what it had, or nothing.
func crashReset(t *testing.T, seed uint64, lie func(*vfstest.FS)) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		disk, o := vfstest.New(), Options{PartitionSize: 200, Partitions: -1, Managed: true, Logger: slog.New(slog.DiscardHandler)}
		s := openMem(t, disk, o)
		defer func() { kill(s) }()
		l := mustCreateAs(t, s, "t", 1, 0)
		errs, _ := s.SyncTogether([]*Log{l}, nil)
		must(t, errs[0])
		if lie != nil {
			lie(disk)
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		base, to := int64(0), int64(-1) // where it begins, and may begin
		var wire []byte
		synced := 0
		survived := func(image *vfstest.FS) error {
			if err := agree(image, dirOf(l)); err != nil {
				return err
			}
			s, err := Open(context.Background(), withFS(o, image))
			if err != nil {
				return err
			}
			defer kill(s)
			l := s.ByID([16]byte{1})
			if l == nil {
				return errors.New("it is lost")
			}
			if to >= 0 && emptied(l, to) == nil {
				return nil
			}
			b, err := wireOf(l)
			if err != nil || l.Begin() != base || len(b) < synced || !bytes.HasPrefix(wire, b) {
				return fmt.Errorf("it begins at %d with %d bytes (%w), want %d at %d, or to be empty at %d", l.Begin(), len(b), err, synced, base, to)
			}
			return nil
		}
		disk.OnOp(func(op vfstest.Op) {
			if failed != nil {
				return
			}
			if failed = survived(disk.CrashKeepNothing()); failed == nil {
				failed = survived(disk.Crash(rng))
			}
			if failed != nil {
				failed = fmt.Errorf("seed %d, after %s: %w", seed, op, failed)
			}
		})
		for range 10 {
			time.Sleep(time.Second)
			synctest.Wait()
			for range rng.IntN(6) {
				r := batchOf("t", strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(150)))
				wire = append(wire, r.data...)
				_, err := l.AppendRun(t.Context(), placed(l.Next(), 1, rng.IntN(3) == 0, r))
				must(t, err)
			}
			// What the cut of a reset takes was on its way to the disk, or there.
			if rng.IntN(3) > 0 {
				must(t, l.SyncTo(t.Context(), l.Next()))
				synced = len(wire)
			}
			l.SetReadable(base + rng.Int64N(int64(len(wire)+1)))
			to = []int64{base, base + 7, max(base-300, 0), base + int64(len(wire)), base + 5000, base + int64(len(wire))/2}[rng.IntN(6)]
			must(t, l.Reset(t.Context(), to))
			base, to, wire, synced = to, -1, nil, 0
			if rng.IntN(3) == 0 {
				kill(s)
				s = openMem(t, disk, o)
				l = s.ByID([16]byte{1})
			}
			synctest.Wait()
		}
		disk.OnOp(nil)
	})
	return failed
}

func TestResetCrash(t *testing.T) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 15)) {
		if err := crashReset(t, first+i, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, lie := range map[string]func(*vfstest.FS){
		"forgets bytes": func(d *vfstest.FS) { d.IgnoreSync(true) },
		"forgets names": func(d *vfstest.FS) { d.IgnoreSyncDir(true) },
	} {
		found := false
		for i := uint64(0); i < 20 && !found; i++ {
			found = crashReset(t, first+i, lie) != nil
		}
		if !found {
			t.Errorf("nothing was found on a disk that %s", name)
		}
	}
}

// Whatever fails, the log is afterwards what it was or empty.
func TestResetFaults(t *testing.T) {
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		for _, base := range []int64{0, 100, 5000} {
			for n := 1; ; n++ {
				disk, o := vfstest.New(), Options{PartitionSize: 300, Partitions: -1, Managed: true, Logger: slog.New(slog.DiscardHandler)}
				s := openMem(t, disk, o)
				l := mustCreateAs(t, s, "t", 1, 0)
				r := batchOf("t", strings.Repeat("x", 100))
				for range 9 {
					mustRun(t, l, r)
				}
				must(t, l.SyncTo(t.Context(), l.Next()))
				disk.FailAt(n, vfstest.Fault{Err: errno, Reads: true})
				err := l.Reset(t.Context(), base)
				hit := disk.Faults() > 0
				disk.ClearFaults()
				place := fmt.Sprintf("to %d, operation %d, %v: %v", base, n, errno, err)
				if err != nil && l.Failed() == nil {
					if l.Next() != 9*int64(len(r.data)) {
						t.Errorf("%s: it ends at %d", place, l.Next())
					}
					if err := l.Reset(t.Context(), base); err != nil {
						t.Errorf("%s; once more: %v", place, err)
					}
				}
				kill(s)
				s = reopened(t, disk, o)
				l = s.ByID([16]byte{1})
				eerr := emptied(l, base)
				if b, rerr := wireOf(l); eerr != nil && (err == nil || rerr != nil || !bytes.Equal(b, bytes.Repeat(r.data, 9))) {
					t.Errorf("%s: %v, and %d bytes, %v", place, eerr, len(b), rerr)
				}
				kill(s)
				must(t, agree(disk, dirOf(l)))
				if !hit {
					break
				}
			}
		}
	}
}
