package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// crashSystem is a folder of which a power cut leaves what was synced: of a file
// its bytes, of the folder its names; and of the names perhaps more.
type crashSystem struct {
	log    []string
	failAt int // which operation fails, from 1 on

	now, synced map[string]*crashFile
}

type crashFile struct {
	sys         *crashSystem
	name        string
	now, synced string
}

var errInjected = errors.New("injected")

func (c *crashSystem) op(format string, args ...any) error {
	c.log = append(c.log, fmt.Sprintf(format, args...))
	if len(c.log) == c.failAt {
		return errInjected
	}
	return nil
}

func (c *crashSystem) Create(path string, mode fs.FileMode) (File, error) {
	if err := c.op("create %v", mode); err != nil {
		return nil, err
	}
	f := &crashFile{sys: c, name: path + ".tmp"}
	c.now[f.name] = f
	return f, nil
}

func (c *crashSystem) Rename(from, to string) error {
	if err := c.op("rename"); err != nil {
		return err
	}
	c.now[to] = c.now[from]
	delete(c.now, from)
	return nil
}

func (c *crashSystem) Remove(name string) error {
	delete(c.now, name)
	return c.op("remove")
}

func (c *crashSystem) SyncFolder(string) error {
	if err := c.op("sync folder"); err != nil {
		return err
	}
	c.synced = maps.Clone(c.now)
	return nil
}

func (f *crashFile) Name() string { return f.name }

func (f *crashFile) Write(p []byte) (int, error) {
	if err := f.sys.op("write"); err != nil {
		f.now += string(p[:len(p)/2])
		return len(p) / 2, err
	}
	f.now += string(p)
	return len(p), nil
}

func (f *crashFile) Sync() error {
	if err := f.sys.op("sync"); err != nil {
		return err
	}
	f.synced = f.now
	return nil
}

func (f *crashFile) Close() error { return f.sys.op("close") }

// newCrashSystem has the file "s" with the content "old" on stable storage.
func newCrashSystem() *crashSystem {
	c := &crashSystem{}
	old := &crashFile{sys: c, name: "s", now: "old", synced: "old"}
	c.now, c.synced = map[string]*crashFile{"s": old}, map[string]*crashFile{"s": old}
	return c
}

// images returns what a power cut may leave of the file.
func (c *crashSystem) images() []string {
	return []string{c.synced["s"].synced, c.now["s"].synced}
}

func TestReplaceOrder(t *testing.T) {
	for sync, want := range map[bool]string{
		true:  "create -rw-r-----, write, sync, close, rename, sync folder",
		false: "create -rw-r-----, write, close, rename",
	} {
		c := newCrashSystem()
		if err := Replace(c, "s", 0o640, []byte("newer"), sync); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.log, ", "); got != want {
			t.Errorf("sync %v: %s, want %s", sync, got, want)
		}
		if c.now["s"].now != "newer" || len(c.now) != 1 {
			t.Errorf("sync %v: %d files, %q", sync, len(c.now), c.now["s"].now)
		}
	}
}

// Whichever operation fails, the caller is told, nothing is left beside the file,
// and a power cut leaves the old content or the new one: the new one for sure if
// nothing has failed.
func TestReplaceFaults(t *testing.T) {
	for failAt := 1; ; failAt++ {
		c := newCrashSystem()
		c.failAt = failAt
		err := Replace(c, "s", 0o600, []byte("newer"), true)
		for _, image := range c.images() {
			if image != "newer" && (image != "old" || err == nil) {
				t.Errorf("fault %d, told %v: a power cut leaves %q", failAt, err, image)
			}
		}
		if len(c.now) != 1 {
			t.Errorf("fault %d: %d files are left", failAt, len(c.now))
		}
		if failAt > len(c.log) {
			if err != nil {
				t.Errorf("without a fault: %v", err)
			}
			return
		}
		if !errors.Is(err, errInjected) {
			t.Errorf("fault %d is told as %v", failAt, err)
		}
	}
}

// The control: without a sync, a power cut leaves a file that is empty.
func TestReplaceWithoutSync(t *testing.T) {
	c := newCrashSystem()
	if err := Replace(c, "s", 0o600, []byte("newer"), false); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.images(), "") {
		t.Fatalf("a power cut leaves %q: these tests find nothing", c.images())
	}
}

// names returns the names in the folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for _, content := range []string{"first", "second"} {
		if err := Replace(OS, path, 0o640, []byte(content), true); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content || names(t, dir) != "s" {
			t.Errorf("%q, %v, among %s", got, err, names(t, dir))
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o640 && runtime.GOOS != "windows" {
		t.Errorf("mode %v", info.Mode())
	}
	if err := Replace(OS, filepath.Join(dir, "none", "s"), 0o600, nil, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(OS, filepath.Join(dir, "folder"), 0o600, nil, true); err == nil {
		t.Error("a folder was replaced")
	}
	if got := names(t, dir); got != "folder s" {
		t.Errorf("what failed has left %s", got)
	}
}

func TestPlaceNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for i, want := range []error{nil, fs.ErrExist} {
		f, err := Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, i)
		if err := PlaceNew(f, path); !errors.Is(err, want) {
			t.Errorf("file %d: %v, want %v", i, err, want)
		}
		f.Close()
	}
	if got, err := os.ReadFile(path); string(got) != "0" {
		t.Errorf("%q, %v: the first one was replaced", got, err)
	}
}

// Clean removes what Create made and nobody placed, and nothing else.
func TestClean(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for range 3 {
		f, err := Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	stay := []string{"s", "s.12.tmp.1", "s.1x.tmp", "s.tmp", "s2.12.tmp"}
	for _, name := range stay {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "s.7.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	Clean(path)
	stay = append(stay, "s.7.tmp")
	slices.Sort(stay)
	if got, want := names(t, dir), strings.Join(stay, " "); got != want {
		t.Errorf("%s are left, want %s", got, want)
	}
	Clean(filepath.Join(dir, "none", "s"))
}
