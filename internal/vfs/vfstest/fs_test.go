package vfstest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/vfs"
)

func TestTrace(t *testing.T) {
	disk := New()
	check(t, disk.Mkdir("t", 0o700))
	check(t, disk.SyncDir("."))
	f := create(t, disk, "t/0.log")
	check(t, disk.SyncDir("t"))
	if _, err := f.WritevAt([][]byte{[]byte("abc"), []byte("de")}, 0); err != nil {
		t.Fatal(err)
	}
	write(t, f, 5, "fg")
	check(t, f.Sync())
	check(t, f.Truncate(6))
	check(t, disk.Rename("t/0.log", "t/1.log"))
	disk.FailAt(1, Fault{Written: 1})
	f.WriteAt([]byte("xyz"), 6)
	disk.FailAt(1, Fault{})
	f.Sync()
	check(t, disk.Remove("t/1.log"))

	// None of these gets as far as the disk.
	f.WriteAt(nil, 0)
	f.ReadAt(make([]byte, 3), 0)
	open(t, disk, "t/2.log", vfs.ReadWrite|vfs.Create)
	open(t, disk, "t/2.log", vfs.ReadWrite|vfs.Create|vfs.Truncate) // is empty
	disk.Mkdir("t", 0o700)
	disk.Remove("t")
	disk.Rename("t/none", "t/1.log")
	disk.ReadDir("t")
	check(t, disk.WriteFile("t/x", nil))

	want := `mkdir t
syncdir .
create t/0.log
syncdir t
write t/0.log 0+5
write t/0.log 5+2
sync t/0.log
truncate t/0.log 6
rename t/0.log t/1.log
write t/0.log 6+3: 1 written: input/output error
sync t/0.log: input/output error
remove t/1.log
create t/2.log
`
	if got := disk.Trace(); got != want {
		t.Errorf("trace\n%s\nwant\n%s", got, want)
	}
	if disk.Ops() != strings.Count(want, "\n") {
		t.Errorf("%d operations", disk.Ops())
	}
	disk.ResetTrace()
	check(t, disk.SyncDir("t"))
	if got := disk.Trace(); got != "syncdir t\n" {
		t.Errorf("trace after ResetTrace: %s", got)
	}
}

func TestOpString(t *testing.T) {
	if got := (Op{Kind: OpRead, Name: "a", Off: 1, Len: 2}).String(); got != "read a 1+2" {
		t.Error(got)
	}
	if got := (Op{Kind: 99, Name: "a"}).String(); got != "Kind(99) a" {
		t.Error(got)
	}
}

func TestHooks(t *testing.T) {
	disk := New()
	var got []string
	note := func(when string) func(Op) {
		return func(op Op) { got = append(got, fmt.Sprintf("%s %d %s: %s", when, op.N, op, show(disk))) }
	}
	disk.BeforeOp(note("before"))
	disk.OnOp(note("after"))
	f := create(t, disk, "a")
	write(t, f, 0, "x")
	disk.FailAt(1, Fault{})
	f.Truncate(0)
	disk.Remove("none")
	f.ReadAt(make([]byte, 1), 0)
	disk.BeforeOp(nil)
	disk.OnOp(nil)
	check(t, f.Sync())
	want := []string{
		`before 1 create a: `, `after 1 create a: a=""`,
		`before 2 write a 0+1: a=""`, `after 2 write a 0+1: a="x"`,
		`before 3 truncate a 0: a="x"`, `after 3 truncate a 0: input/output error: a="x"`,
		`before 4 remove none: a="x"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("hooks saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestBeforeOpHangs blocks one operation while others go on.
func TestBeforeOpHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := New()
		f := create(t, disk, "a")
		write(t, f, 0, "x")
		thaw := make(chan struct{})
		disk.BeforeOp(func(op Op) {
			if op.Kind == OpSync {
				<-thaw
			}
		})
		done := false
		go func() {
			f.Sync()
			done = true
		}()
		synctest.Wait()
		write(t, f, 1, "y")
		if done {
			t.Error("the sync did not hang")
		}
		close(thaw)
		synctest.Wait()
		if !done {
			t.Error("the sync hangs still")
		}
		check(t, disk.SyncDir("."))
		if got := show(disk.CrashKeepNothing()); got != `a="xy"` {
			t.Error(got)
		}
	})
}

func TestLock(t *testing.T) {
	disk := New()
	lock, err := disk.Lock("LOCK")
	check(t, err)
	if _, err := disk.Lock("LOCK"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second Lock: %v", err)
	}
	if disk.Open() != 1 {
		t.Errorf("%d open, want 1", disk.Open())
	}
	check(t, lock.Close())
	if err := lock.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	lock, err = disk.Lock("LOCK")
	check(t, err)
	defer lock.Close()
	if err := disk.Crash(rand.New(rand.NewPCG(1, 1))).Mkdir("d", 0o700); err != nil {
		t.Error(err)
	}
}

func TestNamesMustBeClean(t *testing.T) {
	disk := New()
	for _, name := range []string{"", "/a", "../a", "a/../../b", "a//b", "a/", "./a", ".."} {
		if _, err := disk.OpenFile(name, vfs.ReadWrite|vfs.Create, 0o600); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("OpenFile(%q): %v", name, err)
		}
		if err := disk.Mkdir(name, 0o700); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Mkdir(%q): %v", name, err)
		}
		if err := disk.SyncDir(name); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("SyncDir(%q): %v", name, err)
		}
		if err := disk.WriteFile(name, nil); err == nil {
			t.Errorf("WriteFile(%q) succeeded", name)
		}
	}
	if got := disk.Names(); len(got) != 0 {
		t.Errorf("names %v", got)
	}
}

func TestHugeFile(t *testing.T) {
	f := create(t, New(), "a")
	if _, err := f.WriteAt([]byte("x"), 1<<62); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("WriteAt: %v", err)
	}
	if err := f.Truncate(1 << 62); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Truncate: %v", err)
	}
	write(t, f, 1<<31, "x") // takes no memory for the hole
	if _, ok := f.Fd(); ok {
		t.Error("there is a descriptor")
	}
}

func TestInspect(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("d/e/a", []byte("abcdef")))
	check(t, disk.WriteFile("b", []byte("b")))
	if got := show(disk.CrashKeepNothing()); got != `b="b" d/ d/e/ d/e/a="abcdef"` {
		t.Error(got)
	}
	f := open(t, disk, "d/e/a", vfs.ReadWrite)
	write(t, f, 6, "g")
	check(t, disk.Corrupt("d/e/a", 2, func(p []byte) { p[0] ^= 0x20; p[4] = '!' }))
	if got := show(disk.CrashKeepNothing()); got != `b="b" d/ d/e/ d/e/a="abCdef!"` {
		t.Error(got)
	}
	check(t, disk.Remove("b"))
	check(t, disk.WriteFile("b", nil))
	check(t, disk.WriteFile("d/e/a", []byte("x")))
	check(t, disk.Rename("b", "c"))
	check(t, disk.WriteFile("c", []byte("c")))
	if got := show(disk.CrashKeepNothing()); got != `c="c" d/ d/e/ d/e/a="x"` {
		t.Error(got)
	}
	create(t, disk, "f")
	check(t, disk.Remove("f"))
	check(t, disk.WriteFile("f", nil))
	if got := images(disk, show); len(got) != 1 {
		t.Errorf("images after WriteFile: %v", got)
	}
	if disk.Used() != 2 || disk.Ops() != 5 {
		t.Errorf("used %d after %d operations:\n%s", disk.Used(), disk.Ops(), disk.Trace())
	}
	for what, err := range map[string]error{
		"ReadFile of nothing":      second(disk.ReadFile("none")),
		"ReadFile of a folder":     second(disk.ReadFile("d")),
		"WriteFile to a folder":    disk.WriteFile("d/e", nil),
		"WriteFile through a file": disk.WriteFile("c/a", nil),
		"Corrupt of nothing":       disk.Corrupt("none", 0, func([]byte) {}),
		"Corrupt past the end":     disk.Corrupt("c", 2, func([]byte) {}),
	} {
		if err == nil {
			t.Errorf("%s succeeded", what)
		}
	}
}

func second(_ []byte, err error) error { return err }

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	disk := New()
	var images sync.WaitGroup
	disk.OnOp(func(op Op) {
		image := disk.Crash(rand.New(rand.NewPCG(uint64(op.N), 4)))
		images.Go(func() {
			for _, name := range image.Names() {
				if f, err := image.OpenFile(name, vfs.ReadWrite, 0); err == nil {
					f.WriteAt([]byte("image"), 100)
					f.Sync()
					f.Close()
				}
			}
		})
	})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			name := fmt.Sprintf("d%d", w)
			disk.Mkdir(name, 0o700)
			for i := range 25 {
				f, err := disk.OpenFile(name+"/a", vfs.ReadWrite|vfs.Create, 0o600)
				if err != nil {
					t.Error(err)
					return
				}
				f.WriteAt(make([]byte, 5000), int64(i))
				f.ReadAt(make([]byte, 100), 0)
				f.Sync()
				disk.Rename(name+"/a", "shared")
				disk.SyncDir(name)
				disk.ReadDir(".")
				f.Close()
			}
		})
	}
	workers.Wait()
	images.Wait()
	if disk.Open() != 0 {
		t.Errorf("%d still open", disk.Open())
	}
	if got := fmt.Sprint(disk.Names()); got != "[d0/ d1/ d2/ d3/ shared]" {
		t.Error(got)
	}
}
