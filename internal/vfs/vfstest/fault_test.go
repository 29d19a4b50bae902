package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
)

// TestFailAt fails each operation of a workload that has one of every kind:
// that one fails, the others do not, and it changes nothing.
func TestFailAt(t *testing.T) {
	type step struct {
		name string
		do   func(disk *FS, f vfs.File) error
	}
	steps := []step{
		{"mkdir d", func(disk *FS, _ vfs.File) error { return disk.Mkdir("d", 0o700) }},
		{"create b", func(disk *FS, _ vfs.File) error {
			_, err := disk.OpenFile("b", vfs.ReadWrite|vfs.Create, 0o600)
			return err
		}},
		{"create LOCK", func(disk *FS, _ vfs.File) error { _, err := disk.Lock("LOCK"); return err }},
		{"write a 3+2", func(_ *FS, f vfs.File) error { _, err := f.WriteAt([]byte("xy"), 3); return err }},
		{"write a 1+4", func(_ *FS, f vfs.File) error {
			_, err := f.WritevAt([][]byte{[]byte("x"), []byte("yz0")}, 1)
			return err
		}},
		{"truncate a 2", func(_ *FS, f vfs.File) error { return f.Truncate(2) }},
		{"truncate a 0", func(disk *FS, _ vfs.File) error {
			_, err := disk.OpenFile("a", vfs.ReadWrite|vfs.Truncate, 0)
			return err
		}},
		{"sync a", func(_ *FS, f vfs.File) error { return f.Sync() }},
		{"syncdir .", func(disk *FS, _ vfs.File) error { return disk.SyncDir(".") }},
		{"rename a c", func(disk *FS, _ vfs.File) error { return disk.Rename("a", "c") }},
		{"remove a", func(disk *FS, _ vfs.File) error { return disk.Remove("a") }},
	}
	reads := []step{
		{"open", func(disk *FS, _ vfs.File) error { _, err := disk.OpenFile("a", vfs.ReadOnly, 0); return err }},
		{"read", func(_ *FS, f vfs.File) error { _, err := f.ReadAt(make([]byte, 3), 0); return err }},
		{"readdir", func(disk *FS, _ vfs.File) error { _, err := disk.ReadDir("."); return err }},
		{"stat", func(disk *FS, _ vfs.File) error { _, err := disk.Stat("a"); return err }},
		{"fstat", func(_ *FS, f vfs.File) error { _, err := f.Stat(); return err }},
	}
	prepare := func() (*FS, vfs.File) {
		disk := New()
		check(t, disk.WriteFile("a", []byte("abc")))
		return disk, open(t, disk, "a", vfs.ReadWrite)
	}
	for _, s := range steps {
		disk, f := prepare()
		before := show(disk)
		disk.FailAt(1, Fault{Err: syscall.ENOSPC})
		for _, r := range reads {
			if err := r.do(disk, f); err != nil {
				t.Errorf("%s failed, and reads do not count: %v", r.name, err)
			}
		}
		if err := s.do(disk, f); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v, want ENOSPC", s.name, err)
		}
		if after := show(disk); after != before {
			t.Errorf("%s failed and changed %s to %s", s.name, before, after)
		}
		want := s.name + ": no space left on device\n"
		if strings.HasPrefix(s.name, "write") {
			want = s.name + ": 0 written: no space left on device\n"
		}
		if disk.Trace() != want || disk.Ops() != 1 || disk.Faults() != 1 {
			t.Errorf("%s: %d operations, %d faults, trace %s", s.name, disk.Ops(), disk.Faults(), disk.Trace())
		}
		if err := s.do(disk, f); err != nil {
			t.Errorf("%s after the fault: %v", s.name, err)
		}
	}
	for _, r := range reads {
		disk, f := prepare()
		disk.FailAt(1, Fault{Reads: true})
		if err := r.do(disk, f); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want EIO", r.name, err)
		}
		if err := r.do(disk, f); err != nil {
			t.Errorf("%s after the fault: %v", r.name, err)
		}
		if disk.Ops() != 0 {
			t.Errorf("%s counts as an operation that changes something", r.name)
		}
	}
}

func TestFailAtCounts(t *testing.T) {
	isWrite := func(op Op) bool { return op.Kind == OpWrite && op.Off >= 2 }
	tests := []struct {
		name   string
		arm    func(disk *FS)
		failed string // of 6 writes at 0 to 5
	}{
		{"none", func(disk *FS) {}, "......"},
		{"third", func(disk *FS) { disk.FailAt(3, Fault{}) }, "..x..."},
		{"from the third on", func(disk *FS) { disk.FailAt(3, Fault{Forever: true}) }, "..xxxx"},
		{"two", func(disk *FS) { disk.FailAt(2, Fault{}); disk.FailAt(5, Fault{}) }, ".x..x."},
		{"two at once", func(disk *FS) { disk.FailAt(2, Fault{}); disk.FailAt(2, Fault{}) }, ".x...."},
		{"second match", func(disk *FS) { disk.FailAt(2, Fault{Match: isWrite}) }, "...x.."},
		{"reads do not hurt", func(disk *FS) { disk.FailAt(2, Fault{Reads: true}) }, ".x...."},
		{"cleared", func(disk *FS) { disk.FailAt(2, Fault{}); disk.ClearFaults() }, "......"},
		{"other names", func(disk *FS) { disk.FailSync("a") }, "......"},
	}
	for _, test := range tests {
		disk := New()
		f := create(t, disk, "a")
		test.arm(disk)
		var got strings.Builder
		for i := range 6 {
			if _, err := f.WriteAt([]byte("x"), int64(i)); err != nil {
				got.WriteByte('x')
			} else {
				got.WriteByte('.')
			}
		}
		if got.String() != test.failed || disk.Faults() != strings.Count(test.failed, "x") {
			t.Errorf("%s: %s, want %s; %d faults", test.name, got.String(), test.failed, disk.Faults())
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("FailAt(0) did not panic")
		}
	}()
	New().FailAt(0, Fault{})
}

func TestShortWrite(t *testing.T) {
	for _, test := range []struct {
		written int64
		want    string
	}{{0, "...."}, {1, ".x.."}, {3, ".xyz"}, {4, ".xyzx"}, {5, ".xyzxy"}, {6, ".xyzxy"}, {100, ".xyzxy"}} {
		disk := New()
		check(t, disk.WriteFile("a", []byte("....")))
		f := open(t, disk, "a", vfs.ReadWrite)
		disk.FailAt(1, Fault{Written: test.written})
		n, err := f.WritevAt([][]byte{[]byte("xyz"), nil, []byte("xyz")}, 1)
		if !errors.Is(err, syscall.EIO) || n != min(test.written, 5) {
			t.Errorf("Written %d: wrote %d, %v", test.written, n, err)
		}
		if got, _ := disk.ReadFile("a"); string(got) != test.want {
			t.Errorf("Written %d: %q, want %q", test.written, got, test.want)
		}
		check(t, f.Sync())
		if got, _ := disk.CrashKeepNothing().ReadFile("a"); string(got) != test.want {
			t.Errorf("Written %d, synced: %q, want %q", test.written, got, test.want)
		}

		disk.FailAt(1, Fault{Reads: true, Written: test.written})
		buf := make([]byte, 4)
		r, err := f.ReadAt(buf, 0)
		if !errors.Is(err, syscall.EIO) || int64(r) != min(test.written, 3) || string(buf[:r]) != test.want[:r] {
			t.Errorf("Written %d: read %d %q, %v", test.written, r, buf, err)
		}
	}
}

func TestFailSync(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("t/0.log", nil))
	check(t, disk.WriteFile("t/0.idx", nil))
	log, idx := open(t, disk, "t/0.log", vfs.ReadWrite), open(t, disk, "t/0.idx", vfs.ReadWrite)
	result := func() string {
		return fmt.Sprint(log.Sync() != nil, idx.Sync() != nil, disk.SyncDir("t") != nil, disk.SyncDir(".") != nil)
	}
	for _, test := range []struct{ pattern, want string }{
		{"t/*.log", "true false false false"},
		{"t/*", "true true false false"},
		{"t", "false false true false"},
		{"*", "false false true true"},
	} {
		disk.FailSync(test.pattern)
		for range 2 {
			if got := result(); got != test.want {
				t.Errorf("FailSync(%q): %s, want %s", test.pattern, got, test.want)
			}
		}
		write(t, log, 0, "other operations succeed")
		disk.ClearFaults()
		if got := result(); got != "false false false false" {
			t.Errorf("cleared: %s", got)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a malformed pattern did not panic")
		}
	}()
	disk.FailSync("[")
}

func TestSetSpace(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("a", []byte("1234")))
	f, g := open(t, disk, "a", vfs.ReadWrite), create(t, disk, "b")
	disk.SetSpace(10)

	n, err := g.WriteAt([]byte("12345678"), 0)
	if n != 6 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write of 8 with room for 6: %d, %v", n, err)
	}
	if got := show(disk); got != `a="1234" b="123456"` {
		t.Errorf("after it: %s", got)
	}
	if n, err := g.WriteAt([]byte("x"), 6); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write at the end of a full disk: %d, %v", n, err)
	}
	if n, err := g.WriteAt([]byte("x"), 100); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write beyond the end of a full disk: %d, %v", n, err)
	}
	write(t, f, 0, "abcd") // in place
	if err := f.Truncate(5); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Truncate to more: %v", err)
	}
	check(t, f.Sync())
	check(t, disk.SyncDir("."))

	check(t, g.Truncate(5))
	write(t, f, 4, "e")
	check(t, disk.Remove("b"))
	if _, err := f.WriteAt([]byte("f"), 5); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("removed, but open: %v", err)
	}
	check(t, g.Close())
	write(t, f, 5, "fghij")
	if disk.Used() != 10 {
		t.Errorf("used %d, want 10", disk.Used())
	}

	h := create(t, disk, "c")
	check(t, disk.Rename("c", "a")) // a is still open
	check(t, f.Close())
	write(t, h, 0, "0123456789")
	open(t, disk, "a", vfs.ReadWrite|vfs.Truncate)
	if disk.Used() != 0 {
		t.Errorf("used %d after truncation, want 0", disk.Used())
	}
	disk.SetSpace(-1)
	write(t, h, 0, strings.Repeat("x", 100))
	check(t, h.Sync())
	if image := disk.CrashKeepNothing(); image.Used() != 4 { // the old a
		t.Errorf("image: used %d, want 4: %s", image.Used(), show(image))
	}
}

func TestSetMaxOpen(t *testing.T) {
	disk := New()
	f := create(t, disk, "a")
	disk.SetMaxOpen(2)
	lock, err := disk.Lock("LOCK")
	check(t, err)
	attempts := map[string]func() error{
		"OpenFile": func() error { _, err := disk.OpenFile("a", vfs.ReadOnly, 0); return err },
		"create":   func() error { _, err := disk.OpenFile("new", vfs.ReadWrite|vfs.Create, 0o600); return err },
		"Lock":     func() error { _, err := disk.Lock("new"); return err },
		"ReadDir":  func() error { _, err := disk.ReadDir("."); return err },
		"SyncDir":  func() error { return disk.SyncDir(".") },
	}
	for name, attempt := range attempts {
		if err := attempt(); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%s at the limit: %v, want EMFILE", name, err)
		}
	}
	if _, err := disk.Stat("new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was created at the limit: %v", err)
	}
	write(t, f, 0, "open files work")
	check(t, lock.Close())
	check(t, disk.SyncDir("."))
	if _, err := disk.ReadDir("."); err != nil {
		t.Error(err)
	}
	if disk.Open() != 1 {
		t.Errorf("%d open, want 1", disk.Open())
	}
}

// toyLog is a log that does everything right unless told otherwise: the
// sweeps below must pass with it and fail with its careless versions.
type toyLog struct {
	retrySync, skipSync, skipSyncDir, ignoreErrors bool
}

// run writes lines to a log and returns those of which it is sure.
func (l toyLog) run(disk *FS) (sure []string) {
	f, err := disk.OpenFile("log", vfs.ReadWrite|vfs.Create, 0o600)
	if err != nil {
		return nil
	}
	defer f.Close()
	if !l.skipSyncDir {
		if err := disk.SyncDir("."); err != nil && !l.ignoreErrors {
			return nil
		}
	}
	off := int64(0)
	for i := range 10 {
		line := fmt.Sprintf("line %d of the log\n", i)
		if _, err := f.WriteAt([]byte(line), off); err != nil && !l.ignoreErrors {
			return sure
		}
		if !l.skipSync {
			err := f.Sync()
			if err != nil && l.retrySync {
				err = f.Sync()
			}
			if err != nil && !l.ignoreErrors {
				return sure
			}
		}
		off += int64(len(line))
		sure = append(sure, line)
	}
	return sure
}

// sweep fails every operation in turn and cuts the power in the end.
func (l toyLog) sweep() error {
	rng := rand.New(rand.NewPCG(3, 3))
	for n := 1; ; n++ {
		for _, fault := range []Fault{{}, {Err: syscall.ENOSPC}, {Written: 7}, {Written: 1 << 20, Forever: true}} {
			disk := New()
			disk.FailAt(n, fault)
			sure := strings.Join(l.run(disk), "")
			for _, image := range []*FS{disk.CrashKeepNothing(), disk.Crash(rng), disk.Crash(rng)} {
				if data, _ := image.ReadFile("log"); !bytes.HasPrefix(data, []byte(sure)) {
					return fmt.Errorf("operation %d fails with %v: the log is %q, want at least %q", n, fault, data, sure)
				}
			}
			if disk.Faults() == 0 {
				return nil
			}
		}
	}
}

func TestSweep(t *testing.T) {
	if err := (toyLog{}).sweep(); err != nil {
		t.Error(err)
	}
	for name, careless := range map[string]toyLog{
		"retry sync":    {retrySync: true},
		"skip sync":     {skipSync: true},
		"skip syncdir":  {skipSyncDir: true},
		"ignore errors": {ignoreErrors: true},
	} {
		if careless.sweep() == nil {
			t.Errorf("%s: the sweep found nothing wrong", name)
		}
	}
}

// TestReadAfterFailedSync reads on what a failed sync forgot, and makes it
// durable by writing it again.
func TestReadAfterFailedSync(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("a", []byte("1")))
	f := open(t, disk, "a", vfs.ReadWrite)
	write(t, f, 1, "2345")
	disk.FailAt(1, Fault{})
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	if err != nil || string(got) != "12345" {
		t.Errorf("read %q, %v", got, err)
	}
	check(t, f.Sync())
	if got := images(disk, show); len(got) != 1 || got[`a="1"`] == 0 {
		t.Errorf("images after a failed sync and a good one: %v", got)
	}
	write(t, f, 1, "2345")
	check(t, f.Sync())
	if got := images(disk, show); len(got) != 1 || got[`a="12345"`] == 0 {
		t.Errorf("images after writing again: %v", got)
	}
}
