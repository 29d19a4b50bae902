package storage

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// readHook is a file system that calls functions, where there are any: before a file is
// opened, before each read of one, and behind it, with the offset up to which it was read.
type readHook struct {
	vfs.FS
	open   func(name string, flag int)
	read   func(name string)
	readTo func(name string, offset int64)
}

func (h *readHook) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if h.open != nil {
		h.open(name, flag)
	}
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return hookedFile{f, name, h}, nil
}

type hookedFile struct {
	vfs.File
	name string
	hook *readHook
}

func (f hookedFile) ReadAt(b []byte, off int64) (int, error) {
	if f.hook.read != nil {
		f.hook.read(f.name)
	}
	n, err := f.File.ReadAt(b, off)
	if f.hook.readTo != nil {
		f.hook.readTo(f.name, off+int64(n))
	}
	return n, err
}

// TestNumbersWhileTheTableIsMadeAnew: after damage was found, nothing is answered
// from what was known before.
func TestNumbersWhileTheTableIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		var hang chan struct{}
		hook := &readHook{FS: disk, read: func(name string) {
			if name == "t/0.log" && hang != nil {
				<-hang
			}
		}}
		s := openStore(t, Options{FS: hook})
		l := mustCreate(t, s, "t")
		var all, last run
		for seq := range int64(5) {
			all.number("t", "a", seq+1, "x")
		}
		last.number("t", "a", 5, "x")
		mustAppend(t, l, all)
		size := last.extents[0].Len
		must(t, disk.Corrupt("t/0.log", 4*size, func(b []byte) { clear(b) }))
		if v, err := l.Verify(0, 100, 0); err != nil {
			t.Fatal(err)
		} else {
			v.Close()
		}
		if _, err := l.Verify(4*size, 1, 0); err == nil {
			t.Fatal("damage is not found")
		}
		hang = make(chan struct{})
		answers := make(chan string, 2)
		for range 2 { // the second while the table is made for the first
			go func() { answers <- told(sent(l, last)) }()
			synctest.Wait()
		}
		for range 2 {
			if got := <-answers; got != ErrBusy.Error() {
				t.Errorf("while the log is read: %s, want busy", got)
			}
		}
		close(hang)
		synctest.Wait()
		if got, want := told(sent(l, last)), fmt.Sprint(5*size); got != want {
			t.Errorf("then: %s, want %s", got, want)
		}
	})
}

// TestNumbersLoadEnds: Close, and the deletion of a topic, do not wait until a slow
// disk has been read for the table.
func TestNumbersLoadEnds(t *testing.T) {
	for _, indexed := range []bool{false, true} {
		for _, deleted := range []bool{false, true} {
			t.Run(fmt.Sprint(indexed, deleted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := vfstest.New()
					o := Options{FS: disk, PartitionSize: 10 << 20, Partitions: -1, FlushInterval: -1}
					s := openStore(t, o)
					l := mustCreate(t, s, "t")
					for range 100 {
						mustAppend(t, l, batchOf("t", strings.Repeat("x", 150_000)))
					}
					must(t, s.Close())
					if !indexed {
						must(t, disk.Remove("t/0.idx"))
						must(t, disk.WriteFile("t/journal", withoutEnds(t, disk)))
					}
					reads := 0
					slow := false
					o.FS = &readHook{FS: disk, read: func(name string) {
						if slow && strings.HasSuffix(name, ".log") {
							reads++
							time.Sleep(time.Minute)
						}
					}}
					s = openStore(t, o)
					l = mustLog(t, s, "t")
					slow = true
					var r run
					r.number("t", "a", 1, "x")
					if got := told(sent(l, r)); got != ErrBusy.Error() {
						t.Errorf("%s, want busy", got)
					}
					time.Sleep(time.Hour) // it is in the middle of a partition then
					begun := time.Now()
					if deleted {
						must(t, s.Delete(t.Context(), "t", layout.HexID(l.ID()), true))
					} else {
						must(t, s.Close())
					}
					if took := time.Since(begun); took > 2*time.Minute {
						t.Errorf("it took %v", took)
					}
					synctest.Wait()
					before := reads
					time.Sleep(time.Hour)
					if reads > before+1 {
						t.Errorf("%d reads, and %d more behind the end", before, reads-before)
					}
				})
			})
		}
	}
}

// withoutEnds returns the journal of t without what it says of partitions.
func withoutEnds(t *testing.T, disk *vfstest.FS) []byte {
	b, err := disk.ReadFile("t/journal")
	must(t, err)
	s, _, err := journal.Decode(b)
	must(t, err)
	clear(s.Ends)
	return s.Encode()
}

// TestNumbersKeptBesideAHungDisk: while a write to one topic hangs, the caches of
// others are written.
func TestNumbersKeptBesideAHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushBatches: 1, numberBytes: 1})
		defer s.Close()
		numbered := func(topic string, seq int64) (r run) {
			r.number(topic, "a", seq, "x")
			return r
		}
		topics := []string{"a", "b", "c"}
		for _, topic := range topics {
			mustAppend(t, mustCreate(t, s, topic), numbered(topic, 1))
		}
		thaw := make(chan struct{})
		disk.BeforeOp(func(op vfstest.Op) {
			if op.Kind == vfstest.OpWrite && op.Name == "b/0.log" {
				<-thaw
			}
		})
		go sent(mustLog(t, s, "b"), numbered("b", 2))
		synctest.Wait()
		time.Sleep(20 * time.Second)
		cached := func(topic string) bool {
			_, err := disk.Stat(layout.ProducersFile(topic))
			return err == nil
		}
		for _, topic := range topics {
			if got, want := cached(topic), topic != "b"; got != want {
				t.Errorf("while a write to b hangs: %s has a cache: %v, want %v", topic, got, want)
			}
		}
		close(thaw)
		time.Sleep(20 * time.Second)
		if !cached("b") {
			t.Error("b has no cache when the write is done")
		}
		if n := len(slices.DeleteFunc(s.All(), func(l *Log) bool { return !hasNumbers(l) })); n != 1 {
			t.Errorf("%d tables are in memory, want 1", n)
		}
	})
}

// TestNumbersMemory: tables that were not used for longest go when there are too
// many, and are there again when they are asked for.
func TestNumbersMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: time.Second, numberBytes: 700})
		defer s.Close()
		const topics = 10
		send := func(i int, seq int64) string {
			name := fmt.Sprint("t", i)
			var r run
			r.number(name, "a", seq, "x")
			return told(sent(mustCreate(t, s, name), r))
		}
		inMemory := func() (n int) {
			for _, l := range s.All() {
				if hasNumbers(l) {
					n++
				}
			}
			return n
		}
		for i := range topics {
			if got := send(i, 1); got != "0" {
				t.Errorf("topic %d: %s", i, got)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		if n := inMemory(); n != 3 { // of about 200 bytes each
			t.Errorf("%d tables are in memory, want 3", n)
		}
		if !hasNumbers(mustLog(t, s, "t9")) {
			t.Error("the one that was used last has gone")
		}
		for i := range topics {
			if got := send(i, 1); got != "0" {
				t.Errorf("topic %d, again: %s", i, got)
			}
			if got := send(i, 3); got != "want 2" {
				t.Errorf("topic %d, too early: %s", i, got)
			}
		}
	})
}

// TestNumbersBusy: while the log can't be read for its numbers, numbered batches
// are refused, and others are not.
func TestNumbersBusy(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{})
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "x"))
	must(t, s.Close())
	s = openMem(t, disk, Options{})
	defer s.Close()
	l := mustLog(t, s, "t")
	mustAppend(t, l, batchOf("t", "x"))
	var failed int
	disk.FailAt(1, vfstest.Fault{Err: syscall.EIO, Reads: true, Match: func(op vfstest.Op) bool {
		if op.Kind != vfstest.OpRead || op.Name != "t/0.log" {
			return false
		}
		failed++
		return true
	}})
	var r run
	r.number("t", "a", 1, "x")
	if got := told(sent(l, r)); got != ErrBusy.Error() || failed == 0 {
		t.Errorf("while it can't be read: %s, and %d reads have failed", got, failed)
	}
	mustAppend(t, l, batchOf("t", "x"))
	if got := told(sent(l, r)); got != fmt.Sprint(3*len(batchOf("t", "x").data)) {
		t.Errorf("then: %s", got)
	}
}

// hasNumbers reports whether a log has a table of numbered batches in memory.
func hasNumbers(l *Log) bool { return l.Numbers().IsReady() }
