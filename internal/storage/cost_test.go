package storage

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// countReads returns how many reads f makes of the disk.
func countReads(disk *vfstest.FS, f func()) int64 {
	var n atomic.Int64
	disk.FailAt(1<<30, vfstest.Fault{Reads: true, Match: func(op vfstest.Op) bool {
		if op.Kind == vfstest.OpRead {
			n.Add(1)
		}
		return false
	}})
	defer disk.ClearFaults()
	f()
	return n.Load()
}

// A read of one message at any offset costs the same few reads of the disk
// however large the partition is.
func TestReadsDoNotGrowWithThePartition(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushInterval: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var r run
	for range 100 {
		r.add("t", string(make([]byte, 100)))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	size := r.extents[0].Len
	for range 3 {
		for range 200 {
			mustAppend(t, l, r)
		}
		var most, sum int64
		const tries = 300
		for range tries {
			offset := rng.Int64N(l.Next()/size) * size
			n := countReads(disk, func() {
				v, err := l.Read(offset, 1, 0)
				if err != nil {
					t.Fatal(err)
				}
				if v.Batches() != 1 || v.Len() != size {
					t.Fatalf("%d batches in %d bytes", v.Batches(), v.Len())
				}
				v.Close()
			})
			most, sum = max(most, n), sum+n
		}
		t.Logf("%d bytes: %d reads at most, %.2f on average", l.Next(), most, float64(sum)/tries)
		if most > 2 {
			t.Fatalf("a read of one message in a partition of %d bytes costs %d reads", l.Next(), most)
		}
	}
}

// A topic that was left by kill -9 is recovered with one sync each of its
// partition, its journal and its folder.
func TestRecoverySyncs(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushInterval: -1})
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "one"))
	kill(s)
	syncs := make(map[string]int)
	disk.OnOp(func(op vfstest.Op) {
		if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpSyncDir {
			syncs[op.Name]++
		}
	})
	s = openMem(t, disk, Options{FlushInterval: -1})
	disk.OnOp(nil)
	if got, want := fmt.Sprint(syncs), "map[.:1 t:1 t/0.log:1 t/journal:1]"; got != want {
		t.Errorf("syncs %s, want %s", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

type silentWaker struct{}

func (*silentWaker) Wake() {}

// The ways that every request takes do not allocate.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	s := openStore(t, Options{FS: osFS(t, t.TempDir()), FlushInterval: -1})
	l := mustCreate(t, s, "t")
	r := batchOf("t", string(make([]byte, 1000)))
	ctx := context.Background()
	for range 1000 {
		mustAppend(t, l, r)
	}
	w := &silentWaker{}
	for name, test := range map[string]struct {
		most float64
		f    func()
	}{
		"append": {0, func() {
			if _, err := l.Append(ctx, r.data, r.extents); err != nil {
				t.Fatal(err)
			}
		}},
		"watch": {0, func() { l.Watch(l.Next(), w); l.Unwatch(w) }},
		"read": {2, func() {
			v, err := l.Read(0, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			v.Close()
		}},
	} {
		if got := testing.AllocsPerRun(500, test.f); got > test.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, test.most)
		}
	}
}

// BenchmarkAppendSync appends a batch and waits until it is on stable storage.
func BenchmarkAppendSync(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			var fsys countingFS
			fsys.FS = osFS(b, b.TempDir())
			s := openStore(b, Options{FS: &fsys, FlushBatches: 1})
			l := mustCreate(b, s, "t")
			r := batchOf("t", string(make([]byte, 100)))
			b.SetBytes(int64(len(r.data)))
			var group sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			fsys.syncs.Store(0)
			b.ResetTimer()
			for range writers {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						a, err := l.Append(context.Background(), r.data, r.extents)
						if err == nil {
							err = l.Commit(context.Background(), a)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(fsys.syncs.Load())/float64(b.N), "syncs/op")
		})
	}
}

// countingFS counts the syncs of files.
type countingFS struct {
	vfs.FS
	syncs atomic.Int64
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	return &countingFile{f, &c.syncs}, err
}

type countingFile struct {
	vfs.File
	syncs *atomic.Int64
}

func (f *countingFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

// BenchmarkRead reads one message of 100 bytes at a random offset of a
// partition of 64 MiB.
func BenchmarkRead(b *testing.B) {
	s := openStore(b, Options{FS: osFS(b, b.TempDir()), FlushInterval: -1})
	l := mustCreate(b, s, "t")
	var r run
	for range 1000 {
		r.add("t", string(make([]byte, 100)))
	}
	for l.Next() < 64<<20 {
		mustAppend(b, l, r)
	}
	size := r.extents[0].Len
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		v, err := l.Read(rng.Int64N(l.Next()/size)*size, 1, 0)
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}
