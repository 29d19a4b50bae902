package progress

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/durable"
)

// crashFiles is a folder of which a power cut leaves what was synced: of a
// file its bytes, of the folder its names; and of the names perhaps more.
type crashFiles struct {
	log    []string
	failAt int // which operation fails, from 1 on

	now    map[string]*crashFile // what the program sees
	synced map[string]*crashFile
}

type crashFile struct {
	files       *crashFiles
	name        string
	now, synced string
}

var errInjected = errors.New("injected")

func newCrashFiles() *crashFiles {
	return &crashFiles{now: map[string]*crashFile{}, synced: map[string]*crashFile{}}
}

func (c *crashFiles) op(format string, args ...any) error {
	c.log = append(c.log, fmt.Sprintf(format, args...))
	if len(c.log) == c.failAt {
		return errInjected
	}
	return nil
}

// Create, Rename, Remove and SyncFolder implement durable.System.
func (c *crashFiles) Create(path string, _ fs.FileMode) (durable.File, error) {
	name := path + ".tmp"
	if err := c.op("create %s", name); err != nil {
		return nil, err
	}
	if c.now[name] != nil {
		return nil, fs.ErrExist // the last one was left behind
	}
	c.now[name] = &crashFile{files: c, name: name}
	return c.now[name], nil
}

func (c *crashFiles) Remove(name string) error {
	if err := c.op("remove %s", name); err != nil {
		return err
	}
	delete(c.now, name)
	return nil
}

func (c *crashFiles) Rename(from, to string) error {
	if err := c.op("rename %s %s", from, to); err != nil {
		return err
	}
	c.now[to] = c.now[from]
	delete(c.now, from)
	return nil
}

func (c *crashFiles) SyncFolder(path string) error {
	if err := c.op("sync %s", filepath.Dir(path)); err != nil {
		return err
	}
	c.synced = maps.Clone(c.now)
	return nil
}

func (f *crashFile) Name() string { return f.name }

func (f *crashFile) Write(p []byte) (int, error) {
	if err := f.files.op("write %s", f.name); err != nil {
		f.now += string(p[:len(p)/2])
		return len(p) / 2, err
	}
	f.now += string(p)
	return len(p), nil
}

func (f *crashFile) Sync() error {
	if err := f.files.op("sync %s", f.name); err != nil {
		return err
	}
	f.synced = f.now
	return nil
}

func (f *crashFile) Close() error { return f.files.op("close %s", f.name) }

// images returns what a power cut may leave of the file: "none" if there is no
// file of the name.
func (c *crashFiles) images(name string) []string {
	images := []string{"none", "none"}
	for i, names := range []map[string]*crashFile{c.synced, c.now} {
		if f := names[name]; f != nil {
			images[i] = f.synced
		}
	}
	return images
}

// killed returns what the end of the program alone leaves.
func (c *crashFiles) killed(name string) string {
	if f := c.now[name]; f != nil {
		return f.now
	}
	return "none"
}

// crashState is a File of three batches of one message each on c.
func crashState(t *testing.T, c *crashFiles, sync Sync) *File {
	t.Helper()
	s, err := OpenFile(FileConfig{Path: filepath.Join(t.TempDir(), "s"), Sync: sync})
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Path, s.files = "s", c
	return s
}

// workOff starts and completes the messages and returns the errors.
func workOff(s *File) (errs []error) {
	for i := range int64(3) {
		errs = append(errs, s.Started(logd.ID{Offset: i * 10, Delta: 0}), s.BatchEnd(logd.ID{Offset: i * 10, Delta: 0}, i*10+10), s.Done(logd.ID{Offset: i * 10, Delta: 0}, nil))
	}
	return append(errs, s.Close())
}

const wholeSave = "create s.tmp, write s.tmp, sync s.tmp, close s.tmp, rename s.tmp s, sync ."

// The first Start and each batch that is completed replace the file, in an
// order that a crash cannot turn against it.
func TestFileSaves(t *testing.T) {
	c := newCrashFiles()
	if err := errors.Join(workOff(crashState(t, c, SyncEverySave))...); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(strings.Repeat(wholeSave+", ", 4), ", ")
	if got := strings.Join(c.log, ", "); got != want {
		t.Errorf("operations:\n%s\nwant\n%s", got, want)
	}
	c = newCrashFiles()
	if err := errors.Join(workOff(crashState(t, c, SyncOnClose))...); err != nil {
		t.Fatal(err)
	}
	want = strings.Repeat("create s.tmp, write s.tmp, close s.tmp, rename s.tmp s, ", 4) + wholeSave
	if got := strings.Join(c.log, ", "); got != want {
		t.Errorf("operations with SyncOnClose:\n%s\nwant\n%s", got, want)
	}
}

// Whichever operation fails, the caller is told, and both a power cut and the
// end of the program leave a state from which at most one completed batch is
// delivered again: at every moment of all runs.
func TestFileFaults(t *testing.T) {
	clean := newCrashFiles()
	workOff(crashState(t, clean, SyncEverySave))
	for failAt := 1; failAt <= len(clean.log)+1; failAt++ {
		c := newCrashFiles()
		c.failAt = failAt
		s := crashState(t, c, SyncEverySave)
		completed := int64(0)
		told := false
		for i := range int64(3) {
			for step, err := range []error{s.Started(logd.ID{Offset: i * 10, Delta: 0}), s.BatchEnd(logd.ID{Offset: i * 10, Delta: 0}, i*10+10), s.Done(logd.ID{Offset: i * 10, Delta: 0}, nil)} {
				if err != nil {
					told = true
					if !errors.Is(err, errInjected) || step == 1 {
						t.Errorf("fault %d: %v", failAt, err)
					}
				} else if step == 2 {
					completed = i + 1
				}
			}
			for _, image := range append(c.images("s"), c.killed("s")) {
				checkImage(t, failAt, image, completed*10, (i+1)*10)
			}
		}
		if err := s.Close(); err != nil {
			told = true
		}
		if want := failAt <= len(clean.log); told != want {
			t.Errorf("fault %d: told %v, want %v", failAt, told, want)
		}
		// What failed is made good by the next save: all is completed.
		if err := s.Save(); err != nil {
			t.Errorf("fault %d: Save: %v", failAt, err)
		}
		checkImage(t, failAt, c.images("s")[0], 30, 30)
	}
}

// checkImage checks that a file begins at an offset of the range.
func checkImage(t *testing.T, fault int, image string, from, to int64) {
	t.Helper()
	if image == "none" && from == 0 {
		return // before the first save came to an end
	}
	at, _, err := decode([]byte(image))
	id, named := at.ID()
	if err != nil || !named || id.Offset < from || id.Offset > to {
		t.Errorf("fault %d: %q is left: %v, want an offset of %d to %d", fault, image, err, from, to)
	}
}

// The control: where files are not synced, a power cut leaves one that is
// empty. It is refused, and not taken for the beginning.
func TestFileWithoutSync(t *testing.T) {
	c := newCrashFiles()
	s := crashState(t, c, SyncOnClose)
	s.Started(logd.ID{Offset: 0, Delta: 0})
	s.Done(logd.ID{Offset: 0, Delta: 0}, nil)
	images := c.images("s")
	if !slices.Contains(images, "") {
		t.Fatalf("a power cut leaves %q: this test finds nothing", images)
	}
	if _, _, err := decode(nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("an empty file: %v", err)
	}
	checkImage(t, 0, c.killed("s"), 0, 0)
}
