package storage

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// readHook is a file system that calls a function before each read of a file.
type readHook struct {
	vfs.FS
	read func(name string)
}

func (h *readHook) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
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
	f.hook.read(f.name)
	return f.File.ReadAt(b, off)
}

// TestNumbersWhileTheTableIsMadeAnew: after damage was found, nothing is answered
// from what was known before.
func TestNumbersWhileTheTableIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		var hang chan struct{}
		hook := &readHook{disk, func(name string) {
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
