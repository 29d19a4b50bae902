package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// hang has the operations of one kind wait until the returned function is
// called.
func hang(disk *vfstest.FS, kind vfstest.Kind) (goOn func()) {
	wait := make(chan struct{})
	disk.BeforeOp(func(op vfstest.Op) {
		if op.Kind == kind {
			<-wait
		}
	})
	return sync.OnceFunc(func() {
		disk.BeforeOp(nil)
		close(wait)
	})
}

// A disk that hangs fills the queue up to its limit; then appends are refused
// at once. Waiting ends with the context. Nothing that was refused is stored.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		r := batchOf("t", "message")
		s := openMem(t, disk, Options{FlushInterval: -1, QueueBytes: 2 * int64(len(r.data))})
		defer s.Close()
		l := mustCreate(t, s, "t")
		goOn := hang(disk, vfstest.OpWrite)
		defer goOn()
		done := make(chan error, 2)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			_, err := l.Append(t.Context(), r.data, r.extents)
			done <- err
		}()
		synctest.Wait()
		go func() {
			_, err := l.Append(ctx, r.data, r.extents)
			done <- err
		}()
		synctest.Wait()
		if _, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, ErrBusy) {
			t.Fatalf("third append: %v, want %v", err, ErrBusy)
		}
		cancel(nil)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("second append: %v", err)
		}
		goOn()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wantBodies(t, l, "message")
	})
}

func TestSyncToEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		a := mustAppend(t, l, batchOf("t", "message"))
		goOn := hang(disk, vfstest.OpSync)
		defer goOn()
		first := make(chan error, 1)
		go func() { first <- l.SyncTo(t.Context(), a.End) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error, 1)
		go func() { second <- l.SyncTo(ctx, a.End) }()
		synctest.Wait()
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Fatalf("sync with a done context: %v", err)
		}
		goOn()
		if err := <-first; err != nil {
			t.Fatal(err)
		}
	})
}

func TestClosed(t *testing.T) {
	s := openMem(t, vfstest.New(), small)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Log([]byte("t")); !errors.Is(err, ErrClosed) {
		t.Errorf("log: %v", err)
	}
	if _, err := s.Create([]byte("u")); !errors.Is(err, ErrClosed) {
		t.Errorf("create: %v", err)
	}
	if _, err := l.Read(0, 1, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	r := batchOf("t", "two")
	if _, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
}

// The limit on open files holds, however many partitions are read.
func TestOpenFiles(t *testing.T) {
	disk := vfstest.New()
	o := small
	o.OpenFiles = 5
	s := openMem(t, disk, o)
	defer s.Close()
	l := mustCreate(t, s, "t")
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		mustAppend(t, l, batchOf("t", want[i]))
	}
	if err := l.SyncTo(t.Context(), l.Next()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantBodies(t, l, want...)
		// The lock is open too, and no file of the store's.
		if n := s.Counts().OpenFiles; n > 5 || n != disk.Open()-1 {
			t.Fatalf("%d files open, the disk says %d", n, disk.Open()-1)
		}
	}
}

// Appends, reads, syncs and retention at once: every message that was
// appended is counted, none is there twice, and reads are whole batches.
func TestConcurrency(t *testing.T) {
	const writers, each = 4, 100
	s := openStore(t, Options{FS: osFS(t, t.TempDir()), PartitionSize: 4000, Partitions: -1, OpenFiles: 4, FlushBatches: 3})
	l := mustCreate(t, s, "t")
	var group, readers sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		group.Go(func() {
			for i := range each {
				r := batchOf("t", fmt.Sprintf("%d %d", w, i))
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
	for range 2 {
		readers.Go(func() {
			for {
				if _, err := bodiesFrom(l, l.Oldest()); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	readers.Go(func() {
		for {
			if parts := l.Partitions(); len(parts) > 3 {
				if err := l.AdvanceOldest(parts[1].Base()); err != nil {
					t.Error(err)
					return
				}
			}
			if err := l.SyncTo(t.Context(), l.Next()); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	group.Wait()
	close(done)
	readers.Wait()
	n, err := l.Ordinal(l.Next())
	if err != nil || n != writers*each {
		t.Fatalf("%d batches (%v), want %d", n, err, writers*each)
	}
	last := map[string]int{}
	bodies, err := bodiesFrom(l, l.Oldest())
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range bodies {
		var w string
		var i int
		if _, err := fmt.Sscan(body, &w, &i); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[w]; ok && i != before+1 {
			t.Fatalf("writer %s: %d follows %d", w, i, before)
		}
		last[w] = i
	}
}

// What is no topic or partition of ours is neither followed nor changed.
func TestForeignFiles(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := batchOf("t", "secret").data
	write(filepath.Join(outside, "0.log"), secret)
	foreign := map[string][]byte{
		"notes.txt": []byte("notes"), ".hidden/file": []byte("hidden"), "t/readme": []byte("readme"),
		"t/01.log": []byte("leading zero"), "t/x.log": []byte("no number"),
	}
	for name, b := range foreign {
		write(filepath.Join(dir, name), b)
	}
	write(filepath.Join(dir, "t", "0.log"), batchOf("t", "one").data)
	for link, to := range map[string]string{
		"linked":                                outside,
		fmt.Sprintf("t/%d.log", len(secret)*99): filepath.Join(outside, "0.log"),
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{FS: osFS(t, dir), Logger: testLogger(t), PartitionSize: 1}
	s := openStore(t, o)
	if got := s.Topics(); fmt.Sprint(got) != "[linked t]" {
		t.Fatalf("topics %q", got)
	}
	l := mustLog(t, s, "t")
	wantBodies(t, l, "one")
	must(t, os.Symlink(outside, filepath.Join(dir, "later")))
	for _, name := range []string{"linked", "later", "linked"} {
		if _, err := s.Create([]byte(name)); !errors.Is(err, layout.ErrLinked) {
			t.Errorf("create of a topic whose folder is a link to the outside: %v", err)
		}
		if err := s.Broken()[name]; !errors.Is(err, layout.ErrLinked) {
			t.Errorf("topic %s is broken because of %v", name, err)
		}
	}
	var found []fsck.Finding
	r, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: o.FS, Online: true}, func(f fsck.Finding) { found = append(found, f) })
	must(t, err)
	if n := slices.IndexFunc(found, func(f fsck.Finding) bool { return f.File == "linked" && f.Level == fsck.Unchecked }); n < 0 || r.Topics != 3 {
		t.Errorf("check --online finds %+v in %d topics", found, r.Topics)
	}
	if _, err := Open(t.Context(), o); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second store: %v, want %v", err, vfs.ErrLocked)
	}
	if err := l.AdvanceOldest(l.Next()); err != nil {
		t.Fatal(err)
	}
	for name, want := range foreign {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q (%v)", name, got, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(outside, "0.log")); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("file outside: %q (%v)", got, err)
	}
}

func TestTopicNames(t *testing.T) {
	s := openMem(t, vfstest.New(), Options{MaxTopics: 1, AllowedTopics: []string{"t", "u"}})
	defer s.Close()
	for _, name := range []string{"", ".", "..", "../t", "a/b", "a b", ".t", "\x00"} {
		if _, err := s.Create([]byte(name)); !errors.Is(err, ErrTopicName) {
			t.Errorf("create %q: %v", name, err)
		}
	}
	if _, err := s.Create([]byte("v")); !errors.Is(err, ErrTopicNotAllowed) {
		t.Errorf("create of a topic that is not on the list: %v", err)
	}
	mustCreate(t, s, "t")
	if _, err := s.Create([]byte("u")); !errors.Is(err, ErrMaxTopics) {
		t.Errorf("create over the limit: %v", err)
	}
	if n := s.Counts().Disallowed; n != 2 {
		t.Errorf("%d topics disallowed, want both", n)
	}
}
