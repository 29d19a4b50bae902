package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/internal/vfs"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openOS opens a new folder and returns its path too.
func openOS(t *testing.T) (*vfs.OS, string) {
	t.Helper()
	dir := t.TempDir()
	o, err := vfs.OpenOS(dir, 0o700)
	check(t, err)
	t.Cleanup(func() { o.Close() })
	return o, dir
}

func create(t *testing.T, o *vfs.OS, name string) vfs.File {
	t.Helper()
	f, err := o.OpenFile(name, vfs.ReadWrite|vfs.Create, 0o600)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpenOSMakesFolders(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "a", "b", "logs")
	for range 2 { // the second finds what the first made
		o, err := vfs.OpenOS(dir, 0o700)
		check(t, err)
		check(t, o.Close())
	}
	info, err := os.Stat(dir)
	check(t, err)
	if info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("mode %v, want 0700", info.Mode())
	}

	t.Chdir(base)
	o, err := vfs.OpenOS("logs/", 0o700)
	check(t, err)
	check(t, o.Mkdir("t", 0o700))
	check(t, o.Close())
	if _, err := os.Stat(filepath.Join(base, "logs", "t")); err != nil {
		t.Error(err)
	}

	check(t, os.WriteFile(filepath.Join(base, "file"), nil, 0o600))
	for _, name := range []string{"file", "file/logs"} {
		if o, err := vfs.OpenOS(filepath.Join(base, name), 0o700); err == nil {
			o.Close()
			t.Errorf("OpenOS(%s) succeeded", name)
		}
	}
}

// TestNothingOutside tries to leave the folder by name and by symbolic link.
func TestNothingOutside(t *testing.T) {
	base := t.TempDir()
	secret := filepath.Join(base, "secret")
	check(t, os.WriteFile(secret, []byte("secret"), 0o600))
	check(t, os.Mkdir(filepath.Join(base, "outside"), 0o700))
	dir := filepath.Join(base, "inside")
	o, err := vfs.OpenOS(dir, 0o700)
	check(t, err)
	defer o.Close()
	create(t, o, "own")
	for link, target := range map[string]string{
		"file": "../secret", "absolute": secret, "folder": "../outside", "parent": "..", "dangling": "../new",
	} {
		check(t, os.Symlink(target, filepath.Join(dir, link)))
	}

	open := func(flag int) func(string) error {
		return func(name string) error {
			f, err := o.OpenFile(name, flag, 0o600)
			if err == nil {
				f.Close()
			}
			return err
		}
	}
	attempts := []struct {
		what  string
		do    func(name string) error
		names []string
	}{
		{"read", open(vfs.ReadOnly), []string{"file", "absolute", "parent/secret", "../secret", secret, "folder/../../secret"}},
		{"write", open(vfs.ReadWrite), []string{"file", "absolute", "parent/secret", "../secret", secret}},
		{"create", open(vfs.ReadWrite | vfs.Create), []string{"dangling", "folder/new", "parent/new", "../new"}},
		{"truncate", open(vfs.ReadWrite | vfs.Truncate), []string{"file", "absolute", "parent/secret"}},
		{"mkdir", func(name string) error { return o.Mkdir(name, 0o700) }, []string{"folder/new", "parent/new", "../new"}},
		{"remove", o.Remove, []string{"parent/secret", "../secret", "parent/outside"}},
		{"rename to", func(name string) error { return o.Rename("own", name) }, []string{"folder/new", "parent/secret", "../new"}},
		{"rename from", func(name string) error { return o.Rename(name, "mine") }, []string{"parent/secret", "../secret"}},
		{"readdir", func(name string) error { _, err := o.ReadDir(name); return err }, []string{"folder", "parent", "..", "parent/outside"}},
		{"stat", func(name string) error { _, err := o.Stat(name); return err }, []string{"parent/secret", "../secret", secret}},
		{"syncdir", o.SyncDir, []string{"folder", "parent", ".."}},
		{"lock", func(name string) error { _, err := o.Lock(name); return err }, []string{"file", "dangling", "folder/new", "../secret"}},
	}
	for _, a := range attempts {
		for _, name := range a.names {
			if err := a.do(name); err == nil {
				t.Errorf("%s %s succeeded", a.what, name)
			}
		}
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
		t.Errorf("the file outside is %q, %v", data, err)
	}
	for _, name := range []string{"new", "outside/new", "inside/mine"} {
		if _, err := os.Lstat(filepath.Join(base, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	info, err := o.Stat("file")
	check(t, err)
	if info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Stat followed a symbolic link: %v", info.Mode())
	}
}

func TestLock(t *testing.T) {
	o, dir := openOS(t)
	other, err := vfs.OpenOS(dir, 0o700)
	check(t, err)
	defer other.Close()

	lock, err := o.Lock("LOCK")
	check(t, err)
	for range 2 {
		for _, o := range []*vfs.OS{o, other} {
			if l, err := o.Lock("LOCK"); !errors.Is(err, vfs.ErrLocked) {
				t.Fatalf("a second Lock: %v, %v, want ErrLocked", l, err)
			}
		}
	}
	if l, err := o.Lock("another"); err != nil {
		t.Errorf("another lock: %v", err)
	} else {
		check(t, l.Close())
	}
	check(t, lock.Close())
	lock, err = other.Lock("LOCK")
	check(t, err)
	check(t, lock.Close())
	if _, err := o.Lock("none/LOCK"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lock in a folder that is not there: %v", err)
	}
}

func TestReadDirIsSorted(t *testing.T) {
	o, _ := openOS(t)
	check(t, o.Mkdir("t", 0o700))
	for _, name := range []string{"100.log", "20.log", "0.log", "journal", "100.idx"} {
		create(t, o, "t/"+name)
	}
	check(t, o.Mkdir("t/__x", 0o700))
	entries, err := o.ReadDir("t")
	check(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Name(), " ", e.IsDir()))
	}
	want := "[0.log false 100.idx false 100.log false 20.log false __x true journal false]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for _, name := range []string{"none", "t/0.log"} {
		if _, err := o.ReadDir(name); err == nil {
			t.Errorf("ReadDir(%s) succeeded", name)
		}
	}
}

func TestSyncDir(t *testing.T) {
	o, _ := openOS(t)
	check(t, o.Mkdir("t", 0o700))
	check(t, o.SyncDir("t"))
	check(t, o.SyncDir("."))
	if err := o.SyncDir("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of nothing: %v", err)
	}
}

func TestRemovedFileStaysReadable(t *testing.T) {
	o, _ := openOS(t)
	f := create(t, o, "a")
	_, err := f.WriteAt([]byte("abc"), 0)
	check(t, err)
	check(t, o.Remove("a"))
	if got, err := io.ReadAll(io.NewSectionReader(f, 0, 10)); err != nil || string(got) != "abc" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := o.Stat("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
}

func TestFd(t *testing.T) {
	o, _ := openOS(t)
	f := create(t, o, "a")
	_, err := f.WriteAt([]byte("abc"), 0)
	check(t, err)
	fd, ok := f.Fd()
	if !ok {
		t.Fatal("no descriptor")
	}
	buf := make([]byte, 3)
	if n, err := unix.Pread(int(fd), buf, 0); n != 3 || err != nil || string(buf) != "abc" {
		t.Errorf("pread: %d %v %q", n, err, buf)
	}
}

func TestWritevAt(t *testing.T) {
	repeat := func(n, size int) [][]byte {
		bufs := make([][]byte, n)
		for i := range bufs {
			bufs[i] = bytes.Repeat([]byte{byte('a' + i%26)}, size)
		}
		return bufs
	}
	tests := []struct {
		name string
		bufs [][]byte
	}{
		{"nothing", nil},
		{"one", repeat(1, 10)},
		{"one empty", [][]byte{nil}},
		{"two", repeat(2, 10)},
		{"all empty", make([][]byte, 5)},
		{"some empty", [][]byte{nil, []byte("a"), {}, {}, []byte("bc"), nil}},
		{"as many as one call takes", repeat(1024, 3)},
		{"one more", repeat(1025, 3)},
		{"many", repeat(5000, 7)},
		{"many, the end of each call empty", append(append(repeat(1000, 2), make([][]byte, 100)...), repeat(1000, 2)...)},
		{"many empty", make([][]byte, 3000)},
		{"large", repeat(100, 65536)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, dir := openOS(t)
			f := create(t, o, "a")
			_, err := f.WriteAt([]byte("0123456789"), 0)
			check(t, err)
			data := bytes.Join(test.bufs, nil)
			if n, err := f.WritevAt(test.bufs, 5); n != int64(len(data)) || err != nil {
				t.Fatalf("wrote %d, %v, want %d", n, err, len(data))
			}
			want := append([]byte("01234"), data...)
			if len(want) < 10 {
				want = append(want, "0123456789"[len(want):]...)
			}
			got, err := os.ReadFile(filepath.Join(dir, "a"))
			check(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("the file has %d bytes and not the %d that were written", len(got), len(want))
			}
		})
	}
}

// TestWritevAtShort meets a limit of the process, at different places of the
// buffers: the kernel writes what fits, and fails when asked for the rest.
func TestWritevAtShort(t *testing.T) {
	var old unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	bufs := make([][]byte, 1500)
	for i := range bufs {
		bufs[i] = []byte{byte('a' + i%26), byte('A' + i%26), '.'}
	}
	writeShort(t, old, bufs)
	writeShort(t, old, [][]byte{bytes.Join(bufs, nil)})
}

func writeShort(t *testing.T, old unix.Rlimit, bufs [][]byte) {
	t.Helper()
	data := bytes.Join(bufs, nil)
	for _, limit := range []int{1, 2, 3, 4, 1024*3 - 1, 1024 * 3, 1024*3 + 1, len(data) - 1} {
		o, dir := openOS(t)
		f := create(t, o, "a")
		check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(limit), Max: old.Max}))
		n, err := f.WritevAt(bufs, 0)
		check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
		if n != int64(limit) || !errors.Is(err, syscall.EFBIG) {
			t.Errorf("limit %d: wrote %d, %v", limit, n, err)
		}
		var pathErr *fs.PathError
		if !errors.As(err, &pathErr) || !strings.HasSuffix(pathErr.Path, "/a") {
			t.Errorf("limit %d: the error names no file: %v", limit, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "a"))
		check(t, err)
		if !bytes.Equal(got, data[:limit]) {
			t.Errorf("limit %d: the file has %d bytes, or others", limit, len(got))
		}
	}
}

func TestClosedFile(t *testing.T) {
	o, _ := openOS(t)
	f := create(t, o, "a")
	check(t, f.Close())
	for what, err := range map[string]error{
		"Sync":     f.Sync(),
		"Truncate": f.Truncate(0),
		"WriteAt":  errOf(f.WriteAt([]byte("x"), 0)),
		"WritevAt": errOf(f.WritevAt([][]byte{[]byte("x"), []byte("y")}, 0)),
		"ReadAt":   errOf(f.ReadAt(make([]byte, 1), 0)),
		"Stat":     errOf(f.Stat()),
		"Close":    f.Close(),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestCloseDuringWrite closes a file while it is written, and opens another
// one, which gets the same descriptor: no byte may go there.
func TestCloseDuringWrite(t *testing.T) {
	o, _ := openOS(t)
	bufs := [][]byte{[]byte("x"), []byte("y")}
	for range 300 {
		f := create(t, o, "a")
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for range 10 {
					if _, err := f.WritevAt(bufs, 0); err != nil {
						if !errors.Is(err, fs.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		check(t, f.Close())
		g := create(t, o, "b")
		wg.Wait()
		info, err := g.Stat()
		check(t, err)
		if info.Size() != 0 {
			t.Fatal("a write to a closed file went to another file")
		}
		check(t, g.Close())
	}
}

// TestLockBesideExec makes sure that a lock is released at once, also while
// other goroutines start processes, which have copies of all descriptors for a
// moment.
func TestLockBesideExec(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Skip("there is no program to start")
	}
	o, err := vfs.OpenOS(t.TempDir(), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	done := make(chan struct{})
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					exec.Command(program).Run()
				}
			}
		})
	}
	for i := range 2000 {
		lock, err := o.Lock("LOCK")
		if err != nil {
			t.Errorf("lock %d: %v", i, err)
			break
		}
		if err := lock.Close(); err != nil {
			t.Errorf("close %d: %v", i, err)
			break
		}
	}
	close(done)
	g.Wait()
}

// TestNotRegular: what is no regular file is not opened, and nothing waits for
// the other end of a pipe.
func TestNotRegular(t *testing.T) {
	dir := t.TempDir()
	o, err := vfs.OpenOS(dir, 0o700)
	check(t, err)
	defer o.Close()
	create(t, o, "file")
	check(t, o.Mkdir("folder", 0o700))
	check(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	check(t, os.Symlink("file", filepath.Join(dir, "link")))
	for _, name := range []string{"folder", "pipe", "link"} {
		for _, flag := range []int{vfs.ReadOnly, vfs.ReadWrite, vfs.ReadWrite | vfs.Create, vfs.ReadWrite | vfs.Truncate} {
			if _, err := o.OpenFile(name, flag, 0o600); !errors.Is(err, vfs.ErrNotRegular) {
				t.Errorf("OpenFile(%s, %#x): %v, want ErrNotRegular", name, flag, err)
			}
		}
	}
}

// TestFreeIsCheap: a member of a cluster asks ten times a second.
func TestFreeIsCheap(t *testing.T) {
	o, err := vfs.OpenOS(t.TempDir(), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if n := testing.AllocsPerRun(100, func() {
		if free, err := o.Free(); err != nil || free <= 0 {
			t.Fatalf("%d, %v", free, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations: the folder is opened each time", n)
	}
}
