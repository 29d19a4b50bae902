package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
)

// images returns how often each description of a crash image of disk came up.
func images(disk *FS, describe func(*FS) string) map[string]int {
	seen := make(map[string]int)
	for seed := range uint64(2000) {
		seen[describe(disk.Crash(rand.New(rand.NewPCG(seed, 1))))]++
	}
	return seen
}

// show describes a whole file system in one line.
func show(disk *FS) string {
	var b strings.Builder
	for _, name := range disk.Names() {
		b.WriteString(name)
		if data, err := disk.ReadFile(name); err == nil {
			fmt.Fprintf(&b, "=%q", data)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

func open(t *testing.T, disk vfs.FS, name string, flag int) vfs.File {
	t.Helper()
	f, err := disk.OpenFile(name, flag, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func create(t *testing.T, disk vfs.FS, name string) vfs.File {
	t.Helper()
	return open(t, disk, name, vfs.ReadWrite|vfs.Create)
}

func write(t *testing.T, f vfs.File, off int64, data string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(data), off); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCrashImages lists, for small workloads, all the images that a crash may
// leave: no more and no fewer come up.
func TestCrashImages(t *testing.T) {
	tests := []struct {
		name     string
		workload func(t *testing.T, disk *FS)
		strict   string // CrashKeepNothing
		want     []string
	}{
		{
			"synced bytes under a synced name stay",
			func(t *testing.T, disk *FS) {
				f := create(t, disk, "a")
				write(t, f, 0, "xy")
				check(t, f.Sync())
				check(t, disk.SyncDir("."))
			},
			`a="xy"`,
			[]string{`a="xy"`},
		},
		{
			"a disk that ignores Sync loses them",
			func(t *testing.T, disk *FS) {
				disk.IgnoreSync(true)
				f := create(t, disk, "a")
				write(t, f, 0, "xy")
				check(t, f.Sync())
				check(t, disk.SyncDir("."))
			},
			`a=""`,
			[]string{`a=""`, `a="\x00\x00"`, `a="x"`, `a="xy"`},
		},
		{
			"a disk that ignores SyncDir loses the name",
			func(t *testing.T, disk *FS) {
				disk.IgnoreSyncDir(true)
				f := create(t, disk, "a")
				write(t, f, 0, "xy")
				check(t, f.Sync())
				check(t, disk.SyncDir("."))
			},
			``,
			[]string{``, `a="xy"`},
		},
		{
			"Sync does not sync the name",
			func(t *testing.T, disk *FS) {
				f := create(t, disk, "a")
				write(t, f, 0, "xy")
				check(t, f.Sync())
			},
			``,
			[]string{``, `a="xy"`},
		},
		{
			"SyncDir does not sync the folder's own name, nor that of another folder",
			func(t *testing.T, disk *FS) {
				check(t, disk.Mkdir("d", 0o700))
				create(t, disk, "d/a")
				check(t, disk.SyncDir("d"))
			},
			``,
			[]string{``, `d/ d/a=""`},
		},
		{
			"an overwrite is there or not",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("xxxx")))
				write(t, open(t, disk, "a", vfs.ReadWrite), 1, "yy")
			},
			`a="xxxx"`,
			[]string{`a="xxxx"`, `a="xyxx"`, `a="xyyx"`},
		},
		{
			"an appended length may come without its bytes, and a prefix of both",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("x")))
				write(t, open(t, disk, "a", vfs.ReadWrite), 1, "yz")
			},
			`a="x"`,
			[]string{`a="x"`, `a="x\x00\x00"`, `a="xy"`, `a="xyz"`},
		},
		{
			"what a truncation cut off comes back only with the length",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("xxxx")))
				f := open(t, disk, "a", vfs.ReadWrite)
				check(t, f.Truncate(1))
				write(t, f, 1, "y")
			},
			`a="xxxx"`,
			[]string{`a="x"`, `a="x\x00"`, `a="xxxx"`, `a="xy"`},
		},
		{
			"a synced truncation stays",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("xxx")))
				f := open(t, disk, "a", vfs.ReadWrite)
				check(t, f.Truncate(1))
				check(t, f.Sync())
			},
			`a="x"`,
			[]string{`a="x"`},
		},
		{
			"a removed file may come back",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("x")))
				check(t, disk.Remove("a"))
			},
			`a="x"`,
			[]string{``, `a="x"`},
		},
		{
			"a removed file does not come back after SyncDir",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("x")))
				check(t, disk.Remove("a"))
				check(t, disk.SyncDir("."))
			},
			``,
			[]string{``},
		},
		{
			"rename replaces atomically",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("old")))
				check(t, disk.WriteFile("a.tmp", []byte("new")))
				check(t, disk.Rename("a.tmp", "a"))
			},
			`a="old" a.tmp="new"`,
			[]string{`a="new"`, `a="old" a.tmp="new"`},
		},
		{
			"a synced rename stays",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("old")))
				check(t, disk.WriteFile("a.tmp", []byte("new")))
				check(t, disk.Rename("a.tmp", "a"))
				check(t, disk.SyncDir("."))
			},
			`a="new"`,
			[]string{`a="new"`},
		},
		{
			"rename without a sync of the bytes",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("a", []byte("old")))
				write(t, create(t, disk, "a.tmp"), 0, "n")
				check(t, disk.Rename("a.tmp", "a"))
				check(t, disk.SyncDir("."))
			},
			`a=""`,
			[]string{`a=""`, `a="\x00"`, `a="n"`},
		},
		{
			"the changes of one name keep their order, those of two do not",
			func(t *testing.T, disk *FS) {
				create(t, disk, "a")
				create(t, disk, "b")
				check(t, disk.Remove("a"))
			},
			``,
			[]string{``, `a=""`, `a="" b=""`, `b=""`},
		},
		{
			"a rename is lost with the creation before it",
			func(t *testing.T, disk *FS) {
				create(t, disk, "a")
				check(t, disk.Rename("a", "b"))
				create(t, disk, "a")
			},
			``,
			[]string{``, `a=""`, `a="" b=""`, `b=""`},
		},
		{
			"a later rename to a name is not there without the earlier one",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("b", []byte("b")))
				check(t, disk.WriteFile("c", []byte("c")))
				check(t, disk.Rename("b", "a"))
				check(t, disk.Rename("c", "a"))
			},
			`b="b" c="c"`,
			[]string{`a="b" c="c"`, `a="c"`, `b="b" c="c"`},
		},
		{
			"entries of folders that are out of sight",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("synced/a", nil))
				check(t, disk.Mkdir("new", 0o700))
				check(t, disk.Mkdir("other", 0o700))
				create(t, disk, "new/b")
				check(t, disk.Remove("new/b"))
				check(t, disk.Remove("new"))
				check(t, disk.Rename("synced/a", "synced/c"))
				check(t, disk.Remove("synced/c"))
				check(t, disk.Remove("synced"))
				check(t, disk.SyncDir("other"))
			},
			`synced/ synced/a=""`,
			permute([]string{``, `new/`, `new/ new/b=""`}, []string{``, `other/`},
				[]string{``, `synced/`, `synced/ synced/a=""`, `synced/ synced/c=""`}),
		},
		{
			"a rename from folder to folder keeps one name at least",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", []byte("x")))
				check(t, disk.Rename("d/a", "b"))
			},
			`d/ d/a="x"`,
			[]string{`b="x" d/`, `b="x" d/ d/a="x"`, `d/ d/a="x"`},
		},
		{
			"SyncDir of the new folder keeps the new name",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", []byte("x")))
				check(t, disk.Rename("d/a", "b"))
				check(t, disk.SyncDir("."))
			},
			`b="x" d/ d/a="x"`,
			[]string{`b="x" d/`, `b="x" d/ d/a="x"`},
		},
		{
			"SyncDir of the old folder keeps the new name and drops the old one",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", []byte("x")))
				check(t, disk.Rename("d/a", "b"))
				check(t, disk.SyncDir("d"))
			},
			`b="x" d/`,
			[]string{`b="x" d/`},
		},
		{
			"a sync through another handle, of a file that has another name",
			func(t *testing.T, disk *FS) {
				f := create(t, disk, "a")
				write(t, f, 0, "x")
				check(t, disk.Rename("a", "b"))
				check(t, open(t, disk, "b", vfs.ReadOnly).Sync())
				check(t, disk.SyncDir("."))
			},
			`b="x"`,
			[]string{`b="x"`},
		},
		{
			"a failed sync forgets: the next one succeeds and the bytes are not there",
			func(t *testing.T, disk *FS) {
				f := create(t, disk, "a")
				check(t, disk.SyncDir("."))
				write(t, f, 0, "x")
				disk.FailAt(1, Fault{})
				if err := f.Sync(); err == nil {
					t.Fatal("the sync succeeded")
				}
				write(t, f, 1, "y")
				check(t, f.Sync())
				if got := show(disk); got != `a="xy"` {
					t.Errorf("visible after the failed sync: %s", got)
				}
			},
			`a="\x00y"`,
			[]string{`a="\x00y"`},
		},
		{
			"a failed SyncDir of the new folder keeps a file in the old one",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", []byte("x")))
				check(t, disk.Rename("d/a", "b"))
				disk.FailAt(1, Fault{})
				if err := disk.SyncDir("."); err == nil {
					t.Fatal("the sync succeeded")
				}
				check(t, disk.SyncDir("d"))
			},
			`d/ d/a="x"`,
			[]string{`d/ d/a="x"`},
		},
		{
			"a failed SyncDir forgets too",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/old", nil))
				create(t, disk, "d/a")
				check(t, disk.Rename("d/old", "b"))
				disk.FailAt(1, Fault{})
				if err := disk.SyncDir("d"); err == nil {
					t.Fatal("the sync succeeded")
				}
				create(t, disk, "d/b")
				check(t, disk.SyncDir("d"))
			},
			`d/ d/b="" d/old=""`,
			[]string{`b="" d/ d/b="" d/old=""`, `d/ d/b="" d/old=""`},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			disk := New()
			test.workload(t, disk)
			if got := show(disk.CrashKeepNothing()); got != test.strict {
				t.Errorf("CrashKeepNothing: %s, want %s", got, test.strict)
			}
			seen := images(disk, show)
			var got []string
			for image := range seen {
				got = append(got, image)
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("images\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// permute joins one of each list in every way.
func permute(lists ...[]string) []string {
	all := []string{""}
	for _, list := range lists {
		var longer []string
		for _, head := range all {
			for _, tail := range list {
				longer = append(longer, strings.TrimSpace(head+" "+tail))
			}
		}
		all = longer
	}
	slices.Sort(all)
	return all
}

// TestCrashTearsBlocks looks for each kind of torn write of several blocks.
func TestCrashTearsBlocks(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("a", bytes.Repeat([]byte{'x'}, 3000)))
	f := open(t, disk, "a", vfs.ReadWrite)
	write(t, f, 2000, strings.Repeat("y", 10000))
	seen := images(disk, func(image *FS) string {
		data, err := image.ReadFile("a")
		if err != nil {
			return err.Error()
		}
		return kindOfTear(data)
	})
	for _, kind := range []string{
		"nothing", "everything", "prefix", "length without data", "sectors lost in between", "length torn",
	} {
		if seen[kind] == 0 {
			t.Errorf("no image with %s: %v", kind, seen)
		}
	}
	if seen["impossible"] > 0 {
		t.Errorf("%d impossible images", seen["impossible"])
	}
}

func kindOfTear(data []byte) string {
	want := append(bytes.Repeat([]byte{'x'}, 2000), bytes.Repeat([]byte{'y'}, 10000)...)
	for i, c := range data {
		if c != want[i] && (i >= 3000 && c != 0 || i < 3000 && c != 'x') {
			return "impossible"
		}
	}
	zeros := bytes.IndexByte(data, 0)
	switch {
	case len(data) == 3000 && !bytes.Contains(data, []byte("y")):
		return "nothing"
	case len(data) == 12000 && bytes.Equal(data, want):
		return "everything"
	case bytes.HasPrefix(want, data):
		return "prefix"
	case len(data) == 12000 && bytes.Count(data[3000:], []byte{0}) == 9000:
		return "length without data"
	case zeros >= 0 && bytes.IndexByte(data[zeros:], 'y') >= 0:
		return "sectors lost in between"
	case len(data) > 3000 && len(data) < 12000:
		return "length torn"
	}
	return "other"
}

// TestCrashIsRepeatable takes the same images from the same seeds.
func TestCrashIsRepeatable(t *testing.T) {
	run := func() []string {
		disk := New()
		rng := rand.New(rand.NewPCG(7, 7))
		var got []string
		disk.OnOp(func(Op) { got = append(got, show(disk.Crash(rng))) })
		for i := range 50 {
			name := fmt.Sprintf("%c", 'a'+i%7)
			f := create(t, disk, name)
			write(t, f, int64(i), "some bytes")
			if i%5 == 0 {
				check(t, f.Sync())
			}
			if i%11 == 0 {
				check(t, disk.Rename(name, "z"))
			}
			if i%13 == 0 {
				check(t, disk.SyncDir("."))
			}
		}
		return got
	}
	first, second := run(), run()
	if !slices.Equal(first, second) {
		t.Error("two runs with one seed differ")
	}
}

// TestImagesAreIndependent changes image and original after a crash.
func TestImagesAreIndependent(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("d/a", bytes.Repeat([]byte{'x'}, 10000)))
	lock, err := disk.Lock("LOCK")
	check(t, err)
	check(t, disk.SyncDir("."))
	image := disk.CrashKeepNothing()
	second := disk.CrashKeepNothing()

	if l, err := image.Lock("LOCK"); err != nil {
		t.Errorf("an image has a lock: %v", err)
	} else {
		check(t, l.Close())
	}
	check(t, lock.Close())

	write(t, open(t, disk, "d/a", vfs.ReadWrite), 5000, "original")
	write(t, open(t, image, "d/a", vfs.ReadWrite), 5000, "image")
	check(t, open(t, image, "d/a", vfs.ReadWrite).Truncate(6000))
	check(t, disk.Remove("LOCK"))
	create(t, image, "d/b")

	for _, test := range []struct {
		disk  *FS
		want  string
		size  int
		names string
	}{
		{disk, "originalx", 10000, "[d/ d/a]"},
		{image, "imagexxxx", 6000, "[LOCK d/ d/a d/b]"},
		{second, "xxxxxxxxx", 10000, "[LOCK d/ d/a]"},
		{image.CrashKeepNothing(), "xxxxxxxxx", 10000, "[LOCK d/ d/a]"},
	} {
		data, err := test.disk.ReadFile("d/a")
		check(t, err)
		if got := string(data[5000:5009]); got != test.want || len(data) != test.size {
			t.Errorf("got %d bytes with %q, want %d with %q", len(data), got, test.size, test.want)
		}
		if got := fmt.Sprint(test.disk.Names()); got != test.names {
			t.Errorf("names %s, want %s", got, test.names)
		}
	}
}

// TestCrashOfRemovedFolder finds a folder again whose removal was not synced,
// with the files whose removal was not synced either.
func TestCrashOfRemovedFolder(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("d/a", nil))
	check(t, disk.Remove("d/a"))
	check(t, disk.Remove("d"))
	if got := show(disk.CrashKeepNothing()); got != `d/ d/a=""` {
		t.Errorf("nothing synced: %s", got)
	}
	check(t, disk.SyncDir("."))
	if got := images(disk, show); len(got) != 1 || got[""] == 0 {
		t.Errorf("removal synced: %v", got)
	}
	if _, err := disk.Stat("d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a removed folder: %v", err)
	}
}

// BenchmarkCrash takes an image after every operation of a workload that
// appends to a log of 64 KiB, and counts images.
func BenchmarkCrash(b *testing.B) {
	for _, every := range []int{1, 16, 1 << 30} {
		b.Run(fmt.Sprintf("sync=%d", every), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			record := bytes.Repeat([]byte{'x'}, 512)
			b.ReportAllocs()
			n := 0
			for n < b.N {
				disk := New()
				disk.OnOp(func(Op) { disk.Crash(rng); n++ })
				f, err := disk.OpenFile("0.log", vfs.ReadWrite|vfs.Create, 0o600)
				if err != nil {
					b.Fatal(err)
				}
				disk.SyncDir(".")
				for i := 0; i < 128 && n < b.N; i++ {
					f.WriteAt(record, int64(i*len(record)))
					if i%every == every-1 {
						f.Sync()
					}
				}
			}
			b.ReportMetric(60*float64(n)/b.Elapsed().Seconds(), "images/min")
		})
	}
}
