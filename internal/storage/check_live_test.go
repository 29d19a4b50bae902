package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// A power cut, whenever it comes and whatever it leaves of what was not synced,
// damages nothing that was: and nothing at all where every append is synced
// before it is acknowledged. The controls are a disk that lies about syncs, of files and of
// folders.
func TestCheckAfterPowerCut(t *testing.T) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 25)) {
		if err := powerCuts(t, first+i, nil); err != nil {
			t.Fatalf("LOGD_CRASH_SEED=%d: %v", first+i, err)
		}
	}
}

func TestCheckAfterPowerCutControl(t *testing.T) {
	for name, lie := range map[string]func(*vfstest.FS){
		"files":   func(disk *vfstest.FS) { disk.IgnoreSync(true) },
		"folders": func(disk *vfstest.FS) { disk.IgnoreSyncDir(true) },
	} {
		caught := false
		for seed := uint64(1); seed <= 200 && !caught; seed++ {
			caught = powerCuts(t, seed, lie) != nil
		}
		if !caught {
			t.Errorf("a disk that does not sync %s goes unnoticed", name)
		}
	}
}

// powerCuts runs a random workload, cuts the power after every operation, and
// returns the first damage that a check finds.
func powerCuts(t *testing.T, seed uint64, lie func(*vfstest.FS)) (failed error) {
	rng := rand.New(rand.NewPCG(seed, 8))
	disk := vfstest.New()
	if lie != nil {
		lie(disk)
	}
	work := rand.New(rand.NewPCG(seed, 9))
	o := Options{
		PartitionSize: []int64{1, 300, 5000}[work.IntN(3)], Partitions: -1,
		FlushInterval: -1, FlushBatches: work.IntN(2), Logger: slog.New(slog.DiscardHandler),
	}
	var durable atomic.Int64 // offset: all before it was reported as synced
	disk.OnOp(func(op vfstest.Op) {
		if failed != nil {
			return
		}
		image := disk.Crash(rng)
		found, _ := check(t, image)
		for _, f := range found {
			// Records of the journal that were not synced may be lost in any order.
			if f.Level != fsck.Note && f.Kind != fsck.FoundJournal && (f.Offset < durable.Load() || o.FlushBatches == 1) {
				failed = fmt.Errorf("power cut after %v: %+v\ntrace:\n%s", op, f, disk.Trace())
			}
		}
		if lie == nil && failed == nil && rng.IntN(8) == 0 {
			if err := agree(image, "t"); err != nil {
				failed = fmt.Errorf("power cut after %v: %w\ntrace:\n%s", op, err, disk.Trace())
			}
		}
	})
	for range 3 {
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		for range 1 + work.IntN(8) {
			a := mustAppend(t, l, batchOf("t", fmt.Sprint(work.Uint64()), strings.Repeat("x", work.IntN(600))))
			switch work.IntN(6) {
			case 0, 1:
				must(t, l.SyncTo(t.Context(), a.End))
				durable.Store(a.End)
			case 2:
				durable.Store(min(durable.Load(), a.Offset))
				must(t, l.TruncateTo(t.Context(), a.Offset))
				durable.Store(a.Offset)
			case 3:
				must(t, l.AdvanceOldest(durable.Load()))
			}
		}
		if work.IntN(2) == 0 {
			kill(s)
		} else {
			must(t, s.Close())
		}
	}
	disk.OnOp(nil)
	return failed
}

// An online check beside a server that writes, rotates and removes finds
// nothing that is not so.
func TestCheckOnline(t *testing.T) {
	for _, o := range []Options{
		{FlushBatches: 1, PartitionSize: 2000, Partitions: 3},
		{FlushInterval: -1, PartitionSize: 600, Partitions: 2},
	} {
		o.FS = osFS(t, t.TempDir())
		s := openStore(t, o)
		quit := make(chan struct{})
		// So much is written beside each check: as fast as the disk is there would be
		// more of it than a check gets done with on a busy machine.
		beside := make(chan struct{}, 32)
		var group sync.WaitGroup
		for _, topic := range []string{"t", "u"} {
			l := mustCreate(t, s, topic)
			group.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-quit:
						return
					case <-beside:
					}
					r := batchOf(topic, fmt.Sprint(i), strings.Repeat("x", i%400))
					a, err := l.Append(t.Context(), r.data, r.extents)
					if err == nil {
						err = l.Commit(t.Context(), a)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		batches := int64(0)
		for n := 0; n < 60 || (batches == 0 && n < 10_000); n++ {
			for len(beside) < cap(beside) {
				beside <- struct{}{}
			}
			r, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: o.FS, Online: true}, func(f fsck.Finding) { t.Errorf("found %+v", f) })
			if err != nil {
				t.Error(err)
			}
			batches += r.Batches
		}
		close(quit)
		group.Wait()
		if batches == 0 {
			t.Error("nothing was checked")
		}
	}
}

// A dump shows every batch once, and every other byte as what it is.
func TestDump(t *testing.T) {
	disk, all := lay(t)
	name := layout.Partition("t", all[3].Offset)
	put(t, disk, name, flip(all[4].Offset-all[3].Offset+40))
	put(t, disk, name, extend("BATCH 1"))
	var got []string
	show := func(d *fsck.Dumped) error {
		line := fmt.Sprint(d.Offset, " ", d.Position, " ", d.Length, " ", d.Messages, " ", d.Damage != "", " ", d.Time.IsZero())
		for delta, body := range d.Bodies() {
			line += fmt.Sprintf(" %d:%s", delta, body)
		}
		got = append(got, line)
		return nil
	}
	must(t, fsck.Dump(t.Context(), fsck.DumpOptions{FS: disk, File: name}, show))
	want := "[174 0 58 2 false false 0:body 13:more of it 232 58 58 0 true true 290 116 58 2 false false 0:body 13:more of it 348 174 7 0 true true]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v\nwant %v", got, want)
	}
	got = nil
	must(t, fsck.Dump(t.Context(), fsck.DumpOptions{FS: disk, File: name, Offset: 233, Limit: 1}, show))
	if len(got) != 2 || !strings.HasPrefix(got[1], "290 ") {
		t.Errorf("from inside the damage: %q", got)
	}
	stop := errors.New("stop")
	if err := fsck.Dump(t.Context(), fsck.DumpOptions{FS: disk, File: name}, func(*fsck.Dumped) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if err := fsck.Dump(t.Context(), fsck.DumpOptions{FS: disk, File: "t/none.log"}, show); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if n := disk.Open(); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}
