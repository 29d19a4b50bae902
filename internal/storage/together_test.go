package storage

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// otherDevice is a file system of which the partitions are on another device.
type otherDevice struct{ vfs.FS }

func (o otherDevice) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := o.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return mountedFile{f}, nil
}

type mountedFile struct{ vfs.File }

func (f mountedFile) Stat() (fs.FileInfo, error) {
	st, err := f.File.Stat()
	return mounted{st}, err
}

type mounted struct{ fs.FileInfo }

func (m mounted) Sys() any {
	sys := *m.FileInfo.Sys().(*syscall.Stat_t)
	sys.Dev++
	return &sys
}

// TestSyncTogetherSyncsNames: what SyncTogether returns nil for is found after a
// power cut, also a topic in which nothing was ever appended, whoever else syncs it.
func TestSyncTogetherSyncsNames(t *testing.T) {
	found := func(t *testing.T, disk *vfstest.FS) {
		t.Helper()
		s := openMem(t, disk.CrashKeepNothing(), Options{})
		defer s.Close()
		mustLog(t, s, "t")
	}
	for name, beside := range map[string]func(*Store, *Log, *vfstest.FS) (end func()){
		"alone":             func(*Store, *Log, *vfstest.FS) func() { return func() {} },
		"on another device": func(*Store, *Log, *vfstest.FS) func() { return func() {} },
		"beside one who looks whether its files are there": func(_ *Store, l *Log, disk *vfstest.FS) func() {
			thaw := make(chan struct{})
			disk.BeforeOp(func(op vfstest.Op) {
				if op.Kind == vfstest.OpStat {
					<-thaw
				}
			})
			go l.Look()
			synctest.Wait()
			return func() { close(thaw) }
		},
		"beside another who hangs": func(s *Store, l *Log, disk *vfstest.FS) func() {
			thaw := make(chan struct{})
			disk.BeforeOp(func(op vfstest.Op) {
				if op.Kind == vfstest.OpSyncDir {
					<-thaw
				}
			})
			go s.SyncTogether([]*Log{l}, nil)
			synctest.Wait()
			return func() { close(thaw) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				var fsys vfs.FS = disk
				if name == "on another device" {
					fsys = otherDevice{disk}
				}
				s := openStore(t, Options{FS: fsys, Managed: true})
				defer s.Close()
				l := mustCreate(t, s, "t")
				end := beside(s, l, disk)
				done := make(chan []error, 1)
				go func() {
					errs, _ := s.SyncTogether([]*Log{l}, nil)
					done <- errs
				}()
				synctest.Wait()
				select {
				case errs := <-done:
					must(t, errs[0])
					found(t, disk)
					end()
				default:
					end()
					errs := <-done
					must(t, errs[0])
					found(t, disk)
				}
			})
		})
	}
}

// TestTopicThatIsPutBackIsSynced: a topic whose folder somebody has put into the work
// directory is found after a power cut, if what was appended to it counts as stored.
func TestTopicThatIsPutBackIsSynced(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushBatches: 1})
	defer s.Close()
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "zero"))
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "one")) // too soon for another mark: it is recovered
	mustDelete(t, s, "t", false)
	must(t, disk.Rename(deleted.Dir+"/"+keptFolders(t, disk)[0], "t"))
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "two"))
	s2 := openMem(t, disk.CrashKeepNothing(), Options{})
	defer s2.Close()
	wantBodies(t, mustLog(t, s2, "t"), "zero", "one", "two")
}
