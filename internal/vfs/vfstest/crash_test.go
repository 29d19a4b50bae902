package vfstest

import (
	"fmt"
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
			"a folder that is renamed from folder to folder is in one of them",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", []byte("x")))
				check(t, disk.WriteFile("e/b", nil))
				check(t, disk.Rename("d", "e/d"))
			},
			`d/ d/a="x" e/ e/b=""`,
			[]string{`d/ d/a="x" e/ e/b=""`, `e/ e/b="" e/d/ e/d/a="x"`},
		},
		{
			"SyncDir of the folder that another was renamed to makes it durable",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", []byte("x")))
				check(t, disk.WriteFile("e/b", nil))
				check(t, disk.Rename("d", "e/d"))
				check(t, disk.SyncDir("e"))
			},
			`e/ e/b="" e/d/ e/d/a="x"`,
			[]string{`e/ e/b="" e/d/ e/d/a="x"`},
		},
		{
			"SyncDir of the folder that another was renamed from makes it durable, with all before it",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("e/b", nil))
				check(t, disk.Mkdir("d", 0o700))
				check(t, disk.Rename("d", "e/d"))
				check(t, disk.SyncDir("e"))
				check(t, disk.Mkdir("d", 0o700))
			},
			`e/ e/b="" e/d/`,
			[]string{`d/ e/ e/b="" e/d/`, `e/ e/b="" e/d/`},
		},
		{
			"a failed SyncDir of either folder forgets the rename of a folder",
			func(t *testing.T, disk *FS) {
				check(t, disk.WriteFile("d/a", nil))
				check(t, disk.WriteFile("e/b", nil))
				check(t, disk.Rename("d", "e/d"))
				disk.FailAt(1, Fault{})
				if err := disk.SyncDir("e"); err == nil {
					t.Fatal("the sync succeeded")
				}
				if err := disk.SyncDir("."); err == nil {
					t.Fatal("that the folder has left is not durable, and nobody was told")
				}
				check(t, disk.SyncDir("."))
			},
			`d/ d/a="" e/ e/b=""`,
			[]string{`d/ d/a="" e/ e/b=""`},
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
				if err := disk.SyncDir("d"); err == nil {
					t.Fatal("that the file has left is not durable, and nobody was told")
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
