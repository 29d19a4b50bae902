package files

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// newCache returns a cache of two files, and as many files in it, each with its
// number in it.
func newCache(t *testing.T, n int) (*Cache, []*File) {
	t.Helper()
	disk := vfstest.New()
	c := &Cache{FS: disk, Perm: 0o600, Limit: 2}
	var all []*File
	for i := range n {
		name := fmt.Sprint(i)
		if err := disk.WriteFile(name, []byte(name)); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.File(name))
	}
	return c, all
}

// No more files stay open than the limit says, but those in use stay.
func TestLimit(t *testing.T) {
	c, all := newCache(t, 4)
	for i, f := range all {
		open, err := f.Acquire(ToRead)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := open.ReadAt(b, 0); err != nil || string(b) != fmt.Sprint(i) {
			t.Errorf("file %d holds %q (%v)", i, b, err)
		}
	}
	if n := c.Count(); n != 4 {
		t.Errorf("%d files are open of 4 in use", n)
	}
	if err := c.Close(); err == nil {
		t.Error("files in use at the end are no error")
	}
	for _, f := range all {
		f.Release()
	}
	if n := c.Count(); n > 2 {
		t.Errorf("%d files are kept open, of 2", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := all[0].Acquire(ToRead); !errors.Is(err, ErrClosed) {
		t.Errorf("a file of a closed cache: %v", err)
	}
}

// A file that is removed stays readable for who uses it.
func TestRemove(t *testing.T) {
	c, all := newCache(t, 1)
	open, err := all[0].Acquire(ToRead)
	if err == nil {
		err = all[0].Remove()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.ReadAt(make([]byte, 1), 0); err != nil {
		t.Error(err)
	}
	all[0].Release()
	if n := c.Count(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}

// In a folder that is gone no name is opened or removed.
func TestFolder(t *testing.T) {
	c, all := newCache(t, 1)
	folder := NewFolder(".")
	all[0] = c.FileIn(folder, "0")
	folder.Take(func() bool { return true })
	if _, err := all[0].Acquire(ToRead); !errors.Is(err, ErrDeleted) {
		t.Errorf("acquired: %v", err)
	}
	if err := all[0].Remove(); err != nil {
		t.Error(err)
	}
	if _, err := c.FS.Stat("0"); err != nil {
		t.Errorf("another folder's file was removed: %v", err)
	}
}

// What was used since is kept, and what was not is closed.
func TestWhatIsUsedStaysOpen(t *testing.T) {
	c, all := newCache(t, 4)
	c.Limit = 3
	use := func(i int) {
		t.Helper()
		if _, err := all[i].Acquire(ToRead); err != nil {
			t.Fatal(err)
		}
		all[i].Release()
	}
	isOpen := func(i int) bool {
		f, err := all[i].Use(ToRead)
		if f != nil {
			all[i].Release()
		}
		return f != nil && err == nil
	}
	for i := range 3 {
		use(i)
	}
	use(0)
	use(2)
	use(3)
	if isOpen(1) || !isOpen(0) || !isOpen(2) || !isOpen(3) {
		t.Errorf("open: %v %v %v %v, want all but the one that was used once", isOpen(0), isOpen(1), isOpen(2), isOpen(3))
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Who uses an open file takes no lock, and allocates nothing.
func TestUseTakesNoLock(t *testing.T) {
	c, all := newCache(t, 1)
	if _, err := all[0].Acquire(ToRead); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	all[0].opening.Lock()
	if n := testing.AllocsPerRun(10, func() {
		if _, err := all[0].Acquire(ToWrite); err != nil {
			t.Error(err)
		}
		c.Crowded()
		all[0].Release()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	all[0].Release()
	if f, err := all[0].Use(ToRead); f == nil || err != nil { // by nobody before
		t.Errorf("%v, %v", f, err)
	}
	all[0].Release()
	all[0].opening.Unlock()
	c.mu.Unlock()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestUseWhileOthersClose has files used, dropped and closed all at once: who has
// acquired one can read it.
func TestUseWhileOthersClose(t *testing.T) {
	c, all := newCache(t, 6)
	c.Most = 4
	var users, closers sync.WaitGroup
	done := make(chan struct{})
	for u := range 4 {
		users.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(u)))
			b := make([]byte, 1)
			for range 3000 {
				i := rng.IntN(len(all))
				f, err := all[i].Acquire(ToRead)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := f.ReadAt(b, 0); err != nil || string(b) != fmt.Sprint(i) || all[i].Held() != f {
					t.Errorf("file %d holds %q (%v)", i, b, err)
				}
				all[i].Release()
			}
		})
	}
	closers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			switch i % 3 {
			case 0:
				c.Evict(0)
			case 1:
				all[0].Drop()
			case 2:
				c.Crowded()
			}
			runtime.Gosched()
		}
	})
	users.Wait()
	close(done)
	closers.Wait()
	if n := c.Count(); n > c.Limit {
		t.Errorf("%d files are open, of %d", n, c.Limit)
	}
	if n := c.inUse.Load(); n != 0 {
		t.Errorf("%d files are in use, by nobody", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A file whose name another one may have is not opened or removed by it any more.
func TestDiscard(t *testing.T) {
	c, all := newCache(t, 1)
	held, err := all[0].Acquire(ToRead)
	if err != nil {
		t.Fatal(err)
	}
	if err := all[0].Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := held.ReadAt(make([]byte, 1), 0); err != nil {
		t.Error(err)
	}
	all[0].Release()
	other := c.File("0")
	if _, err := other.Acquire(ToCreate); err != nil {
		t.Fatal(err)
	}
	other.Release()
	for _, a := range []Access{ToRead, ToWrite, ToCreate} {
		if _, err := all[0].Acquire(a); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("acquired: %v", err)
		}
	}
	if err := all[0].Remove(); err != nil {
		t.Error(err)
	}
	if _, err := c.FS.Stat("0"); err != nil {
		t.Errorf("another file was removed: %v", err)
	}
}

// A folder is moved while nobody uses a name in it, and its files have other names then.
func TestFolderMove(t *testing.T) {
	c, _ := newCache(t, 1)
	if err := c.FS.Mkdir("before", 0o700); err != nil {
		t.Fatal(err)
	}
	folder := NewFolder("before")
	file := c.FileIn(folder, "f")
	open, err := file.Acquire(ToCreate)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	if err := folder.Move("after", func() error { return failed }); err != failed || file.Name() != "before/f" {
		t.Errorf("a move that failed: %v, the file is %s", err, file.Name())
	}
	if err := folder.Move("after", func() error {
		if folder.mu.TryRLock() {
			t.Error("somebody may use a name in it meanwhile")
		}
		return c.FS.Rename("before", "after")
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := open.WriteAt([]byte("x"), 0); err != nil || file.Name() != "after/f" {
		t.Errorf("it is %s (%v)", file.Name(), err)
	}
	file.Release()
	if err := file.Remove(); err != nil {
		t.Error(err)
	}
	if dir, err := c.FS.ReadDir("after"); err != nil || len(dir) > 0 {
		t.Errorf("the folder has %v, %v", dir, err)
	}
	folder.Take(func() bool { return true })
	if err := folder.Move("once more", func() error { return nil }); !errors.Is(err, ErrDeleted) {
		t.Errorf("a folder that is gone: %v", err)
	}
}
