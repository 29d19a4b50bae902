package vfstest

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
)

// TestReports makes sure that a write-back that fails is told as Linux tells it:
// once to each descriptor of the file, once to the one of SyncAll, and to a
// descriptor opened later only if nobody was told before.
func TestReports(t *testing.T) {
	type disk struct {
		*FS
		a, b vfs.File // handles of one file
	}
	reopen := func(d *disk) vfs.File { return open(t, d.FS, "d/f", vfs.ReadWrite) }
	var c vfs.File
	steps := map[string]func(d *disk) error{
		"a":    func(d *disk) error { return d.a.Sync() },
		"b":    func(d *disk) error { return d.b.Sync() },
		"c":    func(d *disk) error { return c.Sync() },
		"all":  func(d *disk) error { return d.SyncAll() },
		"dir":  func(d *disk) error { return d.SyncDir("d") },
		"root": func(d *disk) error { return d.SyncDir(".") },
		"other": func(d *disk) error {
			return open(t, d.FS, "other", vfs.ReadWrite).Sync()
		},
	}
	quiet := map[string]func(d *disk){
		"open c":        func(d *disk) { c = reopen(d) },
		"close a and b": func(d *disk) { check(t, d.a.Close()); check(t, d.b.Close()) },
		"close b":       func(d *disk) { check(t, d.b.Close()) },
		"write":         func(d *disk) { write(t, d.a, 0, "more") },
		"create":        func(d *disk) { create(t, d.FS, "d/new") },
		"fail f":        func(d *disk) { d.FailWriteback("d/f") },
		"fail d":        func(d *disk) { d.FailWriteback("d") },
		"fault sync":    func(d *disk) { d.FailAt(1, Fault{Match: func(op Op) bool { return op.Kind == OpSync }}) },
		"fault all":     func(d *disk) { d.FailAt(1, Fault{Match: func(op Op) bool { return op.Kind == OpSyncAll }}) },
	}
	for _, test := range []struct{ does, fails string }{
		{"write, a, b, all, dir", ""},
		{"fail f, a, b, all", ""}, // nothing was written
		{"write, fail f, a, a, b, b, all, all", "a b all"},
		{"write, fail f, all, a, b, all, a", "all a b"},
		{"write, fail f, other, a", "a"},
		{"write, fail f, open c, c, a, b, c", "c a b"}, // nobody was told before
		{"write, fail f, a, open c, c, b", "a b"},
		{"write, fail f, all, open c, c", "all c"}, // SyncAll takes nothing from the file's
		{"write, fail f, close b, open c, c, a", "c a"},
		{"write, fail f, close a and b, open c, c, all", "all"}, // the file was forgotten
		{"write, fail f, a, write, a, b, fail f, a", "a b"},
		{"write, fail f, a, write, fail f, a, b, b", "a a b"}, // the second includes the first
		{"write, fault sync, a, a, b, all, all", "a b all"},
		{"write, fault all, all, all, a, b", "all a b"},
		{"fault all, all, all, a", "all"},
		{"create, fail d, dir, dir, all, all", "dir all"},
		{"create, fail d, all, dir, dir", "all dir"},
		{"create, fail d, root, dir", "dir"},
		{"create, fault all, all, dir, dir, a", "all dir"},
	} {
		d := &disk{FS: New()}
		check(t, d.WriteFile("d/f", nil))
		check(t, d.WriteFile("other", nil))
		d.a, d.b = reopen(d), reopen(d)
		var failed []string
		for step := range strings.SplitSeq(test.does, ", ") {
			if do := quiet[step]; do != nil {
				do(d)
			} else if err := steps[step](d); errors.Is(err, syscall.EIO) {
				failed = append(failed, step)
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(failed, " "); got != test.fails {
			t.Errorf("%s: told %q, want %q", test.does, got, test.fails)
		}
	}
}

// TestFailWriteback makes sure that what a write-back could not write is gone
// after a power cut, whoever syncs, and nothing else.
func TestFailWriteback(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("t/0.log", []byte("1")))
	check(t, disk.WriteFile("t/0.idx", []byte("1")))
	log, idx := open(t, disk, "t/0.log", vfs.ReadWrite), open(t, disk, "t/0.idx", vfs.ReadWrite)
	write(t, log, 1, "2")
	write(t, idx, 1, "2")
	create(t, disk, "t/1.log")
	disk.FailWriteback("t/*.log")
	disk.FailWriteback("t")
	write(t, log, 2, "3")
	if got := fmt.Sprint(log.Sync() != nil, idx.Sync() != nil, disk.SyncDir("t") != nil); got != "true false true" {
		t.Errorf("told: %s", got)
	}
	if got, _ := log.Stat(); got.Size() != 3 {
		t.Errorf("%d bytes are read, want 3", got.Size())
	}
	if got := show(disk.CrashKeepNothing()); got != `t/ t/0.idx="12" t/0.log="1\x003"` {
		t.Errorf("left: %s", got)
	}
}
