package storage

import (
	"errors"
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// users are those who lock a work directory. Each returns the error with which
// it was refused.
func users(t *testing.T, disk *vfstest.FS) map[string]func() error {
	return map[string]func() error{
		"open": func() error {
			s, err := Open(t.Context(), Options{FS: disk, FlushInterval: -1})
			if err == nil {
				err = s.Close()
			}
			return err
		},
		"check": func() error {
			_, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: disk}, func(fsck.Finding) {})
			return err
		},
		"repair": func() error {
			_, err := fsck.Repair(t.Context(), fsck.RepairOptions{FS: disk}, func(fsck.Action) {})
			return err
		},
		"dry run": func() error {
			_, err := fsck.Repair(t.Context(), fsck.RepairOptions{FS: disk, DryRun: true}, func(fsck.Action) {})
			return err
		},
	}
}

// A work directory has one user, whatever the name of the file that the version
// of that one locks. Who is refused holds nothing.
func TestLock(t *testing.T) {
	for _, name := range layout.LockNames {
		for user := range users(t, vfstest.New()) {
			t.Run(name+" "+user, func(t *testing.T) {
				disk := vfstest.New()
				lock, err := disk.Lock(name)
				must(t, err)
				use := users(t, disk)[user]
				if err := use(); !errors.Is(err, vfs.ErrLocked) {
					t.Errorf("in use, by the lock on %s: %v", name, err)
				}
				must(t, lock.Close())
				for range 2 {
					if err := use(); err != nil {
						t.Errorf("no longer in use: %v", err)
					}
				}
				if n := disk.Open(); n != 0 {
					t.Errorf("%d files are still open", n)
				}
			})
		}
	}
}

// What the files of the server and of partitions are called can be the name of
// a topic; the lock file of an older version goes.
func TestTopicsWithNamesOfFiles(t *testing.T) {
	disk := vfstest.New()
	must(t, disk.WriteFile(layout.OldLockName, nil))
	names := []string{"0.idx", "0.log", "LOCK", "journal", "journal.new", "report"}
	s := openMem(t, disk, small)
	for _, name := range names {
		mustAppend(t, mustCreate(t, s, name), batchOf(name, "message of "+name))
	}
	must(t, s.Close())
	for _, user := range users(t, disk) {
		must(t, user())
	}
	if found, r := check(t, disk); found != nil || r.Topics != int64(len(names)) {
		t.Errorf("found %+v in %d topics", found, r.Topics)
	}
	s = openMem(t, disk, small)
	defer s.Close()
	if got := s.Topics(); fmt.Sprint(got) != fmt.Sprint(names) {
		t.Fatalf("topics are %q", got)
	}
	for _, name := range names {
		wantBodies(t, mustLog(t, s, name), "message of "+name)
	}
}

// What has something in it is nobody's lock file, and nobody removes it.
func TestFileWithTheNameOfALock(t *testing.T) {
	disk := vfstest.New()
	must(t, disk.WriteFile(layout.OldLockName, []byte("mine")))
	s := openMem(t, disk, small)
	defer s.Close()
	if b, err := disk.ReadFile(layout.OldLockName); string(b) != "mine" {
		t.Errorf("the file has %q (%v)", b, err)
	}
	if _, err := s.Create([]byte(layout.OldLockName)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a topic where a file is: %v", err)
	}
}

// Names with a dot are the server's own, and lost+found is the file system's:
// neither is a topic, nor anything to tell of.
func TestReservedNames(t *testing.T) {
	disk := vfstest.New()
	for _, name := range []string{".deleted", fsck.SavedDir, ".x", "lost+found"} {
		must(t, disk.Mkdir(name, 0o700))
		must(t, disk.WriteFile(name+"/0.log", batchOf("t", "one").data))
	}
	before := tree(t, disk)
	if found, r := check(t, disk); found != nil || r.Topics != 0 {
		t.Errorf("a check found %+v in %d topics", found, r.Topics)
	}
	if done, r := repair(t, disk, false); done != nil || r.Topics != 0 {
		t.Errorf("a repair did %+v", done)
	}
	s := openMem(t, disk, small)
	if got := s.Topics(); len(got) != 0 {
		t.Errorf("topics are %q", got)
	}
	must(t, s.Close())
	must(t, disk.Remove(layout.LockName))
	if err := sameTree(before, tree(t, disk)); err != nil {
		t.Error(err)
	}
}
