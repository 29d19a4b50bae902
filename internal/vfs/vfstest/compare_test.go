package vfstest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/logd-dev/logd/internal/vfs"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("rapid.nofailfile", "true") // its output says how to repeat a run
	os.Exit(m.Run())
}

// TestLikeOS does the same operations here and on the file system of the
// operating system: what can be seen of them must be the same, errors
// included.
func TestLikeOS(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		real, err := vfs.OpenOS(dir, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		defer real.Close()
		p := &pair{systems: [2]vfs.FS{New(), real}}
		defer p.close()
		t.Repeat(map[string]func(*rapid.T){
			"open":     p.open,
			"mkdir":    p.mkdir,
			"remove":   p.remove,
			"rename":   p.rename,
			"stat":     p.stat,
			"readdir":  p.readDir,
			"syncdir":  p.syncDir,
			"lock":     p.lock,
			"write":    p.write,
			"writev":   p.writev,
			"truncate": p.truncate,
			"read":     p.read,
			"fstat":    p.fstat,
			"sync":     p.sync,
			"close":    p.closeOne,
			"":         p.compareTrees,
		})
	})
}

// pair is a vfstest file system and a real one, with the same handles open.
type pair struct {
	systems [2]vfs.FS
	handles [][2]vfs.File
	locks   [][2]io.Closer
}

func (p *pair) close() {
	for _, h := range p.handles {
		h[0].Close()
		h[1].Close()
	}
	for _, l := range p.locks {
		l[0].Close()
		l[1].Close()
	}
}

// both runs one operation on both systems and compares what it says and the
// class of its error.
func (p *pair) both(t *rapid.T, what string, do func(i int) (string, error)) bool {
	t.Helper()
	said, err := do(0)
	realSaid, realErr := do(1)
	if said != realSaid || class(err) != class(realErr) {
		t.Fatalf("%s:\nvfstest %s %v (%s)\nOS      %s %v (%s)", what, said, err, class(err), realSaid, realErr, class(realErr))
	}
	return err == nil
}

// class is what callers can tell errors apart by.
func class(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, vfs.ErrLocked):
		return "locked"
	case errors.Is(err, vfs.ErrNotRegular):
		return "not a regular file"
	case errors.Is(err, fs.ErrClosed):
		return "closed"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		return errno.Error()
	case strings.Contains(err.Error(), "negative offset"):
		return syscall.EINVAL.Error()
	}
	return err.Error()
}

var names = rapid.SampledFrom([]string{"a", "b", "d", "e", "d/a", "d/b", "d/e", "e/a", "d/e/a", "a/b"})

func (p *pair) open(t *rapid.T) {
	name := names.Draw(t, "name")
	flags := rapid.SampledFrom([]int{
		vfs.ReadOnly, vfs.ReadWrite, vfs.ReadWrite | vfs.Create, vfs.ReadWrite | vfs.Create,
		vfs.ReadWrite | vfs.Create | vfs.Exclusive, vfs.ReadWrite | vfs.Truncate,
		vfs.ReadWrite | vfs.Create | vfs.Truncate,
	}).Draw(t, "flags")
	var h [2]vfs.File
	if p.both(t, "open "+name, func(i int) (_ string, err error) {
		h[i], err = p.systems[i].OpenFile(name, flags, 0o600)
		return "", err
	}) {
		p.handles = append(p.handles, h)
	}
}

func (p *pair) mkdir(t *rapid.T) {
	name := names.Draw(t, "name")
	p.both(t, "mkdir "+name, func(i int) (string, error) { return "", p.systems[i].Mkdir(name, 0o700) })
}

func (p *pair) remove(t *rapid.T) {
	name := names.Draw(t, "name")
	p.both(t, "remove "+name, func(i int) (string, error) { return "", p.systems[i].Remove(name) })
}

func (p *pair) rename(t *rapid.T) {
	from, to := names.Draw(t, "from"), names.Draw(t, "to")
	p.both(t, "rename "+from+" "+to, func(i int) (string, error) { return "", p.systems[i].Rename(from, to) })
}

func describe(info fs.FileInfo) string {
	if info.IsDir() {
		return fmt.Sprint(info.Name(), " ", info.Mode())
	}
	return fmt.Sprint(info.Name(), " ", info.Mode(), " ", info.Size())
}

func (p *pair) stat(t *rapid.T) {
	name := rapid.OneOf(names, rapid.Just(".")).Draw(t, "name")
	p.both(t, "stat "+name, func(i int) (string, error) {
		info, err := p.systems[i].Stat(name)
		if err != nil {
			return "", err
		}
		return describe(info), nil
	})
}

func (p *pair) readDir(t *rapid.T) {
	name := rapid.OneOf(names, rapid.Just(".")).Draw(t, "name")
	p.both(t, "readdir "+name, func(i int) (string, error) {
		entries, err := p.systems[i].ReadDir(name)
		var b strings.Builder
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&b, e.Name(), e.IsDir(), e.Type(), describe(info))
		}
		return b.String(), err
	})
}

func (p *pair) syncDir(t *rapid.T) {
	name := rapid.OneOf(names, rapid.Just(".")).Draw(t, "name")
	if info, err := p.systems[0].Stat(name); err == nil && !info.IsDir() {
		return // the OS syncs a file
	}
	p.both(t, "syncdir "+name, func(i int) (string, error) { return "", p.systems[i].SyncDir(name) })
}

func (p *pair) lock(t *rapid.T) {
	if len(p.locks) > 0 && rapid.Bool().Draw(t, "unlock") {
		i := rapid.IntRange(0, len(p.locks)-1).Draw(t, "lock")
		l := p.locks[i]
		p.both(t, "unlock", func(i int) (string, error) { return "", l[i].Close() })
		p.locks = append(p.locks[:i], p.locks[i+1:]...)
		return
	}
	name := names.Draw(t, "name")
	var l [2]io.Closer
	if p.both(t, "lock "+name, func(i int) (_ string, err error) {
		l[i], err = p.systems[i].Lock(name)
		return "", err
	}) {
		p.locks = append(p.locks, l)
	}
}

// handle draws an open handle; there may be none.
func (p *pair) handle(t *rapid.T) [2]vfs.File {
	if len(p.handles) == 0 {
		t.Skip("no handle")
	}
	return p.handles[rapid.IntRange(0, len(p.handles)-1).Draw(t, "handle")]
}

var (
	offsets = rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, 20000), rapid.SampledFrom([]int64{-1, 4095, 4096, 8192}))
	bodies  = rapid.SliceOfN(rapid.Byte(), 1, 10)
)

func (p *pair) write(t *rapid.T) {
	h, off := p.handle(t), offsets.Draw(t, "off")
	data := bytesOf(t)
	p.both(t, "write", func(i int) (string, error) {
		n, err := h[i].WriteAt(data, off)
		return fmt.Sprint(n), err
	})
}

// bytesOf draws a few bytes and perhaps repeats them over some pages.
func bytesOf(t *rapid.T) []byte {
	data := bodies.Draw(t, "data")
	return []byte(strings.Repeat(string(data), rapid.SampledFrom([]int{1, 1, 2, 500, 1000}).Draw(t, "times")))
}

func (p *pair) writev(t *rapid.T) {
	h, off := p.handle(t), max(0, offsets.Draw(t, "off"))
	bufs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 10), 0, 5).Draw(t, "bufs")
	bufs = append(bufs, []byte("x")) // nothing to write is no call
	p.both(t, "writev", func(i int) (string, error) {
		n, err := h[i].WritevAt(bufs, off)
		return fmt.Sprint(n), err
	})
}

func (p *pair) truncate(t *rapid.T) {
	h, size := p.handle(t), offsets.Draw(t, "size")
	p.both(t, "truncate", func(i int) (string, error) { return "", h[i].Truncate(size) })
}

func (p *pair) read(t *rapid.T) {
	h, off := p.handle(t), offsets.Draw(t, "off")
	n := rapid.IntRange(0, 10000).Draw(t, "n")
	p.both(t, "read", func(i int) (string, error) {
		buf := make([]byte, n)
		n, err := h[i].ReadAt(buf, off)
		return string(buf[:n]), err
	})
}

func (p *pair) fstat(t *rapid.T) {
	h := p.handle(t)
	p.both(t, "fstat", func(i int) (string, error) {
		info, err := h[i].Stat()
		if err != nil {
			return "", err
		}
		return describe(info), nil
	})
}

func (p *pair) sync(t *rapid.T) {
	h := p.handle(t)
	p.both(t, "sync", func(i int) (string, error) { return "", h[i].Sync() })
}

// closeOne closes a handle and sometimes keeps it, to be used closed.
func (p *pair) closeOne(t *rapid.T) {
	if len(p.handles) == 0 {
		t.Skip("no handle")
	}
	at := rapid.IntRange(0, len(p.handles)-1).Draw(t, "handle")
	h := p.handles[at]
	p.both(t, "close", func(i int) (string, error) { return "", h[i].Close() })
	if rapid.Bool().Draw(t, "drop") {
		p.handles = append(p.handles[:at], p.handles[at+1:]...)
	}
}

// compareTrees compares all names and contents.
func (p *pair) compareTrees(t *rapid.T) {
	disk := p.systems[0].(*FS)
	var names []string
	var walk func(dir, prefix string)
	walk = func(dir, prefix string) {
		entries, err := p.systems[1].ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := prefix + e.Name()
			if e.IsDir() {
				names = append(names, name+"/")
				walk(name, name+"/")
				continue
			}
			names = append(names, name)
			f, err := p.systems[1].OpenFile(name, vfs.ReadOnly, 0)
			if err != nil {
				t.Fatal(err)
			}
			want, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			got, err := disk.ReadFile(name)
			if err != nil || string(got) != string(want) {
				t.Fatalf("%s: vfstest has %d bytes %v, OS %d bytes: %s", name, len(got), err, len(want), cmp.Diff(want, got))
			}
		}
	}
	walk(".", "")
	got, want := map[string]bool{}, map[string]bool{}
	for _, name := range disk.Names() {
		got[name] = true
	}
	for _, name := range names {
		want[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("names (-OS +vfstest):\n%s", diff)
	}
	open := 0
	for _, h := range p.handles {
		if _, err := h[0].Stat(); err == nil {
			open++
		}
	}
	if disk.Open() != open+len(p.locks) {
		t.Fatalf("%d open, want %d", disk.Open(), open+len(p.locks))
	}
}
