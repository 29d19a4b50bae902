package storage

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestFilesOutOfPlace takes a log's files away under it: that is noticed by the
// next sync, or soon where there is none, and what no name leads to is not
// acknowledged.
func TestFilesOutOfPlace(t *testing.T) {
	remove := func(t *testing.T, disk *vfstest.FS, names ...string) {
		for _, name := range names {
			must(t, disk.Remove(name))
		}
	}
	size := int64(len(batchOf("t", "one").data))
	old, head := layout.Partition("t", 0), layout.Partition("t", size)
	removeAll := func(t *testing.T, disk *vfstest.FS) {
		entries, err := disk.ReadDir("t")
		must(t, err)
		for _, e := range entries {
			remove(t, disk, "t/"+e.Name())
		}
		remove(t, disk, "t")
	}
	cut := func(t *testing.T, disk *vfstest.FS, name string) {
		f, err := disk.OpenFile(name, vfs.ReadWrite, 0)
		must(t, err)
		must(t, f.Truncate(3))
		must(t, f.Close())
	}
	changes := map[string]func(*testing.T, *vfstest.FS){
		"the folder is removed":                removeAll,
		"the folder is moved":                  func(t *testing.T, disk *vfstest.FS) { must(t, disk.Rename("t", "elsewhere")) },
		"the head is removed":                  func(t *testing.T, disk *vfstest.FS) { remove(t, disk, head) },
		"the head is moved":                    func(t *testing.T, disk *vfstest.FS) { must(t, disk.Rename(head, "t/elsewhere")) },
		"the head is cut short":                func(t *testing.T, disk *vfstest.FS) { cut(t, disk, head) },
		"an older partition is removed":        func(t *testing.T, disk *vfstest.FS) { remove(t, disk, old) },
		"the journal is removed":               func(t *testing.T, disk *vfstest.FS) { remove(t, disk, layout.JournalFile("t")) },
		"the head is replaced by a copy of it": func(t *testing.T, disk *vfstest.FS) { replace(t, disk, head) },
		"the folder is replaced by an empty one": func(t *testing.T, disk *vfstest.FS) {
			removeAll(t, disk)
			must(t, disk.Mkdir("t", 0o700))
		},
	}
	for name, change := range changes {
		for how, o := range map[string]Options{
			"flush-batches 1":         {FlushBatches: 1},
			"an interval":             {FlushInterval: time.Second},
			"an interval, and shared": {FlushInterval: time.Second, syncTogether: 1},
			"nobody writes":           {FlushInterval: time.Second},
			"nobody syncs":            {FlushInterval: -1},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := vfstest.New()
					o.PartitionSize = 2*size - 1
					s := openMem(t, disk, o)
					l, other := mustCreate(t, s, "t"), mustCreate(t, s, "other")
					mustAppend(t, l, batchOf("t", "one"))
					mustAppend(t, l, batchOf("t", "two"))
					mustAppend(t, other, batchOf("other", "one"))
					must(t, errors.Join(syncTogether(t, l, other)...))
					time.Sleep(time.Second)
					synctest.Wait()
					if headOf(l).File().Name() != head {
						t.Fatalf("the head is %s", headOf(l).File().Name())
					}
					change(t, disk)
					if how != "nobody writes" {
						r := batchOf("t", "six")
						a, err := l.Append(t.Context(), r.data, r.extents)
						if err == nil {
							err = l.Commit(t.Context(), a)
						}
						if o.FlushBatches == 1 && err == nil {
							t.Error("a batch was acknowledged")
						}
					}
					wait := 2 * time.Second
					if how == "nobody writes" || how == "nobody syncs" {
						wait = 2 * commitlog.LookInterval
					}
					time.Sleep(wait)
					synctest.Wait()
					if err := l.Failed(); !errors.Is(err, layout.ErrDisplaced) && !(err != nil && o.FlushBatches == 1) {
						t.Errorf("the log has not noticed: %v", err)
					}
					if err := other.Failed(); err != nil {
						t.Errorf("another topic: %v", err)
					}
					s.Close() // says so
				})
			})
		}
	}
}

// TestLooksAreSpread: of many topics some are looked at in each interval, and all of them
// in turn.
func TestLooksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics = 2500
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		var logs []*Log
		for i := range topics {
			name := fmt.Sprintf("t%d", i)
			l := mustCreate(t, s, name)
			mustAppend(t, l, batchOf(name, "one"))
			logs = append(logs, l)
		}
		must(t, errors.Join(syncTogether(t, logs...)...))
		time.Sleep(time.Second)
		for _, l := range logs {
			must(t, disk.Rename(l.Name(), l.Name()+".elsewhere"))
		}
		for n, want := range []int{1000, 2000, 2500} {
			time.Sleep(commitlog.LookInterval)
			synctest.Wait()
			noticed := 0
			for _, l := range logs {
				if l.Failed() != nil {
					noticed++
				}
			}
			if noticed != want {
				t.Errorf("%d topics are looked at after %d intervals, want %d", noticed, n+1, want)
			}
		}
		s.Close() // says so
	})
}

// replace puts a copy in the place of a file.
func replace(t *testing.T, disk *vfstest.FS, name string) {
	t.Helper()
	b, err := disk.ReadFile(name)
	must(t, err)
	must(t, disk.WriteFile(name+".copy", b))
	must(t, disk.Rename(name+".copy", name))
}
