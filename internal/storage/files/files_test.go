package files

import (
	"errors"
	"fmt"
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
	folder := new(Folder)
	all[0].Folder = folder
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
